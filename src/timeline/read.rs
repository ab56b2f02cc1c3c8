//! Reads the lines of a history file. Kinds and members that are not known here are passed over: a later version may
//! have written them.

use serde::Deserialize;
use serde_json::{Map, Value};

/// Nobody's history is longer (30 years, in ns); sums of such times cannot overflow.
const LONGEST: u64 = 1_000_000_000_000_000_000;

/// Why a file is no history.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReadError {
    /// A line that is no JSON object.
    #[error("line {line} is no JSON object ({reason}): a history has one on each line")]
    NotJson {
        /// Counted from 1.
        line: usize,
        /// In the words of the JSON parser.
        reason: String,
    },
    /// No line at all.
    #[error("the history is empty: nothing has happened yet")]
    Empty,
    /// Only lines of kinds that are not known here.
    #[error("there is no line of a history in it: is this the right file?")]
    NoHistory,
}

/// A whole file, mount by mount.
#[derive(Debug)]
pub struct History {
    /// At least one, none of them empty.
    pub mounts: Vec<Vec<Entry>>,
    /// How many lines were passed over, as their kind is unknown or their members are not what they should be.
    pub skipped: usize,
    /// Whether the last line was cut off in the middle of being written.
    pub torn: bool,
}

/// One line.
#[derive(Debug)]
pub struct Entry {
    /// ns since the first line of its mount; never less than the entry before.
    pub at: i64,
    /// Wall time as written, RFC 3339; empty if there is none.
    pub time: String,
    /// What it tells.
    pub kind: Kind,
}

/// What a line tells.
#[derive(Debug)]
pub enum Kind {
    /// Of the cluster as a whole.
    Cluster(Cluster),
    /// A command, at its begin and at its end.
    Command(Command),
    /// A node's state has changed.
    State(State),
    /// A node's readiness has changed.
    Ready {
        /// Whose.
        node: String,
        /// To what.
        ready: bool,
    },
    /// A node's health has changed.
    Health {
        /// Whose.
        node: String,
        /// To what.
        health: String,
    },
    /// All faults in force from now on.
    Fault(Vec<String>),
    /// Whether a node's network is under control has changed.
    Sandbox {
        /// Whose.
        node: String,
        /// Why it is not; none if it is.
        lost: Option<String>,
    },
    /// What a test appended.
    Test(Map<String, Value>),
}

/// Of the cluster as a whole.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Cluster {
    /// `mounted`, `unmounting`, `engine lost`, `engine back`.
    pub phase: String,
    /// Its id.
    pub id: String,
    /// What the nodes run.
    pub image: String,
    /// Them, in order.
    pub nodes: Vec<Node>,
}

/// A node of a cluster.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its address.
    pub ip: String,
}

/// A command, at its begin or at its end.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Command {
    /// Joins begin and end.
    pub id: u64,
    /// `invoke`, `ok`, `fail`.
    pub phase: String,
    /// As it was written.
    pub line: String,
    /// None if it is no command.
    pub verb: Option<String>,
    /// Whom it concerns.
    pub nodes: Vec<String>,
    /// Name of the errno that the writer got.
    pub errno: Option<String>,
    /// The sentence in the error file.
    pub error: Option<String>,
    /// Which nodes failed, and with what, where there are several.
    pub failed: std::collections::BTreeMap<String, String>,
}

/// A change of a node's state.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct State {
    /// Whose.
    pub node: String,
    /// Before.
    pub from: Option<String>,
    /// After.
    pub to: String,
    /// `command`, `exit`, `signal`, `oom`, `engine`.
    pub cause: Option<String>,
    /// Id of the command that did it.
    pub command: Option<u64>,
    /// Of the run that ended.
    pub exit_code: Option<i64>,
    /// That ended it.
    pub signal: Option<String>,
    /// It came when the grace of a stop had run out.
    pub grace_expired: bool,
}

#[derive(Deserialize)]
struct Ready {
    node: String,
    ready: bool,
}

#[derive(Deserialize)]
struct Health {
    node: String,
    health: String,
}

#[derive(Deserialize)]
struct Sandbox {
    node: String,
    phase: String,
    #[serde(default)]
    why: String,
}

#[derive(Deserialize)]
struct Fault {
    links: Vec<String>,
}

impl History {
    /// Reads a whole file.
    ///
    /// # Errors
    /// The first line that is no JSON object, unless it is the last and has no newline; a file that tells nothing.
    pub fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut history = Self { mounts: vec![], skipped: 0, torn: false };
        let mut clock = Clock::default();
        for (at, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice::<Map<String, Value>>(line) {
                Ok(object) => history.take(object, &mut clock),
                Err(_) if !line.ends_with(b"\n") => history.torn = true,
                Err(error) => {
                    let reason = error.to_string();
                    let reason = reason.split(" at line ").next().unwrap_or_default().to_owned();
                    return Err(ReadError::NotJson { line: at + 1, reason });
                }
            }
        }
        match history.mounts.is_empty() {
            true if history.skipped > 0 => Err(ReadError::NoHistory),
            true => Err(ReadError::Empty),
            false => Ok(history),
        }
    }

    fn take(&mut self, mut object: Map<String, Value>, clock: &mut Clock) {
        let mono = object.get("mono_ns").and_then(Value::as_u64);
        let time = match object.remove("time") {
            Some(Value::String(time)) => time,
            _ => String::new(),
        };
        let Some(kind) = kind(&mut object) else {
            self.skipped += 1;
            return;
        };
        let begins = matches!(&kind, Kind::Cluster(cluster) if cluster.phase == "mounted");
        if begins || self.mounts.is_empty() {
            self.mounts.push(vec![]);
            *clock = Clock::default();
        }
        let at = clock.at(mono);
        if let Some(mount) = self.mounts.last_mut() {
            mount.push(Entry { at, time, kind });
        }
    }
}

/// Turns a mount's monotonic times into ns since its first line.
#[derive(Default)]
struct Clock {
    first: Option<u64>,
    last: i64,
}

impl Clock {
    fn at(&mut self, mono: Option<u64>) -> i64 {
        if let Some(mono) = mono {
            let since = mono.saturating_sub(*self.first.get_or_insert(mono)).min(LONGEST);
            self.last = self.last.max(since.cast_signed());
        }
        self.last
    }
}

fn kind(object: &mut Map<String, Value>) -> Option<Kind> {
    fn of<T: serde::de::DeserializeOwned>(value: Value) -> Option<T> {
        serde_json::from_value(value).ok()
    }
    let mut member = |name: &str| object.remove(name);
    if let Some(Value::Object(test)) = member("test") {
        return Some(Kind::Test(test));
    }
    if let Some(value) = member("state") {
        return of(value).map(Kind::State);
    }
    if let Some(value) = member("command") {
        return of(value).map(Kind::Command);
    }
    if let Some(value) = member("ready") {
        return of(value).map(|Ready { node, ready }| Kind::Ready { node, ready });
    }
    if let Some(value) = member("health") {
        return of(value).map(|Health { node, health }| Kind::Health { node, health });
    }
    if let Some(value) = member("fault") {
        return of(value).map(|Fault { links }| Kind::Fault(links));
    }
    if let Some(value) = member("sandbox") {
        return of(value)
            .map(|Sandbox { node, phase, why }| Kind::Sandbox { node, lost: (phase == "lost").then_some(why) });
    }
    member("cluster").and_then(of).map(Kind::Cluster)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTED: &str = r#"{"seq":1,"mono_ns":5,"cluster":{"phase":"mounted","nodes":[{"name":"i001"}]}}"#;

    fn read(text: &str) -> Result<History, ReadError> {
        History::read(text.as_bytes())
    }

    #[test]
    fn what_is_not_known_is_passed_over_and_counted() {
        let text =
            format!("{MOUNTED}\n\n{{\"seq\":2,\"weather\":{{}}}}\n{{\"state\":7}}\n{{\"state\":{{\"new\":1}}}}\n");
        let history = read(&text).unwrap();
        assert_eq!((history.mounts[0].len(), history.skipped, history.torn), (2, 2, false));
    }

    #[test]
    fn a_torn_last_line_is_no_error_another_one_is() {
        let history = read(&format!("{MOUNTED}\n{{\"seq\":2,\"mo")).unwrap();
        assert!(history.torn && history.mounts[0].len() == 1);
        for broken in ["{\"seq\":2,", "7", "[]", "no", "{} {}"] {
            let error = read(&format!("{MOUNTED}\n{broken}\n{MOUNTED}\n")).unwrap_err();
            assert!(matches!(error, ReadError::NotJson { line: 2, .. }), "{broken}: {error}");
        }
        let error = read("\u{fffd}x\n").unwrap_err().to_string();
        assert_eq!(error, "line 1 is no JSON object (expected value): a history has one on each line");
    }

    #[test]
    fn a_file_that_tells_nothing_is_an_error() {
        assert_eq!(read("").unwrap_err(), ReadError::Empty);
        assert_eq!(read("\n{\"se").unwrap_err(), ReadError::Empty);
        assert_eq!(read("{\"a\":1}\n").unwrap_err(), ReadError::NoHistory);
    }

    #[test]
    fn each_mount_has_its_own_clock_and_it_never_steps_back() {
        let later = MOUNTED.replace("\"mono_ns\":5", "\"mono_ns\":1000");
        let text =
            format!("{later}\n{}\n{}\n{MOUNTED}\n", r#"{"mono_ns":1500,"test":{}}"#, r#"{"mono_ns":1400,"test":{}}"#);
        let history = read(&text).unwrap();
        let times: Vec<Vec<i64>> =
            history.mounts.iter().map(|mount| mount.iter().map(|entry| entry.at).collect()).collect();
        assert_eq!(times, [vec![0, 500, 500], vec![0]]);
    }
}
