//! Between the tree's types and fuser's.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use fuser::{FileAttr, FileType, FopenFlags, INodeNo, OpenFlags, PollEvents, Request, TimeOrNow, WriteFlags};

use crate::passthrough::{self, Caller, SetId, SetTime, WriteMode};
use crate::tree::{Attr, EntryKind};

/// Cache time of attributes whose changes are notified: for ever.
pub(crate) const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// What poll(2) says of any file here, as for a regular file.
pub(crate) const ALWAYS: PollEvents = WRITABLE.union(PollEvents::POLLIN).union(PollEvents::POLLRDNORM);
const WRITABLE: PollEvents = PollEvents::POLLOUT.union(PollEvents::POLLWRNORM);

/// What poll(2) says of a synthesized file with news or without.
pub(crate) fn poll_events(is_stream: bool, news: bool) -> PollEvents {
    match (is_stream, news) {
        (true, false) => WRITABLE,
        (true, true) | (false, false) => ALWAYS,
        // As sysfs does.
        (false, true) => ALWAYS.union(PollEvents::POLLPRI).union(PollEvents::POLLERR),
    }
}

/// A name as it came over the wire.
pub(crate) fn os(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

pub(crate) fn errno(errno: rustix::io::Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno.raw_os_error())
}

/// Whether a file opened with `flags` of open(2) can be written to.
pub(crate) fn writes(flags: i32) -> bool {
    flags & libc::O_ACCMODE != libc::O_RDONLY
}

/// A process that only reads has no delayed error to hear of when it closes the file, and must not wait for us: it
/// could not even end then. Locks do not depend on it, they are the kernel's own.
pub(crate) fn close_flags(flags: i32) -> FopenFlags {
    if writes(flags) { FopenFlags::empty() } else { FopenFlags::FOPEN_NOFLUSH }
}

/// Whether execve(2) opens the file. The kernel's flag for that (`FMODE_EXEC`) is not one of open(2)'s.
pub(crate) fn executes(flags: OpenFlags) -> bool {
    flags.0 & 0x20 != 0
}

/// Type of a file by its `S_IFMT` bits.
pub(crate) fn file_type(mode: u32) -> FileType {
    match mode & libc::S_IFMT {
        libc::S_IFDIR => FileType::Directory,
        libc::S_IFLNK => FileType::Symlink,
        libc::S_IFIFO => FileType::NamedPipe,
        libc::S_IFSOCK => FileType::Socket,
        libc::S_IFCHR => FileType::CharDevice,
        libc::S_IFBLK => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}

pub(crate) fn kind(kind: EntryKind) -> FileType {
    match kind {
        EntryKind::Directory => FileType::Directory,
        EntryKind::File => FileType::RegularFile,
        EntryKind::Link => FileType::Symlink,
    }
}

pub(crate) fn attr(attr: &Attr, uid: u32, gid: u32) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino.0),
        size: attr.size,
        blocks: attr.size.div_ceil(512),
        atime: attr.mtime,
        mtime: attr.mtime,
        ctime: attr.mtime,
        crtime: attr.mtime,
        kind: kind(attr.kind),
        perm: attr.perm,
        nlink: attr.nlink,
        uid,
        gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

pub(crate) fn backing(attr: &passthrough::Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino),
        size: attr.size,
        blocks: attr.blocks,
        atime: attr.atime,
        mtime: attr.mtime,
        ctime: attr.ctime,
        crtime: SystemTime::UNIX_EPOCH,
        kind: file_type(attr.kind),
        perm: attr.perm,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        blksize: attr.blksize,
        flags: 0,
    }
}

pub(crate) fn caller(req: &Request) -> Caller {
    Caller { uid: req.uid(), gid: req.gid(), pid: req.pid() }
}

/// What happens to the setuid and setgid bits of a file that a request changes: only root may keep them. The kernel
/// decides that itself only for writes, see [`write_mode`].
pub(crate) fn set_id(req: &Request) -> SetId {
    if req.uid() == 0 { SetId::Kept } else { SetId::Lost }
}

pub(crate) fn write_mode(write: WriteFlags, open: OpenFlags) -> WriteMode {
    // A mapped page is written to its own offset, whatever flags the handle was opened with.
    let from_page_cache = write.contains(WriteFlags::FUSE_WRITE_CACHE);
    let lost = write.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
    WriteMode {
        append: open.0 & libc::O_APPEND != 0 && !from_page_cache,
        set_id: if lost { SetId::Lost } else { SetId::Kept },
    }
}

pub(crate) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(time) => SetTime::At(as_sent(time)),
    }
}

/// The time that the kernel sent. fuser reads one before 1970 as seconds and nanoseconds that both count backwards,
/// while the nanoseconds of the kernel always count forwards.
fn as_sent(time: SystemTime) -> SystemTime {
    match SystemTime::UNIX_EPOCH.duration_since(time) {
        Ok(before) => {
            let nanos = Duration::from_nanos(2 * u64::from(before.subsec_nanos()));
            time.checked_add(nanos).unwrap_or(time)
        }
        Err(_) => time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_1970_arrives_as_sent() {
        let epoch = SystemTime::UNIX_EPOCH;
        // The kernel's (-2 s, 250 ns), as fuser hands it over.
        let handed = epoch - Duration::new(2, 250);
        assert_eq!(as_sent(handed), epoch - Duration::from_secs(2) + Duration::from_nanos(250));
        for whole in [epoch, epoch - Duration::from_secs(3), epoch + Duration::new(5, 7)] {
            assert_eq!(as_sent(whole), whole);
        }
    }
}
