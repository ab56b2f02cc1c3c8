//! The model: the last known truth of every node, and the news that changes it.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{ClusterSpec, NodeName, NodeSpec};
use crate::engine::{ContainerId, Health, Inspection, Status};

/// State of a node, as its `state` file says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its container exists and has never run.
    Created,
    /// It runs.
    Running,
    /// It is frozen.
    Paused,
    /// Its last run has ended.
    Exited,
    /// It has no container.
    Missing,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Created => "created",
            State::Running => "running",
            State::Paused => "paused",
            State::Exited => "exited",
            State::Missing => "missing",
        })
    }
}

/// What is known of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its container, if it has one.
    pub container: Option<ContainerId>,
    /// Its state.
    pub state: State,
    /// Pid of its first process in the engine host's pid namespace; `Some` while running or paused.
    pub pid: Option<i32>,
    /// Exit code of the last run that ended, once the engine has told it.
    pub exit_code: Option<i64>,
    /// State of its HEALTHCHECK.
    pub health: Health,
    /// When its present or last run began, ns on the engine's clock; 0 if never.
    pub started_at: i64,
    /// The engine's own description, as JSON.
    pub raw: Option<Arc<str>>,
    /// Its process has been seen to die and the engine does not know yet.
    pub engine_lags: bool,
    /// When the latest run began that we know to have ended; a clock that steps back cannot confuse runs.
    dead_run: Option<i64>,
}

impl Node {
    fn new() -> Self {
        Self {
            container: None,
            state: State::Missing,
            pid: None,
            exit_code: None,
            health: Health::None,
            started_at: 0,
            raw: None,
            engine_lags: false,
            dead_run: None,
        }
    }

    /// Whether its process exists.
    pub fn is_alive(&self) -> bool {
        matches!(self.state, State::Running | State::Paused)
    }

    /// Whether it may be used: it runs and, if its image has a HEALTHCHECK, that passes.
    pub fn is_ready(&self) -> bool {
        self.state == State::Running && matches!(self.health, Health::None | Health::Healthy)
    }

    fn end_run(&mut self, exit_code: Option<i64>) {
        self.state = State::Exited;
        self.pid = None;
        self.exit_code = exit_code;
        self.dead_run = Some(self.started_at);
    }

    /// Whether an inspection tells of a run that has ended since, as we know from elsewhere.
    fn is_outdated(&self, seen: &Inspection) -> bool {
        let running = matches!(seen.status, Status::Running | Status::Paused);
        running && self.dead_run == Some(seen.started_at)
    }

    fn inspected(&mut self, seen: &Inspection) {
        if self.container.as_ref() != Some(&seen.id) {
            self.adopt(seen.id.clone());
        }
        if self.is_outdated(seen) {
            return;
        }
        self.raw = Some(seen.raw.as_str().into());
        self.health = seen.health;
        self.started_at = seen.started_at;
        self.engine_lags = false;
        match seen.status {
            Status::Created => {
                self.state = State::Created;
                self.pid = None;
            }
            Status::Running | Status::Paused => {
                self.state = if seen.status == Status::Running { State::Running } else { State::Paused };
                self.pid = seen.pid;
            }
            Status::Exited => self.end_run(seen.exit_code),
        }
    }

    fn adopt(&mut self, id: ContainerId) {
        // The last exit code belongs to the node, not to the container: it stays.
        *self = Self { exit_code: self.exit_code, ..Self::new() };
        self.container = Some(id);
        self.state = State::Created;
    }

    fn gone(&mut self) {
        *self = Self { exit_code: self.exit_code, ..Self::new() };
    }
}

/// News of one node, from whoever saw it.
#[derive(Clone, Debug)]
pub enum News {
    /// The engine described its container. Later inspections must be told later.
    Inspected(Inspection),
    /// The engine says that this container's run ended then (ns on its clock).
    Died {
        /// Which container.
        container: ContainerId,
        /// Its exit code.
        exit_code: Option<i64>,
        /// When.
        time: i64,
    },
    /// Its process was seen to end, whatever the engine says.
    ProcessEnded {
        /// Which process.
        pid: i32,
    },
    /// This container no longer exists.
    Removed(ContainerId),
}

/// What news changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// The node with this index.
    Node(usize),
    /// Whether the engine can be reached, and with it every live value.
    Reachable,
}

struct Model {
    nodes: Vec<Node>,
    reachable: bool,
}

/// The cluster: a cheap handle on its spec and its model.
#[derive(Clone)]
pub struct Cluster {
    spec: Arc<ClusterSpec>,
    model: Arc<Mutex<Model>>,
}

impl Cluster {
    /// A cluster of which nothing is known yet: every node missing, the engine reachable.
    pub fn new(spec: ClusterSpec) -> Self {
        let nodes = spec.nodes.iter().map(|_| Node::new()).collect();
        Self { spec: Arc::new(spec), model: Arc::new(Mutex::new(Model { nodes, reachable: true })) }
    }

    /// What it was asked to be.
    pub fn spec(&self) -> &Arc<ClusterSpec> {
        &self.spec
    }

    /// How many nodes it has.
    pub fn len(&self) -> usize {
        self.spec.nodes.len()
    }

    /// Whether it has no node (never, once mounted).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The index of a node by its name.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        NodeName::parse_index(name).filter(|&index| index < self.len())
    }

    /// The node's spec.
    pub fn node_spec(&self, index: usize) -> &NodeSpec {
        &self.spec.nodes[index]
    }

    /// What is known of a node now.
    pub fn node(&self, index: usize) -> Node {
        self.model.lock().nodes[index].clone()
    }

    /// What is known of all nodes at one moment.
    pub fn snapshot(&self) -> Vec<Node> {
        self.model.lock().nodes.clone()
    }

    /// The node that this container is.
    pub fn node_of(&self, container: &ContainerId) -> Option<usize> {
        self.model.lock().nodes.iter().position(|node| node.container.as_ref() == Some(container))
    }

    /// Whether the engine can be reached; live values are unknown while it cannot.
    pub fn is_reachable(&self) -> bool {
        self.model.lock().reachable
    }

    /// Tells whether the engine can be reached.
    pub fn set_reachable(&self, reachable: bool) -> Change {
        let mut model = self.model.lock();
        if model.reachable == reachable {
            return Change::None;
        }
        model.reachable = reachable;
        Change::Reachable
    }

    /// Takes news of a node in. News that is out of date changes nothing.
    pub fn apply(&self, index: usize, news: &News) -> Change {
        let mut model = self.model.lock();
        let node = &mut model.nodes[index];
        let before = node.clone();
        match news {
            News::Inspected(seen) => node.inspected(seen),
            News::Died { container, exit_code, time } if node.container.as_ref() == Some(container) => {
                let of_this_run = node.started_at <= *time;
                if of_this_run && (node.is_alive() || node.engine_lags) {
                    node.engine_lags = false;
                    node.end_run(*exit_code);
                }
            }
            News::ProcessEnded { pid } if node.pid == Some(*pid) => {
                node.engine_lags = true;
                // The engine tells the code a moment later; the one of an earlier run would be a lie.
                node.end_run(None);
            }
            News::Removed(container) if node.container.as_ref() == Some(container) => node.gone(),
            News::Died { .. } | News::ProcessEnded { .. } | News::Removed(_) => {}
        }
        if *node == before { Change::None } else { Change::Node(index) }
    }
}

#[cfg(test)]
mod tests;
