//! Acting on files under another user's name, one thread at a time.

use std::io;
use std::marker::PhantomData;

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// While it lives, the calling thread creates files as another user; dropping it ends that.
///
/// It cannot leave its thread, because the identity is the thread's.
#[derive(Debug)]
#[must_use = "the identity ends when the guard is dropped"]
pub(crate) struct FsIdGuard {
    previous_uid: u32,
    previous_gid: u32,
    _this_thread: PhantomData<*const ()>,
}

/// Switches the calling thread's file system identity (fsuid, fsgid) to `uid` and `gid`.
///
/// The permission check itself has been made by the FUSE kernel, with all of the caller's groups, which are not
/// known here. So the capabilities that override it are kept: the identity decides who owns what is created.
///
/// # Errors
/// `EPERM` when the process may not take that identity; the thread is then as before.
pub(crate) fn set_fs_ids(uid: u32, gid: u32) -> io::Result<FsIdGuard> {
    let before = capabilities(None)?;
    let guard = act_as_user(uid, gid)?;
    let keep = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH | CapabilitySet::FSETID;
    let mut now = capabilities(None)?;
    now.effective |= before.effective & keep;
    set_capabilities(None, now)?;
    Ok(guard)
}

/// The same, and for a user other than root the capabilities that override permissions go: the thread may do with files
/// what that user and group may.
///
/// # Errors
/// As [`set_fs_ids`].
pub(crate) fn act_as_user(uid: u32, gid: u32) -> io::Result<FsIdGuard> {
    let (previous_uid, previous_gid) = fs_ids();
    // The group first: the user's change is what costs the privileges.
    change_gid(gid);
    let guard = FsIdGuard { previous_uid, previous_gid, _this_thread: PhantomData };
    change_uid(uid);
    if fs_ids() != (uid, gid) {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    Ok(guard)
}

/// The calling thread's file system identity: fsuid and fsgid.
pub(crate) fn fs_ids() -> (u32, u32) {
    // An id of -1 is never valid, so these change nothing and return the present value.
    (change_uid(u32::MAX), change_gid(u32::MAX))
}

fn change_uid(uid: u32) -> u32 {
    // SAFETY: takes a plain number, touches no memory of ours, and concerns the calling thread only.
    let previous = unsafe { libc::setfsuid(uid) };
    previous.cast_unsigned()
}

fn change_gid(gid: u32) -> u32 {
    // SAFETY: as for `change_uid`.
    let previous = unsafe { libc::setfsgid(gid) };
    previous.cast_unsigned()
}

impl Drop for FsIdGuard {
    fn drop(&mut self) {
        // Back to uid 0 the kernel raises the file system capabilities again by itself.
        change_uid(self.previous_uid);
        change_gid(self.previous_gid);
        if fs_ids() != (self.previous_uid, self.previous_gid) {
            // Continuing would let the next request run as another user.
            tracing::error!("cannot return to the daemon's own file system identity");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn our_own_identity_is_always_allowed() {
        let (uid, gid) = fs_ids();
        let guard = set_fs_ids(uid, gid).unwrap();
        assert_eq!(fs_ids(), (uid, gid));
        drop(guard);
        assert_eq!(fs_ids(), (uid, gid));
    }

    #[test]
    fn creates_as_another_and_returns() {
        let before = fs_ids();
        let capabilities_before = capabilities(None).unwrap().effective;
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        match set_fs_ids(12_345, 23_456) {
            Ok(guard) => {
                std::fs::write(dir.path().join("f"), "x").unwrap();
                drop(guard);
                let stat = std::fs::metadata(dir.path().join("f")).unwrap();
                assert_eq!((stat.uid(), stat.gid()), (12_345, 23_456));
            }
            Err(error) => {
                assert!(!rustix::process::geteuid().is_root(), "{error}");
                crate::skip::skipped("needs root");
            }
        }
        assert_eq!(fs_ids(), before);
        assert_eq!(capabilities(None).unwrap().effective, capabilities_before);
    }

    #[test]
    fn a_user_may_do_what_its_permissions_say_until_the_guard_goes() {
        if !crate::skip::is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "x").unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let before = capabilities(None).unwrap().effective;
        let guard = act_as_user(12_345, 23_456).unwrap();
        let denied = |done: io::Result<()>| assert_eq!(done.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        denied(std::fs::read(&path).map(drop));
        denied(std::fs::write(dir.path().join("new"), "x"));
        drop(guard);
        assert_eq!(capabilities(None).unwrap().effective, before);
        assert!(std::fs::read(&path).is_ok());
    }

    #[test]
    fn other_threads_keep_theirs() {
        if !crate::skip::is_root() {
            return;
        }
        let guard = set_fs_ids(12_345, 12_345).unwrap();
        assert_eq!(std::thread::spawn(fs_ids).join().unwrap().0, 12_345, "a new thread inherits");
        let (ask, asked) = std::sync::mpsc::channel::<()>();
        drop(guard);
        let other = std::thread::spawn(move || {
            asked.recv().unwrap();
            fs_ids()
        });
        let guard = set_fs_ids(12_345, 12_345).unwrap();
        ask.send(()).unwrap();
        assert_eq!(other.join().unwrap(), (0, 0));
        drop(guard);
    }
}
