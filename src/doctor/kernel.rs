//! What network faults use: whether this kernel has it, as its own lists say. Nothing is loaded to find out.

use std::fs;
use std::process::{Command, Stdio};

use super::{Finding, Verdict};

/// A part of the kernel.
struct Part {
    check: &'static str,
    /// Who can do it: modules, each with its build option. One is enough.
    any_of: &'static [(&'static str, &'static str)],
    /// What is lost without it.
    without: &'static str,
}

const PARTS: [Part; 4] = [
    Part {
        check: "nftables",
        any_of: &[("nf_tables", "CONFIG_NF_TABLES")],
        without: "nothing can drop or lose packets between nodes",
    },
    Part {
        check: "netem",
        any_of: &[("sch_netem", "CONFIG_NET_SCH_NETEM")],
        without: "delays need NFQUEUE in its place",
    },
    Part {
        check: "HTB",
        any_of: &[("sch_htb", "CONFIG_NET_SCH_HTB")],
        without: "rates, and netem for single links, are not possible",
    },
    Part {
        check: "NFQUEUE",
        any_of: &[("xt_NFQUEUE", "CONFIG_NETFILTER_XT_TARGET_NFQUEUE"), ("nft_queue", "CONFIG_NFT_QUEUE")],
        without: "delays need netem, and what comes from the host cannot be delayed",
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
pub(crate) fn faults(local: bool) -> Vec<Finding> {
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
        let Part { check, any_of, without } = part;
        let finding = |verdict, text: String| Finding::new(check, verdict, text);
        let is_set_to = |option: &str, value: &str| {
            self.config.as_ref().is_some_and(|config| config.lines().any(|line| line == format!("{option}={value}")))
        };
        let has = |files: &str, module: &str| files.contains(&format!("/{module}.ko"));
        let is_loaded = |module: &str| self.loaded.lines().any(|line| line.split(' ').next() == Some(module));
        let mut modules = any_of.iter().map(|(module, _)| *module);
        if any_of.iter().any(|(module, option)| is_set_to(option, "y") || has(&self.built_in, module)) {
            finding(Verdict::Ok, "built into the kernel".into())
        } else if let Some(module) = modules.clone().find(|module| is_loaded(module)) {
            finding(Verdict::Ok, format!("the module {module} is loaded"))
        } else if let Some(module) = modules.find(|module| has(&self.loadable, module)) {
            finding(Verdict::Note, format!("the module {module} is there and not loaded: sudo modprobe {module}"))
        } else if any_of.iter().any(|(_, option)| is_set_to(option, "m")) {
            let package = format!("linux-modules-extra-{}", self.release);
            finding(
                Verdict::Note,
                format!("its module is not installed, so {without}; on Ubuntu: sudo apt-get install {package}"),
            )
        } else if self.config.is_some() {
            let options: Vec<_> = any_of.iter().map(|(_, option)| *option).collect();
            let options = options.join(" or ");
            finding(Verdict::Note, format!("this kernel was built without it ({options}), so {without}"))
        } else {
            finding(Verdict::Unknown, "the kernel does not tell".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(kernel: &Kernel, check: &str) -> Finding {
        kernel.judge(PARTS.iter().find(|part| part.check == check).unwrap())
    }

    fn netem(kernel: &Kernel) -> Verdict {
        judged(kernel, "netem").verdict
    }

    fn config(text: &str) -> Kernel {
        Kernel { config: Some(text.into()), ..Kernel::default() }
    }

    #[test]
    fn well_is_only_what_was_seen() {
        let kernel = Kernel::default();
        assert_eq!(netem(&kernel), Verdict::Unknown);
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

    #[test]
    fn one_module_of_several_is_enough() {
        let queue = |kernel: &Kernel| judged(kernel, "NFQUEUE");
        for option in ["CONFIG_NETFILTER_XT_TARGET_NFQUEUE=y\n", "CONFIG_NFT_QUEUE=y\n"] {
            assert_eq!(queue(&config(option)).verdict, Verdict::Ok, "{option}");
        }
        for module in ["xt_NFQUEUE", "nft_queue"] {
            let loaded = Kernel { loaded: format!("{module} 1 0 - Live 0x0\n"), ..Kernel::default() };
            assert_eq!(queue(&loaded).text, format!("the module {module} is loaded"));
            let there = Kernel { loadable: format!("kernel/net/{module}.ko.xz:\n"), ..Kernel::default() };
            assert_eq!(queue(&there).verdict, Verdict::Note);
            assert!(queue(&there).text.ends_with(&format!("sudo modprobe {module}")), "{}", queue(&there).text);
        }
        // One that is loaded is better than another that could be.
        let both =
            Kernel { loaded: "nft_queue 1 0\n".into(), loadable: "net/xt_NFQUEUE.ko:\n".into(), ..Kernel::default() };
        assert_eq!(queue(&both).verdict, Verdict::Ok);
        let neither = queue(&config("# CONFIG_NFT_QUEUE is not set\n"));
        assert_eq!(neither.verdict, Verdict::Note);
        assert!(neither.text.contains("(CONFIG_NETFILTER_XT_TARGET_NFQUEUE or CONFIG_NFT_QUEUE)"), "{}", neither.text);
    }

    #[test]
    fn without_htb_there_are_no_rates() {
        assert_eq!(judged(&config("CONFIG_NET_SCH_HTB=y\n"), "HTB").verdict, Verdict::Ok);
        let without = judged(&config(""), "HTB");
        assert_eq!(without.verdict, Verdict::Note);
        assert!(without.text.contains("rates, and netem for single links, are not possible"), "{}", without.text);
    }
}
