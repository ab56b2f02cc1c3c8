//! What a cluster was asked to be: fixed from mount to teardown.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::NodeName;

/// Labels on everything that we create in an engine.
pub(crate) mod label {
    pub(crate) const CLUSTER: &str = "io.cthulhu.cluster";
    pub(crate) const NODE: &str = "io.cthulhu.node";
    /// `sandbox` or `node`.
    pub(crate) const ROLE: &str = "io.cthulhu.role";
    /// Absolute path of the mountpoint.
    pub(crate) const MOUNTPOINT: &str = "io.cthulhu.mountpoint";
    /// The daemon's pid, its start time and the boot id, as `PID.START@BOOT.PIDNS`.
    pub(crate) const OWNER: &str = "io.cthulhu.owner";
    /// Id of the user whose daemon it is, on the daemon's machine.
    pub(crate) const USER: &str = "io.cthulhu.uid";
    /// The container's name when it was made, and a number that no other of its cluster had: `NAME/NUMBER`.
    pub(crate) const CONTAINER: &str = "io.cthulhu.container";
    /// Value of [`ROLE`] for the container that holds a node's network.
    pub(crate) const SANDBOX: &str = "sandbox";
    /// Value of [`ROLE`] for the user's container.
    pub(crate) const NODE_ROLE: &str = "node";
}

/// Distinguishes clusters on one engine: 12 hex digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterId(pub String);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One node as it was asked for.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Its name.
    pub name: NodeName,
    /// Its pinned address.
    pub ip: Ipv4Addr,
    /// The host port its port is published on.
    pub published_port: Option<u16>,
    /// It is ready when a probe says so ([`super::News::Probed`]), not by its HEALTHCHECK.
    pub probed: bool,
    /// The host directory that holds its `etc` and `var`.
    pub dir: PathBuf,
}

/// A cluster as it was asked for.
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    /// Its id.
    pub id: ClusterId,
    /// Absolute path of the mountpoint.
    pub mountpoint: PathBuf,
    /// Put before container names, with a dash; empty for none.
    pub prefix: String,
    /// Host names have the prefix too, because another container in the network has a node's name. DNS then knows nodes
    /// by the prefixed name only.
    pub prefixed_host_names: bool,
    /// The image that the nodes run.
    pub image: String,
    /// The port that goes into config.json.
    pub port: u16,
    /// The nodes, in order.
    pub nodes: Vec<NodeSpec>,
}

impl ClusterSpec {
    /// The container name of a node (`i001`, or `P-i001` with a prefix).
    pub(crate) fn container_name(&self, name: &NodeName) -> String {
        if self.prefix.is_empty() { name.to_string() } else { format!("{}-{name}", self.prefix) }
    }

    /// The container name of a node's sandbox.
    pub fn sandbox_name(&self, name: &NodeName) -> String {
        format!("{}-sandbox", self.container_name(name))
    }

    /// The host name of a node.
    pub(crate) fn host_name(&self, name: &NodeName) -> String {
        if self.prefixed_host_names { self.container_name(name) } else { name.to_string() }
    }

    /// The names by which the network's DNS knows a node.
    pub(crate) fn aliases(&self, name: &NodeName) -> Vec<String> {
        let mut aliases = vec![self.host_name(name), self.container_name(name)];
        aliases.dedup();
        aliases
    }

    /// What a node's `/etc/hosts` says of the cluster: name and address. The engine adds a line with the node's own host name and address.
    pub(crate) fn hosts(&self, index: usize) -> Vec<(String, Ipv4Addr)> {
        let is_said = |at: usize| at == index && !self.prefixed_host_names;
        let nodes = self.nodes.iter().enumerate().filter(|(at, _)| !is_said(*at));
        nodes.map(|(_, node)| (node.name.to_string(), node.ip)).collect()
    }

    /// The `config.json` of a node, pretty-printed, with a newline at its end.
    pub(crate) fn config_json(&self, index: usize) -> String {
        let peers: Vec<_> =
            self.nodes.iter().enumerate().filter(|(i, _)| *i != index).map(|(_, node)| node.ip).collect();
        let value = serde_json::json!({
            "self": self.nodes[index].ip,
            "port": self.port,
            "master": index == 0,
            "peers": peers,
        });
        format!("{value:#}\n")
    }
}
