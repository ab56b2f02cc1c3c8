//! The model: the last known truth of every node, and the news that changes it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::faults::Faults;
use super::{ClusterSpec, NodeName, NodeSpec};
use crate::engine::{Check, ContainerId, Health, Inspection, Status};

/// State of a node, as its `state` file says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
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
    /// The engine calls it unhealthy, and no check has found so: what the next one finds may be no news to the engine.
    pub health_doubted: bool,
    /// The HEALTHCHECK's latest check in its present or last run.
    pub check: Option<Arc<Check>>,
    /// When its present or last run began, ns on the engine's clock; 0 if never.
    pub started_at: i64,
    /// The engine's own description, as JSON.
    pub raw: Option<Arc<str>>,
    /// The kernel has ended a process of its present or last run for want of memory.
    pub out_of_memory: bool,
    /// What the probe has found that was asked for; `None` if none was.
    pub probe: Option<bool>,
    /// Why its probe does not pass, in this run, as far as is known: a sentence, and lines of output.
    pub unready: Option<Arc<str>>,
    /// Its process has been seen to die and the engine does not know yet.
    pub engine_lags: bool,
    /// Why its sandbox does not control its network any more; `None` while it does.
    pub sandbox_lost: Option<Arc<str>>,
    /// When the run began whose process we saw end; a clock that steps back cannot confuse runs.
    witnessed: Option<i64>,
}

impl Node {
    fn new(probed: bool) -> Self {
        Self {
            container: None,
            state: State::Missing,
            pid: None,
            exit_code: None,
            health: Health::None,
            health_doubted: false,
            check: None,
            started_at: 0,
            raw: None,
            out_of_memory: false,
            probe: probed.then_some(false),
            unready: None,
            engine_lags: false,
            sandbox_lost: None,
            witnessed: None,
        }
    }

    /// Whether its process exists.
    pub fn is_alive(&self) -> bool {
        matches!(self.state, State::Running | State::Paused)
    }

    /// Whether it may be used: it runs, and its probe passes; without one its image's HEALTHCHECK, if it has one.
    pub fn is_ready(&self) -> bool {
        let passes = self.probe.unwrap_or(matches!(self.health, Health::None | Health::Healthy));
        self.state == State::Running && passes && self.sandbox_lost.is_none()
    }

    /// Whether it runs in a network that its sandbox does not control: what is in force there is unknown.
    pub fn is_uncontrolled(&self) -> bool {
        self.is_alive() && self.sandbox_lost.is_some()
    }

    /// Whether its image's stop signal is SIGKILL, so that nothing comes after it.
    pub fn is_stopped_by_sigkill(&self) -> bool {
        let description = self.raw.as_deref().map(serde_json::from_str::<serde_json::Value>);
        let description = description.and_then(Result::ok).unwrap_or_default();
        let signal = description.pointer("/Config/StopSignal").and_then(|signal| signal.as_str());
        signal.is_some_and(|signal| matches!(signal.to_ascii_uppercase().trim_start_matches("SIG"), "KILL" | "9"))
    }

    /// No probe of this run has passed yet.
    fn begin_probing(&mut self) {
        self.probe = self.probe.map(|_| false);
        self.unready = None;
    }

    fn end_run(&mut self, exit_code: Option<i64>) {
        self.state = State::Exited;
        self.pid = None;
        self.exit_code = exit_code;
        self.begin_probing();
    }

    fn inspected(&mut self, seen: &Inspection) {
        if self.container.as_ref() != Some(&seen.id) {
            self.adopt(seen.id.clone());
        }
        // The engine has not noticed yet what we saw.
        if is_alive(seen) && self.witnessed == Some(seen.started_at) {
            return;
        }
        self.raw = Some(seen.raw.as_str().into());
        self.check_seen(seen);
        // The engine's event may have told it first.
        self.out_of_memory = seen.out_of_memory || self.out_of_memory && self.started_at == seen.started_at;
        if self.started_at != seen.started_at {
            self.begin_probing();
        }
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

    /// Takes in what the HEALTHCHECK has found. That a node was paused says nothing of its health: until the first check
    /// after the resume it is what it was.
    fn check_seen(&mut self, seen: &Inspection) {
        let check = seen.check.as_ref().filter(|check| check.began >= seen.started_at);
        let passed = check.is_some_and(|check| check.exit_code == 0);
        self.health_doubted = seen.unhealthy_unchecked && is_alive(seen);
        self.health = match self.health {
            _ if !self.health_doubted => seen.health,
            _ if passed => Health::Healthy,
            Health::Healthy | Health::Starting if self.started_at == seen.started_at => self.health,
            _ => Health::Starting,
        };
        if self.check.as_deref() != check {
            self.check = check.cloned().map(Arc::new);
        }
    }

    fn adopt(&mut self, id: ContainerId) {
        self.forget();
        self.container = Some(id);
        self.state = State::Created;
    }

    fn removed(&mut self, container: &ContainerId) {
        if self.container.as_ref() == Some(container) {
            self.forget();
        }
    }

    /// Forgets its container. The last exit code and the sandbox belong to the node: they stay.
    fn forget(&mut self) {
        let sandbox_lost = self.sandbox_lost.take();
        *self = Self { exit_code: self.exit_code, sandbox_lost, ..Self::new(self.probe.is_some()) };
    }

    fn died(&mut self, container: &ContainerId, exit_code: Option<i64>, time: i64) {
        let of_this_run = self.container.as_ref() == Some(container) && self.started_at <= time;
        if of_this_run && (self.is_alive() || self.engine_lags) {
            self.engine_lags = false;
            self.end_run(exit_code);
        }
    }

    fn probed(&mut self, started_at: i64, found: &Result<(), Arc<str>>) {
        if self.probe.is_some() && self.is_alive() && self.started_at == started_at {
            self.probe = Some(found.is_ok());
            self.unready = found.as_ref().err().cloned();
        }
    }

    fn process_ended(&mut self, pid: i32, started_at: i64) {
        if self.pid == Some(pid) && self.started_at == started_at {
            self.engine_lags = true;
            // The engine tells the code a moment later; the one of an earlier run would be a lie.
            self.end_run(None);
            self.witnessed = Some(started_at);
        }
    }
}

/// News of one node, from whoever saw it.
#[derive(Clone, Debug)]
pub enum News {
    /// The engine described its container. Later inspections must be told later.
    Inspected {
        /// What it said.
        seen: Inspection,
        /// [`Cluster::ends`] when it was asked: what it says may be older than an end that was told since.
        begun: u64,
    },
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
        /// When its run began, ns on the engine's clock: the next run may have the same pid.
        started_at: i64,
    },
    /// Its probe has found whether the node may be used.
    Probed {
        /// Which run it was about, by when it began, ns on the engine's clock.
        started_at: i64,
        /// Whether; if not, why: a sentence, and lines of output.
        found: Result<(), Arc<str>>,
    },
    /// The kernel has ended a process of this container for want of memory.
    OutOfMemory(ContainerId),
    /// This container no longer exists.
    Removed(ContainerId),
    /// Its sandbox controls its network, or why it does not.
    Sandbox(std::result::Result<(), Arc<str>>),
}

/// What news changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// The node with this index.
    Node(usize),
    /// The same, and whether its network is under control, and with it whether the faults are known to be in force.
    Network(usize),
    /// Whether the engine can be reached, and with it every live value.
    Reachable,
    /// The network faults in force.
    Faults,
}

struct Model {
    nodes: Vec<Slot>,
    /// How many nodes run in a network that their sandbox does not control.
    uncontrolled: usize,
    /// Whose container it is.
    by_container: HashMap<ContainerId, usize>,
    reachable: bool,
    faults: Arc<Faults>,
}

/// A node, and what tells old news of it from new.
struct Slot {
    node: Node,
    /// How many deaths and removals the engine has told of.
    ends: u64,
    /// The container that was last told to have died, and when.
    died: Option<(ContainerId, i64)>,
    /// The container that was last told to be no more.
    removed: Option<ContainerId>,
}

impl Slot {
    fn new(probed: bool) -> Self {
        Self { node: Node::new(probed), ends: 0, died: None, removed: None }
    }

    fn apply(&mut self, news: &News) {
        match news {
            News::Inspected { seen, begun } => {
                // One that was begun after the last end that we know of outweighs all events.
                if *begun == self.ends || !self.has_ended(seen) {
                    self.node.inspected(seen);
                }
            }
            News::Died { container, exit_code, time } => {
                self.ends += 1;
                let earlier = self.died.take().filter(|(died, _)| died == container).map_or(i64::MIN, |(_, time)| time);
                self.died = Some((container.clone(), earlier.max(*time)));
                self.node.died(container, *exit_code, *time);
            }
            News::ProcessEnded { pid, started_at } => self.node.process_ended(*pid, *started_at),
            News::Probed { started_at, found } => self.node.probed(*started_at, found),
            News::OutOfMemory(container) => {
                if self.node.container.as_ref() == Some(container) && self.node.started_at != 0 {
                    self.node.out_of_memory = true;
                }
            }
            News::Removed(container) => {
                self.ends += 1;
                self.removed = Some(container.clone());
                self.node.removed(container);
            }
            News::Sandbox(state) => self.node.sandbox_lost = state.as_ref().err().cloned(),
        }
    }

    /// Whether what an inspection tells of has been told to have ended, the run or the container.
    fn has_ended(&self, seen: &Inspection) -> bool {
        let died = |(container, time): &(ContainerId, i64)| *container == seen.id && seen.started_at <= *time;
        self.removed.as_ref() == Some(&seen.id) || is_alive(seen) && self.died.as_ref().is_some_and(died)
    }
}

fn is_alive(seen: &Inspection) -> bool {
    matches!(seen.status, Status::Running | Status::Paused)
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
        Self::with(spec, false)
    }

    /// The same, whose nodes are ready when a probe says so: [`News::Probed`].
    pub fn probed(spec: ClusterSpec) -> Self {
        Self::with(spec, true)
    }

    fn with(spec: ClusterSpec, probed: bool) -> Self {
        let nodes: Vec<_> = spec.nodes.iter().map(|_| Slot::new(probed)).collect();
        let faults = Arc::new(Faults::new(nodes.len()));
        let model = Model { nodes, uncontrolled: 0, by_container: HashMap::new(), reachable: true, faults };
        Self { spec: Arc::new(spec), model: Arc::new(Mutex::new(model)) }
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
        self.model.lock().nodes[index].node.clone()
    }

    /// What is known of all nodes at one moment.
    pub fn snapshot(&self) -> Vec<Node> {
        self.model.lock().nodes.iter().map(|slot| slot.node.clone()).collect()
    }

    /// The node whose container this is now.
    pub fn index_of_container(&self, container: &ContainerId) -> Option<usize> {
        self.model.lock().by_container.get(container).copied()
    }

    /// Whether it is known which faults are in force: no node runs in a network that its sandbox does not control.
    pub fn is_controlled(&self) -> bool {
        self.model.lock().uncontrolled == 0
    }

    /// The first of these nodes, or of all, that runs in a network that its sandbox does not control, and why.
    pub fn uncontrolled(&self, among: Option<&[usize]>) -> Option<(usize, Arc<str>)> {
        let model = self.model.lock();
        let mut nodes = model.nodes.iter().enumerate();
        nodes.find_map(|(index, slot)| {
            let asked = among.is_none_or(|among| among.contains(&index)) && slot.node.is_alive();
            slot.node.sandbox_lost.clone().filter(|_| asked).map(|why| (index, why))
        })
    }

    /// How many ends of its containers the engine has told of: ask before an inspection, and tell it with that.
    pub fn ends(&self, index: usize) -> u64 {
        self.model.lock().nodes[index].ends
    }

    /// When the latest run of a node's container ended whose death the engine has told, in ns on its clock.
    pub fn died_at(&self, index: usize) -> Option<i64> {
        let model = self.model.lock();
        let slot = &model.nodes[index];
        let died = slot.died.as_ref().filter(|(container, _)| slot.node.container.as_ref() == Some(container));
        died.map(|(_, time)| *time)
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

    /// The network faults in force.
    pub fn faults(&self) -> Arc<Faults> {
        self.model.lock().faults.clone()
    }

    /// Tells which network faults are in force.
    pub fn set_faults(&self, faults: Faults) -> Change {
        let mut model = self.model.lock();
        if *model.faults == faults {
            return Change::None;
        }
        model.faults = Arc::new(faults);
        Change::Faults
    }

    /// Takes news of a node in. News that is out of date changes nothing.
    pub fn apply(&self, index: usize, news: &News) -> Change {
        let mut model = self.model.lock();
        let Model { nodes, by_container, uncontrolled, .. } = &mut *model;
        let slot = &mut nodes[index];
        let before = slot.node.clone();
        slot.apply(news);
        let node = &slot.node;
        if *node == before {
            return Change::None;
        }
        if node.container != before.container {
            if let Some(container) = &before.container {
                by_container.remove(container);
            }
            by_container.extend(node.container.iter().map(|container| (container.clone(), index)));
        }
        let was_known = *uncontrolled == 0;
        *uncontrolled += usize::from(node.is_uncontrolled());
        *uncontrolled -= usize::from(before.is_uncontrolled());
        if was_known == (*uncontrolled == 0) { Change::Node(index) } else { Change::Network(index) }
    }
}

#[cfg(test)]
mod tests;
