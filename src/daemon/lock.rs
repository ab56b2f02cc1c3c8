//! Lock files. The process that holds one owns the directory that contains it.

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::own;

/// Asking whether a lock is held takes it for a moment. So this number of tries, this far apart, decide.
pub(crate) const PROBES: u32 = 20;
pub(crate) const PROBE_STEP: Duration = Duration::from_millis(10);

/// A lock, held for as long as this lives.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes a lock, creating the file; `None` if another process holds it.
    ///
    /// # Errors
    /// From the file system, `NotFound` among them if there is no such directory; it is not ours.
    pub(crate) fn take(path: &Path) -> io::Result<Option<Self>> {
        loop {
            let file = own::make(path)?;
            if !locked(&file, FlockOperation::NonBlockingLockExclusive) {
                return Ok(None);
            }
            // Who held it may have removed it, and the directory with it.
            if is_still_there(&file, path) {
                return Ok(Some(Self { file }));
            }
        }
    }

    /// Whether a process holds it, or this cannot be found out.
    pub(crate) fn is_held(path: &Path) -> bool {
        match own::open(path) {
            Ok(file) => !locked(&file, FlockOperation::NonBlockingLockShared),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// The same, asked once: it cannot distinguish another process that is asking from one that holds the lock.
    pub(crate) fn is_held_now(path: &Path) -> bool {
        // Shared: two who ask do not take each other for a holder.
        own::open(path).is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_err())
    }

    /// Writes what the file says of its holder.
    ///
    /// # Errors
    /// From the file system.
    pub(crate) fn say(&self, text: &str) -> io::Result<()> {
        let mut file = &self.file;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(text.as_bytes())
    }
}

/// Whether the lock that was taken is the one that others will find.
fn is_still_there(file: &File, path: &Path) -> bool {
    let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    matches!((file.metadata(), fs::symlink_metadata(path)), (Ok(held), Ok(found)) if same(&held, &found))
}

fn locked(file: &File, operation: FlockOperation) -> bool {
    (0..PROBES).any(|_| {
        let locked = flock(file, operation).is_ok();
        if !locked {
            std::thread::sleep(PROBE_STEP);
        }
        locked
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once_and_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert!(!Lock::is_held(&path) && !Lock::is_held_now(&path));
        let lock = Lock::take(&path).unwrap().unwrap();
        lock.say("one, and long\n").unwrap();
        lock.say("two\n").unwrap();
        assert_eq!(own::read(&path).unwrap(), "two\n");
        assert!(Lock::is_held(&path) && Lock::is_held_now(&path) && Lock::take(&path).unwrap().is_none());
        // A lock on a file that has another name by now, or none, counts for nothing.
        fs::rename(&path, dir.path().join("other")).unwrap();
        assert!(!Lock::is_held(&path) && Lock::take(&path).unwrap().is_some());
        drop(lock);
        assert!(Lock::take(&path).unwrap().is_some());
        // If it cannot be inspected, it does not count as free.
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        assert!(Lock::is_held(&path) && Lock::take(&path).is_err());
        assert_eq!(Lock::take(&dir.path().join("none/lock")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
