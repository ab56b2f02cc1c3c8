//! What a workload writes to the history, and counts.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use super::super::follow::unusable;
use super::operation::{INIT, Kind, Operation, Outcome};
use crate::history::LONGEST_LINE;

/// Most characters of a client's own words on an error.
const LONGEST_ERROR: usize = 1000;

/// The operations of all processes, in the history of a mount: those that a model knows.
#[derive(Debug)]
pub(super) struct Journal {
    mountpoint: PathBuf,
    history: File,
    tally: RefCell<Tally>,
}

/// What became of the operations.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) ok: u64,
    pub(super) failed: u64,
    pub(super) unknown: u64,
    /// The longest that an answer took, to which operation of which process.
    pub(super) slowest: Option<(Duration, &'static str, u64)>,
}

impl Tally {
    /// How many there were.
    pub(super) fn all(&self) -> u64 {
        self.ok + self.failed + self.unknown
    }
}

/// A line, as Jepsen has it.
#[derive(Serialize)]
struct Line<'a> {
    process: u64,
    r#type: &'a str,
    f: &'a str,
    key: &'a str,
    value: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl Journal {
    /// For the cluster that is mounted at `mountpoint`.
    ///
    /// # Errors
    /// A sentence: its history cannot be written.
    pub(super) fn open(mountpoint: &Path) -> Result<Self> {
        let history = OpenOptions::new().append(true).open(mountpoint.join("history"));
        let history = history.map_err(|error| unusable(mountpoint, &error))?;
        Ok(Self { mountpoint: mountpoint.to_owned(), history, tally: RefCell::default() })
    }

    /// A process begins an operation.
    ///
    /// # Errors
    /// A sentence: the history cannot be written.
    pub(super) fn begin(&self, process: u64, operation: &Operation) -> Result<()> {
        if operation.f == INIT {
            return Ok(());
        }
        let Operation { f, key, value, .. } = operation;
        self.append(&line(&Line { process, r#type: "invoke", f, key, value: value.as_ref(), error: None }))
    }

    /// The operation has ended after `time`. Returns how, as the history has it: nobody knows of one with an answer that the
    /// history cannot hold.
    ///
    /// # Errors
    /// A sentence: the history cannot be written.
    pub(super) fn end(&self, process: u64, operation: &Operation, outcome: Outcome, time: Duration) -> Result<Outcome> {
        if operation.f == INIT {
            return Ok(outcome);
        }
        let (mut text, mut outcome) = (ended(process, operation, &outcome), outcome);
        if text.len() > LONGEST_LINE {
            outcome = Outcome::unknown(format!(
                "the answer does not fit in a line of the history, which has at most {LONGEST_LINE} bytes"
            ));
            text = ended(process, operation, &outcome);
        }
        self.append(&text)?;
        let mut tally = self.tally.borrow_mut();
        match outcome.kind {
            Kind::Ok => tally.ok += 1,
            Kind::Fail => tally.failed += 1,
            Kind::Info => tally.unknown += 1,
        }
        if outcome.kind != Kind::Info && tally.slowest.is_none_or(|(slowest, ..)| time > slowest) {
            tally.slowest = Some((time, operation.f, process));
        }
        Ok(outcome)
    }

    /// What has been counted so far.
    pub(super) fn tally(&self) -> Tally {
        self.tally.borrow().clone()
    }

    fn append(&self, line: &str) -> Result<()> {
        (&self.history).write_all(line.as_bytes()).map_err(|error| unusable(&self.mountpoint, &error))
    }
}

/// The line of an operation that has ended.
fn ended(process: u64, operation: &Operation, outcome: &Outcome) -> String {
    let r#type = match outcome.kind {
        Kind::Ok => "ok",
        Kind::Fail => "fail",
        Kind::Info => "info",
    };
    let error = outcome.error.as_ref().map(|error| error.chars().take(LONGEST_ERROR).collect::<String>());
    let value = outcome.value.as_ref().or(operation.value.as_ref());
    line(&Line { process, r#type, f: operation.f, key: &operation.key, value, error: error.as_deref() })
}

fn line(line: &Line<'_>) -> String {
    // Nothing in it can fail to be written.
    serde_json::to_string(line).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::Model;

    #[test]
    fn lines_are_as_jepsen_has_them() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("history"), "").unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        let add = Operation::new(Model::Set, "add", "k1".into(), Some(json!(7)));
        let read = Operation::new(Model::Set, "read", "k1".into(), None);
        let outcome = |kind, value, error: Option<&str>| Outcome { kind, value, error: error.map(str::to_owned) };
        let long: Vec<u64> = vec![1_000_000; 10_000];
        for (operation, outcome) in [
            (&add, outcome(Kind::Ok, None, None)),
            (&add, outcome(Kind::Fail, None, Some("no leader"))),
            (&read, outcome(Kind::Ok, Some(json!([7])), None)),
            (&read, outcome(Kind::Ok, Some(json!(long)), None)),
        ] {
            journal.begin(3, operation).unwrap();
            journal.end(3, operation, outcome, Duration::from_millis(5)).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(dir.path().join("history")).unwrap(),
            [
                r#"{"process":3,"type":"invoke","f":"add","key":"k1","value":7}"#,
                r#"{"process":3,"type":"ok","f":"add","key":"k1","value":7}"#,
                r#"{"process":3,"type":"invoke","f":"add","key":"k1","value":7}"#,
                r#"{"process":3,"type":"fail","f":"add","key":"k1","value":7,"error":"no leader"}"#,
                r#"{"process":3,"type":"invoke","f":"read","key":"k1","value":null}"#,
                r#"{"process":3,"type":"ok","f":"read","key":"k1","value":[7]}"#,
                r#"{"process":3,"type":"invoke","f":"read","key":"k1","value":null}"#,
                r#"{"process":3,"type":"info","f":"read","key":"k1","value":null,"error":"the answer does not fit in a line of the history, which has at most 65536 bytes"}"#,
                "",
            ]
            .join("\n")
        );
        let tally = journal.tally();
        assert_eq!((tally.ok, tally.failed, tally.unknown), (2, 1, 1));
    }
}
