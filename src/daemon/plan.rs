//! The cluster that a daemon has to bring up: every value typed and checked, every path absolute.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::paths::ClusterPaths;
use crate::cluster::{Dependency, NodeName};
use crate::engine::{Bind, Labels, NetworkOptions, RunOptions};
use crate::fleet::{HostAddress, Placement};
use crate::provision::{NetworkRequest, RequestedNetwork};
use crate::watch::Pace;

/// What is ours in a directory of data.
const OWN_DATA: [&str; 3] = ["history", "lock", "volumes"];

/// All input of a daemon. `mount` passes it on as one line of JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Where the cluster is mounted and where its state is kept.
    pub(crate) paths: ClusterPaths,
    /// The umask of the user who mounts, for a mountpoint that has to be made.
    pub(crate) umask: u32,
    /// Where bindmounts, logs and the history are kept.
    pub(crate) data: PathBuf,
    /// The user named `data`, so what is in it is continued.
    pub(crate) keeps_data: bool,
    /// The different ways in which nodes are run.
    pub(crate) recipes: Vec<NodeRecipe>,
    pub(crate) nodes: Vec<PlannedNode>,
    pub(crate) roles: PlannedRoles,
    /// The port that goes into `config.json` and that `published_port` leads to.
    pub(crate) port: u16,
    /// The networks that nodes are connected to.
    pub(crate) networks: Vec<RequestedNetwork>,
    /// The prefix of container names, without the `-` that follows it; may be empty.
    pub(crate) prefix: String,
    pub(crate) start: bool,
    /// Let other users use the mount.
    pub(crate) allow_other: bool,
    /// Stay in the foreground and log to stderr.
    pub(crate) foreground: bool,
    /// How long the engine may take for a command.
    pub(crate) timeout: Duration,
    /// How long `stop` and `restart` wait before SIGKILL, in whole seconds: engines take no other.
    pub(crate) stop_grace: Duration,
    /// How long the start of all nodes may wait for nodes that others depend on.
    pub(crate) start_timeout: Duration,
    /// Seed of the random choices of partitions; drawn if the user gave none.
    pub(crate) seed: Option<u64>,
    /// The engines that the user named; without, the usual one.
    pub(crate) hosts: Vec<HostAddress>,
    /// How nodes are distributed over several machines.
    pub(crate) placement: Placement,
    /// How many nodes a machine takes at most, by its name.
    pub(crate) capacities: Vec<(String, usize)>,
    /// How much of a node's output is kept, in bytes.
    pub(crate) log_limit: u64,
}

/// A node to create.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PlannedNode {
    /// Its own name and service; without, it is called by its number.
    pub(crate) name: Option<String>,
    pub(crate) service: Option<String>,
    /// Which of its service's nodes it is, counted from 1.
    pub(crate) replica: usize,
    /// Other names by which it is known.
    pub(crate) aliases: Vec<String>,
    /// Index into [`Plan::recipes`].
    pub(crate) recipe: usize,
    /// Where it is connected: at least one, the one of its own address first.
    pub(crate) endpoints: Vec<PlannedEndpoint>,
    /// What must be true of other nodes before it starts with all.
    pub(crate) depends_on: Vec<Dependency>,
    /// To end with exit code 0 is what it is for.
    pub(crate) oneshot: bool,
    /// How long `stop` gives it before SIGKILL, if that differs from the cluster's.
    pub(crate) stop_grace: Option<Duration>,
    /// How much of its output is kept, in bytes, if that differs from the cluster's.
    pub(crate) log_limit: Option<u64>,
    /// Port of the host that leads to [`Plan::port`] of the node.
    pub(crate) published_port: Option<u16>,
}

/// A node's place in a network.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PlannedEndpoint {
    /// Index into [`Plan::networks`].
    pub(crate) network: usize,
    /// The address that it must have.
    pub(crate) address: Option<Ipv4Addr>,
    /// Names that it has there besides its own.
    pub(crate) aliases: Vec<String>,
}

/// The roles that nodes can have, and how it is found out which have them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PlannedRoles {
    pub(crate) all: Vec<PlannedRole>,
    /// Where commands run on this machine: an absolute path.
    pub(crate) directory: PathBuf,
    /// How long a question may take.
    pub(crate) timeout: Duration,
    /// From an answer to the next question.
    pub(crate) interval: Duration,
}

/// A role.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PlannedRole {
    pub(crate) name: String,
    /// Prints which nodes have it.
    pub(crate) command: RoleCommand,
}

/// What finds out which nodes have a role.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum RoleCommand {
    /// A line for the shell, run on this machine.
    Here(String),
    /// A program, run in a node. Each word is a template.
    InNode(Vec<String>),
}

/// How a node is run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NodeRecipe {
    /// The image; without one, the node runs the built-in demo program.
    pub(crate) image: Option<String>,
    /// The image is not pulled if it is missing; a sentence says what to do then.
    pub(crate) never_pull: Option<String>,
    pub(crate) entrypoint: Option<Vec<String>>,
    /// Replaces the image's command unless it is empty. Each word is a template.
    pub(crate) command: Vec<String>,
    /// The same without templates, if `command` is empty.
    pub(crate) plain_command: Option<Vec<String>>,
    /// The environment; a later variable replaces an earlier one of the same name.
    pub(crate) env: Vec<Variable>,
    /// A directory of templates that are rendered into the node's `etc`.
    pub(crate) config: Option<PathBuf>,
    /// The same for its `var`, where it has no file of that name yet.
    pub(crate) initial: Option<PathBuf>,
    /// Host directories and files that are mounted into the node.
    pub(crate) mounts: Vec<Bind>,
    /// Those of their sources that are not there yet, and are made as directories.
    pub(crate) missing: Vec<PathBuf>,
    /// Where the node's `etc` appears in it: an absolute path. Without, it has none.
    pub(crate) etc_target: Option<String>,
    /// Where the node's `var` appears in it: an absolute path. Without, it has none.
    pub(crate) var_target: Option<String>,
    /// Named volumes that are mounted into the node.
    pub(crate) volumes: Vec<PlannedVolume>,
    /// Where each node has an anonymous volume of its own: absolute paths.
    pub(crate) anonymous_volumes: Vec<String>,
    /// Files that are mounted into the node, read-only.
    pub(crate) files: Vec<PlannedFile>,
    /// What else is said of its container.
    pub(crate) run: RunOptions,
    /// What is said of its network.
    pub(crate) network: NetworkOptions,
    /// What makes it ready, if not its HEALTHCHECK.
    pub(crate) readiness: Option<Readiness>,
    /// How often it is asked whether it is ready.
    pub(crate) pace: Pace,
}

impl NodeRecipe {
    /// The directories of templates, with the options that name them.
    pub(crate) fn template_directories(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let named = [("--config", &self.config), ("--initial", &self.initial)];
        named.into_iter().filter_map(|(option, dir)| Some((option, dir.as_deref()?)))
    }
}

/// A named volume in a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PlannedVolume {
    /// What the user calls it.
    pub(crate) name: String,
    /// The engine's name of one that was there before. Others are ours.
    pub(crate) external: Option<String>,
    /// The user's labels.
    pub(crate) labels: Labels,
    /// Absolute path in the node.
    pub(crate) target: String,
    pub(crate) read_only: bool,
    /// It does not get what the image has at that path.
    pub(crate) no_copy: bool,
}

/// A file that a node gets, read-only.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PlannedFile {
    pub(crate) content: Vec<u8>,
    /// Absolute path in the node.
    pub(crate) target: String,
    /// User and group; ours if there is none.
    pub(crate) owner: Option<(u32, u32)>,
    /// Permission bits.
    pub(crate) mode: u32,
}

/// What makes a node ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Readiness {
    /// This TCP port accepts connections.
    Port(u16),
    /// A line of its output matches this regular expression.
    Log(String),
    /// This program, run in the node, exits with 0. Each word is a template.
    Command(Vec<String>),
}

/// A variable of a node's environment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Variable {
    pub(crate) name: String,
    /// Its value, or the template of it.
    pub(crate) value: String,
    /// The value is a template.
    pub(crate) is_template: bool,
}

/// Whether a label is one of those that say what belongs to a cluster, which no user may set.
pub(crate) fn is_own_label(key: &str) -> bool {
    key.starts_with("io.cthulhu.")
}

impl Plan {
    /// The networks that were there before.
    pub(super) fn existing_networks(&self) -> impl Iterator<Item = &str> {
        self.networks.iter().filter_map(|network| match &network.request {
            NetworkRequest::Existing(name) => Some(name.as_str()),
            NetworkRequest::Any | NetworkRequest::Subnet(_) => None,
        })
    }

    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// A node's directory in the mount.
    pub(crate) fn node_dir(&self, index: usize) -> PathBuf {
        self.paths.mountpoint.join(NodeName::nth(index).as_str())
    }

    /// Where what a node writes is kept: by its own name, unless we or another node may have a file of that name there.
    ///
    /// # Panics
    /// If there is no such node.
    pub(crate) fn node_data(&self, index: usize) -> PathBuf {
        let own = self.own_name(index);
        let is_ours = OWN_DATA.iter().any(|ours| own.as_str().starts_with(ours));
        let is_number = NodeName::parse_index(own.as_str()).is_some();
        self.data.join(if is_ours || is_number { NodeName::nth(index).to_string() } else { own.to_string() })
    }

    /// Where the content of a named volume is kept.
    pub(crate) fn volume_data(&self, name: &str) -> PathBuf {
        self.data.join("volumes").join(name)
    }

    /// The name that the user gave the node at `index`; its number without one.
    ///
    /// # Panics
    /// If there is no such node.
    pub(crate) fn own_name(&self, index: usize) -> NodeName {
        self.nodes[index].name.as_deref().map_or_else(|| NodeName::nth(index), NodeName::of)
    }

    /// What the node at `index` is called.
    ///
    /// # Panics
    /// If there is no such node.
    pub(crate) fn node_name(&self, index: usize) -> NodeName {
        NodeName::choose(index, self.nodes[index].name.as_deref())
    }

    /// How the node at `index` is run.
    ///
    /// # Panics
    /// If there is no such node.
    pub(super) fn recipe(&self, index: usize) -> &NodeRecipe {
        &self.recipes[self.nodes[index].recipe]
    }
}
