//! Follows a history for the faults that are in force.

use std::path::PathBuf;

use super::clean;
use crate::history::{ClusterEvent, FaultEvent, Follower, HistoryEvent, HistoryLine};

/// Follows a history for its faults.
pub(crate) struct Faults {
    history: Follower,
    told: FaultEvent,
}

impl Faults {
    /// For the history at `path`, before anything is read.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { history: Follower::new(path), told: FaultEvent::default() }
    }

    /// Reads what is new, and says what is in force, each text without control characters. A history that cannot be read
    /// tells nothing new.
    pub(crate) fn read(&mut self) -> &FaultEvent {
        let told = &mut self.told;
        // The nodes' own files show the mount's end.
        let _ = self.history.read(|line| {
            if let Some(after) = in_force_after(line) {
                *told = after;
            }
        });
        &self.told
    }
}

/// The faults in force after a line; `None` if it changes none.
fn in_force_after(line: &[u8]) -> Option<FaultEvent> {
    let has = |word: &[u8]| line.windows(word.len()).any(|part| part == word);
    // Most lines are a test's own: spares their parsing.
    if !has(b"\"fault\"") && !has(b"\"cluster\"") {
        return None;
    }
    match HistoryLine::parse(std::str::from_utf8(line).ok()?).ok()?.event {
        HistoryEvent::Fault(mut told) => {
            told.links.iter_mut().for_each(|text| *text = clean::line(text.as_bytes()));
            Some(told)
        }
        // A mount begins and ends without faults; the engine's absence changes none.
        HistoryEvent::Cluster(ClusterEvent::Mounted { .. } | ClusterEvent::Unmounting) => Some(FaultEvent::default()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    #[test]
    fn the_last_set_told_is_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        let mut faults = Faults::new(path.clone());
        assert!(faults.read().links.is_empty(), "there is no history yet");
        let mut file = fs::File::create(&path).unwrap();
        let mut tell = |text: &str| file.write_all(text.as_bytes()).unwrap();
        tell(
            "{\"seq\":1,\"cluster\":{\"phase\":\"mounted\"}}\n{\"seq\":2,\"fault\":{\"links\":[\"i001>i002 drop\"]}}\n",
        );
        tell(
            "{\"seq\":3,\"test\":{\"fault\":{\"links\":[]},\"cluster\":0}}\n{\"seq\":4,\"cluster\":{\"phase\":\"engine lost\"}}\n",
        );
        assert_eq!(faults.read().links, ["i001>i002 drop"]);
        tell("{\"seq\":5,\"fault\":{\"links\":[\"i003>* loss 5%\",");
        assert_eq!(faults.read().links, ["i001>i002 drop"], "half a line tells nothing");
        tell("\"\\u001b[2Jx\"]}}\n");
        assert_eq!(faults.read().links, ["i003>* loss 5%", "x"]);
        tell("{\"seq\":6,\"fault\":{\"links\":[]}}\n");
        assert!(faults.read().links.is_empty());
        tell(
            "{\"seq\":7,\"fault\":{\"links\":[\"i001>i002 drop\"]}}\n{\"seq\":8,\"cluster\":{\"phase\":\"mounted\"}}\n",
        );
        assert!(faults.read().links.is_empty(), "another mount begins without");
    }
}
