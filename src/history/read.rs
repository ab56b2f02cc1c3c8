//! Reads a whole history, also one of an older or a later version.

use super::json::Members;
use super::{ClusterEvent, HistoryEvent, HistoryLine};

/// Why a file is no history.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// A line that is no JSON object.
    #[error("line {line} is no JSON object ({reason}): a history has one on each line")]
    NotJson {
        /// Counted from 1.
        line: usize,
        /// In the words of the JSON parser.
        reason: String,
    },
    #[error("the history is empty: nothing has happened yet")]
    Empty,
    /// Only lines of kinds that are not known here.
    #[error("there is no line of a history in it: is this the right file?")]
    NoHistory,
}

/// All lines of a file, mount by mount.
#[derive(Debug)]
pub(crate) struct RecordedHistory {
    /// At least one, none of them empty.
    pub(crate) mounts: Vec<Vec<HistoryLine>>,
    /// How many lines were passed over: their kind is unknown, or their members are not what they should be.
    pub(crate) skipped: usize,
    /// Whether the last line was cut off in the middle of being written.
    pub(crate) torn: bool,
}

impl RecordedHistory {
    /// Reads the content of a file.
    ///
    /// # Errors
    /// The first line that is no JSON object, unless it is the last and has no newline; or nothing is recorded.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut history = Self { mounts: vec![], skipped: 0, torn: false };
        for (at, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice::<Members<'_>>(line) {
                Ok(members) => history.take(&members),
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

    fn take(&mut self, members: &Members<'_>) {
        let Ok(line) = HistoryLine::of(members) else {
            self.skipped += 1;
            return;
        };
        let begins = matches!(line.event, HistoryEvent::Cluster(ClusterEvent::Mounted { .. }));
        match self.mounts.last_mut() {
            Some(mount) if !begins => mount.push(line),
            _ => self.mounts.push(vec![line]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTED: &str = r#"{"seq":1,"mono_ns":5,"cluster":{"phase":"mounted","nodes":[{"name":"i001"}]}}"#;

    fn read(text: &str) -> Result<RecordedHistory, ReadError> {
        RecordedHistory::read(text.as_bytes())
    }

    #[test]
    fn what_is_not_known_is_passed_over_and_counted() {
        let passed_over = [
            r#"{"seq":2,"weather":{}}"#,
            r#"{"state":7}"#,
            r#"{"state":{"new":1}}"#,
            r#"{"state":{"node":"i001","from":"created","to":"asleep","cause":"exit"}}"#,
            r#"{"cluster":{"phase":"moved"}}"#,
            r#"{"test":[]}"#,
            r#"{"test":{"n":1e999}}"#,
            r#"{"seq":"2","test":{}}"#,
            r#"{"test":{},"ready":{"node":"i001","ready":true}}"#,
        ];
        let history = read(&format!("{MOUNTED}\n\n{}\n", passed_over.join("\n"))).unwrap();
        assert_eq!((history.mounts[0].len(), history.skipped, history.torn), (1, passed_over.len(), false));
    }

    #[test]
    fn what_another_version_has_more_or_less_of_is_read() {
        for known in [
            r#"{"test":{}}"#,
            r#"{"test":{},"weather":{}}"#,
            r#"{"ready":{"node":"i001","ready":true,"since":5}}"#,
            r#"{"cluster":{"phase":"unmounting","why":"asked"}}"#,
            r#"{"command":{"id":1,"phase":"invoke"}}"#,
        ] {
            let history = read(&format!("{MOUNTED}\n{known}\n")).unwrap();
            assert_eq!((history.mounts[0].len(), history.skipped), (2, 0), "{known}");
        }
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
    fn a_mount_begins_with_its_first_line_whatever_came_before() {
        let test = r#"{"test":{}}"#;
        let history = read(&format!("{test}\n{MOUNTED}\n{test}\n{MOUNTED}\n")).unwrap();
        assert_eq!(history.mounts.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 1]);
    }
}
