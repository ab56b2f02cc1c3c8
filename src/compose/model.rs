//! What Compose files mean here: services with all that their nodes need.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::{Bind, NetworkOptions, RestartPolicy, RunOptions};

/// A place in a file; shown as `FILE:LINE:COLUMN`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// As the user named it. One that another file names is shown beside that one.
    pub file: Arc<Path>,
    /// From 1; 0 for the file as a whole.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.display()),
            line => write!(f, "{}:{line}:{}", self.file.display(), self.column),
        }
    }
}

/// What is to be said about a place: a warning, or why the project cannot be mounted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remark {
    /// Where.
    pub place: Place,
    /// A sentence without a full stop, which names the service, the key and what to do.
    pub text: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// All files together, after merging.
#[derive(Clone, Debug, Default)]
pub struct Project {
    /// `name:`, or what follows from the directory.
    pub name: String,
    /// Absolute; relative paths in the files named by the user begin here.
    pub directory: PathBuf,
    /// Those that are active, in file order.
    pub services: Vec<Service>,
    /// Those that an active service uses, in file order; `default` first if no file names it.
    pub networks: Vec<NetworkDef>,
    /// Those that an active service uses, in file order.
    pub volumes: Vec<VolumeDef>,
    /// What is ignored, or not as in compose. In the order of files and lines, each once.
    pub warnings: Vec<Remark>,
    /// Why the project cannot be mounted; empty if it can. In the order of files and lines.
    pub refusals: Vec<Remark>,
}

impl Project {
    /// The service of that name, if it is active.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }
}

/// One service: a recipe, and how many nodes have it.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Letters, digits, `.`, `_` and `-`, beginning with a letter or digit.
    pub name: String,
    /// Of its key.
    pub place: Place,
    /// How many nodes: `--scale`, else `scale`, else `deploy.replicas`, else 1. May be 0.
    pub replicas: usize,
    /// `--image`, else `image`. `None` only if a refusal says why.
    pub image: Option<String>,
    /// The context of `build`: the image must be present then, no registry has it.
    pub build: Option<String>,
    /// `pull_policy: never`: the image must be present.
    pub never_pull: bool,
    /// Instead of the image's; an empty list removes that one.
    pub entrypoint: Option<Vec<String>>,
    /// Instead of the image's; an empty list removes that one. No templates.
    pub command: Option<Vec<String>>,
    /// Name and value, each name once: `env_file`, and `environment` over it. No templates.
    pub env: Vec<(String, String)>,
    /// One more name of the node and in DNS.
    pub container_name: Option<String>,
    /// Services that it may call by other names.
    pub links: Vec<Link>,
    /// Where it has an address: highest priority first, then in file order; at least one.
    pub networks: Vec<ServiceNetwork>,
    /// Binds and volumes, in file order; tmpfs is in `run`.
    pub mounts: Vec<ServiceMount>,
    /// Its configs and secrets.
    pub files: Vec<ServiceFile>,
    /// What starts before it.
    pub depends_on: Vec<Dependency>,
    /// How long `stop` waits before SIGKILL.
    pub stop_grace_period: Option<Duration>,
    /// Not applied, unless the user asks for it.
    pub restart: RestartPolicy,
    /// Of the nodes' own containers.
    pub run: RunOptions,
    /// Of what has the nodes' network. `hostname` is `None` if no file says it.
    pub network: NetworkOptions,
    /// `x-cthulhu`.
    pub extension: Extension,
}

/// An entry of `links`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The other service.
    pub service: String,
    /// What it is called here.
    pub alias: String,
}

/// A service's place in a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceNetwork {
    /// The key of a [`NetworkDef`].
    pub network: String,
    /// Further names in that network's DNS.
    pub aliases: Vec<String>,
    /// Pinned; within the network's subnet.
    pub address: Option<Ipv4Addr>,
    /// The higher, the earlier.
    pub priority: i64,
}

/// A bind or a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceMount {
    /// Of the entry.
    pub place: Place,
    /// Which of both.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind {
        /// `source` is absolute, but not looked at yet.
        bind: Bind,
        /// Whether a missing source is made, as a directory.
        create: bool,
    },
    /// A directory that gets the image's content.
    Volume {
        /// The key of a [`VolumeDef`]; `None` for an anonymous one, which each node has for itself.
        volume: Option<String>,
        /// Absolute path in the container.
        target: String,
        /// Mounted read-only.
        read_only: bool,
        /// It stays empty: the image's content is not copied into it.
        no_copy: bool,
    },
}

/// A config or a secret as a file in a container, read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFile {
    /// Of the entry.
    pub place: Place,
    /// Its key in `secrets` or `configs`.
    pub name: String,
    /// A secret; else a config.
    pub is_secret: bool,
    /// What is in it.
    pub content: FileContent,
    /// Absolute path in the container.
    pub target: String,
    /// Its owner; `None` for root.
    pub uid: Option<u32>,
    /// Its group; `None` for root.
    pub gid: Option<u32>,
    /// Permission bits; 0444 if no file says them.
    pub mode: u32,
}

/// Where the content of a config or secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileContent {
    /// A file of the host, absolute; not looked at yet.
    Path(PathBuf),
    /// The text itself: `content`, or the value of the variable that `environment` names.
    Text(String),
}

/// An entry of `depends_on`. Of two active services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The other service.
    pub service: String,
    /// What must be true of it.
    pub condition: Condition,
    /// If not, the service starts although the other could not.
    pub required: bool,
}

/// What must be true of all nodes of a service before those that depend on it start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// They run.
    #[default]
    Started,
    /// Their health check passes.
    Healthy,
    /// They have ended with exit code 0.
    CompletedSuccessfully,
}

/// `x-cthulhu` of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extension {
    /// As `--ready-port`.
    pub ready_port: Option<u16>,
    /// As `--ready-log`: a regular expression.
    pub ready_log: Option<String>,
    /// As `--log-limit`, in bytes.
    pub log_limit: Option<u64>,
    /// To end with exit code 0 is no failure.
    pub oneshot: bool,
}

/// A network of the project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkDef {
    /// Its key in the file.
    pub name: String,
    /// Of its key; of the first file as a whole if it is the `default` that no file names.
    pub place: Place,
    /// The engine's name of a network that is there already and is not made or removed.
    pub external: Option<String>,
    /// Without a way out.
    pub internal: bool,
    /// `ADDRESS/BITS`, IPv4.
    pub subnet: Option<String>,
    /// Within the subnet.
    pub gateway: Option<Ipv4Addr>,
    /// Of which the engine takes addresses, `ADDRESS/BITS` within the subnet.
    pub ip_range: Option<String>,
    /// The user's labels.
    pub labels: Vec<(String, String)>,
}

/// A named volume of the project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeDef {
    /// Its key in the file.
    pub name: String,
    /// Of its key.
    pub place: Place,
    /// The engine's name of a volume that is there already and is used, but never removed.
    pub external: Option<String>,
    /// The user's labels.
    pub labels: Vec<(String, String)>,
}
