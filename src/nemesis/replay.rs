//! A schedule from a history: what was done to a cluster, to be done again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::action::{Action, File};
use super::schedule::{Episode, Schedule, seconds};
use crate::cluster::{NodeName, State};
use crate::control::ended_by;
use crate::history::{ClusterEvent, CommandEvent, CommandPhase, HistoryEvent, HistoryLine, NemesisEvent};

/// What the recorder puts in place of the end of a long line.
const CUT: char = '…';

/// What a command of the history has done.
#[derive(Clone, Debug)]
struct Done {
    /// Since when its times count, in ns.
    at: u64,
    action: Action,
    /// Whether it was added to what its file had.
    appended: bool,
    /// The nodes that it meant.
    nodes: Vec<Target>,
}

impl Done {
    /// Whether the history has only the first part of its line.
    fn is_cut(&self) -> bool {
        self.action.words.ends_with(CUT)
    }

    /// The same of its nodes without those that failed, if any are left.
    fn except(mut self, failed: &BTreeMap<String, String>) -> Option<Self> {
        self.nodes.retain(|node| !failed.contains_key(&node.name));
        // One that was cut stays as it is, to be known as such.
        if !self.is_cut() {
            self.action = self.action.of_nodes(self.nodes.iter().map(|node| node.word.as_str()));
        }
        (!self.nodes.is_empty()).then_some(self)
    }
}

/// A node that a command meant.
#[derive(Clone, Debug)]
struct Target {
    name: String,
    /// How a schedule names it.
    word: String,
    /// Whether its process had ended before.
    was_down: bool,
}

/// What was done to a cluster in one mount. Times count from the start of the schedule that was performed last, if one was;
/// else from the first start of the nodes, if that came first. With `by_role`, nodes are named by the roles that they had at that time.
///
/// # Errors
/// A sentence: the history has only a part of what was written.
pub(crate) fn replay(mount: &[HistoryLine], by_role: bool) -> Result<Schedule, String> {
    let mut began = first_start(mount);
    let mut seed = None;
    let mut done: Vec<Done> = vec![];
    let mut open = BTreeMap::new();
    let mut roles = Roles::default();
    let mut down = BTreeSet::new();
    for line in mount {
        match &line.event {
            HistoryEvent::Cluster(ClusterEvent::Mounted { nodes, .. }) => {
                roles.nodes = nodes.iter().map(|node| node.name.clone()).collect();
            }
            HistoryEvent::Role(role) => {
                roles.have.insert(role.name.clone(), role.nodes.clone());
            }
            HistoryEvent::State(state) => {
                let has_ended = matches!(state.to, State::Exited | State::Missing);
                if has_ended {
                    down.insert(state.node.clone())
                } else {
                    down.remove(&state.node)
                };
            }
            HistoryEvent::Nemesis(NemesisEvent::Started { seed: drawn, .. }) => {
                (began, seed) = (line.mono_ns, *drawn);
                done.clear();
            }
            HistoryEvent::Command(command) if command.phase == CommandPhase::Invoke => {
                let action = action(command, &roles);
                let action = if by_role { action.map_words(|word| roles.word(word)) } else { action };
                let target = |name: &String| {
                    let role = command.roles.iter().find(|(_, nodes)| nodes.len() == 1 && nodes[0] == *name);
                    let word =
                        role.map(|(role, _)| format!("@{role}")).or_else(|| roles.word(name).filter(|_| by_role));
                    Target {
                        name: name.clone(),
                        word: word.unwrap_or_else(|| name.clone()),
                        was_down: down.contains(name),
                    }
                };
                let nodes = command.nodes.iter().map(target).collect();
                open.insert(command.id, Done { at: line.mono_ns, action, appended: command.appended, nodes });
            }
            HistoryEvent::Command(command) if command.phase == CommandPhase::Ok => {
                done.extend(open.remove(&command.id))
            }
            HistoryEvent::Command(command) if command.phase == CommandPhase::Fail && !command.failed.is_empty() => {
                done.extend(open.remove(&command.id).and_then(|done| done.except(&command.failed)));
            }
            _ => {}
        }
    }
    let end = mount.last().map_or(began, |line| line.mono_ns);
    done.retain(|done| done.at >= began);
    done.sort_by_key(|done| done.at);
    let since = |ns: u64| Duration::from_millis(ns.saturating_sub(began) / 1_000_000);
    if let Some(cut) = done.iter().find(|done| done.is_cut()) {
        let (file, at) = (&cut.action.file, seconds(since(cut.at)));
        return Err(format!("of what was written to {file} at {at}, the history has only the first part"));
    }
    let mut pairing = Pairing { nodes: roles.nodes.len(), ..Pairing::default() };
    done.into_iter().for_each(|done| pairing.take(since(done.at), done));
    Ok(Schedule::new(seed, pairing.finish(since(end))))
}

/// When the nodes were started, if that is the first that was done; else when the mount began.
fn first_start(mount: &[HistoryLine]) -> u64 {
    let mut commands = mount.iter().filter_map(|line| match &line.event {
        HistoryEvent::Command(command) => Some((line.mono_ns, command)),
        _ => None,
    });
    let first = commands.next().filter(|(_, command)| command.verb.as_deref() == Some("start"));
    let ended = first.and_then(|(_, first)| commands.find(|(_, later)| later.id == first.id));
    ended.map(|(at, _)| at).or(mount.first().map(|line| line.mono_ns)).unwrap_or_default()
}

/// What a command did, as it was written.
fn action(command: &CommandEvent, roles: &Roles) -> Action {
    let words = words(command.line.as_deref().unwrap_or_default());
    match command.verb.as_deref().unwrap_or_default() {
        "partition" => Action::new(File::Partition, words),
        "links" => Action::new(File::Links, words),
        "net" => Action::new(File::Net(command.nodes.first().cloned().unwrap_or_default()), words),
        _ => {
            let action = Action::new(File::Control, words);
            // A node's own control does not name the node.
            let names_none = action.nodes().is_empty() && command.nodes.len() != roles.nodes.len();
            if names_none { action.of_nodes(command.nodes.iter().map(String::as_str)) } else { action }
        }
    }
}

/// The lines of a text as a schedule has them.
fn words(text: &str) -> String {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// Who has which role.
#[derive(Default)]
struct Roles {
    nodes: Vec<String>,
    have: BTreeMap<String, Vec<String>>,
}

impl Roles {
    /// The word for a node: its role, or which of those without a role it is.
    fn word(&self, node: &str) -> Option<String> {
        let node = NodeName::parse_index(node).and_then(|index| self.nodes.get(index)).map_or(node, String::as_str);
        let with = |node: &str| self.have.iter().find(|(_, nodes)| nodes.len() == 1 && nodes[0] == node);
        if let Some((role, _)) = with(node) {
            return Some(format!("@{role}"));
        }
        if self.have.values().all(Vec::is_empty) || self.have.values().flatten().any(|one| one == node) {
            return None;
        }
        let others = self.nodes.iter().filter(|node| !self.have.values().flatten().any(|one| one == *node));
        let nth = others.into_iter().position(|other| other == node)?;
        Some(format!("@other{}", nth + 1))
    }
}

/// Pairs what began something with what ended it.
#[derive(Default)]
struct Pairing {
    /// How many nodes the cluster has.
    nodes: usize,
    episodes: Vec<Episode>,
    in_force: Vec<InForce>,
}

/// What has begun and has not ended.
struct InForce {
    at: Duration,
    action: Action,
    /// Those of a command's nodes that have not been ended.
    nodes: Vec<Target>,
    /// Whether some of them have.
    is_part: bool,
}

impl InForce {
    /// The episode of some of its nodes.
    fn episode(&self, nodes: &[Target], lasts: Option<Duration>) -> Episode {
        let action = match self.is_part || nodes.len() < self.nodes.len() {
            true => self.action.of_nodes(nodes.iter().map(|node| node.word.as_str())),
            false => self.action.clone(),
        };
        Episode { at: self.at, lasts, action }
    }
}

/// How long something lasted, as a schedule has it.
fn lasted(from: Duration, to: Duration) -> Duration {
    to.saturating_sub(from).max(Duration::from_millis(1))
}

impl Pairing {
    /// Takes the next that was done.
    fn take(&mut self, at: Duration, mut done: Done) {
        let is_whole = done.nodes.len() == self.nodes;
        let verb = done.action.verb().map(str::to_owned);
        let means = |one: &InForce, name: &str| one.nodes.iter().any(|own| own.name == name);
        if done.appended
            && let Some(before) = self.in_force.iter().find(|one| one.action.file == done.action.file)
        {
            done.action.words = format!("{}; {}", before.action.words, done.action.words);
        }
        let mut in_force = std::mem::take(&mut self.in_force);
        in_force.retain_mut(|one| {
            let Some(begun_by) = one.action.verb() else {
                let ends = match (verb.as_deref(), &one.action.file) {
                    // Another text takes the place of the one before.
                    (None, File::Net(_)) if !matches!(done.action.file, File::Net(_)) => false,
                    (None | Some("heal" | "reset"), File::Net(_)) => {
                        done.nodes.iter().any(|node| means(one, &node.name))
                    }
                    (None, file) => *file == done.action.file,
                    (Some("heal" | "reset"), _) => is_whole,
                    _ => false,
                };
                if ends {
                    self.episodes.push(one.episode(&one.nodes, Some(lasted(one.at, at))));
                }
                return !ends;
            };
            let Some(verb) = &verb else { return true };
            let is_end = ended_by(begun_by) == Some(verb);
            if !(is_end || matches!(verb.as_str(), "restart" | "reset") || ended_by(verb).is_some()) {
                return true;
            }
            let meant = |own: &Target| done.nodes.iter().find(|node| node.name == own.name);
            let (ended, left): (Vec<_>, Vec<_>) = one.nodes.iter().cloned().partition(|own| meant(own).is_some());
            // A signal that is sent is over at once; but a node that it has ended is started again.
            let lasts_by_itself = one.action.lasts_by_itself();
            let (lasting, over): (Vec<_>, Vec<_>) = ended
                .into_iter()
                .partition(|own| lasts_by_itself || is_end && meant(own).is_some_and(|node| node.was_down));
            if !lasting.is_empty() {
                self.episodes.push(one.episode(&lasting, Some(lasted(one.at, at))));
            }
            if !over.is_empty() {
                self.episodes.push(one.episode(&over, None));
            }
            one.is_part |= left.len() < one.nodes.len();
            one.nodes = left;
            !one.nodes.is_empty()
        });
        self.in_force = in_force;
        let clears = verb.is_none() && matches!(done.action.words.as_str(), "" | "heal");
        // What heals some nodes of a partition leaves the rest of it: it is done again as it is.
        let is_partial = |one: &InForce| matches!(one.action.file, File::Partition | File::Links);
        let heals = verb.as_deref() == Some("heal") && !self.in_force.iter().any(is_partial);
        if clears || heals || matches!(verb.as_deref(), Some("start" | "resume")) {
            return;
        }
        let Done { action, nodes, .. } = done;
        if action.has_end() {
            self.in_force.push(InForce { at, action, nodes, is_part: false });
        } else {
            self.episodes.push(Episode { at, lasts: None, action });
        }
    }

    /// All episodes, when the history ends at this time.
    fn finish(mut self, end: Duration) -> Vec<Episode> {
        for one in self.in_force {
            let lasts = one.action.lasts_by_itself().then(|| lasted(one.at, end));
            self.episodes.push(one.episode(&one.nodes, lasts));
        }
        self.episodes
    }
}
