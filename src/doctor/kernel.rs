//! What network faults use: whether this kernel has it, as its own lists say. Nothing is loaded to find out.

use std::fs;
use std::process::{Command, Stdio};

use super::{Finding, Verdict};

/// A part of the kernel.
struct Part {
    check: &'static str,
    /// Its module.
    module: &'static str,
    /// Its build option.
    option: &'static str,
    /// What is lost without it.
    without: &'static str,
}

const PARTS: [Part; 3] = [
    Part {
        check: "nftables",
        module: "nf_tables",
        option: "CONFIG_NF_TABLES",
        without: "nothing can drop or lose packets between nodes",
    },
    Part {
        check: "netem",
        module: "sch_netem",
        option: "CONFIG_NET_SCH_NETEM",
        without: "delays need NFQUEUE in its place",
    },
    Part {
        check: "NFQUEUE",
        module: "xt_NFQUEUE",
        option: "CONFIG_NETFILTER_XT_TARGET_NFQUEUE",
        without: "delays need netem",
    },
];

/// What the kernel says of its parts.
#[derive(Default)]
struct Kernel {
    release: String,
    /// /proc/modules.
    loaded: String,
    /// modules.builtin and modules.dep.
    built_in: String,
    loadable: String,
    /// The options that it was built with, if they can be read.
    config: Option<String>,
}

/// A finding for each part. `local` says that the engine's containers run on this kernel.
pub fn faults(local: bool) -> Vec<Finding> {
    let kernel = if local { Kernel::read() } else { Kernel::default() };
    let of = |part: &Part| {
        if local {
            kernel.judge(part)
        } else {
            Finding::new(part.check, Verdict::Unknown, "the engine's kernel is another one")
        }
    };
    PARTS.iter().map(of).collect()
}

impl Kernel {
    fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let release = text("/proc/sys/kernel/osrelease").trim().to_owned();
        let modules = format!("/lib/modules/{release}");
        let unpacked = || {
            fs::metadata("/proc/config.gz").ok()?;
            let output = Command::new("gzip").args(["-dc", "/proc/config.gz"]).stdin(Stdio::null()).output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        Self {
            loaded: text("/proc/modules"),
            built_in: text(&format!("{modules}/modules.builtin")),
            loadable: text(&format!("{modules}/modules.dep")),
            config: unpacked().or_else(|| fs::read_to_string(format!("/boot/config-{release}")).ok()),
            release,
        }
    }

    fn judge(&self, part: &Part) -> Finding {
        let Part { check, module, option, without } = part;
        let finding = |verdict, text: String| Finding::new(check, verdict, text);
        let file = format!("/{module}.ko");
        let set_to = |value: &str| {
            self.config.as_ref().is_some_and(|config| config.lines().any(|line| line == format!("{option}={value}")))
        };
        if set_to("y") || self.built_in.contains(&file) {
            finding(Verdict::Ok, "built into the kernel".into())
        } else if self.loaded.lines().any(|line| line.split(' ').next() == Some(module)) {
            finding(Verdict::Ok, format!("the module {module} is loaded"))
        } else if self.loadable.contains(&file) {
            finding(Verdict::Note, format!("the module {module} is there and not loaded: sudo modprobe {module}"))
        } else if set_to("m") {
            let package = format!("linux-modules-extra-{}", self.release);
            finding(
                Verdict::Note,
                format!("its module is not installed, so {without}; on Ubuntu: sudo apt-get install {package}"),
            )
        } else if self.config.is_some() {
            finding(Verdict::Note, format!("this kernel was built without it ({option}), so {without}"))
        } else {
            finding(Verdict::Unknown, "the kernel does not tell".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn netem(kernel: &Kernel) -> Verdict {
        kernel.judge(&PARTS[1]).verdict
    }

    #[test]
    fn well_is_only_what_was_seen() {
        let kernel = Kernel::default();
        assert_eq!(netem(&kernel), Verdict::Unknown);
        let config = |text: &str| Kernel { config: Some(text.into()), ..Kernel::default() };
        assert_eq!(netem(&config("CONFIG_NET_SCH_NETEM=y\n")), Verdict::Ok);
        assert_eq!(netem(&config("CONFIG_NET_SCH_NETEM=m\n")), Verdict::Note);
        assert_eq!(netem(&config("# CONFIG_NET_SCH_NETEM is not set\n")), Verdict::Note);
        assert_eq!(netem(&Kernel { loaded: "sch_netem 1 0 - Live 0x0\n".into(), ..Kernel::default() }), Verdict::Ok);
        assert_eq!(netem(&Kernel { loaded: "sch_netem2 1 0\n".into(), ..Kernel::default() }), Verdict::Unknown);
        let there = "kernel/net/sched/sch_netem.ko.xz: kernel/x.ko\n";
        assert_eq!(netem(&Kernel { loadable: there.into(), ..Kernel::default() }), Verdict::Note);
        assert_eq!(netem(&Kernel { built_in: there.into(), ..Kernel::default() }), Verdict::Ok);
        assert!(faults(false).iter().all(|finding| finding.verdict == Verdict::Unknown));
    }
}
