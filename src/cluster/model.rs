//! The model: the last known state of every node, and the news that changes it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use super::faults::Faults;
use super::roles::Roles;
use super::{ClusterSpec, Names, NodeSpec};
use crate::engine::{Check, Clock, ContainerId, Health, Inspection, Signal, Status};
use crate::sync::Mutex;

/// State of a node, as its `state` file says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its container exists and has never run.
    Created,
    /// It runs.
    Running,
    /// Its processes are frozen.
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
    pub(crate) container: Option<ContainerId>,
    /// Its state.
    pub state: State,
    /// Pid of its first process in the engine host's pid namespace; `Some` while running or paused.
    pub(crate) pid: Option<i32>,
    /// Exit code of the last run that ended, once the engine has reported it.
    pub(crate) exit_code: Option<i64>,
    pub(crate) health: Health,
    /// The engine calls it unhealthy although no check found so. The engine may then send no event for the next result.
    pub(crate) health_doubted: bool,
    /// The HEALTHCHECK's latest check in its present or last run.
    pub(crate) check: Option<Arc<Check>>,
    /// When its present or last run began, ns on the engine's clock; 0 if never.
    pub(crate) started_at: i64,
    /// The engine's own description, as JSON.
    pub(crate) raw: Option<Arc<str>>,
    /// The kernel's OOM killer has ended a process of its present or last run.
    pub(crate) out_of_memory: bool,
    /// The probe's last result; `None` without a probe.
    pub(crate) probe: Option<bool>,
    /// Why its probe does not pass, in this run, as far as is known: a sentence, and lines of output.
    pub(crate) unready: Option<Arc<str>>,
    /// Its process was seen to end, and the engine has not noticed yet.
    pub(crate) exit_unconfirmed_by_engine: bool,
    /// Why its sandbox does not control its network any more; `None` while it does.
    pub(crate) sandbox_lost: Option<Arc<str>>,
    /// Start time of the run whose process we saw end. It identifies the run even if the clock steps back.
    seen_to_end: Option<i64>,
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
            exit_unconfirmed_by_engine: false,
            sandbox_lost: None,
            seen_to_end: None,
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.state, State::Running | State::Paused)
    }

    /// Whether it may be used: it runs, and its probe passes; without one its image's HEALTHCHECK, if it has one.
    pub(crate) fn is_ready(&self) -> bool {
        let passes = self.probe.unwrap_or(matches!(self.health, Health::None | Health::Healthy));
        self.state == State::Running && passes && self.sandbox_lost.is_none()
    }

    /// Whether it runs in a network that its sandbox does not control: what is in force there is unknown.
    pub(crate) fn is_uncontrolled(&self) -> bool {
        self.is_alive() && self.sandbox_lost.is_some()
    }

    /// Whether its image's stop signal is SIGKILL, so that nothing comes after it.
    pub(crate) fn is_stopped_by_sigkill(&self) -> bool {
        let description = self.raw.as_deref().map(serde_json::from_str::<serde_json::Value>);
        let description = description.and_then(Result::ok).unwrap_or_default();
        let signal = description.pointer("/Config/StopSignal").and_then(|signal| signal.as_str());
        signal.and_then(Signal::parse) == Some(Signal::KILL)
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
        if is_alive(seen) && self.seen_to_end == Some(seen.started_at) {
            return;
        }
        self.raw = Some(seen.raw.as_str().into());
        self.check_seen(seen);
        // The engine's event may have come first.
        self.out_of_memory = seen.out_of_memory || self.out_of_memory && self.started_at == seen.started_at;
        if self.started_at != seen.started_at {
            self.begin_probing();
        }
        self.started_at = seen.started_at;
        self.exit_unconfirmed_by_engine = false;
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

    /// Applies a HEALTHCHECK's result. A pause does not change a node's health: it keeps its value until the first
    /// check after the resume.
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
        if of_this_run && (self.is_alive() || self.exit_unconfirmed_by_engine) {
            self.exit_unconfirmed_by_engine = false;
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
            self.exit_unconfirmed_by_engine = true;
            // The engine reports the code a moment later. The code of an earlier run would be wrong here.
            self.end_run(None);
            self.seen_to_end = Some(started_at);
        }
    }
}

/// News of one node, from any source.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// The engine described its container. Inspections must be applied in their order.
    Inspected {
        seen: Inspection,
        /// [`Cluster::exit_epoch`] when the engine was asked. The answer may be older than an end that was reported
        /// since.
        asked_at_epoch: u64,
    },
    /// The engine says that this container's run ended then (ns on its clock).
    Died { container: ContainerId, exit_code: Option<i64>, time: i64 },
    /// Its process was seen to end, whatever the engine says.
    ProcessEnded {
        pid: i32,
        /// When its run began, ns on the engine's clock: the next run may have the same pid.
        started_at: i64,
    },
    /// A result of its probe.
    Probed {
        /// Which run it was about, by when it began, ns on the engine's clock.
        started_at: i64,
        /// If it did not pass, why: a sentence, and lines of output.
        found: Result<(), Arc<str>>,
    },
    /// The kernel's OOM killer has ended a process of this container.
    OutOfMemory(ContainerId),
    /// This container no longer exists.
    Removed(ContainerId),
    /// What its last run has left is to be forgotten.
    Reset,
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
    /// As `Node`, and also whether its network is under control, so whether its faults are known to be in force.
    Network(usize),
    /// Whether an engine can be reached, or how its clock goes; affects every live value.
    Reachable,
    /// The network faults in force.
    Faults,
    /// Which nodes have a role, or whether that is known.
    Roles,
}

struct Model {
    nodes: Vec<TrackedNode>,
    /// How many nodes run in a network that their sandbox does not control.
    uncontrolled: usize,
    by_container: HashMap<ContainerId, usize>,
    /// Of each engine.
    reachable: Vec<bool>,
    /// Of each engine, once it is known.
    clocks: Vec<Option<Clock>>,
    faults: Arc<Faults>,
    roles: Arc<Roles>,
}

/// A node, and what distinguishes old news from new.
struct TrackedNode {
    /// Shared with readers; a change replaces it by a copy.
    node: Arc<Node>,
    /// How many deaths and removals the engine has reported.
    exit_epoch: u64,
    /// When the latest run of each container ended, as the engine reported it. As in `removed`, only of the present
    /// container and of those that an answer still under way may contradict.
    died: HashMap<ContainerId, i64>,
    /// The containers that were reported as removed.
    removed: HashSet<ContainerId>,
}

impl TrackedNode {
    fn new(probed: bool) -> Self {
        Self { node: Arc::new(Node::new(probed)), exit_epoch: 0, died: HashMap::new(), removed: HashSet::new() }
    }

    fn apply(&mut self, news: &News) {
        let has_ended = matches!(news, News::Inspected { seen, .. } if self.has_ended(seen));
        let node = Arc::make_mut(&mut self.node);
        match news {
            News::Inspected { seen, asked_at_epoch } => {
                // An inspection that began after the last known end overrides all events.
                if *asked_at_epoch == self.exit_epoch {
                    self.died.retain(|container, _| *container == seen.id);
                    self.removed.clear();
                    node.inspected(seen);
                } else if !has_ended {
                    node.inspected(seen);
                }
            }
            News::Died { container, exit_code, time } => {
                self.exit_epoch += 1;
                let died = self.died.entry(container.clone()).or_insert(*time);
                *died = (*died).max(*time);
                node.died(container, *exit_code, *time);
            }
            News::ProcessEnded { pid, started_at } => node.process_ended(*pid, *started_at),
            News::Probed { started_at, found } => node.probed(*started_at, found),
            News::OutOfMemory(container) => {
                if node.container.as_ref() == Some(container) && node.started_at != 0 {
                    node.out_of_memory = true;
                }
            }
            News::Removed(container) => {
                self.exit_epoch += 1;
                self.removed.insert(container.clone());
                node.removed(container);
            }
            News::Reset => {
                if !node.is_alive() {
                    node.exit_code = None;
                }
            }
            News::Sandbox(state) => node.sandbox_lost = state.as_ref().err().cloned(),
        }
    }

    /// Whether the run or the container of this inspection was already reported to have ended.
    fn has_ended(&self, seen: &Inspection) -> bool {
        let died = self.died.get(&seen.id).is_some_and(|time| seen.started_at <= *time);
        self.removed.contains(&seen.id) || is_alive(seen) && died
    }
}

fn is_alive(seen: &Inspection) -> bool {
    matches!(seen.status, Status::Running | Status::Paused)
}

/// The cluster: a cheap handle on its spec and its model.
#[derive(Clone)]
pub struct Cluster {
    spec: Arc<ClusterSpec>,
    names: Arc<Names>,
    model: Arc<Mutex<Model>>,
}

impl Cluster {
    /// A new cluster: every node missing, its engines reachable.
    pub fn new(spec: ClusterSpec) -> Self {
        let nodes: Vec<_> = spec.nodes.iter().map(|node| TrackedNode::new(node.probed)).collect();
        let names = Arc::new(spec.names());
        let faults = Arc::new(Faults::of(names.clone()));
        let (reachable, clocks) = (vec![true; spec.engines()], vec![None; spec.engines()]);
        let roles = Arc::new(Roles::new(&spec.roles, nodes.len()));
        let model = Model { nodes, uncontrolled: 0, by_container: HashMap::new(), reachable, clocks, faults, roles };
        Self { spec: Arc::new(spec), names, model: Arc::new(Mutex::new(model)) }
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

    /// The nodes that a word stands for: a number as in `i001`, a node's name, or a service. None if it stands for none.
    pub fn find(&self, word: &str) -> Vec<usize> {
        self.names.find(word)
    }

    /// How its nodes are named while words for roles stand for these nodes.
    pub(crate) fn names_with(&self, roles: Vec<(String, Vec<usize>)>) -> Arc<Names> {
        if roles.is_empty() { self.names.clone() } else { Arc::new(self.names.with_roles(roles)) }
    }

    /// The node's spec.
    pub fn node_spec(&self, index: usize) -> &NodeSpec {
        &self.spec.nodes[index]
    }

    /// What is known of a node now.
    pub(crate) fn node(&self, index: usize) -> Arc<Node> {
        self.model.lock().nodes[index].node.clone()
    }

    /// What is known of all nodes at one moment.
    pub fn snapshot(&self) -> Vec<Arc<Node>> {
        self.model.lock().nodes.iter().map(|slot| slot.node.clone()).collect()
    }

    /// The node whose container this is now.
    pub(crate) fn index_of_container(&self, container: &ContainerId) -> Option<usize> {
        self.model.lock().by_container.get(container).copied()
    }

    /// Whether it is known which faults are in force: no node runs in a network that its sandbox does not control.
    pub(crate) fn is_controlled(&self) -> bool {
        self.model.lock().uncontrolled == 0
    }

    /// The first of these nodes, or of all, that runs in a network that its sandbox does not control, and why.
    pub(crate) fn uncontrolled(&self, among: Option<&[usize]>) -> Option<(usize, Arc<str>)> {
        let model = self.model.lock();
        let mut nodes = model.nodes.iter().enumerate();
        nodes.find_map(|(index, slot)| {
            let asked = among.is_none_or(|among| among.contains(&index)) && slot.node.is_alive();
            slot.node.sandbox_lost.clone().filter(|_| asked).map(|why| (index, why))
        })
    }

    /// How many ends of its containers the engine has reported. Read it before an inspection, and pass it on with the
    /// answer.
    pub(crate) fn exit_epoch(&self, index: usize) -> u64 {
        self.model.lock().nodes[index].exit_epoch
    }

    /// When the latest run of a node's container ended, as the engine reported it, in ns on its clock.
    pub(crate) fn died_at(&self, index: usize) -> Option<i64> {
        let model = self.model.lock();
        let slot = &model.nodes[index];
        slot.died.get(slot.node.container.as_ref()?).copied()
    }

    /// The engine that a node runs in: index into [`ClusterSpec::hosts`].
    pub(crate) fn host_of(&self, index: usize) -> usize {
        self.spec.nodes[index].host
    }

    /// Whether an engine can be reached; live values of its nodes are unknown while it cannot.
    pub fn is_reachable(&self, host: usize) -> bool {
        self.model.lock().reachable[host]
    }

    /// Whether a node's engine can be reached.
    pub(crate) fn is_node_reachable(&self, index: usize) -> bool {
        self.is_reachable(self.host_of(index))
    }

    /// Sets whether an engine can be reached.
    pub(crate) fn set_reachable(&self, host: usize, reachable: bool) -> Change {
        let was_reachable = std::mem::replace(&mut self.model.lock().reachable[host], reachable);
        if was_reachable == reachable { Change::None } else { Change::Reachable }
    }

    /// How an engine's clock differs from ours, if that is known.
    pub(crate) fn clock(&self, host: usize) -> Option<Clock> {
        self.model.lock().clocks[host]
    }

    /// Sets how an engine's clock differs from ours. A measurement that agrees with the last one and is no better changes
    /// nothing.
    pub(crate) fn set_clock(&self, host: usize, clock: Clock) -> Change {
        let last = &mut self.model.lock().clocks[host];
        if last.is_some_and(|last| last.agrees(&clock) && clock.error >= last.error / 2) {
            return Change::None;
        }
        *last = Some(clock);
        Change::Reachable
    }

    /// The network faults in force.
    pub fn faults(&self) -> Arc<Faults> {
        self.model.lock().faults.clone()
    }

    /// Sets the network faults in force.
    pub(crate) fn set_faults(&self, faults: Faults) -> Change {
        let mut model = self.model.lock();
        if *model.faults == faults {
            return Change::None;
        }
        model.faults = Arc::new(faults);
        Change::Faults
    }

    /// Which nodes have roles.
    pub(crate) fn roles(&self) -> Arc<Roles> {
        self.model.lock().roles.clone()
    }

    /// Sets which nodes have the role with this index, or why that is not known.
    pub(crate) fn set_role(&self, at: usize, answer: Result<Vec<usize>, Arc<str>>) -> Change {
        if Arc::make_mut(&mut self.model.lock().roles).note(at, answer) { Change::Roles } else { Change::None }
    }

    /// Whether any node runs, as far as is known.
    pub(crate) fn has_running(&self) -> bool {
        self.model.lock().nodes.iter().any(|slot| slot.node.state == State::Running)
    }

    /// Applies news of a node. Outdated news changes nothing.
    pub(crate) fn apply(&self, index: usize, news: &News) -> Change {
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
