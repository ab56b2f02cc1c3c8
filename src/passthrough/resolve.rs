//! From names to descriptors, never through a symlink.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use rustix::io::Errno;

use super::Result;

/// `RESOLVE_BENEATH` answers `EAGAIN` when something was renamed meanwhile.
const RESOLVE_ATTEMPTS: usize = 16;

/// Refuses what is not exactly one component: it could lead out of the directory.
pub(super) fn check_name(name: &OsStr) -> Result<()> {
    match name.as_bytes() {
        b"" => Err(Errno::NOENT),
        b"." | b".." => Err(Errno::INVAL),
        bytes if bytes.iter().any(|&byte| byte == b'/' || byte == 0) => Err(Errno::INVAL),
        _ => Ok(()),
    }
}

/// Pins the file called `name` in `parent` with an `O_PATH` descriptor: no open method runs, nothing blocks.
pub(super) fn pin(parent: impl AsFd, name: &OsStr) -> Result<OwnedFd> {
    check_name(name)?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Not across mounts: one of them may be our own, and asking ourselves would hang.
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    for _ in 0..RESOLVE_ATTEMPTS {
        match rustix::fs::openat2(&parent, name, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            // Before Linux 5.6, or a seccomp filter older than the call. One component is as safe, but for mounts.
            Err(Errno::NOSYS | Errno::PERM) => {
                return rustix::fs::openat(&parent, name, flags, Mode::empty());
            }
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// The attributes of the file behind any descriptor, `O_PATH` ones too.
pub(super) fn stat(fd: impl AsFd) -> Result<Statx> {
    rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::BTIME)
}

/// The kind of file an attribute block describes.
pub(super) fn kind_of(stat: &Statx) -> FileType {
    FileType::from_raw_mode(u32::from(stat.stx_mode))
}

/// A path that leads to exactly the file behind `fd`, even when that is a symlink or has no name any more.
pub(super) fn proc_path(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

/// Opens the pinned file again, for use. The kind of a pinned file can't change, so the check holds.
///
/// `O_NONBLOCK` makes a lease of some container's process an `EAGAIN` instead of a wait for that process.
pub(super) fn reopen(fd: impl AsFd, kind: FileType, flags: OFlags) -> Result<OwnedFd> {
    match kind {
        FileType::RegularFile if flags.contains(OFlags::DIRECTORY) => return Err(Errno::NOTDIR),
        FileType::RegularFile | FileType::Directory => {}
        FileType::Symlink => return Err(Errno::LOOP),
        // What a local file system answers for a socket.
        _ => return Err(Errno::NXIO),
    }
    let flags = flags | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let path = proc_path(fd);
    match rustix::fs::openat(CWD, path.as_str(), flags, Mode::empty()) {
        // Only a file's owner may ask for it; it is optional.
        Err(Errno::PERM) if flags.contains(OFlags::NOATIME) => {
            rustix::fs::openat(CWD, path.as_str(), flags - OFlags::NOATIME, Mode::empty())
        }
        other => other,
    }
}
