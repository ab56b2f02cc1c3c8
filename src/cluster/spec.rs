//! What a cluster was asked to be: fixed from mount to teardown.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::names::NodeWords;
use super::{Names, NodeName};

/// Labels on everything that we create in an engine.
pub(crate) mod label {
    pub(crate) const CLUSTER: &str = "io.cthulhu.cluster";
    pub(crate) const NODE: &str = "io.cthulhu.node";
    /// `sandbox`, `node` or `agent`.
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
    /// Value of [`ROLE`] for the container that serves the files of the nodes of its engine.
    pub(crate) const AGENT: &str = "agent";
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
    /// What it is called where nodes are named.
    pub name: NodeName,
    /// The name that the user gave it; its number without one.
    pub own_name: NodeName,
    /// The service that it is a node of, in a cluster of different nodes.
    pub service: Option<String>,
    /// Other names by which it is known, in the network and where nodes are named.
    pub aliases: Vec<String>,
    /// The image that it runs.
    pub image: String,
    /// The machine that it runs on: index into [`ClusterSpec::hosts`]; 0 if there is only one.
    pub host: usize,
    /// Its pinned address, in its first network.
    pub ip: Ipv4Addr,
    /// In a cluster of different nodes: each network that it is connected to, by the name that the user calls it, and
    /// its pinned address there. The first one is `ip`.
    pub endpoints: Vec<(String, Ipv4Addr)>,
    /// The host port its port is published on.
    pub published_port: Option<u16>,
    /// It is ready when a probe says so ([`super::News::Probed`]), not by its HEALTHCHECK.
    pub probed: bool,
    /// What must be true of other nodes before it starts with all.
    pub depends_on: Vec<Dependency>,
    /// To end with exit code 0 is what it is for.
    pub oneshot: bool,
    /// How long `stop` gives it before SIGKILL, if that differs from the cluster's.
    pub stop_grace: Option<Duration>,
    /// How much of its output is kept, in bytes, if that differs from the cluster's.
    pub log_limit: Option<u64>,
    /// The host directory with what is kept of it, such as its `etc` and `var`.
    pub dir: PathBuf,
    /// It has the directory `etc`, which its configuration is written into.
    pub has_etc: bool,
    /// It has the directory `var`.
    pub has_var: bool,
    /// The volumes of [`ClusterSpec::volumes`] that it uses.
    pub volumes: Vec<String>,
}

/// What must be true of the nodes of a service before another node starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// The service that the user named.
    pub service: String,
    /// Its nodes.
    pub nodes: Vec<usize>,
    /// What must be true of each.
    pub condition: Condition,
    /// If not, the node starts although one of them could not.
    pub required: bool,
}

/// What a node can be waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// It was started.
    #[default]
    Started,
    /// It is healthy, or ready by its probe.
    Healthy,
    /// It has ended with exit code 0.
    CompletedSuccessfully,
}

impl NodeSpec {
    /// One of equal nodes, called by its number.
    pub fn numbered(index: usize, ip: Ipv4Addr, image: &str, dir: PathBuf) -> Self {
        Self {
            name: NodeName::nth(index),
            own_name: NodeName::nth(index),
            service: None,
            aliases: vec![],
            image: image.into(),
            host: 0,
            ip,
            endpoints: vec![],
            published_port: None,
            probed: false,
            depends_on: vec![],
            oneshot: false,
            stop_grace: None,
            log_limit: None,
            dir,
            has_etc: true,
            has_var: true,
            volumes: vec![],
        }
    }

    /// Names of the directories in `dir` that are mounted into it.
    pub(crate) fn own_directories(&self) -> impl Iterator<Item = &'static str> {
        [("etc", self.has_etc), ("var", self.has_var)].into_iter().filter(|(_, has)| *has).map(|(name, _)| name)
    }

    /// Its addresses, in all its networks.
    pub(crate) fn addresses(&self) -> Vec<Ipv4Addr> {
        let further = self.endpoints.iter().skip(1).map(|(_, ip)| *ip);
        std::iter::once(self.ip).chain(further).collect()
    }
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
    /// The port that goes into config.json.
    pub port: u16,
    /// The named volumes that are the cluster's own, and the host directories of their content.
    pub volumes: BTreeMap<String, PathBuf>,
    /// The names of the roles that its nodes can have.
    pub roles: Vec<String>,
    /// The machines that its nodes run on, if there are several; empty for one, which needs no name.
    pub hosts: Vec<HostSpec>,
    /// The nodes, in order.
    pub nodes: Vec<NodeSpec>,
}

/// One of several machines that the nodes of a cluster run on, each with an engine of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSpec {
    /// What the user calls it.
    pub name: String,
    /// Where its engine is reached.
    pub address: String,
}

impl ClusterSpec {
    /// How its nodes are named.
    pub(super) fn names(&self) -> Names {
        let hosts = self.hosts.iter().enumerate().map(|(host, HostSpec { name, .. })| {
            let nodes = self.nodes.iter().enumerate().filter(|(_, node)| node.host == host);
            (name.clone(), nodes.map(|(index, _)| index).collect())
        });
        self.names_of_nodes().on_hosts(hosts.collect())
    }

    fn names_of_nodes(&self) -> Names {
        if !self.has_services() {
            return Names::numbered(self.nodes.len());
        }
        let words = self.nodes.iter().map(|node| NodeWords {
            name: &node.name,
            service: node.service.as_deref(),
            aliases: &node.aliases,
        });
        Names::of(words)
    }

    /// The machine of the nodes that use a named volume.
    pub(crate) fn host_of_volume(&self, name: &str) -> usize {
        self.nodes.iter().find(|node| node.volumes.iter().any(|used| used == name)).map_or(0, |node| node.host)
    }

    /// How many engines there are.
    pub(crate) fn engines(&self) -> usize {
        self.hosts.len().max(1)
    }

    /// The images that the nodes run, each once, in words.
    pub(crate) fn images(&self) -> String {
        let mut images: Vec<_> = self.nodes.iter().map(|node| node.image.as_str()).collect();
        let mut seen = HashSet::new();
        images.retain(|image| seen.insert(*image));
        images.join(", ")
    }

    /// Whether its nodes are those of services, and not all equal.
    pub(crate) fn has_services(&self) -> bool {
        self.nodes.iter().any(|node| node.service.is_some())
    }

    /// The container name of a node (`i001`, or `P-i001` with a prefix).
    pub(crate) fn container_name(&self, node: &NodeSpec) -> String {
        let name = &node.own_name;
        if self.prefix.is_empty() { name.to_string() } else { format!("{}-{name}", self.prefix) }
    }

    /// The container name of a node's sandbox.
    pub fn sandbox_name(&self, node: &NodeSpec) -> String {
        format!("{}-sandbox", self.container_name(node))
    }

    /// The host name of a node.
    pub(crate) fn host_name(&self, node: &NodeSpec) -> String {
        self.prefixed(node.own_name.as_str())
    }

    /// A name as DNS knows it.
    fn prefixed(&self, name: &str) -> String {
        if self.prefixed_host_names { format!("{}-{name}", self.prefix) } else { name.to_owned() }
    }

    /// The names by which a network's DNS knows the node with this index.
    pub fn aliases(&self, index: usize) -> Vec<String> {
        let node = &self.nodes[index];
        let mut aliases = vec![self.host_name(node), self.container_name(node)];
        if node.service.is_some() && !self.has_own_name(&NodeName::nth(index)) {
            aliases.push(self.prefixed(NodeName::nth(index).as_str()));
        }
        aliases.extend(node.service.iter().chain(&node.aliases).map(|name| self.prefixed(name)));
        let mut seen = HashSet::new();
        aliases.retain(|alias| seen.insert(alias.clone()));
        aliases
    }

    /// Whether the user gave a node this name. To programs in the nodes it means that one, also if it is another's number.
    fn has_own_name(&self, name: &NodeName) -> bool {
        self.nodes.iter().any(|node| node.own_name == *name)
    }

    /// What a node's `/etc/hosts` says of the cluster: name and address. The engine adds a line with the node's own host name and address.
    pub(crate) fn hosts(&self, index: usize) -> Vec<(String, Ipv4Addr)> {
        let is_said = |at: usize| at == index && !self.prefixed_host_names;
        let nodes = self.nodes.iter().enumerate().filter(|(at, _)| !is_said(*at));
        if !self.has_services() {
            return nodes.map(|(_, node)| (node.name.to_string(), node.ip)).collect();
        }
        let own: HashSet<_> = self.nodes.iter().map(|node| &node.own_name).collect();
        let mut hosts = vec![];
        for (at, node) in nodes {
            if let Some(ip) = self.address_for(at, index) {
                hosts.push((node.own_name.to_string(), ip));
                let number = Some(NodeName::nth(at)).filter(|number| !own.contains(number));
                hosts.extend(number.map(|number| (number.to_string(), ip)));
                // DNS may know another's node by these.
                let words = node.service.iter().chain(&node.aliases).filter(|_| self.prefixed_host_names);
                hosts.extend(words.filter(|word| **word != *node.own_name.as_str()).map(|word| (word.clone(), ip)));
            }
        }
        hosts
    }

    /// By which address the node at `index` reaches another: that of the first network in which both are. None if they
    /// share none.
    pub(crate) fn address_for(&self, other: usize, index: usize) -> Option<Ipv4Addr> {
        let (own, other) = (&self.nodes[index], &self.nodes[other]);
        if own.endpoints.is_empty() {
            return Some(other.ip);
        }
        let is_shared = |network: &str| own.endpoints.iter().any(|(own, _)| own == network);
        other.endpoints.iter().find(|(network, _)| is_shared(network)).map(|(_, ip)| *ip)
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
