//! The options of mount that docker run has too, and how each is read: with docker run's syntax.

use std::net::IpAddr;

use anyhow::{Result, anyhow, bail};
use clap::Args;

use crate::daemon::is_own_label;
use crate::engine::{Gpus, NetworkOptions, RunOptions, Ulimit, check_tmpfs_options};
use crate::provision::clean_path;

/// How the nodes' containers are run.
#[derive(Clone, Debug, Default, PartialEq, Args)]
pub(crate) struct ContainerArgs {
    /// Limit a node's memory, for example 512m
    #[arg(long, value_name = "BYTES")]
    pub(crate) memory: Option<String>,
    /// Limit a node's CPUs, for example 0.5
    #[arg(long, value_name = "N")]
    pub(crate) cpus: Option<f64>,
    /// Limit what a process in the nodes may use, for example nofile=1024:4096; -1 is no limit
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub(crate) ulimit: Vec<String>,
    /// Size of a node's /dev/shm, for example 256m
    #[arg(long, value_name = "BYTES")]
    pub(crate) shm_size: Option<String>,
    /// Mount a file system in memory into the nodes, for example /run:size=64m
    #[arg(long, value_name = "PATH[:OPTIONS]")]
    pub(crate) tmpfs: Vec<String>,
    /// Set a kernel parameter of the nodes: net.*, fs.mqueue.*, or of System V IPC
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) sysctl: Vec<String>,
    /// Add a capability to the nodes
    #[arg(long, value_name = "CAP")]
    pub(crate) cap_add: Vec<String>,
    /// Take a capability from the nodes, or ALL
    #[arg(long, value_name = "CAP")]
    pub(crate) cap_drop: Vec<String>,
    /// Run the nodes privileged
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Give the nodes GPUs: all, how many, or device=ID,ID
    #[arg(long, value_name = "GPUS")]
    pub(crate) gpus: Option<String>,
    /// Make the engine's init the first process of each node: it reaps zombies and passes signals on
    #[arg(long)]
    pub(crate) init: bool,
    /// Give the nodes a terminal
    #[arg(long)]
    pub(crate) tty: bool,
    /// Run the nodes as this user
    #[arg(long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Working directory of the nodes
    #[arg(long, value_name = "PATH")]
    pub(crate) workdir: Option<String>,
    /// Put a label on the nodes' containers
    #[arg(long, value_name = "K[=V]")]
    pub(crate) label: Vec<String>,
    /// Name server for what the engine's own does not know
    #[arg(long, value_name = "IP")]
    pub(crate) dns: Vec<String>,
    /// Add a line to the nodes' /etc/hosts; host-gateway is the engine's host
    #[arg(long, value_name = "NAME:IP")]
    pub(crate) add_host: Vec<String>,
}

impl ContainerArgs {
    /// What the nodes' own containers have.
    ///
    /// # Errors
    /// A sentence that names the option.
    pub(super) fn run(&self) -> Result<RunOptions> {
        if self.cpus.is_some_and(|cpus| !cpus.is_finite() || cpus <= 0.0 || cpus > 4096.0) {
            bail!("--cpus takes a number above 0, such as 0.5");
        }
        Ok(RunOptions {
            user: self.user.clone(),
            working_dir: self.workdir.as_deref().map(|path| absolute("--workdir", path)).transpose()?,
            memory: self.memory.as_deref().map(|text| bytes("--memory", text)).transpose()?,
            nano_cpus: self.cpus.map(|cpus| (cpus * 1e9) as i64),
            shm_size: self.shm_size.as_deref().map(|text| bytes("--shm-size", text)).transpose()?,
            cap_add: self.cap_add.clone(),
            cap_drop: self.cap_drop.clone(),
            privileged: self.privileged,
            init: self.init.then_some(true),
            tty: self.tty,
            tmpfs: each(&self.tmpfs, tmpfs)?,
            ulimits: ulimits(&self.ulimit)?,
            sysctls: self.sysctls(false)?,
            labels: each(&self.label, label)?,
            gpus: self.gpus.as_deref().map(gpus).transpose()?,
            ..RunOptions::default()
        })
    }

    /// What their network has.
    ///
    /// # Errors
    /// A sentence that names the option.
    pub(super) fn network(&self) -> Result<NetworkOptions> {
        Ok(NetworkOptions {
            dns: each(&self.dns, dns)?,
            extra_hosts: each(&self.add_host, host)?,
            sysctls: self.sysctls(true)?,
            ..NetworkOptions::default()
        })
    }

    /// The kernel parameters of the network namespace, or the others.
    fn sysctls(&self, of_network: bool) -> Result<Vec<(String, String)>> {
        let mut all = each(&self.sysctl, sysctl)?;
        all.retain(|(name, _)| is_of_network(name) == of_network);
        Ok(all)
    }
}

fn each<T>(texts: &[String], read: fn(&str) -> Result<T>) -> Result<Vec<T>> {
    texts.iter().map(|text| read(text)).collect()
}

fn absolute(option: &str, path: &str) -> Result<String> {
    if !path.starts_with('/') {
        bail!("{option} {path}: a path in a node is absolute");
    }
    Ok(path.to_owned())
}

/// Bytes, with the suffixes of the docker command line: b, k, m, g, powers of 1024.
pub(super) fn bytes(option: &str, text: &str) -> Result<i64> {
    let lower = text.to_ascii_lowercase();
    let (digits, shift) = match lower.char_indices().last() {
        Some((at, 'k')) => (&lower[..at], 10),
        Some((at, 'm')) => (&lower[..at], 20),
        Some((at, 'g')) => (&lower[..at], 30),
        Some((at, 'b')) => (&lower[..at], 0),
        _ => (lower.as_str(), 0),
    };
    let number = digits.parse::<i64>().ok().filter(|number| *number > 0).and_then(|n| n.checked_mul(1 << shift));
    number.ok_or_else(|| anyhow!("{option} {text}: the form is a number with b, k, m or g, such as 512m"))
}

/// A later one replaces an earlier one of its name.
fn ulimits(texts: &[String]) -> Result<Vec<Ulimit>> {
    let mut limits: Vec<Ulimit> = vec![];
    for limit in each(texts, ulimit)? {
        limits.retain(|other| other.name != limit.name);
        limits.push(limit);
    }
    Ok(limits)
}

fn ulimit(text: &str) -> Result<Ulimit> {
    let wrong = || anyhow!("--ulimit {text}: the form is NAME=SOFT[:HARD], such as nofile=1024:4096; -1 is no limit");
    let (name, values) = text.split_once('=').ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<i64>().ok().filter(|number| *number >= -1).ok_or_else(wrong);
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (number(soft)?, number(hard)?);
    let limit = Ulimit { name: name.to_owned(), soft, hard };
    limit.check().map_err(|why| anyhow!("--ulimit {text}: {why}"))?;
    Ok(limit)
}

/// Path and mount options. The path is as the engine compares it.
fn tmpfs(text: &str) -> Result<(String, String)> {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    let path = Some(path).filter(|path| path.starts_with('/')).map(clean_path).filter(|path| path != "/");
    let Some(path) = path else {
        bail!("--tmpfs {text}: the form is PATH[:OPTIONS], with an absolute PATH other than /, such as /run:size=64m");
    };
    check_tmpfs_options(options).map_err(|why| anyhow!("--tmpfs {text}: {why}"))?;
    Ok((path, options.to_owned()))
}

fn sysctl(text: &str) -> Result<(String, String)> {
    let good = |c: char| c.is_ascii_graphic() && c != '=';
    let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty() && name.chars().all(good))
    else {
        bail!("--sysctl {text}: the form is NAME=VALUE, such as net.core.somaxconn=1024");
    };
    let dotted = name.replace('/', ".");
    if !is_of_network(name) && !OF_A_CONTAINER.iter().any(|start| dotted.starts_with(start)) {
        bail!(
            "--sysctl {text}: containers share that parameter with the host; a node has its own net.*, fs.mqueue.*, \
             kernel.msg*, kernel.sem and kernel.shm*"
        );
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// What the parameters begin with that are not the network's and that each container has for itself (sysctl in `docker run`).
const OF_A_CONTAINER: [&str; 5] = ["fs.mqueue.", "kernel.msg", "kernel.sem", "kernel.shm", "kernel.domainname"];

/// Whether a kernel parameter belongs to the network namespace. Both separators are in use.
fn is_of_network(name: &str) -> bool {
    name.starts_with("net.") || name.starts_with("net/")
}

/// Without a value it is empty.
fn label(text: &str) -> Result<(String, String)> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() || key.contains(char::is_whitespace) {
        bail!("--label {text}: the form is K or K=V, with no blank in K");
    }
    if is_own_label(key) {
        bail!("--label {text}: labels io.cthulhu.* are cthulhu's own; give it another name");
    }
    Ok((key.to_owned(), value.to_owned()))
}

fn gpus(text: &str) -> Result<Gpus> {
    // Docker's documentation has quotes around several ids.
    let plain = text.trim_matches('"');
    let ids = plain.strip_prefix("device=").map(|ids| ids.split(',').map(str::to_owned).collect::<Vec<_>>());
    match (plain, ids) {
        ("all", _) => Ok(Gpus::All),
        (_, Some(ids)) if !ids.iter().any(String::is_empty) => Ok(Gpus::Devices(ids)),
        (number, _) => match number.parse() {
            Ok(count) if count > 0 => Ok(Gpus::Count(count)),
            _ => bail!("--gpus {text}: it takes all, a number, or device=ID,ID"),
        },
    }
}

fn dns(text: &str) -> Result<IpAddr> {
    text.parse().map_err(|_| anyhow!("--dns {text}: it takes an IP address, such as 10.0.0.53"))
}

fn host(text: &str) -> Result<(String, String)> {
    let parts = text.split_once([':', '=']).filter(|(name, _)| !name.is_empty() && !name.contains(char::is_whitespace));
    let address = parts.map(|(_, address)| address.trim_start_matches('[').trim_end_matches(']'));
    match (parts, address) {
        (Some((name, _)), Some(address)) if address == "host-gateway" || address.parse::<IpAddr>().is_ok() => {
            Ok((name.to_owned(), address.to_owned()))
        }
        _ => bail!("--add-host {text}: the form is NAME:IP or NAME:host-gateway, such as db:10.0.0.5"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    /// Every one of `wrong` is refused with a sentence that begins with the option and what was given.
    fn refused<T: std::fmt::Debug>(option: &str, read: impl Fn(&str) -> Result<T>, wrong: &[&str]) {
        for text in wrong {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{option} {text}: ")) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn limits_of_processes() {
        let read = |text| ulimit(text).map(|limit| (limit.name, limit.soft, limit.hard)).unwrap();
        for (text, expected) in [
            ("nofile=1024", ("nofile", 1024, 1024)),
            ("nproc=1:2", ("nproc", 1, 2)),
            ("core=0:-1", ("core", 0, -1)),
            ("memlock=-1", ("memlock", -1, -1)),
        ] {
            assert_eq!(read(text), (expected.0.to_owned(), expected.1, expected.2), "{text}");
        }
        let wrong = [
            "",
            "nofile",
            "nofile=",
            "nofile=x",
            "nofile=1:",
            "nofile=2:1",
            "nofile=-1:5",
            "nofile=-2",
            "files=1",
            "nofile=1:2:3",
        ];
        refused("--ulimit", ulimit, &wrong);
        let last = ulimits(&["nofile=1", "core=0", "nofile=2"].map(str::to_owned)).unwrap();
        assert_eq!(last.iter().map(|limit| limit.soft).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn file_systems_in_memory() {
        assert_eq!(tmpfs("/run").unwrap(), pair("/run", ""));
        assert_eq!(tmpfs("/a//c/../b/:size=1m,mode=1777,exec").unwrap(), pair("/a/b", "size=1m,mode=1777,exec"));
        let wrong =
            ["", "run", "/", "//", "/..", ":size=1m", "/a:wrong", "/a:size=lots", "/a:mode=9", "/a:exec,", "/a:uid=me"];
        refused("--tmpfs", tmpfs, &wrong);
    }

    #[test]
    fn kernel_parameters_go_where_their_namespace_is() {
        let sysctl = ["net.core.somaxconn=9", "kernel.msgmax=10", "net/ipv4/ip_forward=", "fs.mqueue.msg_max=a=b"];
        let args = ContainerArgs { sysctl: sysctl.map(str::to_owned).to_vec(), ..ContainerArgs::default() };
        let network = [pair("net.core.somaxconn", "9"), pair("net/ipv4/ip_forward", "")];
        assert_eq!(args.network().unwrap().sysctls, network);
        assert_eq!(args.run().unwrap().sysctls, [pair("kernel.msgmax", "10"), pair("fs.mqueue.msg_max", "a=b")]);
        refused(
            "--sysctl",
            super::sysctl,
            &["", "net.core.somaxconn", "=1", "net.a b=1", "vm.swappiness=1", "network=1"],
        );
    }

    #[test]
    fn labels_are_the_users_own() {
        assert_eq!(label("a.b=c=d").unwrap(), pair("a.b", "c=d"));
        assert_eq!(label("a").unwrap(), pair("a", ""));
        assert_eq!(label("io.cthulhuish=1").unwrap(), pair("io.cthulhuish", "1"));
        refused("--label", label, &["", "=v", "a b=c", "io.cthulhu.node=i009", "io.cthulhu.mine"]);
    }

    #[test]
    fn gpus_are_all_or_some() {
        for (text, expected) in [
            ("all", Gpus::All),
            ("2", Gpus::Count(2)),
            ("device=0", Gpus::Devices(vec!["0".into()])),
            (r#""device=0,GPU-1""#, Gpus::Devices(vec!["0".into(), "GPU-1".into()])),
        ] {
            assert_eq!(gpus(text).unwrap(), expected, "{text}");
        }
        refused("--gpus", gpus, &["", "0", "-1", "some", "device=", "device=1,", "count=2"]);
    }

    #[test]
    fn servers_and_hosts() {
        assert_eq!(dns("fd00::1").unwrap().to_string(), "fd00::1");
        refused("--dns", dns, &["", "10.0.0", "ns.example"]);
        for (text, expected) in [
            ("db:10.0.0.5", pair("db", "10.0.0.5")),
            ("db=10.0.0.5", pair("db", "10.0.0.5")),
            ("six:fd00::1", pair("six", "fd00::1")),
            ("six:[fd00::1]", pair("six", "fd00::1")),
            ("up:host-gateway", pair("up", "host-gateway")),
        ] {
            assert_eq!(host(text).unwrap(), expected, "{text}");
        }
        refused("--add-host", host, &["", "db", "db:", ":10.0.0.5", "d b:10.0.0.5", "db:other"]);
    }

    #[test]
    fn sizes_and_paths() {
        for (text, size) in [("512m", 512 << 20), ("1", 1), ("2K", 2048), ("3b", 3), ("1g", 1 << 30)] {
            assert_eq!(bytes("--memory", text).unwrap(), size, "{text}");
        }
        refused("--memory", |text| bytes("--memory", text), &["", "m", "-1m", "0", "1.5g", "9999999999g"]);
        let args = |shm: &str, workdir: &str| {
            let (shm_size, workdir) = (Some(shm.to_owned()), Some(workdir.to_owned()));
            ContainerArgs { shm_size, workdir, ..ContainerArgs::default() }.run()
        };
        let good = args("1m", "/w").unwrap();
        assert_eq!((good.shm_size, good.working_dir.as_deref()), (Some(1 << 20), Some("/w")));
        refused("--shm-size", |text| args(text, "/w"), &["", "0", "x"]);
        refused("--workdir", |text| args("1m", text), &["", "w"]);
    }

    #[test]
    fn nothing_given_leaves_everything_to_image_and_engine() {
        let args = ContainerArgs::default();
        assert_eq!((args.run().unwrap(), args.network().unwrap()), (RunOptions::default(), NetworkOptions::default()));
    }
}
