//! Times in which a node was there and of no use: it was paused, or it ran and was not ready.

use std::collections::BTreeMap;

use super::model::{End, Incident, Node, Stay, Timeline, Weight};
use super::rough;
use crate::cluster::State;

/// A node that starts, or goes on after a pause, may be unready for so long, in ns.
const SETTLING: i64 = 1_000_000_000;
/// Shorter than this, nobody notices.
const NOTICED: i64 = 10_000_000;

/// How long something held that began at `from`.
pub(super) fn lasted(timeline: &Timeline, from: i64, to: i64) -> String {
    let time = rough(to - from);
    match timeline.end {
        End::Now if to == timeline.duration => format!("for {time} so far"),
        _ if to == timeline.duration => format!("for {time}, to the end"),
        _ => format!("for {time}"),
    }
}

/// `i001 was`, or `3 nodes were`.
fn who(timeline: &Timeline, nodes: &[usize]) -> String {
    match nodes {
        [only] => format!("{} was", timeline.nodes[*only].name),
        many => format!("{} nodes were", many.len()),
    }
}

/// Each pause. A command that paused several nodes is one incident.
pub(super) fn pauses(timeline: &Timeline) -> Vec<Incident> {
    let mut told = vec![];
    let mut asked: BTreeMap<usize, Vec<(usize, &Stay)>> = BTreeMap::new();
    for (index, node) in timeline.nodes.iter().enumerate() {
        for stay in node.stays.iter().filter(|stay| stay.state == State::Paused) {
            match stay.why.command {
                Some(command) => asked.entry(command).or_default().push((index, stay)),
                None => told.push(Incident {
                    at: stay.from,
                    weight: Weight::Surprise,
                    nodes: vec![index],
                    text: format!(
                        "{} was paused {}, not by a command",
                        node.name,
                        lasted(timeline, stay.from, stay.to)
                    ),
                }),
            }
        }
    }
    for (command, those) in asked {
        let nodes: Vec<usize> = those.iter().map(|(index, _)| *index).collect();
        let Some(from) = those.iter().map(|(_, stay)| stay.from).min() else { continue };
        let to = those.iter().map(|(_, stay)| stay.to).max().unwrap_or(from);
        let line = &timeline.commands[command].line;
        let text = format!("{} paused {} by “{line}”", who(timeline, &nodes), lasted(timeline, from, to));
        told.push(Incident { at: from, weight: Weight::Harm, nodes, text });
    }
    told
}

/// Each time in which a node that had been ready ran and was not.
pub(super) fn unready(timeline: &Timeline) -> Vec<Incident> {
    let mut told = vec![];
    for (index, node) in timeline.nodes.iter().enumerate() {
        let Some(first) = node.ready.first() else { continue };
        for (nth, stay) in
            node.stays.iter().enumerate().filter(|(_, stay)| stay.state == State::Running && stay.to > first.from)
        {
            let before = nth.checked_sub(1).map(|before| node.stays[before].state);
            let dies = node.stays.get(nth + 1).is_some();
            for (from, to) in gaps(node, stay.from.max(first.from), stay.to) {
                let starts = from == stay.from && before != Some(State::Paused);
                let least = if from == stay.from || to == stay.to && dies { SETTLING } else { NOTICED };
                // A start takes as long as it takes, unless it leads to nothing.
                if to - from < least || starts && to < stay.to {
                    continue;
                }
                let how = if starts { "ran again and did not get ready" } else { "ran and was not ready" };
                let text = format!("{} {how} {}", node.name, lasted(timeline, from, to));
                told.push(Incident { at: from, weight: Weight::Failure, nodes: vec![index], text });
            }
        }
    }
    told
}

/// The times between two moments in which a node was not ready.
fn gaps(node: &Node, from: i64, to: i64) -> Vec<(i64, i64)> {
    let mut gaps = vec![];
    let mut at = from;
    for span in node.ready.iter().filter(|span| span.to > from && span.from < to) {
        if span.from > at {
            gaps.push((at, span.from));
        }
        at = at.max(span.to);
    }
    if at < to {
        gaps.push((at, to));
    }
    gaps
}
