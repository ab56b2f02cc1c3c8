//! A schedule from a history: what was done to a cluster, to be done again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::action::{Action, File};
use super::schedule::{Episode, Schedule};
use crate::control::ended_by;
use crate::history::{ClusterEvent, CommandPhase, HistoryEvent, HistoryLine, NemesisEvent};

/// A command of the history that has succeeded.
struct Done {
    /// Since when its times count, in ns.
    at: u64,
    action: Action,
    /// The nodes that it meant.
    nodes: Vec<String>,
}

/// What was done to a cluster in one mount. Times count from the begin of the schedule that was performed last, if one was;
/// else from the first start of the nodes, if that came first. With `by_role`, nodes are named by the roles that they had at that time.
pub(crate) fn replay(mount: &[HistoryLine], by_role: bool) -> Schedule {
    let mut began = first_start(mount);
    let mut seed = None;
    let mut done: Vec<Done> = vec![];
    let mut open = BTreeMap::new();
    let mut roles = Roles::default();
    for line in mount {
        match &line.event {
            HistoryEvent::Cluster(ClusterEvent::Mounted { nodes, .. }) => {
                roles.nodes = nodes.iter().map(|node| node.name.clone()).collect();
            }
            HistoryEvent::Role(role) => {
                roles.have.insert(role.name.clone(), role.nodes.clone());
            }
            HistoryEvent::Nemesis(NemesisEvent::Started { seed: drawn, .. }) => {
                (began, seed) = (line.mono_ns, *drawn);
                done.clear();
            }
            HistoryEvent::Command(command) if command.phase == CommandPhase::Invoke => {
                let verb = command.verb.as_deref().unwrap_or_default();
                let words = words(command.line.as_deref().unwrap_or_default());
                let action = match verb {
                    "partition" => Action::new(File::Partition, words),
                    "links" => Action::new(File::Links, words),
                    "net" => Action::new(File::Net(command.nodes.first().cloned().unwrap_or_default()), words),
                    _ => {
                        // As it was written, if it named roles. A node's own control does not name the node.
                        let named = words.split(' ').skip(1).any(|word| command.nodes.iter().any(|node| node == word));
                        let is_whole = command.nodes.len() == roles.nodes.len();
                        let names_none = !named && command.roles.is_empty() && !is_whole;
                        let words = if names_none { [words, command.nodes.join(" ")].join(" ") } else { words };
                        Action::new(File::Control, words)
                    }
                };
                let action = if by_role { action.map_words(|word| roles.word(word)) } else { action };
                open.insert(command.id, Done { at: line.mono_ns, action, nodes: command.nodes.clone() });
            }
            HistoryEvent::Command(command) if command.phase == CommandPhase::Ok => {
                done.extend(open.remove(&command.id))
            }
            _ => {}
        }
    }
    let end = mount.last().map_or(began, |line| line.mono_ns);
    done.retain(|done| done.at >= began);
    done.sort_by_key(|done| done.at);
    Schedule::new(seed, episodes(done, began, end))
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
fn episodes(done: Vec<Done>, began: u64, end: u64) -> Vec<Episode> {
    let since = |ns: u64| Duration::from_millis(ns.saturating_sub(began) / 1_000_000);
    let mut episodes: Vec<Episode> = vec![];
    // Those in force, with the file or the nodes that they are about, some of which may have been ended.
    let mut in_force: Vec<(usize, File, Vec<String>)> = vec![];
    for Done { at, action, nodes } in done {
        let at = since(at);
        let verb = action.verb().map(str::to_owned);
        let ends = |(nth, file, its): &mut (usize, File, Vec<String>), episodes: &mut Vec<Episode>| {
            let begun_by = episodes[*nth].action.verb().map(str::to_owned);
            let is_ended = match (verb.as_deref(), begun_by.as_deref()) {
                // Another text takes the place of the one before.
                (None, None) => *file == action.file,
                (Some("heal"), None) => true,
                (Some("reset"), _) => true,
                (Some(verb), Some(begun_by)) => {
                    let end = ended_by(begun_by);
                    let is_end = end == Some(verb) || verb == "restart" || ended_by(verb).is_some();
                    if is_end {
                        its.retain(|node| !nodes.contains(node));
                    }
                    is_end && its.is_empty()
                }
                _ => false,
            };
            if is_ended {
                let episode = &mut episodes[*nth];
                episode.lasts = Some(at.saturating_sub(episode.at).max(Duration::from_millis(1)));
            }
            is_ended
        };
        in_force.retain_mut(|one| !ends(one, &mut episodes));
        let clears = verb.is_none() && matches!(action.words.as_str(), "" | "heal");
        let is_end = matches!(verb.as_deref(), Some("start" | "resume" | "heal"));
        if clears || is_end {
            continue;
        }
        let lasts = action.lasts_by_itself();
        if lasts {
            in_force.push((episodes.len(), action.file.clone(), nodes));
        }
        episodes.push(Episode { at, lasts: None, action });
    }
    for (nth, ..) in in_force {
        let episode = &mut episodes[nth];
        episode.lasts = Some(since(end).saturating_sub(episode.at).max(Duration::from_millis(1)));
    }
    episodes
}
