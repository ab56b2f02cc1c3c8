//! What matters of a mount's history to what works there.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use crate::daemon::Owner;
use crate::history::{ClusterEvent, Follower, HistoryEvent, HistoryLine, NemesisEvent, Object};

/// The largest number of a process or key that counts: all programs that read JSON can tell it from the next.
const LARGEST: u64 = 1 << 53;

/// Follows the history of a mount.
#[derive(Debug)]
pub(super) struct Watched {
    mountpoint: PathBuf,
    history: Follower,
    /// What tests append is of no interest: what there was at first has been read, or need not be.
    skips_tests: bool,
    pub(super) seen: SoFar,
}

/// What matters of a history so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SoFar {
    /// A schedule of faults has begun in the present mount, and is not over.
    pub(super) nemesis: bool,
    /// The process that performs the schedule, if the history tells.
    by: Option<String>,
    /// Why not all is healed after the last schedule.
    pub(super) not_healed: Option<String>,
    /// The mount is being taken down.
    unmounting: bool,
    /// The number of the last line that was read.
    pub(super) line: u64,
    /// Larger than the number of any process so far.
    pub(super) next_process: u64,
    /// Larger than the number of any key so far that is called as a workload's.
    pub(super) next_key: u64,
}

impl Watched {
    /// Reads all that the mount's history has.
    ///
    /// # Errors
    /// A sentence: it cannot be read.
    pub(super) fn begin(mountpoint: &Path) -> Result<Self> {
        let history = Follower::new(mountpoint.join("history"));
        let seen = SoFar { next_key: 1, ..SoFar::default() };
        let mut watched = Self { mountpoint: mountpoint.to_owned(), history, skips_tests: false, seen };
        watched.read()?;
        watched.skips_tests = true;
        Ok(watched)
    }

    /// Reads what is new.
    ///
    /// # Errors
    /// A sentence: the mount has gone away.
    pub(super) fn read(&mut self) -> Result<()> {
        let (seen, skips_tests) = (&mut self.seen, self.skips_tests);
        let read = self.history.read(|line| {
            let Ok(line) = std::str::from_utf8(line) else { return };
            // Most lines are the workload's own: spares their parsing.
            if skips_tests && !["\"nemesis\"", "\"cluster\""].iter().any(|kind| line.contains(kind)) {
                return;
            }
            if let Ok(line) = HistoryLine::parse(line) {
                seen.line = line.seq;
                seen.take(&line.event);
            }
        });
        read.map_err(|error| unusable(&self.mountpoint, &error))?;
        if self.seen.unmounting { Err(gone(&self.mountpoint)) } else { Ok(()) }
    }

    /// Whether a nemesis is at work. One that was killed has not said that it is over.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn has_nemesis(&mut self) -> Result<bool> {
        let is_gone = |seen: &SoFar| seen.nemesis && seen.by.as_ref().is_some_and(|by| Owner::is_gone(by, true));
        if is_gone(&self.seen) {
            // What it wrote last.
            self.read()?;
            self.seen.nemesis &= !is_gone(&self.seen);
        }
        Ok(self.seen.nemesis)
    }
}

impl SoFar {
    fn take(&mut self, event: &HistoryEvent) {
        match event {
            HistoryEvent::Cluster(ClusterEvent::Mounted { .. }) => {
                (self.nemesis, self.not_healed, self.unmounting) = (false, None, false);
            }
            HistoryEvent::Cluster(ClusterEvent::Unmounting) => self.unmounting = true,
            HistoryEvent::Nemesis(NemesisEvent::Started { by, .. }) => {
                let until_healed = Some("the nemesis has ended without healing".into());
                (self.nemesis, self.by, self.not_healed) = (true, by.clone(), until_healed);
            }
            HistoryEvent::Nemesis(NemesisEvent::Healed { error }) => self.not_healed = error.clone(),
            HistoryEvent::Nemesis(NemesisEvent::Over) => self.nemesis = false,
            HistoryEvent::Test(object) => self.take_test(object),
            _ => {}
        }
    }

    fn take_test(&mut self, object: &Object) {
        let line = object.values();
        // Larger ones are not a workload's, and there are none to go on with.
        let is_usual = |number: &u64| *number <= LARGEST;
        let process = line.get("process").and_then(serde_json::Value::as_u64).filter(is_usual);
        self.next_process = self.next_process.max(process.map_or(0, |process| process + 1));
        let key = line.get("key").and_then(|key| key.as_str()?.strip_prefix('k')?.parse::<u64>().ok()).filter(is_usual);
        self.next_key = self.next_key.max(key.map_or(0, |key| key + 1));
    }
}

/// Why a mount's history cannot be read or written; most often because the mount has gone.
pub(super) fn unusable(mountpoint: &Path, error: &io::Error) -> anyhow::Error {
    let at = mountpoint.display();
    match error.raw_os_error() {
        // EBUSY while it is being taken down.
        Some(libc::ENOTCONN | libc::ECONNABORTED | libc::ENODEV | libc::ENOENT | libc::EIO | libc::EBUSY) => {
            gone(mountpoint)
        }
        _ => anyhow!("cannot use {at}/history: {error}"),
    }
}

/// That there is no mount any more.
pub(super) fn gone(mountpoint: &Path) -> anyhow::Error {
    anyhow!("the mount {} has gone away", mountpoint.display())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    #[test]
    fn a_nemesis_is_at_work_between_started_and_over_of_the_present_mount() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = fs::File::create(dir.path().join("history")).unwrap();
        let mut tell = |text: &str| writeln!(file, "{{\"seq\":1,{text}}}").unwrap();
        let started = r#""nemesis":{"phase":"started","episodes":3}"#;
        tell(r#""cluster":{"phase":"mounted"}"#);
        tell(started);
        tell(r#""cluster":{"phase":"mounted"}"#);
        tell(r#""test":{"nemesis":{"phase":"started","episodes":3}}"#);
        let mut watched = Watched::begin(dir.path()).unwrap();
        assert!(!watched.seen.nemesis);
        tell(started);
        tell(r#""nemesis":{"phase":"healed"}"#);
        watched.read().unwrap();
        assert!(watched.seen.nemesis);
        tell(r#""nemesis":{"phase":"healed","error":"i003 has ended"}"#);
        tell(r#""nemesis":{"phase":"over"}"#);
        watched.read().unwrap();
        assert!(!watched.seen.nemesis);
        assert_eq!(watched.seen.not_healed.as_deref(), Some("i003 has ended"));
        let by = |by: &str| format!(r#""nemesis":{{"phase":"started","episodes":3,"by":"{by}"}}"#);
        let living = Owner::this_process().to_string();
        let dead = living.replacen(&std::process::id().to_string(), &u32::MAX.to_string(), 1);
        for (by, works) in [(by(&living), true), (by(&dead), false), (started.to_owned(), true)] {
            tell(&by);
            watched.read().unwrap();
            assert_eq!(watched.has_nemesis().unwrap(), works, "{by}");
            assert_eq!(watched.seen.not_healed.as_deref(), Some("the nemesis has ended without healing"));
        }
        tell(r#""cluster":{"phase":"unmounting"}"#);
        assert_eq!(
            watched.read().unwrap_err().to_string(),
            format!("the mount {} has gone away", dir.path().display())
        );
    }

    #[test]
    fn numbers_go_on_where_an_earlier_workload_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        let next = |text: &str| {
            fs::write(&path, text).unwrap();
            let seen = Watched::begin(dir.path()).unwrap().seen;
            (seen.next_process, seen.next_key)
        };
        assert_eq!(next(""), (0, 1));
        assert_eq!(
            next("{\"test\":{\"process\":12,\"key\":\"k7\"}}\n{\"test\":{\"process\":4,\"key\":\"k3\"}}\n"),
            (13, 8)
        );
        assert_eq!(
            next("{\"test\":{\"process\":\"x\",\"key\":\"kx\"}}\n{\"test\":{\"process\":-4,\"key\":5}}\n"),
            (0, 1)
        );
        assert_eq!(
            next("{\"test\":{\"process\":18446744073709551615,\"key\":\"k18446744073709551615\"}}\n"),
            (0, 1),
            "there is no larger one"
        );
    }
}
