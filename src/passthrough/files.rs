//! Opening, making and closing regular files.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use super::inodes::{Inode, Opened};
use super::resolve::{kind_of, pin, reopen, stat};
use super::{Caller, Fh, FileEntry, Passthrough, Result};
use crate::sys::close_reporting;

/// How often a file may vanish and appear again under a creation before it gives up.
const CREATE_ATTEMPTS: usize = 16;

/// The open flags that mean something here. The others concern the name (resolved already) or the caller's own
/// descriptor; `O_DIRECT` would ask for alignment that the requests don't have.
const KEPT_FLAGS: i32 =
    libc::O_ACCMODE | libc::O_APPEND | libc::O_TRUNC | libc::O_SYNC | libc::O_DSYNC | libc::O_NOATIME;

/// A regular file in use, for as long as this is held.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(super) fd: OwnedFd,
    pub(super) inode: Arc<Inode>,
    pub(super) append: bool,
    _counted: Opened,
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Passthrough {
    /// Opens the regular file `ino`; `flags` are those of open(2). Never waits.
    ///
    /// # Errors
    /// `ELOOP` for a symlink, `ENXIO` for a FIFO, a socket or a device, `EISDIR` for a directory, `EAGAIN` while
    /// another process holds a lease on the file, `ENFILE` when too much is open.
    pub(crate) fn open(&self, ino: u64, flags: i32) -> Result<Fh> {
        let inode = self.inodes.get(ino)?;
        if inode.kind == FileType::Directory {
            return Err(Errno::ISDIR);
        }
        let counted = self.inodes.opening()?;
        let fd = reopen(&inode.fd, inode.kind, kept(flags))?;
        Ok(self.insert_file(fd, inode, flags, counted))
    }

    /// Makes the regular file `name` and opens it; without `O_EXCL` in `flags` it opens the one that is there.
    ///
    /// # Errors
    /// `EEXIST` with `O_EXCL`; for what is there, as [`open`](Self::open); `ESTALE` when it is there and the caller
    /// isn't our own user: whether they may open it hasn't been checked, so the kernel has to look again.
    pub(crate) fn create(
        &self,
        caller: Caller,
        parent: u64,
        name: &OsStr,
        mode: u32,
        flags: i32,
    ) -> Result<(FileEntry, Fh)> {
        let parent = self.inodes.get(parent)?;
        let counted = self.inodes.opening()?;
        for _ in 0..CREATE_ATTEMPTS {
            match self.make_file(caller, &parent, name, mode, kept(flags) - OFlags::TRUNC) {
                Ok(fd) => {
                    let entry = self.enter_open(&fd, &parent, name)?;
                    return self.finish_create(fd, entry, flags, counted);
                }
                Err(Errno::EXIST) if flags & libc::O_EXCL == 0 => {}
                Err(errno) => return Err(errno),
            }
            match self.open_existing(caller, &parent, name, flags) {
                // Gone again meanwhile.
                Err(Errno::NOENT) => {}
                opened => {
                    let (fd, entry) = opened?;
                    return self.finish_create(fd, entry, flags, counted);
                }
            }
        }
        Err(Errno::AGAIN)
    }

    fn open_existing(&self, caller: Caller, parent: &Inode, name: &OsStr, flags: i32) -> Result<(OwnedFd, FileEntry)> {
        let pinned = pin(&parent.fd, name)?;
        let kind = kind_of(&stat(&pinned)?);
        if kind == FileType::Directory {
            return Err(Errno::ISDIR);
        }
        if kind == FileType::RegularFile && caller.uid != self.uid {
            return Err(Errno::STALE);
        }
        let fd = reopen(&pinned, kind, kept(flags))?;
        Ok((fd, self.enter(pinned, Some((parent, name)))?))
    }

    fn finish_create(&self, fd: OwnedFd, entry: FileEntry, flags: i32, counted: Opened) -> Result<(FileEntry, Fh)> {
        // Known, because the entry counts as a lookup.
        let inode = self.inodes.get(entry.attr.ino)?;
        Ok((entry, self.insert_file(fd, inode, flags, counted)))
    }

    fn insert_file(&self, fd: OwnedFd, inode: Arc<Inode>, flags: i32, counted: Opened) -> Fh {
        let append = flags & libc::O_APPEND != 0;
        Fh(self.files.insert(OpenFile { fd, inode, append, _counted: counted }))
    }

    /// The open file itself, for the kernel to read and write.
    ///
    /// # Errors
    /// `EBADF` when `fh` isn't open.
    pub(crate) fn file(&self, fh: Fh) -> Result<Arc<OpenFile>> {
        self.files.get(fh.0)
    }

    /// One of possibly several descriptors of `fh` is closed: reports errors that the file system delayed until now.
    ///
    /// # Errors
    /// `EIO`, `ENOSPC` or `EDQUOT` of earlier writes.
    pub(crate) fn flush(&self, fh: Fh) -> Result<()> {
        let file = self.files.get(fh.0)?;
        close_reporting(rustix::io::fcntl_dupfd_cloexec(&file.fd, 0)?)
    }

    /// Closes `fh`; operations under way on it end in peace.
    ///
    /// # Errors
    /// `EBADF` when it isn't open.
    pub(crate) fn release(&self, fh: Fh) -> Result<()> {
        self.files.remove(fh.0).map(drop)
    }
}

fn kept(flags: i32) -> OFlags {
    OFlags::from_bits_retain((flags & KEPT_FLAGS).cast_unsigned())
}
