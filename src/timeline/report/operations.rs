//! The operations that an anomaly names, and those next to them on the same key, with what their lines say.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};

use crate::history::{HistoryEvent, HistoryLine};
use crate::timeline::axis::Elapsed;
use crate::timeline::operations::{Process, cut, plain, process};
use crate::timeline::verdicts::Anomaly;

/// Most rows about one anomaly.
const MOST: usize = 40;
/// So many operations before and after one that is named.
const AROUND: usize = 2;

/// An operation as its lines have it.
#[derive(Debug)]
pub(crate) struct Operation {
    /// When it began, in ns since the mount.
    pub(crate) at: i64,
    /// How long it took, in ns.
    pub(crate) took: Option<i64>,
    pub(crate) process: String,
    pub(crate) f: String,
    pub(crate) key: Option<Value>,
    /// Of the end, if that has one.
    pub(crate) value: String,
    /// How it ended: `ok`, `fail`, `info`, or `no end`.
    pub(crate) kind: String,
    pub(crate) error: String,
    /// The numbers of its lines.
    lines: [u64; 2],
}

/// All operations of a mount, in the order in which they began.
pub(crate) fn all(lines: &[HistoryLine]) -> Vec<Operation> {
    let mut all: Vec<Operation> = vec![];
    let mut pending: BTreeMap<Process, usize> = BTreeMap::new();
    let mut elapsed = Elapsed::default();
    for line in lines.iter().filter(|line| !matches!(line.event, HistoryEvent::Verdict(_))) {
        let at = elapsed.at(line.mono_ns);
        let HistoryEvent::Test(object) = &line.event else { continue };
        let members = object.values();
        let kind = text(&members, "type");
        let process = process(&members);
        let ends = matches!(kind.as_str(), "ok" | "fail" | "info");
        if ends && let Some(index) = pending.remove(&process) {
            let begun = &mut all[index];
            begun.took = Some(at.saturating_sub(begun.at));
            begun.kind = kind;
            begun.error = text(&members, "error");
            begun.lines[1] = line.seq;
            match members.get("value") {
                // A read that found nothing.
                Some(Value::Null) if begun.value.is_empty() && begun.kind == "ok" => begun.value = "null".into(),
                Some(Value::Null) | None => {}
                Some(_) => begun.value = text(&members, "value"),
            }
            continue;
        }
        let begins = kind == "invoke";
        if begins {
            pending.insert(process.clone(), all.len());
        }
        let f = ["f", "op", "operation"].into_iter().find(|name| members.contains_key(*name)).unwrap_or("f");
        all.push(Operation {
            at,
            took: None,
            process: process.to_string().trim_start_matches("process ").to_owned(),
            f: text(&members, f),
            key: members.get("key").filter(|key| !key.is_null()).cloned(),
            value: text(&members, "value"),
            kind: if begins { "no end".into() } else { kind },
            error: text(&members, "error"),
            lines: [line.seq, 0],
        });
    }
    all
}

fn text(members: &Map<String, Value>, name: &str) -> String {
    members.get(name).filter(|value| !value.is_null()).map(|value| cut(plain(value))).unwrap_or_default()
}

/// What a report shows of the operations around an anomaly.
pub(crate) struct Table<'a> {
    /// Each with whether the anomaly names it.
    pub(crate) rows: Vec<(&'a Operation, bool)>,
    /// Whether all are on one key.
    pub(crate) has_key: bool,
    /// How many that it names are left out.
    pub(crate) left_out: usize,
}

/// The operations that the anomaly names, with their neighbours on the same key.
pub(crate) fn around<'a>(all: &'a [Operation], anomaly: &Anomaly) -> Table<'a> {
    let lines: HashSet<u64> = anomaly.lines.iter().copied().filter(|line| *line > 0).collect();
    let is_named = |operation: &Operation| operation.lines.iter().any(|line| lines.contains(line));
    let first = all.iter().find(|operation| is_named(operation));
    let key = anomaly.key.as_ref().or(first.and_then(|first| first.key.as_ref()));
    let same: Vec<(&Operation, bool)> = all
        .iter()
        .map(|operation| (operation, is_named(operation)))
        .filter(|(operation, named)| *named || operation.key.as_ref() == key)
        .collect();
    let near = |index: usize| {
        let (from, to) = (index.saturating_sub(AROUND), (index + AROUND + 1).min(same.len()));
        same[from..to].iter().any(|(_, named)| *named)
    };
    let mut rows: Vec<_> = (0..same.len()).filter(|index| near(*index)).map(|index| same[index]).collect();
    let named = rows.iter().filter(|(_, named)| *named).count();
    rows.truncate(MOST);
    let shown = rows.iter().filter(|(_, named)| *named).count();
    Table { rows, has_key: key.is_some(), left_out: named - shown }
}
