//! The node's lines: to stdout, and to its log file.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the mount puts each node's log.
const LOG_DIR: &str = "/opt/app/var";

/// Writes lines, each with the time in front.
pub(super) struct Journal {
    log: Option<PathBuf>,
    /// One complaint about a log that can't be written is enough.
    complained: Cell<bool>,
}

impl Journal {
    /// With the log file given (an error if it can't be written), else with the node's own, else with stdout alone.
    pub(super) fn open(log: Option<&Path>) -> Result<Self, String> {
        let log = match log {
            Some(path) => {
                append(path).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
                Some(path.to_owned())
            }
            None => {
                let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
                own_log(Path::new(LOG_DIR), host.trim())
            }
        };
        Ok(Self { log, complained: Cell::new(false) })
    }

    /// Writes one line. A reader that went away does not stop the node.
    pub(super) fn say(&self, text: &str) {
        let line = format!("{} {text}\n", rfc3339(SystemTime::now()));
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
        let Some(path) = &self.log else { return };
        // Opened for each line: they are rare, and the user may delete or rename the file.
        if let Err(error) = append(path).and_then(|mut file| file.write_all(line.as_bytes()))
            && !self.complained.replace(true)
        {
            eprintln!("cthulhu demo: cannot write {}: {error}", path.display());
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// The log named for the host, or the only one there is: some engines give a node a host name of their own.
fn own_log(dir: &Path, host: &str) -> Option<PathBuf> {
    let named = dir.join(format!("{host}.log"));
    if named.is_file() {
        return Some(named);
    }
    let entries = fs::read_dir(dir).ok()?;
    let mut logs = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "log") && path.is_file());
    let only = logs.next()?;
    logs.next().is_none().then_some(only)
}

/// `2026-01-31T23:59:59.123Z`; times before 1970 count as 1970.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Years begin in March here, so that the leap day is the last of its year; eras are 400 years of 146,097 days.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!(
        "{:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        era * 400 + year + next,
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_rfc3339() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (68_169_599_999, "1972-02-28T23:59:59.999Z"),
            (68_169_600_000, "1972-02-29T00:00:00.000Z"),
            (946_684_799_001, "1999-12-31T23:59:59.001Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn the_log_is_the_hosts_or_the_only_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        assert_eq!(own_log(dir.path(), "i001"), None);
        fs::write(file("data.txt"), "").unwrap();
        fs::write(file("i002.log"), "").unwrap();
        assert_eq!(own_log(dir.path(), "i001"), Some(file("i002.log")));
        fs::write(file("i001.log"), "").unwrap();
        assert_eq!(own_log(dir.path(), "i001"), Some(file("i001.log")));
        assert_eq!(own_log(dir.path(), "f00d"), None, "which of the two?");
        assert_eq!(own_log(&file("missing"), "i001"), None);
    }

    #[test]
    fn lines_are_appended_even_after_the_log_was_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        fs::write(&path, "before\n").unwrap();
        let journal = Journal::open(Some(&path)).unwrap();
        journal.say("one");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("before\n") && text.ends_with("Z one\n"));
        fs::remove_file(&path).unwrap();
        journal.say("two");
        assert!(fs::read_to_string(&path).unwrap().ends_with("Z two\n"));
        assert!(Journal::open(Some(&dir.path().join("no/such"))).is_err());
    }
}
