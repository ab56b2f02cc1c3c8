//! What the reader of a failed test should see first, in sentences.

use std::collections::BTreeMap;

use super::axis::SECOND;
use super::lapses::{lasted, pauses, unready};
use super::model::{End, Incident, Stay, Timeline, Weight};
use super::operations::OperationOutcome;
use super::{count, rough};
use crate::cluster::State;
use crate::control::is_orderly;
use crate::history::Cause;

/// Most incidents that are shown. Those that matter least are left out.
const MOST: usize = 10;
/// Most characters of a sentence.
const LONGEST: usize = 170;

/// The incidents that matter most, by time, and how many others there are.
pub(crate) fn of(timeline: &Timeline) -> (Vec<Incident>, usize) {
    let mut all = deaths(timeline);
    all.extend(pauses(timeline));
    all.extend(unready(timeline));
    // Most are of a command, which is told below.
    let told = failures(timeline);
    let errors = timeline.nemesis.iter().flat_map(|nemesis| &nemesis.errors);
    all.extend(errors.filter(|(at, text)| !is_told(&told, *at, text)).map(|(at, text)| Incident {
        at: *at,
        weight: Weight::Failure,
        nodes: vec![],
        text: text.clone(),
    }));
    all.extend(timeline.commands.iter().filter_map(|command| {
        let failure = command.failure.as_ref()?;
        let text = format!("command “{}” failed: {failure}", command.line);
        Some(Incident { at: command.from, weight: Weight::Failure, nodes: command.nodes.clone(), text })
    }));
    all.extend(timeline.outages.iter().map(|outage| {
        let text = format!("{} {}", outage.detail, lasted(timeline, outage.from, outage.to));
        Incident { at: outage.from, weight: Weight::Failure, nodes: vec![], text }
    }));
    all.extend(timeline.faults.iter().map(|fault| {
        let text = format!("network: {} {}", fault.text, lasted(timeline, fault.from, fault.to));
        Incident { at: fault.from, weight: Weight::Harm, nodes: vec![], text }
    }));
    for (index, node) in timeline.nodes.iter().enumerate() {
        all.extend(node.unhealthy.iter().map(|span| {
            let text = format!("{} was unhealthy {}", node.name, lasted(timeline, span.from, span.to));
            Incident { at: span.from, weight: Weight::Failure, nodes: vec![index], text }
        }));
    }
    all.extend(operations(timeline, OperationOutcome::Failed, "failed"));
    all.extend(operations(timeline, OperationOutcome::Unknown, "ended without a certain answer"));
    all.sort_by(|a, b| b.weight.cmp(&a.weight).then(a.at.cmp(&b.at)));
    let more = all.len().saturating_sub(MOST);
    all.truncate(MOST);
    all.sort_by_key(|incident| incident.at);
    for incident in &mut all {
        incident.text = one_line(&incident.text);
    }
    (all, more)
}

/// When commands failed, by time, and why.
fn failures(timeline: &Timeline) -> Vec<(i64, &str)> {
    let failed = timeline.commands.iter().filter_map(|command| Some((command.to?, command.failure.as_deref()?)));
    let mut failed: Vec<_> =
        failed.map(|(at, failure)| (at, failure.split_once(": ").map_or(failure, |of| of.1))).collect();
    failed.sort_by_key(|(at, _)| *at);
    failed
}

/// Whether a command failed for this reason just before.
fn is_told(failures: &[(i64, &str)], at: i64, error: &str) -> bool {
    let until = failures.partition_point(|(failed, _)| *failed <= at);
    let mut just = failures[..until].iter().rev().take_while(|(failed, _)| at - failed < SECOND);
    just.any(|(_, why)| !why.is_empty() && error.ends_with(why))
}

fn one_line(text: &str) -> String {
    let text = text.replace('\n', " ");
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

fn operations(timeline: &Timeline, outcome: OperationOutcome, how: &str) -> Option<Incident> {
    let all = timeline.lanes.iter().flat_map(|lane| &lane.operations);
    let those =
        || all.clone().filter(|one| one.outcome == outcome && (outcome == OperationOutcome::Failed || !one.open));
    let first = those().min_by_key(|one| one.counts_at())?;
    let (number, total) = (those().count(), timeline.operations());
    let which = if number == 1 { first.label.clone() } else { format!("first {}", first.label) };
    let of = if total == 1 {
        "the test's operation".into()
    } else {
        format!("{} of {} operations", count(number), count(total))
    };
    let weight = if outcome == OperationOutcome::Failed { Weight::Failure } else { Weight::Harm };
    Some(Incident { at: first.counts_at(), weight, nodes: vec![], text: format!("{of} {how}: {which}") })
}

/// Each time a node went down. A command that took several nodes down is one incident.
fn deaths(timeline: &Timeline) -> Vec<Incident> {
    let mut told = vec![];
    let mut asked: BTreeMap<(usize, bool), Vec<(usize, &Stay)>> = BTreeMap::new();
    for (index, node) in timeline.nodes.iter().enumerate() {
        for stay in node.stays.iter().filter(|stay| stay.is_down() && stay.from > 0) {
            match stay.why.command {
                Some(command) => asked.entry((command, stay.state == State::Exited)).or_default().push((index, stay)),
                None => told.push(Incident {
                    at: stay.from,
                    weight: if stay.why.cause == Some(Cause::Command) { Weight::Harm } else { Weight::Surprise },
                    nodes: vec![index],
                    text: format!("{} {}{}", node.name, reason(timeline, stay), back(timeline, stay)),
                }),
            }
        }
    }
    for ((command, _), those) in asked {
        let line = &timeline.commands[command].line;
        let harmless = is_orderly(line.split_whitespace().next().unwrap_or_default());
        let outlived = those.iter().filter(|(_, stay)| stay.why.grace_expired).count();
        let weight = if harmless && outlived == 0 { Weight::Asked } else { Weight::Harm };
        let nodes: Vec<usize> = those.iter().map(|(index, _)| *index).collect();
        let Some((first, stay)) = those.first() else { continue };
        let text = match nodes.len() {
            1 => format!("{} {}{}", timeline.nodes[*first].name, reason(timeline, stay), back(timeline, stay)),
            many if outlived > 0 => {
                format!("{many} nodes went down by “{line}”, {outlived} of them by SIGKILL: the grace ran out")
            }
            many => format!("{many} nodes went down by “{line}”"),
        };
        told.push(Incident { at: stay.from, weight, nodes, text });
    }
    told
}

fn back(timeline: &Timeline, stay: &Stay) -> String {
    let down = rough(stay.to - stay.from);
    match timeline.end {
        _ if stay.to < timeline.duration => format!("; back after {down}"),
        End::Now => format!("; still down after {down}"),
        _ => "; never came back".into(),
    }
}

/// How a node went down: `died by itself (exit code 1)`.
pub(crate) fn reason(timeline: &Timeline, stay: &Stay) -> String {
    let why = &stay.why;
    let code = match (&why.signal, why.exit_code) {
        (Some(signal), Some(code)) => format!("{signal}, exit code {code}"),
        (Some(signal), None) => signal.clone(),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => String::new(),
    };
    let with = |text: &str| if code.is_empty() { text.to_owned() } else { format!("{text} ({code})") };
    if let Some(command) = why.command {
        let grace = if why.grace_expired { ": its grace ran out" } else { "" };
        return with(&format!("{} by “{}”{grace}", verb(stay), timeline.commands[command].line));
    }
    match (stay.state, why.cause) {
        (State::Missing, _) => "has no container any more: it was removed outside of cthulhu".into(),
        (_, Some(Cause::Command)) => with("was ended by a command"),
        (_, Some(Cause::Oom)) => with("was killed as memory ran out"),
        (_, Some(Cause::Signal)) => with("died of a signal that no command sent"),
        (_, Some(Cause::Engine)) => with("was ended through the engine, not by a command"),
        (_, Some(Cause::Exit)) if why.exit_code == Some(0) => "ended by itself (exit code 0)".into(),
        (_, Some(Cause::Exit)) => with("died by itself"),
        (_, None) => with("went down"),
    }
}

fn verb(stay: &Stay) -> &'static str {
    if stay.state == State::Missing { "removed" } else { "down" }
}

/// The same in few words, for a bar: `exited 137 SIGKILL · kill`.
pub(crate) fn short(timeline: &Timeline, stay: &Stay) -> String {
    let mut words = vec![stay.state.to_string()];
    words.extend(stay.why.exit_code.map(|code| code.to_string()));
    words.extend(stay.why.signal.clone());
    let text = words.join(" ");
    let by = match (stay.why.command, stay.why.cause) {
        (Some(command), _) => timeline.commands[command].line.split_whitespace().next().unwrap_or_default(),
        (None, Some(Cause::Oom)) => "out of memory",
        (None, Some(Cause::Engine)) => "through the engine",
        (None, Some(Cause::Exit | Cause::Signal)) => "by itself",
        (None, Some(Cause::Command) | None) => "",
    };
    if by.is_empty() { text } else { format!("{text} · {by}") }
}
