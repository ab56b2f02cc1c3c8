//! Turns the test's own lines into operations: their labels, how they ended, their lanes.
//!
//! Lines like those of Jepsen (`process`, `type`, `f`, `value`) become spans from invoke to completion; any other object
//! becomes a mark.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Most lanes. A process that has ended leaves its lane to others.
const LANES: usize = 16;
/// Most characters of a label.
const LABEL: usize = 140;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperationOutcome {
    /// It succeeded, or it is a mark that does not mention failure.
    Ok,
    Failed,
    /// It may or may not have happened (Jepsen's `info`), or has never ended.
    Unknown,
}

/// One operation of the test.
#[derive(Debug)]
pub(crate) struct Operation {
    /// When it began, in ns since the mount.
    pub(crate) from: i64,
    /// When it ended, in ns since the mount; `None` if it is a mark, or never ended.
    pub(crate) to: Option<i64>,
    /// Unknown as long as it is open.
    pub(crate) outcome: OperationOutcome,
    /// Whether it began and never ended.
    pub(crate) open: bool,
    /// The line in a few words.
    pub(crate) label: String,
    /// Numbers (`seq`) of the lines of its start and its end; 0 if there is none.
    pub(crate) lines: (u64, u64),
}

impl Operation {
    /// The time at which it is counted: its end, if it has one.
    pub(crate) fn counts_at(&self) -> i64 {
        self.to.unwrap_or(self.from)
    }
}

/// Operations drawn one after the other.
#[derive(Debug)]
pub(crate) struct Lane {
    /// The process, or the first and last of several.
    pub(crate) name: String,
    /// In the order in which they began.
    pub(crate) operations: Vec<Operation>,
}

/// Collects the operations of a history, line by line.
#[derive(Default)]
pub(crate) struct Gathering {
    processes: BTreeMap<Process, Vec<Operation>>,
    pending: BTreeMap<Process, usize>,
}

/// Who did an operation. Numbers come first, then names, then the lines that name no process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Process {
    Number(i64),
    Name(String),
    None,
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "process {number}"),
            Self::Name(name) => f.write_str(name),
            Self::None => f.write_str("test"),
        }
    }
}

impl Gathering {
    /// Adds a line of the test.
    pub(crate) fn take(&mut self, at: i64, seq: u64, line: &Map<String, Value>) {
        let process = process(line);
        let kind = line.get("type").and_then(Value::as_str).map(|kind| kind.trim_start_matches(':')).unwrap_or("");
        let operations = self.processes.entry(process.clone()).or_default();
        match kind {
            "invoke" => {
                let operation = Operation {
                    from: at,
                    to: None,
                    outcome: OperationOutcome::Unknown,
                    open: true,
                    label: label(line),
                    lines: (seq, 0),
                };
                self.pending.insert(process, operations.len());
                operations.push(operation);
            }
            "ok" | "fail" | "info" if self.pending.contains_key(&process) => {
                let Some(index) = self.pending.remove(&process) else { return };
                let operation = &mut operations[index];
                operation.to = Some(at);
                operation.open = false;
                operation.lines.1 = seq;
                operation.outcome = outcome(line);
                operation.label = completed(std::mem::take(&mut operation.label), label(line));
            }
            _ => operations.push(Operation {
                from: at,
                to: None,
                outcome: outcome(line),
                open: false,
                label: label(line),
                lines: (seq, 0),
            }),
        }
    }

    /// The lanes: one for each process if there are few, else shared by processes that follow each other.
    pub(crate) fn lanes(self) -> Vec<Lane> {
        let mut builders: Vec<LaneBuilder> = vec![];
        let mut processes: Vec<_> = self.processes.into_iter().collect();
        let few = processes.len() <= LANES;
        if !few {
            processes.sort_by_key(|(_, operations)| operations.first().map(|operation| operation.from));
        }
        for (process, mut operations) in processes {
            let from = operations.first().map_or(0, |operation| operation.from);
            let to = operations.iter().map(Operation::counts_at).max().unwrap_or(from);
            let free = builders.iter().position(|slot| !few && slot.to < from);
            match free {
                Some(index) => builders[index].add(process, to, operations),
                None if builders.len() < LANES => {
                    builders.push(LaneBuilder {
                        processes: vec![process],
                        to,
                        operations: std::mem::take(&mut operations),
                    });
                }
                // More at once than there are lanes: the rest go to the last one.
                None => builders[LANES - 1].add(process, i64::MAX, operations),
            }
        }
        builders.sort_by(|a, b| a.processes.first().cmp(&b.processes.first()));
        builders.into_iter().map(LaneBuilder::lane).collect()
    }
}

struct LaneBuilder {
    processes: Vec<Process>,
    to: i64,
    operations: Vec<Operation>,
}

impl LaneBuilder {
    fn add(&mut self, process: Process, to: i64, operations: Vec<Operation>) {
        self.processes.push(process);
        self.to = self.to.max(to);
        self.operations.extend(operations);
    }

    fn lane(mut self) -> Lane {
        self.operations.sort_by_key(|operation| operation.from);
        let name = match self.processes.as_slice() {
            [_, _, ..] if self.to == i64::MAX => format!("{} others", self.processes.len()),
            [first, .., last] => format!("{first} … {}", last.to_string().trim_start_matches("process ")),
            [only] => only.to_string(),
            [] => String::new(),
        };
        Lane { name, operations: self.operations }
    }
}

pub(super) fn process(line: &Map<String, Value>) -> Process {
    let named = ["process", "client", "worker", "thread"].iter().find_map(|key| line.get(*key));
    match named {
        Some(Value::Number(number)) if number.as_i64().is_some() => {
            Process::Number(number.as_i64().unwrap_or_default())
        }
        Some(Value::String(name)) if !name.is_empty() => Process::Name(cut(name.trim_start_matches(':'))),
        _ => Process::None,
    }
}

/// Whether the line reports success.
fn outcome(line: &Map<String, Value>) -> OperationOutcome {
    let says =
        |key: &str| line.get(key).and_then(Value::as_str).map(|word| word.trim_start_matches(':').to_lowercase());
    for key in ["type", "result", "status", "outcome"] {
        match says(key).as_deref() {
            Some("fail" | "failed" | "failure" | "error") => return OperationOutcome::Failed,
            Some("info" | "unknown" | "timeout") => return OperationOutcome::Unknown,
            Some("ok" | "success" | "passed" | "pass") => return OperationOutcome::Ok,
            _ => {}
        }
    }
    let denied = ["ok", "success", "passed"].iter().any(|key| line.get(*key) == Some(&Value::Bool(false)));
    let error = line.get("error").is_some_and(|error| !matches!(error, Value::Null | Value::Bool(false)));
    if denied || error { OperationOutcome::Failed } else { OperationOutcome::Ok }
}

/// The line in a few words: first what is done, then all its other members.
fn label(line: &Map<String, Value>) -> String {
    let mut words = vec![];
    let verb =
        ["f", "op", "operation", "name", "event", "test", "msg", "message"].iter().find(|key| line.contains_key(**key));
    if let Some(verb) = verb {
        words.push(plain(&line[*verb]));
    }
    match (line.get("key"), line.get("value")) {
        (Some(key), Some(value)) => words.push(format!("{}={}", plain(key), plain(value))),
        (Some(one), None) | (None, Some(one)) if !one.is_null() => words.push(plain(one)),
        _ => {}
    }
    let told = ["key", "value", "process", "client", "worker", "thread", "type", "time", "index"];
    let rest = line.iter().filter(|(key, _)| Some(&key.as_str()) != verb && !told.contains(&key.as_str()));
    words.extend(rest.map(|(key, value)| format!("{key}: {}", plain(value))));
    if words.is_empty() {
        words.extend(line.get("type").map(plain));
    }
    let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
    cut(if words.is_empty() { "(nothing)".into() } else { words.join(" ") })
}

/// An operation's label from those of its start and its end; the end may have the value that was read.
fn completed(begin: String, end: String) -> String {
    if end.starts_with(begin.as_str()) {
        end
    } else if end == "(nothing)" || begin.starts_with(end.as_str()) {
        begin
    } else {
        cut(format!("{begin} ⇒ {end}"))
    }
}

pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.trim_start_matches(':').to_owned(),
        other => other.to_string(),
    }
}

pub(super) fn cut(text: impl Into<String>) -> String {
    let mut text = text.into();
    if let Some((at, _)) = text.char_indices().nth(LABEL) {
        text.truncate(at);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(lines: &[&str]) -> Vec<Lane> {
        let mut gathering = Gathering::default();
        for (at, line) in lines.iter().enumerate() {
            gathering.take(at as i64, 0, &serde_json::from_str(line).unwrap());
        }
        gathering.lanes()
    }

    fn told(lane: &Lane) -> Vec<(i64, Option<i64>, OperationOutcome, &str)> {
        lane.operations.iter().map(|one| (one.from, one.to, one.outcome, one.label.as_str())).collect()
    }

    #[test]
    fn begin_and_end_of_a_process_are_one_span() {
        let lanes = lanes(&[
            r#"{"process":1,"type":"invoke","f":"read","value":null}"#,
            r#"{"process":0,"type":"invoke","f":":write","value":3}"#,
            r#"{"process":1,"type":"ok","f":"read","value":7}"#,
            r#"{"process":0,"type":"fail","f":"write","value":3,"error":"timeout"}"#,
            r#"{"process":0,"type":"invoke","f":"read"}"#,
            r#"{"process":"nemesis","type":"info","f":"start"}"#,
        ]);
        let names: Vec<_> = lanes.iter().map(|lane| lane.name.as_str()).collect();
        assert_eq!(names, ["process 0", "process 1", "nemesis"]);
        assert_eq!(
            told(&lanes[0]),
            [
                (1, Some(3), OperationOutcome::Failed, "write 3 error: timeout"),
                (4, None, OperationOutcome::Unknown, "read")
            ]
        );
        assert!(lanes[0].operations[1].open);
        assert_eq!(told(&lanes[1]), [(0, Some(2), OperationOutcome::Ok, "read 7")]);
        assert_eq!(told(&lanes[2]), [(5, None, OperationOutcome::Unknown, "start")]);
    }

    #[test]
    fn other_objects_are_marks_that_may_have_failed() {
        let lanes = lanes(&[
            r#"{"op":"write","key":"x","value":1}"#,
            r#"{"op":"write","key":"x","ok":false}"#,
            r#"{"error":"no leader","node":"i002"}"#,
            r#"{"event":"elected","error":null}"#,
            "{}",
        ]);
        assert_eq!(lanes.len(), 1);
        assert_eq!(
            told(&lanes[0]),
            [
                (0, None, OperationOutcome::Ok, "write x=1"),
                (1, None, OperationOutcome::Failed, "write x ok: false"),
                (2, None, OperationOutcome::Failed, "error: no leader node: i002"),
                (3, None, OperationOutcome::Ok, "elected error: null"),
                (4, None, OperationOutcome::Ok, "(nothing)"),
            ]
        );
    }

    #[test]
    fn lanes_are_few_and_hold_everything() {
        let lines: Vec<String> = (0..400).map(|n| format!("{{\"process\":{},\"n\":{n}}}", n / 4)).collect();
        let after: Vec<&str> = lines.iter().map(String::as_str).collect();
        let one_after_the_other = lanes(&after);
        assert_eq!((one_after_the_other.len(), one_after_the_other[0].operations.len()), (1, 400));
        let lines: Vec<String> = (0..400).map(|n| format!("{{\"process\":{},\"n\":{n}}}", n % 100)).collect();
        let at_once: Vec<&str> = lines.iter().map(String::as_str).collect();
        let at_once = lanes(&at_once);
        assert_eq!(at_once.len(), LANES);
        assert_eq!(at_once.iter().map(|lane| lane.operations.len()).sum::<usize>(), 400);
    }
}
