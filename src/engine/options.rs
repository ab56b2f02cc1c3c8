//! What a container's creator may say about it besides its image, command, environment and mounts.
//!
//! One struct for each of the two containers of a node: [`RunOptions`] for the node's own, [`NetworkOptions`] for the
//! sandbox, which has the network. A new option is a field here, a line in `docker/spec.rs`, and whatever reads it from
//! the user.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::text::shown;

/// How a container is run. The default leaves everything to the image and the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunOptions {
    /// `user[:group]`.
    pub user: Option<String>,
    /// Further groups, by name or number.
    pub group_add: Vec<String>,
    /// Absolute path.
    pub working_dir: Option<String>,
    /// Limit of its memory in bytes.
    pub memory: Option<i64>,
    /// Limit of its CPU time in billionths of a CPU.
    pub nano_cpus: Option<i64>,
    /// Most processes and threads.
    pub pids_limit: Option<i64>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: Option<i64>,
    /// Capabilities to add.
    pub cap_add: Vec<String>,
    /// Capabilities to drop (`ALL` for all).
    pub cap_drop: Vec<String>,
    /// Full access to the host.
    pub privileged: bool,
    /// Root file system mounted read-only.
    pub read_only: bool,
    /// Its first process is the engine's `init`, which reaps zombies and passes signals on.
    pub init: Option<bool>,
    /// It has a terminal.
    pub tty: bool,
    /// Its stdin stays open, although nobody writes to it.
    pub stdin_open: bool,
    /// File systems in memory: absolute path in the container, and mount options (`size=64m,mode=1777`; may be empty).
    pub tmpfs: Vec<(String, String)>,
    /// Limits of its processes.
    pub ulimits: Vec<Ulimit>,
    /// Kernel parameters of its own namespaces, except those of the network: name and value.
    pub sysctls: Vec<(String, String)>,
    /// The user's labels: key and value.
    pub labels: Vec<(String, String)>,
    /// Devices of the host.
    pub devices: Vec<Device>,
    /// As `--security-opt` of docker run takes them: `seccomp=unconfined`.
    pub security_opt: Vec<String>,
    /// From -1000 to 1000.
    pub oom_score_adj: Option<i64>,
    /// Whose cgroups it sees; `None` is the engine's default.
    pub cgroup: Option<CgroupNamespace>,
    /// For which the image is chosen: `linux/arm64`.
    pub platform: Option<String>,
    /// The signal that asks it to end, by name or number.
    pub stop_signal: Option<String>,
    /// When the engine starts it again.
    pub restart: RestartPolicy,
    /// In place of the image's HEALTHCHECK.
    pub healthcheck: Option<HealthCheck>,
    /// The host's GPUs.
    pub gpus: Option<Gpus>,
}

/// When the engine starts a container again that has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Never restarted.
    #[default]
    No,
    /// Whatever the exit code.
    Always,
    /// The same, but not after a stop.
    UnlessStopped,
    /// After an exit code that is not 0; at most so many times, if there is a number.
    OnFailure(Option<u32>),
}

/// Whose cgroups a container sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupNamespace {
    /// The host's.
    Host,
    /// Its own only.
    Private,
}

/// Which GPUs of the host a container has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gpus {
    /// Every one.
    All,
    /// So many, which the engine chooses.
    Count(u16),
    /// These, by index or UUID.
    Devices(Vec<String>),
}

/// A limit of a process, as setrlimit(2) has it. -1 for none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Without `RLIMIT_`, in lower case: `nofile`.
    pub name: String,
    /// What is in force at the start.
    pub soft: i64,
    /// Up to which the process may raise it.
    pub hard: i64,
}

/// A device of the host in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path on the host.
    pub host: String,
    /// Path in the container.
    pub container: String,
    /// Some of `r`, `w` and `m` (mknod).
    pub permissions: String,
}

/// How the engine finds out whether a container is healthy. What is `None` is as in the image, or the engine's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthCheck {
    /// As the engine takes it: `["NONE"]`, `["CMD", PROGRAM, ...]` or `["CMD-SHELL", LINE]`.
    pub test: Option<Vec<String>>,
    /// Between two checks.
    pub interval: Option<Duration>,
    /// How long one may take.
    pub timeout: Option<Duration>,
    /// How many in a row must fail.
    pub retries: Option<i64>,
    /// At the beginning, failures do not count for so long.
    pub start_period: Option<Duration>,
    /// Between two checks during that time; engines with an API before 1.44 do not know it.
    pub start_interval: Option<Duration>,
}

/// What a container that has a network of its own may have besides its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkOptions {
    /// In place of the node's name.
    pub hostname: Option<String>,
    /// What `hostname -d` says.
    pub domainname: Option<String>,
    /// Name servers that the engine's asks.
    pub dns: Vec<IpAddr>,
    /// Domains in which short names are looked up.
    pub dns_search: Vec<String>,
    /// Options of resolv.conf(5).
    pub dns_options: Vec<String>,
    /// Lines for `/etc/hosts`: name and address; `host-gateway` stands for the engine's host.
    pub extra_hosts: Vec<(String, String)>,
    /// Of its first network.
    pub mac_address: Option<String>,
    /// Kernel parameters of the network namespace (`net.*`): name and value.
    pub sysctls: Vec<(String, String)>,
    /// Ports published on the host.
    pub ports: Vec<PublishedPort>,
}

/// A port of a container that is reached on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The host's address; `None` for all.
    pub host_ip: Option<IpAddr>,
    /// The host's port; `None`: the engine chooses one.
    pub host_port: Option<u16>,
    /// The container's port.
    pub port: u16,
    /// Of the transport layer.
    pub protocol: Protocol,
}

/// A protocol that has ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RFC 9293.
    #[default]
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 9260.
    Sctp,
}

impl Protocol {
    const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// As engines and users write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// The one of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == name)
    }
}

/// The limits that a process has, by the names that engines know (setrlimit(2), in lower case).
const LIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

impl Ulimit {
    /// Whether an engine takes it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !LIMITS.contains(&self.name.as_str()) {
            return Err(format!("there is no limit '{}', but {}", shown(&self.name), LIMITS.join(", ")));
        }
        // -1 as a u64 is above every number.
        if self.soft.cast_unsigned() > self.hard.cast_unsigned() {
            return Err("the soft limit is above the hard one".into());
        }
        Ok(())
    }
}

/// Whether an engine takes these options of a tmpfs, separated by commas.
///
/// # Errors
/// The first wrong one.
pub(crate) fn check_tmpfs_options(options: &str) -> Result<(), String> {
    match options.split(',').find(|option| !options.is_empty() && !is_tmpfs_option(option)) {
        Some(wrong) => Err(format!("'{}' is no option of a tmpfs, such as size=64m, mode=1777 or exec", shown(wrong))),
        None => Ok(()),
    }
}

/// Those of tmpfs(5) and mount(8) that Docker takes.
fn is_tmpfs_option(option: &str) -> bool {
    const FLAGS: [&str; 17] = [
        "defaults",
        "ro",
        "rw",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "exec",
        "noexec",
        "sync",
        "async",
        "dirsync",
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
        "relatime",
    ];
    let is_number = |text: &str, radix| u64::from_str_radix(text, radix).is_ok();
    match option.split_once('=') {
        None => FLAGS.contains(&option),
        Some(("size" | "nr_inodes" | "nr_blocks", amount)) => {
            is_number(amount.strip_suffix(['k', 'K', 'm', 'M', 'g', 'G', '%']).unwrap_or(amount), 10)
        }
        Some(("uid" | "gid", id)) => is_number(id, 10),
        Some(("mode", mode)) => is_number(mode, 8),
        Some((name, _)) => name == "mpol",
    }
}
