//! What a container is made of.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::{ContainerId, Labels, NetworkOptions, RunOptions};

/// Where a container gets its network from.
#[derive(Clone, Debug, Default)]
pub enum Network {
    /// Endpoints of its own in user-defined networks.
    Attached {
        /// One or more, in different networks.
        endpoints: Vec<Endpoint>,
        /// The container's host name, unless `options` has another.
        hostname: String,
        /// Lines for its `/etc/hosts`, and that of the containers in its network: name and address.
        hosts: Vec<(String, Ipv4Addr)>,
        /// What else is said of its network.
        options: Box<NetworkOptions>,
    },
    /// The network namespace of another container.
    Of(ContainerId),
    /// None: a loopback interface at most.
    #[default]
    None,
}

impl Network {
    /// Its endpoints; none unless they are its own.
    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        match self {
            Self::Attached { endpoints, .. } => endpoints,
            Self::Of(_) | Self::None => &[],
        }
    }

    /// The host name of a container that has a network of its own.
    pub(crate) fn hostname(&self) -> Option<&str> {
        match self {
            Self::Attached { hostname, options, .. } => Some(options.hostname.as_deref().unwrap_or(hostname)),
            Self::Of(_) | Self::None => None,
        }
    }
}

/// A container's place in a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or id of the network.
    pub network: String,
    /// The pinned address.
    pub address: Ipv4Addr,
    /// DNS names in that network.
    pub aliases: Vec<String>,
}

/// A host directory mounted into a container.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Bind {
    /// Absolute path on the engine's host.
    pub source: PathBuf,
    /// Absolute path in the container.
    pub target: String,
    /// Mounted read-only.
    pub read_only: bool,
}

/// A volume of the engine's, mounted into a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeMount {
    /// Its name.
    pub name: String,
    /// Absolute path in the container.
    pub target: String,
    /// Mounted read-only.
    pub read_only: bool,
    /// It stays empty. Otherwise an empty one gets what the image has at that path.
    pub no_copy: bool,
}

/// What a container's process reads from stdin, and for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stdin {
    /// As `run` says; we never attach to it.
    #[default]
    Unattended,
    /// What an attached client writes; end of file when that client goes, whatever the reason.
    UntilDetached,
    /// What attached clients write, one after the other. It stays open when they go.
    Kept,
}

impl Stdin {
    /// Whether we attach to it.
    pub(crate) fn is_attended(self) -> bool {
        self != Self::Unattended
    }
}

/// Everything needed to create a container. By default it has no network.
#[derive(Clone, Debug, Default)]
pub struct ContainerSpec {
    /// The container's name.
    pub name: String,
    /// Image reference.
    pub image: String,
    /// Replaces the image's entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// `KEY=VALUE` lines.
    pub env: Vec<String>,
    /// Our own labels; they win over those of `run`.
    pub labels: Labels,
    /// Where its network comes from.
    pub network: Network,
    /// Host directories to mount.
    pub binds: Vec<Bind>,
    /// Volumes to mount.
    pub volumes: Vec<VolumeMount>,
    /// All that a user may say of how it is run.
    pub run: RunOptions,
    /// What its process reads. Without a terminal only, unless it is [`Stdin::Unattended`].
    pub stdin: Stdin,
    /// The engine keeps no copy of its output.
    pub keeps_no_log: bool,
    /// The engine removes the container when it exits.
    pub auto_remove: bool,
    /// Its users are the host's, also on an engine that remaps users.
    pub host_users: bool,
}

impl ContainerSpec {
    /// All its labels, sorted by key.
    pub(crate) fn all_labels(&self) -> Labels {
        let mut labels: std::collections::BTreeMap<_, _> = self.run.labels.iter().cloned().collect();
        labels.extend(self.labels.iter().cloned());
        labels.into_iter().collect()
    }
}
