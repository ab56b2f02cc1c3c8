//! The cluster that a daemon has to bring up: every value typed and checked, every path absolute.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::paths::ClusterPaths;
use crate::engine::{Bind, NetworkOptions, RunOptions};
use crate::provision::NetworkRequest;
use crate::watch::Pace;

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
    /// The port that goes into `config.json` and that `published_port` leads to.
    pub(crate) port: u16,
    /// Which network the nodes get.
    pub(crate) network: NetworkRequest,
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
    /// Seed of the random choices of partitions; drawn if the user gave none.
    pub(crate) seed: Option<u64>,
    /// The engine's address, if the user named one.
    pub(crate) host: Option<String>,
    /// How much of a node's output is kept, in bytes.
    pub(crate) log_limit: u64,
}

/// A node to create.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PlannedNode {
    /// Index into [`Plan::recipes`].
    pub(crate) recipe: usize,
    /// Port of the host that leads to [`Plan::port`] of the node.
    pub(crate) published_port: Option<u16>,
}

/// How a node is run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NodeRecipe {
    /// The image; without one, the node runs the built-in demo program.
    pub(crate) image: Option<String>,
    pub(crate) entrypoint: Option<Vec<String>>,
    /// Replaces the image's command unless it is empty. Each word is a template.
    pub(crate) command: Vec<String>,
    /// The environment; a later variable replaces an earlier one of the same name.
    pub(crate) env: Vec<Variable>,
    /// A directory of templates that are rendered into the node's `etc`.
    pub(crate) config: Option<PathBuf>,
    /// Host directories and files that are mounted into the node.
    pub(crate) mounts: Vec<Bind>,
    /// Where the node's `etc` appears in it: an absolute path.
    pub(crate) etc_target: String,
    /// Where the node's `var` appears in it: an absolute path.
    pub(crate) var_target: String,
    /// What else is said of its container.
    pub(crate) run: RunOptions,
    /// What is said of its network.
    pub(crate) network: NetworkOptions,
    /// What makes it ready, if not its HEALTHCHECK.
    pub(crate) readiness: Option<Readiness>,
    /// How often it is asked whether it is ready.
    pub(crate) pace: Pace,
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
    /// How the node at `index` is run.
    ///
    /// # Panics
    /// If there is no such node.
    pub(super) fn recipe(&self, index: usize) -> &NodeRecipe {
        &self.recipes[self.nodes[index].recipe]
    }
}
