//! What a picture shows of one mount, free of how it is drawn.

use std::collections::{BTreeMap, HashMap};

use super::faults;
use super::incidents::{self, Incident};
use super::operations::{Gathering, Lane};
use super::read::{Command as CommandLine, Entry, History, Kind, State as StateLine};

const LINES_LOST: &str = "The disk was full: lines are missing, and some of what is shown may be wrong.";

/// A node's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Made, never started.
    Created,
    /// Running.
    Running,
    /// Frozen.
    Paused,
    /// Not running any more.
    Exited,
    /// Its container is gone.
    Missing,
    /// Not told, or of a name that is not known here.
    Unknown,
}

impl State {
    fn of(name: &str) -> Self {
        match name {
            "created" => Self::Created,
            "running" => Self::Running,
            "paused" => Self::Paused,
            "exited" => Self::Exited,
            "missing" => Self::Missing,
            _ => Self::Unknown,
        }
    }

    /// Its name in the contract.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Exited => "exited",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        }
    }

    /// Whether nobody can talk to it though somebody might want to.
    pub fn is_down(self) -> bool {
        matches!(self, Self::Exited | Self::Missing)
    }
}

/// Why a node is in a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Why {
    /// `command`, `exit`, `signal`, `oom`, `engine`; empty if not told.
    pub cause: String,
    /// The command's index in [`Timeline::commands`].
    pub command: Option<usize>,
    /// Of the run that ended.
    pub exit_code: Option<i64>,
    /// That ended it.
    pub signal: Option<String>,
    /// It came when the grace of a stop had run out.
    pub grace_expired: bool,
}

/// A time in which a node was in one state.
#[derive(Debug)]
pub struct Stay {
    /// ns since the mount.
    pub from: i64,
    /// ns since the mount.
    pub to: i64,
    /// Which state.
    pub state: State,
    /// How it came to it.
    pub why: Why,
}

/// A time in which something held.
#[derive(Debug, PartialEq, Eq)]
pub struct Span {
    /// ns since the mount.
    pub from: i64,
    /// ns since the mount.
    pub to: i64,
    /// What, in a few words.
    pub text: String,
    /// What, whole.
    pub detail: String,
}

/// A node's lane.
#[derive(Debug, Default)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its address, if known.
    pub ip: String,
    /// Its states, without a gap from begin to end.
    pub stays: Vec<Stay>,
    /// When it was ready.
    pub ready: Vec<Span>,
    /// When it was unhealthy.
    pub unhealthy: Vec<Span>,
    /// The faults that name it.
    pub faults: Vec<Span>,
}

/// A command.
#[derive(Debug)]
pub struct Command {
    /// When it was written.
    pub from: i64,
    /// When it was answered; `None` if it never was.
    pub to: Option<i64>,
    /// As it was written.
    pub line: String,
    /// Whom it concerned: indices of nodes.
    pub nodes: Vec<usize>,
    /// Where it has failed: the nodes of its own for which it had not.
    pub went_well: Vec<usize>,
    /// Why it failed; `None` if it didn't.
    pub failure: Option<String>,
}

/// One mount, as it is drawn.
#[derive(Debug)]
pub struct Timeline {
    /// The cluster's id.
    pub id: String,
    /// What its nodes run.
    pub image: String,
    /// Wall time of the first line, RFC 3339.
    pub start: String,
    /// ns from the first line to the last.
    pub duration: i64,
    /// Which mount of the history this is, and of how many.
    pub mount: (usize, usize),
    /// Whether the history tells of its end.
    pub ended: bool,
    /// In their order in the cluster.
    pub nodes: Vec<Node>,
    /// By their begin.
    pub commands: Vec<Command>,
    /// Sets of faults in force.
    pub faults: Vec<Span>,
    /// When the engine could not be reached.
    pub outages: Vec<Span>,
    /// The test's own operations.
    pub lanes: Vec<Lane>,
    /// What somebody who looks should see first, by time.
    pub incidents: Vec<Incident>,
    /// How many more there are that matter less.
    pub more_incidents: usize,
    /// What should be known of the history itself, in sentences.
    pub notes: Vec<String>,
}

impl Timeline {
    /// Of mount `number` of a history, counted from 1; of its last one with `None`.
    ///
    /// # Errors
    /// A sentence: there is no such mount.
    pub fn of(history: &History, number: Option<usize>) -> Result<Self, String> {
        let all = history.mounts.len();
        let number = number.unwrap_or(all);
        let Some(entries) = number.checked_sub(1).and_then(|index| history.mounts.get(index)) else {
            return Err(format!("there is no mount {number} in this history: it has {all}, counted from 1"));
        };
        let mut timeline = Building::of(entries).finish();
        timeline.mount = (number, all);
        if history.skipped > 0 {
            timeline.notes.push(format!("{} of kinds unknown to this version are not shown.", lines(history.skipped)));
        }
        if history.torn && number == all {
            timeline.notes.push("The last line is incomplete and is not shown.".into());
        }
        Ok(timeline)
    }

    /// How many operations of the test there are.
    pub fn operations(&self) -> usize {
        self.lanes.iter().map(|lane| lane.operations.len()).sum()
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
    /// Since when, and which links.
    fault: Option<(i64, Vec<String>)>,
    shares: BTreeMap<usize, (i64, String)>,
    faults: Vec<Span>,
    ready: BTreeMap<usize, i64>,
    unhealthy: BTreeMap<usize, i64>,
    sandbox_lost: BTreeMap<usize, (i64, String)>,
    outage: Option<i64>,
    outages: Vec<Span>,
    operations: Gathering,
    ended: bool,
    lines_lost: bool,
    duration: i64,
    start: String,
}

fn span(from: i64, to: i64, text: impl Into<String>) -> Span {
    Span { from, to, text: text.into(), detail: String::new() }
}

impl Building {
    fn of(entries: &[Entry]) -> Self {
        let mut building = Self {
            duration: entries.last().map_or(0, |entry| entry.at),
            start: entries.first().map(|entry| entry.time.clone()).unwrap_or_default(),
            ..Self::default()
        };
        for entry in entries {
            building.take(entry);
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

    fn take(&mut self, entry: &Entry) {
        let at = entry.at;
        match &entry.kind {
            Kind::Cluster(cluster) => match cluster.phase.as_str() {
                "mounted" => {
                    self.head = (cluster.id.clone(), cluster.image.clone());
                    for node in &cluster.nodes {
                        let index = self.node(&node.name);
                        self.nodes[index].ip = node.ip.clone();
                    }
                }
                "unmounting" => self.ended = true,
                "engine lost" => {
                    self.outage.get_or_insert(at);
                }
                "engine back" => {
                    let outage = self.outage.take().map(|from| span(from, at, "engine lost"));
                    self.outages.extend(outage);
                }
                "lines lost" => self.lines_lost = true,
                _ => {}
            },
            Kind::Command(command) => self.command(at, command),
            Kind::State(state) => self.state(at, state),
            Kind::Ready { node, ready } => {
                let index = self.node(node);
                if *ready {
                    self.ready.entry(index).or_insert(at);
                } else if let Some(from) = self.ready.remove(&index) {
                    self.nodes[index].ready.push(span(from, at, "ready"));
                }
            }
            Kind::Health { node, health } => {
                let index = self.node(node);
                if health == "unhealthy" {
                    self.unhealthy.entry(index).or_insert(at);
                } else if let Some(from) = self.unhealthy.remove(&index) {
                    self.nodes[index].unhealthy.push(span(from, at, "unhealthy"));
                }
            }
            Kind::Fault(links) => self.fault(at, links),
            Kind::Sandbox { node, lost } => {
                let index = self.node(node);
                self.sandbox_back(index, at);
                self.sandbox_lost.extend(lost.clone().map(|why| (index, (at, why))));
            }
            Kind::Test(line) => self.operations.take(at, line),
        }
    }

    fn command(&mut self, at: i64, line: &CommandLine) {
        if line.phase == "invoke" {
            let nodes = line.nodes.iter().map(|name| self.node(name)).collect();
            let text = if line.line.is_empty() { line.verb.clone().unwrap_or_default() } else { line.line.clone() };
            self.command_ids.insert(line.id, self.commands.len());
            self.commands.push(Command {
                from: at,
                to: None,
                line: text.trim().to_owned(),
                nodes,
                failure: None,
                went_well: vec![],
            });
            return;
        }
        let Some(index) = self.command_ids.get(&line.id).copied() else { return };
        let command = &mut self.commands[index];
        command.to = Some(at);
        if line.phase == "fail" {
            let parts = [line.errno.as_deref(), line.error.as_deref()];
            let parts: Vec<&str> = parts.into_iter().flatten().map(str::trim).collect();
            command.failure = Some(if parts.is_empty() { "failed".into() } else { parts.join(": ") });
            // With one node there is no such list, and it is that one.
            if !line.failed.is_empty() {
                let well = line.nodes.iter().filter(|name| !line.failed.contains_key(*name));
                let well: Vec<_> = well.map(|name| self.node(name)).collect();
                self.commands[index].went_well = well;
            }
        }
    }

    fn state(&mut self, at: i64, line: &StateLine) {
        let index = self.node(&line.node);
        let command = line.command.and_then(|id| self.command_ids.get(&id).copied());
        let why = Why {
            cause: line.cause.clone().unwrap_or_default(),
            command,
            exit_code: line.exit_code,
            signal: line.signal.clone().filter(|signal| !signal.is_empty()),
            grace_expired: line.grace_expired,
        };
        let state = State::of(&line.to);
        let stays = &mut self.nodes[index].stays;
        if stays.is_empty() && at > 0 {
            // What it was before its first change is told by that change alone.
            let before = line.from.as_deref().map_or(State::Created, State::of);
            stays.push(Stay { from: 0, to: at, state: before, why: Why::default() });
        }
        match stays.last_mut() {
            // The exit code of a death comes a moment after the news of it.
            Some(last) if last.state == state => {
                last.why.exit_code = why.exit_code.or(last.why.exit_code);
                last.why.signal = why.signal.or(last.why.signal.take());
                last.why.grace_expired |= why.grace_expired;
                last.why.command = last.why.command.or(why.command);
                if !why.cause.is_empty() {
                    last.why.cause = why.cause;
                }
            }
            Some(last) => {
                last.to = at;
                stays.push(Stay { from: at, to: at, state, why });
            }
            None => stays.push(Stay { from: at, to: at, state, why }),
        }
    }

    fn fault(&mut self, at: i64, links: &[String]) {
        if let Some((from, links)) = self.fault.take() {
            let names: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
            let text = faults::summary(&links, &names);
            self.faults.push(Span { from, to: at, text, detail: links.join("\n") });
        }
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let share = faults::share(links, &node.name);
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
        if !links.is_empty() {
            self.fault = Some((at, links.to_vec()));
        }
    }

    /// A node's network is under control again, if it was not.
    fn sandbox_back(&mut self, index: usize, at: i64) {
        if let Some((from, detail)) = self.sandbox_lost.remove(&index) {
            let node = &mut self.nodes[index];
            node.faults.push(Span { detail: detail.clone(), ..span(from, at, "sandbox lost") });
            self.faults.push(Span { detail, ..span(from, at, format!("{} sandbox lost", node.name)) });
        }
    }

    /// Whatever still holds at the end lasts until the end.
    fn finish(mut self) -> Timeline {
        let end = self.duration;
        self.fault(end, &[]);
        for (index, from) in std::mem::take(&mut self.ready) {
            self.nodes[index].ready.push(span(from, end, "ready"));
        }
        for index in 0..self.nodes.len() {
            self.sandbox_back(index, end);
        }
        for (index, from) in std::mem::take(&mut self.unhealthy) {
            self.nodes[index].unhealthy.push(span(from, end, "unhealthy"));
        }
        self.outages.extend(self.outage.take().map(|from| span(from, end, "engine lost")));
        for node in &mut self.nodes {
            match node.stays.last_mut() {
                Some(last) => last.to = end,
                None => node.stays.push(Stay { from: 0, to: end, state: State::Created, why: Why::default() }),
            }
        }
        let mut timeline = Timeline {
            id: self.head.0,
            image: self.head.1,
            start: self.start,
            duration: end,
            mount: (1, 1),
            ended: self.ended,
            nodes: self.nodes,
            commands: self.commands,
            faults: self.faults,
            outages: self.outages,
            lanes: self.operations.lanes(),
            incidents: vec![],
            more_incidents: 0,
            notes: if self.lines_lost { vec![LINES_LOST.into()] } else { vec![] },
        };
        (timeline.incidents, timeline.more_incidents) = incidents::of(&timeline);
        timeline
    }
}
