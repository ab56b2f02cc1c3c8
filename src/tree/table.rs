//! The one table of the synthesized files: name, mode, what each is for, what it depends on, and what it says.
//!
//! A new file of a node or of the root is a new row here.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::io::Errno;

use crate::cluster::faults::Faults;
use crate::cluster::{Cluster, ClusterSpec, HostSpec, Node, NodeName, NodeSpec, Role as NodeRole, State};
use crate::control::Executor;
use crate::engine::{Health, PublishedPort};
use crate::text::first_lines;

/// So many lines of what a check has written are shown.
const LINES: usize = 5;

pub(crate) struct File {
    pub(crate) name: &'static str,
    pub(crate) perm: u16,
    pub(crate) role: Role,
    /// poll(2) reports its changes. Such a file is rendered as soon as something changes that it depends on, others
    /// when a reader asks.
    pub(crate) polled: bool,
    pub(crate) depends_on: DependsOn,
    clusters: Clusters,
    /// Its content. `Err` if it is unknown now: EHOSTDOWN.
    render: fn(&Source) -> Result<String, Errno>,
}

/// What a file is for, beside being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Value,
    Control,
    /// It takes the groups of nodes that reach each other.
    Partition,
    /// It takes the impairments of single links.
    Links,
    /// It takes the impairments of all that a node sends.
    Net,
    /// It is a node's output, read from the disk.
    Log,
    /// It is what has happened, read from the disk; tests append to it.
    History,
    /// It says why the last failed write in its directory failed.
    Error,
}

impl Role {
    /// Whether it is read from the disk, and grows by itself.
    pub(crate) fn is_on_disk(self) -> bool {
        matches!(self, Self::Log | Self::History)
    }

    /// Whether a write to it is a new state of network faults.
    pub(crate) fn is_setting(self) -> bool {
        matches!(self, Self::Partition | Self::Links | Self::Net)
    }

    /// Whether a write to it waits for the engine or the sandboxes.
    pub(crate) fn makes_writers_wait(self) -> bool {
        self == Self::Control || self.is_setting()
    }
}

/// Changes of what can change a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DependsOn {
    /// Of nothing: it stays as it is, or is set by other means.
    Nothing,
    /// Of its node, or of any node if it is the root's; and of whether the engine can be reached.
    Nodes,
    /// Of the faults in force, and of whether they are known.
    Faults,
    /// Of which nodes have roles, and of whether that is known.
    Roles,
}

/// What a file is rendered from.
pub(crate) struct Source<'a> {
    cluster: &'a Cluster,
    executor: &'a Executor,
    /// The file's node; of a file of the root any.
    index: usize,
}

impl File {
    /// What it says now.
    ///
    /// # Errors
    /// EHOSTDOWN for a live value while the engine cannot be reached, and for faults that are not known to be in force.
    pub(crate) fn content(
        &self,
        cluster: &Cluster,
        executor: &Executor,
        node: Option<usize>,
    ) -> Result<Vec<u8>, Errno> {
        let source = Source { cluster, executor, index: node.unwrap_or_default() };
        (self.render)(&source).map(String::into_bytes)
    }
}

impl Source<'_> {
    /// Live values of all nodes: unknown while the only engine cannot be reached. With several, they say which nodes are
    /// unknown.
    fn nodes(&self, value: impl FnOnce(&Cluster) -> String) -> Result<String, Errno> {
        let is_known = self.cluster.spec().engines() > 1 || self.cluster.is_reachable(0);
        if is_known { Ok(value(self.cluster)) } else { Err(Errno::HOSTDOWN) }
    }

    /// A live value of the file's node: unknown while its engine cannot be reached.
    fn node(&self, value: impl FnOnce(&Node) -> String) -> Result<String, Errno> {
        let is_known = self.cluster.is_node_reachable(self.index);
        if is_known { Ok(value(&self.cluster.node(self.index))) } else { Err(Errno::HOSTDOWN) }
    }

    fn spec(&self) -> &NodeSpec {
        self.cluster.node_spec(self.index)
    }

    /// Something of the faults in force: they are so whether the engine answers or not, unless a node runs in a network
    /// that no sandbox controls.
    fn faults(&self, value: impl FnOnce(&Faults) -> String) -> Result<String, Errno> {
        if self.cluster.is_controlled() { Ok(value(&self.cluster.faults())) } else { Err(Errno::HOSTDOWN) }
    }
}

const fn value(name: &'static str, depends_on: DependsOn, render: fn(&Source) -> Result<String, Errno>) -> File {
    File { name, perm: 0o444, role: Role::Value, polled: false, depends_on, clusters: Clusters::All, render }
}

const fn of_services(file: File) -> File {
    File { clusters: Clusters::OfServices, ..file }
}

const fn over_hosts(file: File) -> File {
    File { clusters: Clusters::OverHosts, ..file }
}

const fn of_roles(name: &'static str, render: fn(&Source) -> Result<String, Errno>) -> File {
    File { polled: true, clusters: Clusters::WithRoles, ..value(name, DependsOn::Roles, render) }
}

const fn polled(name: &'static str, render: fn(&Source) -> Result<String, Errno>) -> File {
    File { polled: true, ..value(name, DependsOn::Nodes, render) }
}

const fn setting(name: &'static str, role: Role, render: fn(&Source) -> Result<String, Errno>) -> File {
    File { role, perm: 0o644, ..value(name, DependsOn::Faults, render) }
}

/// A file whose content does not come from the model.
const fn other(name: &'static str, perm: u16, role: Role) -> File {
    File { role, perm, ..value(name, DependsOn::Nothing, |_| Ok(String::new())) }
}

/// The clusters that have a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clusters {
    All,
    /// Whose nodes are those of services.
    OfServices,
    /// Over several machines.
    OverHosts,
    /// Whose nodes can have roles.
    WithRoles,
}

impl Clusters {
    fn contain(self, spec: &ClusterSpec) -> bool {
        match self {
            Self::All => true,
            Self::OfServices => spec.has_services(),
            Self::OverHosts => !spec.hosts.is_empty(),
            Self::WithRoles => !spec.roles.is_empty(),
        }
    }
}

/// The files of the root directory, in their order.
pub(crate) fn root(spec: &ClusterSpec) -> Arc<[&'static File]> {
    ROOT.iter().filter(|file| file.clusters.contain(spec)).collect()
}

/// The files of each node's directory, in their order.
pub(crate) fn node(spec: &ClusterSpec) -> Arc<[&'static File]> {
    NODE.iter().filter(|file| file.clusters.contain(spec)).collect()
}

static ROOT: [File; 10] = [
    File {
        perm: 0o755,
        role: Role::Control,
        ..value("control", DependsOn::Nothing, |_| Ok(crate::control::script(true)))
    },
    value("status", DependsOn::Nodes, |source| source.nodes(status)),
    value("spec.json", DependsOn::Nodes, |source| source.nodes(spec_json)),
    File { polled: true, ..other("history", 0o644, Role::History) },
    setting("partition", Role::Partition, |source| source.faults(Faults::partition)),
    setting("links", Role::Links, |source| source.faults(Faults::links)),
    value("capabilities", DependsOn::Faults, |source| Ok(source.executor.capabilities())),
    other("error", 0o444, Role::Error),
    over_hosts(value("hosts", DependsOn::Nodes, |source| Ok(hosts(source.cluster)))),
    of_roles("roles", |source| Ok(roles(source.cluster))),
];

static NODE: [File; 21] = [
    File {
        perm: 0o755,
        role: Role::Control,
        ..value("control", DependsOn::Nothing, |_| Ok(crate::control::script(false)))
    },
    polled("pid.txt", |source| source.node(|node| line_or_empty(node.pid))),
    polled("state", |source| source.node(|node| line(node.state))),
    polled("exit_code", |source| source.node(|node| line_or_empty(node.exit_code))),
    polled("health", |source| source.node(|node| line(health(node.health)))),
    polled("ready", |source| source.node(|node| line(if node.is_ready() { "yes" } else { "no" }))),
    value("ready_reason", DependsOn::Nodes, |source| source.node(|node| line_or_empty(ready_reason(node)))),
    setting("net", Role::Net, |source| source.faults(|faults| faults.net(source.index))),
    value("name", DependsOn::Nothing, |source| Ok(line(&source.spec().name))),
    value("ip", DependsOn::Nothing, |source| Ok(line(source.spec().ip))),
    value("image", DependsOn::Nothing, |source| Ok(line(&source.spec().image))),
    value("id", DependsOn::Nodes, |source| source.node(|node| line_or_empty(node.container.as_ref()))),
    other("log", 0o444, Role::Log),
    value("inspect.json", DependsOn::Nodes, |source| source.node(|node| line_or_empty(node.raw.as_deref()))),
    other("error", 0o444, Role::Error),
    of_services(value("index", DependsOn::Nothing, |source| Ok(line(NodeName::nth(source.index))))),
    of_services(value("service", DependsOn::Nothing, |source| Ok(line_or_empty(source.spec().service.as_ref())))),
    of_services(value("addresses", DependsOn::Nothing, |source| Ok(addresses(source.spec())))),
    of_services(value("ports", DependsOn::Nodes, |source| {
        source.node(|_| ports(&source.executor.ports(source.index)))
    })),
    over_hosts(value("host", DependsOn::Nothing, |source| Ok(line(host(source.cluster.spec(), source.spec()))))),
    of_roles("role", |source| Ok(roles_of(source.cluster, source.index))),
];

fn line(value: impl ToString) -> String {
    let mut text = value.to_string();
    text.push('\n');
    text
}

fn line_or_empty<T: ToString>(value: Option<T>) -> String {
    value.map(line).unwrap_or_default()
}

/// Why a node is not ready: a sentence, and in the lines after it what its probe has written.
fn ready_reason(node: &Node) -> Option<String> {
    if node.is_ready() {
        return None;
    }
    if let (State::Running, Some(why)) = (node.state, &node.sandbox_lost) {
        return Some(why.to_string());
    }
    Some(match (node.state, node.probe) {
        (State::Created, _) => "it was never started".into(),
        (State::Paused, _) => "it is paused".into(),
        (State::Exited, _) => "it has exited".into(),
        (State::Missing, _) => "its container was removed".into(),
        (State::Running, Some(_)) => node.unready.as_deref().unwrap_or("it has not been probed yet").into(),
        (State::Running, None) => {
            let mut text = format!("its HEALTHCHECK says {}", health(node.health));
            if let Some(check) = &node.check {
                let began = SystemTime::UNIX_EPOCH + Duration::from_nanos(check.began.unsigned_abs());
                let began = humantime::format_rfc3339_seconds(began);
                text.push_str(&format!(": exit status {} of the check at {began}", check.exit_code));
                for line in first_lines(check.output.as_bytes(), LINES) {
                    text.push_str("\n  ");
                    text.push_str(&line);
                }
            }
            text
        }
    })
}

fn health(health: Health) -> &'static str {
    match health {
        Health::None => "none",
        Health::Starting => "starting",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    }
}

/// A line for each network: its name, and the node's address in it.
fn addresses(node: &NodeSpec) -> String {
    node.endpoints.iter().map(|(network, ip)| format!("{network} {ip}\n")).collect()
}

/// A line for each published port, as `docker port` has it: `80/tcp 0.0.0.0:8080`.
fn ports(ports: &[PublishedPort]) -> String {
    let line = |port: &PublishedPort| {
        let ip = port.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        Some(format!("{}/{} {}\n", port.port, port.protocol.name(), SocketAddr::new(ip, port.host_port?)))
    };
    ports.iter().filter_map(line).collect()
}

/// The name of the machine that a node runs on; empty if there is only one.
fn host<'a>(spec: &'a ClusterSpec, node: &NodeSpec) -> &'a str {
    spec.hosts.get(node.host).map_or("", |host| host.name.as_str())
}

fn status(cluster: &Cluster) -> String {
    let spec = cluster.spec();
    let longest = spec.nodes.iter().map(|node| node.name.as_str().len()).max().unwrap_or_default();
    let width = longest.max(6);
    let of_host = spec.hosts.iter().map(|host| host.name.len()).max().map(|longest| longest.max(4));
    let host = |name: &str| of_host.map(|width| format!("{name:<width$} ")).unwrap_or_default();
    let mut text = format!("{:<width$} {:<15} {}{:<8} {}\n", "NAME", "ADDRESS", host("HOST"), "STATE", "PID");
    for (index, (node, known)) in spec.nodes.iter().zip(cluster.snapshot()).enumerate() {
        let known = Some(known).filter(|_| cluster.is_node_reachable(index));
        let state = known.as_ref().map_or_else(|| "unknown".to_owned(), |known| known.state.to_string());
        let pid = known.and_then(|known| known.pid).map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let (name, ip, host) = (node.name.as_str(), node.ip.to_string(), host(self::host(spec, node)));
        text.push_str(&format!("{name:<width$} {ip:<15} {host}{state:<8} {pid}\n"));
    }
    text
}

/// A line for each machine: its name, where its engine is reached, whether it is, how many nodes run on it, and how far
/// its clock is ahead of ours.
fn hosts(cluster: &Cluster) -> String {
    let spec = cluster.spec();
    let width = |of: fn(&HostSpec) -> &str, title: &str| {
        spec.hosts.iter().map(|host| of(host).len()).max().unwrap_or_default().max(title.len())
    };
    let (name, address) = (width(|host| &host.name, "NAME"), width(|host| &host.address, "ADDRESS"));
    let mut text = format!("{:<name$} {:<address$} {:<5} {:<5} {}\n", "NAME", "ADDRESS", "STATE", "NODES", "CLOCK");
    for (index, host) in spec.hosts.iter().enumerate() {
        let state = if cluster.is_reachable(index) { "up" } else { "away" };
        let nodes = spec.nodes.iter().filter(|node| node.host == index).count();
        let clock = cluster.clock(index).map_or_else(|| "-".to_owned(), |clock| clock.to_string());
        text.push_str(&format!("{:<name$} {:<address$} {state:<5} {nodes:<5} {clock}\n", host.name, host.address));
    }
    text
}

/// The roles that a node has, one a line, as far as they are known now.
fn roles_of(cluster: &Cluster, index: usize) -> String {
    let roles = cluster.roles();
    let own = roles.all().iter().filter(|role| role.unknown.is_none() && role.nodes.contains(&index));
    own.map(|role| line(&role.name)).collect()
}

/// A line for each role: its name, the nodes that had it when it was last known, and why it is not known now.
fn roles(cluster: &Cluster) -> String {
    let name = |index: &usize| cluster.node_spec(*index).name.to_string();
    let row = |role: &NodeRole| {
        let nodes = role.nodes.iter().map(name).collect::<Vec<_>>().join(" ");
        let why = role.unknown.as_ref().map(|why| format!("unknown: {why}")).unwrap_or_default();
        (role.name.clone(), nodes, why)
    };
    let rows: Vec<_> = cluster.roles().all().iter().map(row).collect();
    let width = |of: fn(&(String, String, String)) -> usize| rows.iter().map(of).max().unwrap_or_default();
    let (first, second) = (width(|row| row.0.len()), width(|row| row.1.len()));
    rows.iter().map(|(name, nodes, why)| line(format!("{name:<first$}  {nodes:<second$}  {why}").trim_end())).collect()
}

fn spec_json(cluster: &Cluster) -> String {
    let spec = cluster.spec();
    let one = |index: usize, node: &NodeSpec, known: &Node| {
        let mut value = serde_json::json!({
            "ip": node.ip,
            "port": node.has_etc.then_some(spec.port),
            "published_port": node.published_port,
            "root": spec.mountpoint.join(node.ip.to_string()),
            "image": node.image,
            "container_id": known.container.as_ref().filter(|_| cluster.is_node_reachable(index)),
        });
        if !spec.hosts.is_empty() {
            value["host"] = serde_json::json!(host(spec, node));
        }
        if let Some(service) = &node.service {
            let addresses: BTreeMap<_, _> = node.endpoints.iter().map(|(network, ip)| (network, ip)).collect();
            value["service"] = serde_json::json!(service);
            value["index"] = serde_json::json!(NodeName::nth(index).as_str());
            value["addresses"] = serde_json::json!(addresses);
            value["oneshot"] = serde_json::json!(node.oneshot);
        }
        (node.name.to_string(), value)
    };
    let nodes = spec.nodes.iter().zip(cluster.snapshot()).enumerate();
    let nodes: serde_json::Map<_, _> = nodes.map(|(index, (node, known))| one(index, node, &known)).collect();
    format!("{:#}\n", serde_json::Value::Object(nodes))
}
