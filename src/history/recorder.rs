//! Tells the history what is done to the cluster and what becomes of its nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::causes;
use super::{
    Cause, ClusterEntry, CommandEntry, FaultEntry, HealthEntry, History, Kind, NodeAddress, Phase, ReadyEntry,
    SandboxEntry, SandboxPhase, StateEntry,
};
use crate::cluster::{Change, Cluster, Node, State};
use crate::engine::Health;

/// Tells commands apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandId(pub u64);

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has taken effect.
    Ok,
    /// It has failed.
    Fail {
        /// Name of the errno that the write answers.
        errno: &'static str,
        /// The sentence.
        error: String,
        /// Which nodes failed, and with what, where there are several.
        failed: BTreeMap<String, String>,
    },
}

impl Outcome {
    /// A failure of the whole.
    pub fn fail(errno: &'static str, error: impl Into<String>) -> Self {
        Self::Fail { errno, error: error.into(), failed: BTreeMap::new() }
    }
}

/// A cheap handle on who tells the history of one cluster.
///
/// Whoever changes the model says so here before anybody can read the change elsewhere: so a test that has read it and
/// appends a line of its own has the higher number.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    history: History,
    cluster: Cluster,
    recording: Mutex<Recording>,
}

struct Recording {
    /// Nothing is told before the first line, and nothing after the last.
    begun: bool,
    reachable: bool,
    nodes: Vec<Told>,
    /// Commands that have begun and not ended.
    open: BTreeMap<CommandId, (Option<&'static str>, Vec<String>)>,
    next: CommandId,
}

/// What was last told of a node.
struct Told {
    state: State,
    started_at: i64,
    exit_code: Option<i64>,
    cause: Option<(Cause, Option<CommandId>)>,
    ready: bool,
    health: Health,
    sandbox_is_lost: bool,
    /// The command that is at work on it.
    acting: Option<AtWork>,
    /// It has ended after the grace of the command that stopped it.
    outlived_grace: bool,
}

/// A command at work on a node.
struct AtWork {
    id: CommandId,
    /// What it does.
    verb: &'static str,
    /// When the node's grace ends, if it has one.
    grace_ends: Option<Instant>,
}

impl Recorder {
    /// One that tells nothing before [`Recorder::begin`].
    pub fn new(history: History, cluster: Cluster) -> Self {
        let told = || Told {
            state: State::Created,
            started_at: 0,
            exit_code: None,
            cause: None,
            ready: false,
            health: Health::None,
            sandbox_is_lost: false,
            acting: None,
            outlived_grace: false,
        };
        let recording = Recording {
            begun: false,
            reachable: true,
            nodes: (0..cluster.len()).map(|_| told()).collect(),
            open: BTreeMap::new(),
            next: history.first_command(),
        };
        Self(Arc::new(Inner { history, cluster, recording: Mutex::new(recording) }))
    }

    /// The history.
    pub fn history(&self) -> &History {
        &self.0.history
    }

    /// Writes the first line of a mount. From here on all is told. `seed` is what random choices come from.
    pub fn begin(&self, version: &str, boot_id: &str, seed: u64) {
        let spec = self.0.cluster.spec();
        let mounted = ClusterEntry::Mounted {
            id: spec.id.to_string(),
            version: version.into(),
            boot_id: boot_id.into(),
            image: spec.image.clone(),
            nodes: spec.nodes.iter().map(|node| NodeAddress { name: node.name.to_string(), ip: node.ip }).collect(),
            seed: Some(seed),
        };
        let mut recording = self.0.recording.lock();
        recording.begun = true;
        let mut lines = vec![Kind::Cluster(mounted)];
        self.look(&mut recording, Change::Reachable, &mut lines);
        self.0.history.append(&lines);
    }

    /// Tells what has changed. A node's changes are told one by one: whoever makes one lets no other come in between.
    pub fn changed(&self, change: Change) {
        let mut recording = self.0.recording.lock();
        if recording.begun {
            let mut lines = vec![];
            self.look(&mut recording, change, &mut lines);
            self.0.history.append(&lines);
        }
    }

    fn look(&self, recording: &mut Recording, change: Change, lines: &mut Vec<Kind>) {
        let cluster = &self.0.cluster;
        let indices = match change {
            Change::None | Change::Faults => 0..0,
            Change::Node(index) | Change::Network(index) => index..index + 1,
            Change::Reachable => 0..cluster.len(),
        };
        for index in indices {
            recording.nodes[index].take(cluster.node_spec(index).name.as_str(), &cluster.node(index), lines);
        }
        if change == Change::Faults {
            lines.push(Kind::Fault(FaultEntry { links: cluster.faults().in_force() }));
        }
        let reachable = cluster.is_reachable();
        if change == Change::Reachable && recording.reachable != reachable {
            recording.reachable = reachable;
            let phase = if reachable { ClusterEntry::EngineBack } else { ClusterEntry::EngineLost };
            lines.push(Kind::Cluster(phase));
        }
    }

    /// A command begins: `line` as it was written, its verb unless it is no command, the nodes that it is about.
    pub fn invoke(&self, line: &str, verb: Option<&'static str>, nodes: Vec<String>) -> CommandId {
        let mut recording = self.0.recording.lock();
        let id = recording.next;
        recording.next.0 += 1;
        let entry = CommandEntry {
            id: id.0,
            phase: Phase::Invoke,
            line: Some(line.into()),
            verb: verb.map(Into::into),
            nodes: nodes.clone(),
            errno: None,
            error: None,
            failed: BTreeMap::new(),
        };
        if recording.begun {
            recording.open.insert(id, (verb, nodes));
            self.0.history.append(&[Kind::Command(entry)]);
        }
        id
    }

    /// A command has ended. Of several ends of one command the first counts: what its writer was told.
    pub fn end(&self, id: CommandId, outcome: Outcome) {
        let mut recording = self.0.recording.lock();
        if let Some(open) = recording.open.remove(&id) {
            self.0.history.append(&[ended(id, open, outcome)]);
        }
    }

    /// A command gets to work on a node: from here until the guard goes, it is the cause of what `verb` can cause there.
    pub fn acts(&self, id: CommandId, index: usize, verb: &'static str) -> Acting {
        self.act(index, AtWork { id, verb, grace_ends: None })
    }

    /// The same of a command that stops a node: it has `grace` from now on before the engine sends SIGKILL; `None` if the
    /// stop signal is that.
    pub fn stops(&self, id: CommandId, index: usize, grace: Option<Duration>) -> Acting {
        let grace_ends = grace.and_then(|grace| Instant::now().checked_add(grace));
        self.act(index, AtWork { id, verb: "stop", grace_ends })
    }

    fn act(&self, index: usize, work: AtWork) -> Acting {
        self.0.recording.lock().nodes[index].acting = Some(work);
        Acting { recorder: self.clone(), index }
    }

    /// Writes the last line of a mount, after the ends of all commands that are cut off by it.
    pub fn finish(&self) {
        let mut recording = self.0.recording.lock();
        if !std::mem::replace(&mut recording.begun, false) {
            return;
        }
        let cut_off =
            || Outcome::fail("EINTR", "the cluster was taken down meanwhile; what had begun may still happen");
        let open = std::mem::take(&mut recording.open);
        let mut lines: Vec<_> = open.into_iter().map(|(id, command)| ended(id, command, cut_off())).collect();
        lines.push(Kind::Cluster(ClusterEntry::Unmounting));
        self.0.history.close(&lines);
    }
}

fn ended(id: CommandId, (verb, nodes): (Option<&'static str>, Vec<String>), outcome: Outcome) -> Kind {
    let (phase, errno, error, failed) = match outcome {
        Outcome::Ok => (Phase::Ok, None, None, BTreeMap::new()),
        Outcome::Fail { errno, error, failed } => (Phase::Fail, Some(errno.into()), Some(error), failed),
    };
    Kind::Command(CommandEntry { id: id.0, phase, line: None, verb: verb.map(Into::into), nodes, errno, error, failed })
}

/// A command at work on a node, for as long as this lives.
pub struct Acting {
    recorder: Recorder,
    index: usize,
}

impl Drop for Acting {
    fn drop(&mut self) {
        self.recorder.0.recording.lock().nodes[self.index].acting = None;
    }
}

impl Told {
    /// Takes in what is known of the node now, and tells what is new.
    fn take(&mut self, name: &str, node: &Node, lines: &mut Vec<Kind>) {
        let another_run = node.started_at != self.started_at && node.started_at != 0;
        self.started_at = node.started_at;
        let alive = |state| matches!(state, State::Running | State::Paused);
        // A run may have ended, and another begun, since the last look: both were, though nobody saw.
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
            lines.push(Kind::Health(HealthEntry { node: name.into(), health: node.health }));
        }
        let sandbox_is_lost = node.sandbox_lost.is_some();
        if sandbox_is_lost != self.sandbox_is_lost {
            self.sandbox_is_lost = sandbox_is_lost;
            let phase = if sandbox_is_lost { SandboxPhase::Lost } else { SandboxPhase::Back };
            let why = node.sandbox_lost.as_deref().map(Into::into);
            lines.push(Kind::Sandbox(SandboxEntry { node: name.into(), phase, why }));
        }
        let ready = node.is_ready();
        if ready != self.ready {
            self.ready = ready;
            lines.push(Kind::Ready(ReadyEntry { node: name.into(), ready }));
        }
    }

    /// Whether more is known of an end that has been told.
    fn learns_more(&self, code: Option<i64>, out_of_memory: bool) -> bool {
        let by_command = matches!(self.cause, Some((Cause::Command, _)));
        let cause = causes::of_exit(code, out_of_memory);
        code.is_some() && (code != self.exit_code || !by_command && self.cause.is_some_and(|(told, _)| told != cause))
    }

    fn turn(&mut self, name: &str, to: State, code: Option<i64>, out_of_memory: bool, pid: Option<i32>) -> Kind {
        let from = self.state;
        let command = match self.cause {
            // The rest of what was told before.
            Some((_, command)) if from == to => command,
            _ => causes::command(self.acting.as_ref().map(|work| (work.id, work.verb)), from, to),
        };
        if from != to {
            let ends = self.acting.as_ref().and_then(|work| work.grace_ends);
            self.outlived_grace = command.is_some() && ends.is_some_and(|ends| ends <= Instant::now());
        }
        let cause = match (command, to) {
            (Some(_), _) => Cause::Command,
            (None, State::Exited) => causes::of_exit(code, out_of_memory),
            (None, _) => Cause::Engine,
        };
        self.state = to;
        self.exit_code = code;
        self.cause = Some((cause, command));
        Kind::State(StateEntry {
            node: name.into(),
            from,
            to,
            cause,
            command: command.map(|id| id.0),
            exit_code: code,
            signal: code.and_then(causes::signal).map(Into::into),
            grace_expired: to == State::Exited && self.outlived_grace && code == Some(causes::KILLED),
            pid,
        })
    }
}
