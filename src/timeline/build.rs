//! Turns the lines of a history into the model of a picture.

use std::collections::{BTreeMap, HashMap};

use super::axis::Elapsed;
use super::faults;
use super::model::{Command, End, Node, Span, Stay, Timeline, Why};
use super::operations::Gathering;
use super::{incidents, nemesis, roles, verdicts};
use crate::cluster::State;
use crate::engine::Health;
use crate::history::{
    ClusterEvent, CommandEvent, CommandPhase, EngineOf, FaultEvent, HistoryEvent, HistoryLine, RecordedHistory,
    SandboxPhase, StateEvent,
};

const LINES_LOST: &str = "The disk was full: lines are missing, and some of what is shown may be wrong.";

/// The present, for the picture of a cluster that is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// This boot of the machine.
    pub(crate) boot_id: String,
    /// CLOCK_MONOTONIC, in ns.
    pub(crate) mono_ns: u64,
}

impl Timeline {
    /// Mount `number` of a history, counted from 1; `None` for the last one. If the last one is still mounted, its picture
    /// ends `now`.
    ///
    /// # Errors
    /// A sentence: there is no such mount.
    pub(crate) fn of(history: &RecordedHistory, number: Option<usize>, now: Option<&Now>) -> Result<Self, String> {
        let all = history.mounts.len();
        let number = number.unwrap_or(all);
        let Some(recorded) = number.checked_sub(1).and_then(|index| history.mounts.get(index)) else {
            return Err(format!("there is no mount {number} in this history: it has {all}, counted from 1"));
        };
        let now = now.filter(|_| number == all);
        let mut timeline = Building::of(recorded).finish(now);
        timeline.mount = (number, all);
        if history.skipped > 0 {
            timeline.notes.push(format!("{} of kinds unknown to this version are not shown.", lines(history.skipped)));
        }
        if history.torn && number == all {
            timeline.notes.push("The last line is incomplete and is not shown.".into());
        }
        Ok(timeline)
    }
}

fn lines(count: usize) -> String {
    if count == 1 { "1 line".into() } else { format!("{count} lines") }
}

#[derive(Default)]
struct Building {
    head: (String, String),
    nodes: Vec<Node>,
    indices: HashMap<String, usize>,
    commands: Vec<Command>,
    command_ids: HashMap<u64, usize>,
    /// What is in force in the network, and since when.
    fault: Option<(i64, FaultEvent)>,
    /// What each node has of that, in words, and since when.
    shares: BTreeMap<usize, (i64, String)>,
    faults: Vec<Span>,
    ready: BTreeMap<usize, i64>,
    unhealthy: BTreeMap<usize, i64>,
    sandbox_lost: BTreeMap<usize, (i64, String)>,
    /// When engines were lost that are still away, by their machine, if there are several.
    away: BTreeMap<Option<String>, i64>,
    outages: Vec<Span>,
    operations: Gathering,
    nemesis: nemesis::Gathering,
    roles: roles::Gathering,
    verdicts: verdicts::Gathering,
    boot_id: String,
    ended: bool,
    lines_lost: bool,
    elapsed: Elapsed,
    /// Wall time of the first line.
    start: String,
}

fn span(from: i64, to: i64, text: impl Into<String>) -> Span {
    Span { from, to, text: text.into(), detail: String::new() }
}

/// While an engine was away.
fn outage(from: i64, to: i64, host: Option<&str>) -> Span {
    let of = host.map(|host| format!(" of {host}")).unwrap_or_default();
    Span { detail: format!("the engine{of} could not be reached"), ..span(from, to, format!("engine{of} lost")) }
}

impl Building {
    fn of(recorded: &[HistoryLine]) -> Self {
        let start = recorded.first().map(|line| line.time.clone()).unwrap_or_default();
        let mut building = Self { start, ..Self::default() };
        for line in recorded {
            // A verdict that came long after the test, or after another boot, does not make the picture longer.
            let is_verdict = matches!(line.event, HistoryEvent::Verdict(_));
            let at = if is_verdict { building.elapsed.ns } else { building.elapsed.at(line.mono_ns) };
            match &line.event {
                HistoryEvent::Test(object) => building.operations.take(at, line.seq, &object.values()),
                event => building.take(at, event),
            }
        }
        building
    }

    fn node(&mut self, name: &str) -> usize {
        if let Some(index) = self.indices.get(name) {
            return *index;
        }
        self.nodes.push(Node { name: name.to_owned(), ..Node::default() });
        self.indices.insert(name.to_owned(), self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    fn take(&mut self, at: i64, event: &HistoryEvent) {
        match event {
            HistoryEvent::Cluster(event) => self.cluster(at, event),
            HistoryEvent::Command(event) => self.command(at, event),
            HistoryEvent::State(event) => self.state(at, event),
            HistoryEvent::Ready(event) => {
                let index = self.node(&event.node);
                if event.ready {
                    self.ready.entry(index).or_insert(at);
                } else if let Some(from) = self.ready.remove(&index) {
                    self.nodes[index].ready.push(span(from, at, "ready"));
                }
            }
            HistoryEvent::Health(event) => {
                let index = self.node(&event.node);
                if event.health == Health::Unhealthy {
                    self.unhealthy.entry(index).or_insert(at);
                } else if let Some(from) = self.unhealthy.remove(&index) {
                    self.nodes[index].unhealthy.push(span(from, at, "unhealthy"));
                }
            }
            HistoryEvent::Fault(event) => self.fault(at, event),
            HistoryEvent::Sandbox(event) => {
                let index = self.node(&event.node);
                self.sandbox_back(index, at);
                if event.phase == SandboxPhase::Lost {
                    self.sandbox_lost.insert(index, (at, event.why.clone().unwrap_or_default()));
                }
            }
            HistoryEvent::Role(event) => self.roles.take(at, event),
            HistoryEvent::Nemesis(event) => self.nemesis.take(at, event),
            HistoryEvent::Verdict(event) => self.verdicts.take(event),
            // Taken before.
            HistoryEvent::Test(_) => {}
        }
    }

    fn cluster(&mut self, at: i64, event: &ClusterEvent) {
        match event {
            ClusterEvent::Mounted { id, image, nodes, boot_id, .. } => {
                self.head = (id.clone(), image.clone());
                self.boot_id.clone_from(boot_id);
                for node in nodes {
                    let index = self.node(&node.name);
                    self.nodes[index].ip = node.ip.clone();
                }
            }
            ClusterEvent::Unmounting => self.ended = true,
            ClusterEvent::Clock { .. } => {}
            ClusterEvent::EngineLost(EngineOf { host }) => {
                self.away.entry(host.clone()).or_insert(at);
            }
            ClusterEvent::EngineBack(EngineOf { host }) => {
                let outage = self.away.remove(host).map(|from| outage(from, at, host.as_deref()));
                self.outages.extend(outage);
            }
            ClusterEvent::LinesLost { .. } => self.lines_lost = true,
        }
    }

    fn command(&mut self, at: i64, event: &CommandEvent) {
        if event.phase == CommandPhase::Invoke {
            let nodes = event.nodes.iter().map(|name| self.node(name)).collect();
            let written = event.line.as_deref().filter(|line| !line.is_empty());
            let line = written.or(event.verb.as_deref()).unwrap_or_default().trim().to_owned();
            self.command_ids.insert(event.id, self.commands.len());
            self.commands.push(Command { from: at, to: None, line, nodes, failure: None, went_well: vec![] });
            return;
        }
        let Some(index) = self.command_ids.get(&event.id).copied() else { return };
        let command = &mut self.commands[index];
        command.to = Some(at);
        if event.phase == CommandPhase::Fail {
            let parts = [event.errno.as_deref(), event.error.as_deref()];
            let parts: Vec<&str> = parts.into_iter().flatten().map(str::trim).collect();
            command.failure = Some(if parts.is_empty() { "failed".into() } else { parts.join(": ") });
            // A command that means one node has no such list: that node failed.
            if !event.failed.is_empty() {
                let well = event.nodes.iter().filter(|name| !event.failed.contains_key(*name));
                let well: Vec<_> = well.map(|name| self.node(name)).collect();
                self.commands[index].went_well = well;
            }
        }
    }

    fn state(&mut self, at: i64, event: &StateEvent) {
        let index = self.node(&event.node);
        let why = Why {
            cause: Some(event.cause),
            command: event.command.and_then(|id| self.command_ids.get(&id).copied()),
            exit_code: event.exit_code,
            signal: event.signal.clone(),
            grace_expired: event.grace_expired,
        };
        let stays = &mut self.nodes[index].stays;
        if stays.is_empty() && at > 0 {
            // Only the first change says what the state was before.
            stays.push(Stay { from: 0, to: at, state: event.from, why: Why::default() });
        }
        match stays.last_mut() {
            // The exit code can come in a line of its own, after the death.
            Some(last) if last.state == event.to => {
                last.why.exit_code = why.exit_code.or(last.why.exit_code);
                last.why.signal = why.signal.or(last.why.signal.take());
                last.why.grace_expired |= why.grace_expired;
                last.why.command = last.why.command.or(why.command);
                last.why.cause = why.cause;
            }
            last => {
                if let Some(last) = last {
                    last.to = at;
                }
                stays.push(Stay { from: at, to: at, state: event.to, why });
            }
        }
    }

    fn fault(&mut self, at: i64, event: &FaultEvent) {
        let network = faults::without_crashes(event);
        if self.fault.as_ref().is_some_and(|(_, event)| *event == network) {
            // It stays in force.
        } else if let Some((from, event)) = self.fault.take() {
            let names: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
            let text = faults::summary(&event, &names);
            self.faults.push(Span { from, to: at, text, detail: event.links.join("\n") });
        }
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let share = faults::share(&event.in_force, &node.name);
            if self.shares.get(&index).map(|(_, text)| text) == share.as_ref() {
                continue;
            }
            if let Some((from, text)) = self.shares.remove(&index) {
                node.faults.push(span(from, at, text));
            }
            if let Some(text) = share {
                self.shares.insert(index, (at, text));
            }
        }
        if !network.links.is_empty() {
            self.fault.get_or_insert((at, network));
        }
    }

    /// Ends the time without a sandbox, if the node was without one.
    fn sandbox_back(&mut self, index: usize, at: i64) {
        if let Some((from, detail)) = self.sandbox_lost.remove(&index) {
            let node = &mut self.nodes[index];
            node.faults.push(Span { detail: detail.clone(), ..span(from, at, "sandbox lost") });
            self.faults.push(Span { detail, ..span(from, at, format!("{} sandbox lost", node.name)) });
        }
    }

    /// Ends whatever still holds: now, or with the last line.
    fn finish(mut self, now: Option<&Now>) -> Timeline {
        let is_mounted = |now: &&Now| !self.ended && now.boot_id == self.boot_id;
        let ends = match now.filter(is_mounted) {
            Some(now) => {
                self.elapsed.at(now.mono_ns);
                End::Now
            }
            None if self.ended => End::Unmounted,
            None => End::Unrecorded,
        };
        let end = self.elapsed.ns;
        self.fault(end, &FaultEvent::default());
        for (index, from) in std::mem::take(&mut self.ready) {
            self.nodes[index].ready.push(span(from, end, "ready"));
        }
        for index in 0..self.nodes.len() {
            self.sandbox_back(index, end);
        }
        for (index, from) in std::mem::take(&mut self.unhealthy) {
            self.nodes[index].unhealthy.push(span(from, end, "unhealthy"));
        }
        let away = std::mem::take(&mut self.away);
        self.outages.extend(away.into_iter().map(|(host, from)| outage(from, end, host.as_deref())));
        for node in &mut self.nodes {
            node.faults.sort_by_key(|span| span.from);
            match node.stays.last_mut() {
                Some(last) => last.to = end,
                None => node.stays.push(Stay { from: 0, to: end, state: State::Created, why: Why::default() }),
            }
        }
        let lanes = self.operations.lanes();
        let mut notes: Vec<String> = self.lines_lost.then(|| LINES_LOST.into()).into_iter().collect();
        let roles = self.roles.finish(end);
        notes.extend((roles.len() > roles::MOST).then(|| format!("Only {} roles are shown.", roles::MOST)));
        for role in &roles {
            for node in &mut self.nodes {
                node.roles.extend(role.of(&node.name).map(|held| span(held.from, held.to, &role.name)));
            }
        }
        let mut timeline = Timeline {
            id: self.head.0,
            image: self.head.1,
            start: self.start,
            duration: end,
            mount: (1, 1),
            end: ends,
            verdicts: self.verdicts.finish(&lanes),
            nemesis: self.nemesis.finish(end),
            roles: roles.into_iter().take(roles::MOST).collect(),
            nodes: self.nodes,
            commands: self.commands,
            faults: self.faults,
            outages: self.outages,
            lanes,
            incidents: vec![],
            more_incidents: 0,
            notes,
        };
        (timeline.incidents, timeline.more_incidents) = incidents::of(&timeline);
        timeline
    }
}
