//! Records in the history what is done to the cluster and what happens to its nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::attribution::{self, CanCause};
use super::{
    Cause, ClusterEvent, CommandEvent, CommandId, CommandPhase, EngineOf, FaultEvent, HealthEvent, History,
    HistoryEvent, HostAddress, NodeAddress, ReadyEvent, RoleEvent, SandboxEvent, SandboxPhase, StateEvent,
};
use crate::cluster::faults::FaultInForce;
use crate::cluster::{Change, Cluster, Node, State};
use crate::engine::{Clock, Health, Signal};
use crate::sync::Mutex;
use crate::sync::time::Instant;

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandOutcome {
    /// It has taken effect.
    Ok,
    /// It has failed.
    Fail {
        /// Name of the errno that the write answers.
        errno: &'static str,
        /// The sentence of the `error` file.
        error: String,
        /// If the command means several nodes: which of them failed, with the name of the errno.
        failed: BTreeMap<String, String>,
    },
}

impl CommandOutcome {
    /// A failure of the whole command.
    pub(crate) fn fail(errno: &'static str, error: impl Into<String>) -> Self {
        Self::Fail { errno, error: error.into(), failed: BTreeMap::new() }
    }
}

/// Records the changes of one cluster. Clones share it.
///
/// Code that changes the model calls it before the change can be read elsewhere. So a line that a test appends after
/// reading a value is ordered after the event that produced the value.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    history: History,
    cluster: Cluster,
    recording: Mutex<Recording>,
}

struct Recording {
    /// Nothing is recorded before the first line of the mount, and nothing after the last.
    begun: bool,
    /// Of each engine.
    reachable: Vec<bool>,
    /// Of each engine.
    clocks: Vec<Option<Clock>>,
    nodes: Vec<LastRecorded>,
    /// Of each role: its nodes, and whether they are known.
    roles: Vec<(Vec<usize>, bool)>,
    /// Commands that have begun and not ended.
    open: BTreeMap<CommandId, (Option<&'static str>, Vec<String>)>,
    next: CommandId,
}

/// What the history last said of a node.
struct LastRecorded {
    /// It has had a container: until then nothing happens to it.
    is_made: bool,
    state: State,
    started_at: i64,
    exit_code: Option<i64>,
    cause: Option<(Cause, Option<CommandId>)>,
    ready: bool,
    health: Health,
    sandbox_is_lost: bool,
    /// The command that is at work on the node.
    acting: Option<AtWork>,
    /// The node ended after the grace of the command that stopped it.
    outlived_grace: bool,
    /// The last command whose grace ran out, so that SIGKILL ended it.
    grace_expired: Option<CommandId>,
}

/// A command at work on a node.
struct AtWork {
    id: CommandId,
    can_cause: CanCause,
    /// When the node's grace ends, if it has one.
    grace_ends: Option<Instant>,
}

impl Recorder {
    /// Records nothing before [`Recorder::begin`].
    pub fn new(history: History, cluster: Cluster) -> Self {
        let told = || LastRecorded {
            is_made: false,
            state: State::Created,
            started_at: 0,
            exit_code: None,
            cause: None,
            ready: false,
            health: Health::None,
            sandbox_is_lost: false,
            acting: None,
            outlived_grace: false,
            grace_expired: None,
        };
        let recording = Recording {
            begun: false,
            reachable: vec![true; cluster.spec().engines()],
            clocks: vec![None; cluster.spec().engines()],
            nodes: (0..cluster.len()).map(|_| told()).collect(),
            roles: vec![(vec![], false); cluster.spec().roles.len()],
            open: BTreeMap::new(),
            next: history.first_command(),
        };
        Self(Arc::new(Inner { history, cluster, recording: Mutex::new(recording) }))
    }

    /// The file that is written.
    pub(crate) fn history(&self) -> &History {
        &self.0.history
    }

    /// Writes the first line of a mount. From here on everything is recorded. `seed`: what random choices come from.
    pub fn begin(&self, version: &str, boot_id: &str, seed: u64) {
        let spec = self.0.cluster.spec();
        let clocks: Vec<_> = (0..spec.engines()).map(|host| self.0.cluster.clock(host)).collect();
        let mounted = ClusterEvent::Mounted {
            id: spec.id.to_string(),
            version: version.into(),
            boot_id: boot_id.into(),
            image: spec.images(),
            nodes: spec
                .nodes
                .iter()
                .map(|node| NodeAddress {
                    name: node.name.to_string(),
                    ip: node.ip.to_string(),
                    host: spec.hosts.get(node.host).map(|host| host.name.clone()),
                })
                .collect(),
            seed: Some(seed),
            hosts: spec
                .hosts
                .iter()
                .zip(&clocks)
                .map(|(host, clock)| HostAddress {
                    name: host.name.clone(),
                    address: host.address.clone(),
                    clock: clock.map(Into::into),
                })
                .collect(),
        };
        let mut recording = self.0.recording.lock();
        recording.begun = true;
        recording.clocks = clocks;
        let mut lines = vec![HistoryEvent::Cluster(mounted)];
        self.look(&mut recording, Change::Reachable, &mut lines);
        self.0.history.append(&lines);
    }

    /// Records what has changed in the model. The caller must let no other change of the same node come in between.
    pub fn changed(&self, change: Change) {
        let mut recording = self.0.recording.lock();
        if recording.begun {
            let mut lines = vec![];
            self.look(&mut recording, change, &mut lines);
            self.0.history.append(&lines);
        }
    }

    fn look(&self, recording: &mut Recording, change: Change, lines: &mut Vec<HistoryEvent>) {
        let cluster = &self.0.cluster;
        let indices = match change {
            Change::None | Change::Faults | Change::Roles => 0..0,
            Change::Node(index) | Change::Network(index) => index..index + 1,
            Change::Reachable => 0..cluster.len(),
        };
        for index in indices {
            recording.nodes[index].take(cluster.node_spec(index).name.as_str(), &cluster.node(index), lines);
        }
        if change == Change::Faults {
            let in_force = cluster.faults().in_force();
            let links = in_force.iter().flat_map(FaultInForce::texts).collect();
            lines.push(HistoryEvent::Fault(FaultEvent { links, in_force }));
        }
        if matches!(change, Change::Roles | Change::Reachable) {
            self.look_at_roles(recording, lines);
        }
        for (host, recorded) in recording.reachable.iter_mut().enumerate().filter(|_| change == Change::Reachable) {
            let reachable = cluster.is_reachable(host);
            if std::mem::replace(recorded, reachable) != reachable {
                let of = EngineOf { host: cluster.spec().hosts.get(host).map(|host| host.name.clone()) };
                let phase = if reachable { ClusterEvent::EngineBack(of) } else { ClusterEvent::EngineLost(of) };
                lines.push(HistoryEvent::Cluster(phase));
            }
        }
        for (host, (spec, recorded)) in cluster.spec().hosts.iter().zip(&mut recording.clocks).enumerate() {
            let clock = cluster.clock(host);
            if std::mem::replace(recorded, clock) != clock {
                let reading = clock.map(|clock| ClusterEvent::Clock { host: spec.name.clone(), clock: clock.into() });
                lines.extend(reading.map(HistoryEvent::Cluster));
            }
        }
    }

    /// Adds a line for each role that other nodes have, or of which this is known no longer or again.
    fn look_at_roles(&self, recording: &mut Recording, lines: &mut Vec<HistoryEvent>) {
        for (role, recorded) in self.0.cluster.roles().all().iter().zip(&mut recording.roles) {
            let now = (role.nodes.clone(), role.unknown.is_none());
            if std::mem::replace(recorded, now.clone()) != now {
                let nodes = role.nodes.iter().map(|&index| self.0.cluster.node_spec(index).name.to_string()).collect();
                let error = role.unknown.as_deref().map(Into::into);
                lines.push(HistoryEvent::Role(RoleEvent { name: role.name.clone(), nodes, error }));
            }
        }
    }

    /// Records that a command begins: `line` as it was written, its verb (`None` if it is no command), the nodes that it
    /// means, what the words for roles in it stand for, and whether it is added to what a file of faults has.
    pub fn invoke(
        &self,
        line: &str,
        verb: Option<&'static str>,
        nodes: Vec<String>,
        roles: BTreeMap<String, Vec<String>>,
        appended: bool,
    ) -> CommandId {
        let mut recording = self.0.recording.lock();
        let id = recording.next;
        recording.next.0 += 1;
        let entry = CommandEvent {
            id: id.0,
            phase: CommandPhase::Invoke,
            line: Some(line.into()),
            verb: verb.map(Into::into),
            nodes: nodes.clone(),
            roles,
            appended,
            errno: None,
            error: None,
            failed: BTreeMap::new(),
        };
        if recording.begun {
            recording.open.insert(id, (verb, nodes));
            self.0.history.append(&[HistoryEvent::Command(entry)]);
        }
        id
    }

    /// Records that a command has ended. Of several ends of one command the first counts: its write returned that.
    pub fn end(&self, id: CommandId, outcome: CommandOutcome) {
        let mut recording = self.0.recording.lock();
        if let Some(open) = recording.open.remove(&id) {
            self.0.history.append(&[ended(id, open, outcome)]);
        }
    }

    /// Indices of the nodes that outlived the command's grace, so that SIGKILL ended them.
    pub(crate) fn grace_expired(&self, id: CommandId) -> Vec<usize> {
        let nodes = &self.0.recording.lock().nodes;
        (0..nodes.len()).filter(|&index| nodes[index].grace_expired == Some(id)).collect()
    }

    /// A command gets to work on a node: until the guard is dropped, changes of the node's state that it can cause are
    /// attributed to it. A node that it stops has `grace` from now on before the engine sends SIGKILL.
    pub(crate) fn acts(
        &self,
        id: CommandId,
        index: usize,
        can_cause: CanCause,
        grace: Option<Duration>,
    ) -> AttributionGuard {
        let grace_ends = grace.and_then(|grace| Instant::now().checked_add(grace));
        self.0.recording.lock().nodes[index].acting = Some(AtWork { id, can_cause, grace_ends });
        AttributionGuard { recorder: self.clone(), index }
    }

    /// Writes the last line of a mount, after the ends of the commands that it cuts off.
    pub fn finish(&self) {
        let mut recording = self.0.recording.lock();
        if !std::mem::replace(&mut recording.begun, false) {
            return;
        }
        let cut_off =
            || CommandOutcome::fail("EINTR", "the cluster was taken down meanwhile; what had begun may still happen");
        let open = std::mem::take(&mut recording.open);
        let mut lines: Vec<_> = open.into_iter().map(|(id, command)| ended(id, command, cut_off())).collect();
        lines.push(HistoryEvent::Cluster(ClusterEvent::Unmounting));
        self.0.history.close(&lines);
    }
}

fn ended(id: CommandId, (verb, nodes): (Option<&'static str>, Vec<String>), outcome: CommandOutcome) -> HistoryEvent {
    let (phase, errno, error, failed) = match outcome {
        CommandOutcome::Ok => (CommandPhase::Ok, None, None, BTreeMap::new()),
        CommandOutcome::Fail { errno, error, failed } => (CommandPhase::Fail, Some(errno.into()), Some(error), failed),
    };
    HistoryEvent::Command(CommandEvent {
        id: id.0,
        phase,
        line: None,
        verb: verb.map(Into::into),
        nodes,
        roles: BTreeMap::new(),
        appended: false,
        errno,
        error,
        failed,
    })
}

/// A command is at work on a node until this is dropped.
pub(crate) struct AttributionGuard {
    recorder: Recorder,
    index: usize,
}

impl Drop for AttributionGuard {
    fn drop(&mut self) {
        self.recorder.0.recording.lock().nodes[self.index].acting = None;
    }
}

impl LastRecorded {
    /// Compares with what is known of the node now, and adds a line for each difference.
    fn take(&mut self, name: &str, node: &Node, lines: &mut Vec<HistoryEvent>) {
        self.is_made |= node.container.is_some();
        if !self.is_made {
            return;
        }
        let another_run = node.started_at != self.started_at && node.started_at != 0;
        self.started_at = node.started_at;
        let alive = |state| matches!(state, State::Running | State::Paused);
        // A run may have ended and another begun since the last look: both get their lines.
        if another_run && alive(self.state) {
            lines.push(self.turn(name, State::Exited, None, false, None));
        }
        if another_run && node.state == State::Exited {
            lines.push(self.turn(name, State::Running, None, false, None));
        }
        let code = node.exit_code.filter(|_| node.state == State::Exited);
        if node.state != self.state {
            lines.push(self.turn(name, node.state, code, node.out_of_memory, node.pid));
        } else if node.state == State::Exited && self.learns_more(code, node.out_of_memory) {
            lines.push(self.turn(name, State::Exited, code, node.out_of_memory, None));
        }
        if node.health != self.health {
            self.health = node.health;
            lines.push(HistoryEvent::Health(HealthEvent { node: name.into(), health: node.health }));
        }
        let sandbox_is_lost = node.sandbox_lost.is_some();
        if sandbox_is_lost != self.sandbox_is_lost {
            self.sandbox_is_lost = sandbox_is_lost;
            let phase = if sandbox_is_lost { SandboxPhase::Lost } else { SandboxPhase::Back };
            let why = node.sandbox_lost.as_deref().map(Into::into);
            lines.push(HistoryEvent::Sandbox(SandboxEvent { node: name.into(), phase, why }));
        }
        let ready = node.is_ready();
        if ready != self.ready {
            self.ready = ready;
            lines.push(HistoryEvent::Ready(ReadyEvent { node: name.into(), ready }));
        }
    }

    /// Whether more is known of an end that has been recorded.
    fn learns_more(&self, code: Option<i64>, out_of_memory: bool) -> bool {
        let by_command = matches!(self.cause, Some((Cause::Command, _)));
        let cause = attribution::of_exit(code, out_of_memory);
        code.is_some() && (code != self.exit_code || !by_command && self.cause.is_some_and(|(told, _)| told != cause))
    }

    fn turn(
        &mut self,
        name: &str,
        to: State,
        code: Option<i64>,
        out_of_memory: bool,
        pid: Option<i32>,
    ) -> HistoryEvent {
        let from = self.state;
        let command = match self.cause {
            // More about the change that the last line recorded.
            Some((_, command)) if from == to => command,
            _ => attribution::command(self.acting.as_ref().map(|work| (work.id, work.can_cause)), from, to),
        };
        if from != to {
            let ends = self.acting.as_ref().and_then(|work| work.grace_ends);
            self.outlived_grace = command.is_some() && ends.is_some_and(|ends| ends <= Instant::now());
        }
        let cause = match (command, to) {
            (Some(_), _) => Cause::Command,
            (None, State::Exited) => attribution::of_exit(code, out_of_memory),
            (None, _) => Cause::Engine,
        };
        self.state = to;
        self.exit_code = code;
        self.cause = Some((cause, command));
        let grace_expired = to == State::Exited && self.outlived_grace && code == Some(Signal::KILL.exit_code());
        if grace_expired {
            self.grace_expired = command;
        }
        HistoryEvent::State(StateEvent {
            node: name.into(),
            from,
            to,
            cause,
            command: command.map(|id| id.0),
            exit_code: code,
            signal: code.and_then(Signal::from_exit_code).map(|signal| signal.to_string()),
            grace_expired,
            pid,
        })
    }
}
