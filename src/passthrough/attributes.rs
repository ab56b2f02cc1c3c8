//! Attributes of files, and of the file system that they are on.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{Access, AtFlags, CWD, Gid, Mode, OFlags, Statx, StatxTimestamp, Timespec, Timestamps, Uid};
use rustix::fs::{UTIME_NOW, UTIME_OMIT, makedev};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::inodes::Inode;
use super::{Fh, Passthrough, Result, SetId, resolve};

/// A user and a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// What stat(2) reports for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attr {
    /// The passthrough's inode number.
    pub(crate) ino: u64,
    /// Length in bytes.
    pub(crate) size: u64,
    /// Room taken, in units of 512 bytes.
    pub(crate) blocks: u64,
    /// Last read.
    #[serde(with = "time")]
    pub(crate) atime: SystemTime,
    /// Last change of the content.
    #[serde(with = "time")]
    pub(crate) mtime: SystemTime,
    /// Last change of content or attributes.
    #[serde(with = "time")]
    pub(crate) ctime: SystemTime,
    /// Creation; the epoch where the file system doesn't keep it.
    #[serde(with = "time")]
    pub(crate) btime: SystemTime,
    /// The `S_IFMT` bits of the mode.
    pub(crate) kind: u32,
    /// The mode without them: permissions, setuid, setgid, sticky.
    pub(crate) perm: u16,
    pub(crate) nlink: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Device number of a device file, 0 of others.
    pub(crate) rdev: u32,
    /// Preferred size of reads and writes, in bytes.
    pub(crate) blksize: u32,
}

/// A time to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SetTime {
    /// The backing file system's present time.
    Now,
    At(#[serde(with = "time")] SystemTime),
}

/// What to change of a file; `None` leaves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SetAttr {
    /// New permissions, setuid, setgid, sticky; file type bits are ignored.
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    /// New length in bytes.
    pub(crate) size: Option<u64>,
    /// What a new length does to the setuid and setgid bits.
    pub(crate) set_id: SetId,
    /// New time of the last read.
    pub(crate) atime: Option<SetTime>,
    /// New time of the last change.
    pub(crate) mtime: Option<SetTime>,
}

/// What statvfs(3) reports for a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileSystemStat {
    /// Size, in units of `frsize`.
    pub(crate) blocks: u64,
    /// Free, in units of `frsize`.
    pub(crate) bfree: u64,
    /// Free for ordinary users, in units of `frsize`.
    pub(crate) bavail: u64,
    /// Number of inodes.
    pub(crate) files: u64,
    /// Number of free inodes.
    pub(crate) ffree: u64,
    /// Preferred size of reads and writes, in bytes.
    pub(crate) bsize: u32,
    /// Longest name, in bytes.
    pub(crate) namelen: u32,
    /// Unit of the sizes above, in bytes.
    pub(crate) frsize: u32,
}

impl Passthrough {
    /// The attributes of `ino`, or of what is open as `fh` when the number isn't known any more.
    ///
    /// # Errors
    /// `ESTALE` when neither is known.
    pub(crate) fn getattr(&self, ino: u64, fh: Option<Fh>) -> Result<Attr> {
        let inode = match (self.inodes.get(ino), fh) {
            (Err(errno), Some(fh)) => Arc::clone(&self.files.get(fh.0).map_err(|_| errno)?.inode),
            (found, _) => found?,
        };
        self.attr_of(&inode)
    }

    /// Whether we may do with `ino` what `wanted` says: bits as for access(2).
    ///
    /// # Errors
    /// `EACCES` if not, `EROFS` for writing where nothing can be written.
    pub(crate) fn access(&self, ino: u64, wanted: u32) -> Result<()> {
        let path = resolve::proc_path(&self.inodes.get(ino)?.fd);
        rustix::fs::accessat(CWD, path.as_str(), Access::from_bits_retain(wanted), self.access_flags)
    }

    /// Changes attributes and returns the new ones.
    ///
    /// First length, then owner, then mode, then times: each of the first two may clear the setuid bit, the kernel's
    /// mode says what shall be left of it, and only times set last stay as they were asked for.
    ///
    /// # Errors
    /// `EISDIR` or `EINVAL` for a length of what is no regular file, `EINVAL` for an id of 2³²−1, `EOPNOTSUPP` for
    /// the mode of a symlink. What came before the failure in the order above has been done.
    pub(crate) fn setattr(&self, ino: u64, fh: Option<Fh>, set: &SetAttr) -> Result<Attr> {
        let inode = self.inodes.get(ino)?;
        if let Some(size) = set.size {
            let _rights = set.set_id.act()?;
            self.truncate(&inode, fh, size)?;
        }
        if set.uid.is_some() || set.gid.is_some() {
            if set.uid == Some(u32::MAX) || set.gid == Some(u32::MAX) {
                return Err(Errno::INVAL);
            }
            let (uid, gid) = (set.uid.map(Uid::from_raw), set.gid.map(Gid::from_raw));
            rustix::fs::chownat(&inode.fd, c"", uid, gid, AtFlags::EMPTY_PATH)?;
        }
        if let Some(mode) = set.mode {
            rustix::fs::chmod(resolve::proc_path(&inode.fd).as_str(), permissions(mode))?;
        }
        if set.atime.is_some() || set.mtime.is_some() {
            let times = Timestamps { last_access: to_timespec(set.atime), last_modification: to_timespec(set.mtime) };
            let path = resolve::proc_path(&inode.fd);
            rustix::fs::utimensat(CWD, path.as_str(), &times, AtFlags::empty())?;
        }
        self.attr_of(&inode)
    }

    fn truncate(&self, inode: &Inode, fh: Option<Fh>, size: u64) -> Result<()> {
        if let Some(fh) = fh {
            match rustix::fs::ftruncate(&self.files.get(fh.0)?.fd, size) {
                // Opened for reading with O_TRUNC, which Linux allows to anyone who may write.
                Err(Errno::BADF | Errno::INVAL) => {}
                other => return other,
            }
        }
        let fd = match resolve::reopen(&inode.fd, inode.kind, OFlags::WRONLY) {
            // A local file system says EINVAL for the length of what has none.
            Err(Errno::LOOP | Errno::NXIO) => return Err(Errno::INVAL),
            other => other?,
        };
        rustix::fs::ftruncate(fd, size)
    }

    /// Where the symlink `ino` points, as bytes that need not lead anywhere.
    ///
    /// # Errors
    /// `EINVAL` when it is no symlink.
    pub(crate) fn readlink(&self, ino: u64) -> Result<OsString> {
        let inode = self.inodes.get(ino)?;
        match rustix::fs::readlinkat(&inode.fd, c"", Vec::new()) {
            Ok(target) => Ok(OsString::from_vec(target.into_bytes())),
            // With an empty path, ENOENT means: not a symlink.
            Err(Errno::NOENT) => Err(Errno::INVAL),
            Err(errno) => Err(errno),
        }
    }

    /// Room on the file system that `ino` is on.
    ///
    /// # Errors
    /// Those of fstatvfs(3).
    pub(crate) fn statfs(&self, ino: u64) -> Result<FileSystemStat> {
        let stat = rustix::fs::fstatvfs(&self.inodes.get(ino)?.fd)?;
        let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Ok(FileSystemStat {
            blocks: stat.f_blocks,
            bfree: stat.f_bfree,
            bavail: stat.f_bavail,
            files: stat.f_files,
            ffree: stat.f_ffree,
            bsize: narrow(stat.f_bsize),
            namelen: narrow(stat.f_namemax),
            frsize: narrow(stat.f_frsize),
        })
    }

    pub(super) fn attr_of(&self, inode: &Inode) -> Result<Attr> {
        Ok(self.attr(inode.number, &resolve::stat(&inode.fd)?))
    }

    pub(super) fn attr(&self, number: u64, stat: &Statx) -> Attr {
        let backing = Owner { uid: stat.stx_uid, gid: stat.stx_gid };
        let owner = self.owner_override.unwrap_or(backing);
        let mode = u32::from(stat.stx_mode);
        Attr {
            ino: number,
            size: stat.stx_size,
            blocks: stat.stx_blocks,
            atime: to_system_time(&stat.stx_atime),
            mtime: to_system_time(&stat.stx_mtime),
            ctime: to_system_time(&stat.stx_ctime),
            btime: to_system_time(&stat.stx_btime),
            kind: mode & libc::S_IFMT,
            perm: stat.stx_mode & 0o7777,
            nlink: stat.stx_nlink,
            uid: owner.uid,
            gid: owner.gid,
            // The kernel's numbers have 12 + 20 bits: the 64-bit form of them fits into 32.
            rdev: u32::try_from(makedev(stat.stx_rdev_major, stat.stx_rdev_minor)).unwrap_or(0),
            blksize: stat.stx_blksize,
        }
    }
}

/// The permission bits of a mode, file type bits removed.
pub(super) fn permissions(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o7777)
}

fn to_system_time(time: &StatxTimestamp) -> SystemTime {
    from_epoch(time.tv_sec, time.tv_nsec)
}

/// Nanoseconds always count forwards, before 1970 too.
fn from_epoch(seconds: i64, nanos: u32) -> SystemTime {
    let span = Duration::from_secs(seconds.unsigned_abs());
    let whole = if seconds < 0 { UNIX_EPOCH.checked_sub(span) } else { UNIX_EPOCH.checked_add(span) };
    whole.and_then(|whole| whole.checked_add(Duration::from_nanos(nanos.into()))).unwrap_or(UNIX_EPOCH)
}

/// Times as seconds and nanoseconds. serde's own form has none before 1970.
mod time {
    use std::time::SystemTime;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{from_epoch, since_epoch};

    pub(super) fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        let spec = since_epoch(*time);
        (spec.tv_sec, spec.tv_nsec as u32).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let (seconds, nanos) = Deserialize::deserialize(deserializer)?;
        Ok(from_epoch(seconds, nanos))
    }
}

fn to_timespec(time: Option<SetTime>) -> Timespec {
    match time {
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        Some(SetTime::Now) => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        Some(SetTime::At(at)) => since_epoch(at),
    }
}

fn since_epoch(time: SystemTime) -> Timespec {
    let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Timespec { tv_sec: seconds(after), tv_nsec: after.subsec_nanos().into() },
        Err(error) => {
            let before = error.duration();
            match i64::from(before.subsec_nanos()) {
                0 => Timespec { tv_sec: -seconds(before), tv_nsec: 0 },
                nanos => Timespec { tv_sec: -seconds(before) - 1, tv_nsec: 1_000_000_000 - nanos },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_keep_their_nanoseconds() {
        for (seconds, nanos) in [(0, 0), (0, 1), (-1, 999_999_999), (-1, 0), (-5, 250), (1_700_000_000, 5)] {
            let epoch = UNIX_EPOCH.checked_add(Duration::from_nanos(nanos)).unwrap();
            let back = Duration::from_secs(u64::try_from(-seconds).unwrap_or(0));
            let forth = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            let spec = since_epoch(epoch - back + forth);
            assert_eq!((spec.tv_sec, spec.tv_nsec), (seconds, i64::try_from(nanos).unwrap()));
        }
    }
}
