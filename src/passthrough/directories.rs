//! Listing directories.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{AtFlags, FileType, OFlags, RawDir, SeekFrom};
use rustix::io::Errno;

use super::inodes::{Inode, Opened};
use super::resolve::reopen;
use super::{DirFh, Passthrough, Result};

/// So much of a directory is read at a time; any single entry fits.
const BATCH_BYTES: usize = 32 << 10;

/// One name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirEntry<'a> {
    /// The passthrough's inode number, the same that a lookup would give.
    pub(crate) ino: u64,
    /// Where the listing continues after this entry: the backing file system's own cookie.
    pub(crate) next_offset: u64,
    /// The `S_IFMT` bits of the file's mode.
    pub(crate) kind: u32,
    /// The name; `.` and `..` are among them.
    pub(crate) name: &'a OsStr,
}

#[derive(Debug)]
pub(super) struct OpenDirectory {
    inode: Arc<Inode>,
    stream: Mutex<Stream>,
    _counted: Opened,
}

#[derive(Debug)]
struct Stream {
    fd: OwnedFd,
    /// Read from the directory, not yet given out.
    pending: VecDeque<Pending>,
    /// The offset of the first pending entry, or of the next one to be read.
    position: u64,
}

#[derive(Debug)]
struct Pending {
    name: OsString,
    backing_ino: u64,
    kind: FileType,
    next_offset: u64,
}

impl Passthrough {
    /// Opens the directory `ino` for listing.
    ///
    /// # Errors
    /// `ENOTDIR` when it is not a directory, `ENFILE` when too much is open.
    pub(crate) fn opendir(&self, ino: u64) -> Result<DirFh> {
        let inode = self.inodes.get(ino)?;
        if inode.kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        let counted = self.inodes.opening()?;
        let fd = reopen(&inode.fd, inode.kind, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let stream = Mutex::new(Stream { fd, pending: VecDeque::new(), position: 0 });
        Ok(DirFh(self.directories.insert(OpenDirectory { inode, stream, _counted: counted })))
    }

    /// Lists from `offset`, 0 or any `next_offset`, until `take` says it is full (true); the entry that it was
    /// full at counts as not taken. At offset 0 the directory is read afresh.
    ///
    /// # Errors
    /// `EINVAL` for an offset that the backing file system never gave.
    pub(crate) fn readdir(&self, fh: DirFh, offset: u64, mut take: impl FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        let directory = self.directories.get(fh.0)?;
        let mut stream = directory.stream.lock();
        if offset == 0 || offset != stream.position {
            stream.seek(offset)?;
        }
        loop {
            if stream.pending.is_empty() && !stream.fill()? {
                return Ok(());
            }
            while let Some(entry) = stream.pending.front() {
                let next_offset = entry.next_offset;
                let full = take(DirEntry {
                    ino: self.listed_ino(&directory.inode, entry),
                    next_offset,
                    kind: entry.kind.as_raw_mode(),
                    name: &entry.name,
                });
                if full {
                    return Ok(());
                }
                stream.position = next_offset;
                stream.pending.pop_front();
            }
        }
    }

    /// Closes `fh`.
    ///
    /// # Errors
    /// `EBADF` when it isn't open.
    pub(crate) fn releasedir(&self, fh: DirFh) -> Result<()> {
        self.directories.remove(fh.0).map(drop)
    }

    /// Waits until the names in the directory are on the backing device, and its attributes too unless `datasync`.
    ///
    /// # Errors
    /// `EIO` of earlier changes.
    pub(crate) fn fsyncdir(&self, fh: DirFh, datasync: bool) -> Result<()> {
        let directory = self.directories.get(fh.0)?;
        // A descriptor of its own, because a listing may hold the lock for long.
        let fd = rustix::io::fcntl_dupfd_cloexec(&directory.stream.lock().fd, 0)?;
        if datasync { rustix::fs::fdatasync(&fd) } else { rustix::fs::fsync(&fd) }
    }

    fn listed_ino(&self, directory: &Inode, entry: &Pending) -> u64 {
        match entry.name.as_bytes() {
            b"." => directory.number,
            // What is above a root does not come from the backing file system.
            b".." if directory.is_pinned() => directory.number,
            _ => self.inodes.number((directory.backing.0, entry.backing_ino)),
        }
    }
}

impl Stream {
    fn seek(&mut self, offset: u64) -> Result<()> {
        self.pending.clear();
        self.position = match rustix::fs::seek(&self.fd, SeekFrom::Start(offset)) {
            // ext4 takes none of its own positions once the directory was removed: its length is 0 then. Nothing is left to list.
            Err(Errno::INVAL) if rustix::fs::fstat(&self.fd)?.st_nlink == 0 => offset,
            position => position?,
        };
        Ok(())
    }

    /// Reads the next entries; false at the end.
    fn fill(&mut self) -> Result<bool> {
        let mut buffer = Vec::with_capacity(BATCH_BYTES);
        let mut batch = RawDir::new(&self.fd, buffer.spare_capacity_mut());
        loop {
            match batch.next() {
                Some(Ok(entry)) => self.pending.push_back(Pending {
                    name: OsString::from_vec(entry.file_name().to_bytes().to_vec()),
                    backing_ino: entry.ino(),
                    kind: entry.file_type(),
                    next_offset: entry.next_entry_cookie(),
                }),
                // Nothing of a removed directory is left to list.
                None | Some(Err(Errno::NOENT)) => return Ok(false),
                Some(Err(errno)) => return Err(errno),
            }
            if batch.is_buffer_empty() {
                break;
            }
        }
        for entry in self.pending.iter_mut().filter(|entry| entry.kind == FileType::Unknown) {
            entry.kind = kind_by_name(&self.fd, &entry.name);
        }
        Ok(true)
    }
}

/// Some file systems don't give kinds in their listings.
fn kind_by_name(directory: &OwnedFd, name: &OsStr) -> FileType {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
        // Gone meanwhile: any kind will do.
        Err(_) => FileType::RegularFile,
    }
}
