//! The content of open regular files.

use std::io::IoSlice;

use rustix::fs::{FallocateFlags, OFlags, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags};
use serde::{Deserialize, Serialize};

use super::resolve::reopen;
use super::{Fh, Passthrough, Result};
use crate::sys::{SetIdGuard, without_setid};

/// Most bytes that one request copies, so that it can't hold its thread for minutes. A short count is legal.
const COPY_AT_MOST: u64 = 64 << 20;

/// What a change of the content does to a file's setuid and setgid bits. The kernel leaves that to us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SetId {
    /// They stay, as when root writes.
    #[default]
    Kept,
    /// They go, as when anyone else does.
    Lost,
}

impl SetId {
    pub(super) fn act(self) -> Result<Option<SetIdGuard>> {
        match self {
            Self::Kept => Ok(None),
            Self::Lost => {
                without_setid().map(Some).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::PERM))
            }
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WriteMode {
    /// At the end of the file, wherever that is by now: what `O_APPEND` of the caller's descriptor means, which
    /// fcntl(2) can set and clear after the open.
    pub(crate) append: bool,
    /// What happens to the setuid and setgid bits.
    pub(crate) set_id: SetId,
}

impl Passthrough {
    /// Reads `size` bytes from `offset`; fewer only at the end of the file.
    ///
    /// # Errors
    /// `EBADF` when `fh` isn't open for reading.
    pub(crate) fn read(&self, fh: Fh, offset: u64, size: u32) -> Result<Vec<u8>> {
        let file = self.files.get(fh.0)?;
        let mut data = vec![0; size as usize];
        let mut done = 0;
        while done < data.len() {
            let at = offset.checked_add(done as u64).ok_or(Errno::INVAL)?;
            match rustix::io::pread(&file.fd, &mut data[done..], at) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(Errno::INTR) => {}
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        data.truncate(done);
        Ok(data)
    }

    /// Writes `data` at `offset`, or at the end of the file if `mode` says so, and returns how many bytes got there:
    /// fewer than all only if an error cut it short. The kernel may write back a mapped page through any handle of
    /// the file, so the flags that `fh` was opened with do not decide.
    ///
    /// # Errors
    /// `EBADF` when `fh` isn't open for writing.
    pub(crate) fn write(&self, fh: Fh, offset: u64, data: &[u8], mode: WriteMode) -> Result<usize> {
        let file = self.files.get(fh.0)?;
        let positioned = (file.append && !mode.append)
            .then(|| reopen(&file.inode.fd, file.inode.kind, OFlags::WRONLY))
            .transpose()?;
        let fd = positioned.as_ref().unwrap_or(&file.fd);
        let flags = if mode.append { ReadWriteFlags::APPEND } else { ReadWriteFlags::empty() };
        let _rights = mode.set_id.act()?;
        let mut done = 0;
        while done < data.len() {
            let at = offset.checked_add(done as u64).ok_or(Errno::FBIG)?;
            match rustix::io::pwritev2(fd, &[IoSlice::new(&data[done..])], at, flags) {
                Ok(0) => break,
                Ok(written) => done += written,
                Err(Errno::INTR) => {}
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(done)
    }

    /// Waits until the content is on the backing device, and the attributes too unless `datasync`.
    ///
    /// # Errors
    /// `EIO`, `ENOSPC` or `EDQUOT` of earlier writes.
    pub(crate) fn fsync(&self, fh: Fh, datasync: bool) -> Result<()> {
        let file = self.files.get(fh.0)?;
        if datasync { rustix::fs::fdatasync(&file.fd) } else { rustix::fs::fsync(&file.fd) }
    }

    /// Reserves or gives back room for `length` bytes from `offset`; `mode` is that of fallocate(2). `set_id`: see
    /// [`SetId`].
    ///
    /// # Errors
    /// `EOPNOTSUPP` for modes that the backing file system doesn't have.
    pub(crate) fn fallocate(&self, fh: Fh, offset: u64, length: u64, mode: i32, set_id: SetId) -> Result<()> {
        let _rights = set_id.act()?;
        let mode = FallocateFlags::from_bits_retain(mode.cast_unsigned());
        rustix::fs::fallocate(&self.files.get(fh.0)?.fd, mode, offset, length)
    }

    /// The first byte of data (`SEEK_DATA`) or of a hole (`SEEK_HOLE`) at or after `offset`.
    ///
    /// # Errors
    /// `ENXIO` when there is none or `offset` is negative, `EINVAL` for any other `whence`: those are the kernel's.
    pub(crate) fn lseek(&self, fh: Fh, offset: i64, whence: i32) -> Result<u64> {
        let file = self.files.get(fh.0)?;
        let from = u64::try_from(offset).map_err(|_| Errno::NXIO)?;
        // The position that this moves is not used: reads and writes bring their own.
        match whence {
            libc::SEEK_DATA => rustix::fs::seek(&file.fd, SeekFrom::Data(from)),
            libc::SEEK_HOLE => rustix::fs::seek(&file.fd, SeekFrom::Hole(from)),
            _ => Err(Errno::INVAL),
        }
    }

    /// Copies up to `length` bytes from one file and offset to another, inside the backing file system, and returns how
    /// many; it may be fewer, at most 64 MiB at a time. `set_id`: see [`SetId`].
    ///
    /// # Errors
    /// `EBADF` for the wrong access mode or `O_APPEND`, `EINVAL` for overlapping ranges, `EXDEV` where the file
    /// systems can't.
    pub(crate) fn copy_file_range(
        &self,
        (from, mut from_offset): (Fh, u64),
        (to, mut to_offset): (Fh, u64),
        length: u64,
        set_id: SetId,
    ) -> Result<usize> {
        let (from, to) = (self.files.get(from.0)?, self.files.get(to.0)?);
        let _rights = set_id.act()?;
        let length = usize::try_from(length.min(COPY_AT_MOST)).unwrap_or(usize::MAX);
        rustix::fs::copy_file_range(&from.fd, Some(&mut from_offset), &to.fd, Some(&mut to_offset), length)
    }
}
