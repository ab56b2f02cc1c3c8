//! Real directories, served as they are.
//!
//! Translates file operations on inode numbers into operations on descriptors of the backing files. It may touch the
//! backing directories and `sys`; it never follows a symlink, never opens anything but regular files and directories,
//! never waits for another process, and knows nothing of FUSE's types.
//!
//! The content of a backing directory is hostile: a container may replace anything at any moment. So every name is
//! resolved one component at a time to an `O_PATH` descriptor that is kept as long as the kernel knows the inode, and
//! everything else happens to that descriptor. All errors are the backing file system's own errno, unless a method says
//! otherwise; an inode number that isn't known is `ESTALE`, a handle that isn't known `EBADF`.
//!
//! Everything is done with the rights of this process. If others than its own user can reach the mount, it must be made
//! with `default_permissions`: then the kernel checks who may do what. It must always be made with `nodev` and `nosuid` (a
//! container's root can plant devices and setuid programs), and the process needs umask 0 for modes to arrive as asked.

use std::io;
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

mod attributes;
mod data;
mod directories;
mod entries;
mod files;
mod handles;
mod inodes;
mod reclaim;
mod resolve;
#[cfg(test)]
mod tests;
mod xattrs;

pub(crate) use attributes::{Attr, Owner, SetAttr, SetTime};
pub(crate) use data::{SetId, WriteMode};
pub(crate) use files::OpenFile;
pub(crate) use handles::{DirFh, Fh};
pub(crate) use inodes::owns;
pub use reclaim::Descriptors;
pub(crate) use reclaim::Name;
pub(crate) use xattrs::XattrReply;

use handles::Handles;
use inodes::Inodes;

/// Result of an operation; the error is what the caller's system call returns.
pub(crate) type Result<T> = std::result::Result<T, Errno>;

/// Who asks: the identity under which new files are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// User id, of the file system kind (fsuid).
    pub(crate) uid: u32,
    /// Group id, of the file system kind (fsgid).
    pub(crate) gid: u32,
    /// Thread id, 0 when it lives in another pid namespace.
    pub(crate) pid: u32,
}

/// What a lookup, or a creation, found. Each one is a lookup that [`Passthrough::forget`] has to undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileEntry {
    /// The file's attributes, its inode number among them.
    pub(crate) attr: Attr,
    /// Distinguishes this file from an earlier one with the same inode number.
    pub(crate) generation: u64,
}

/// Whom to ask to forget files. The implementation never blocks its caller.
pub(crate) trait KernelNotifier: Send + Sync {
    /// Drops a name, and the file with it if it is not in use: [`Passthrough::forget`] follows.
    fn forget(&self, name: Name);
}

/// Backing directories, served by inode number. See the [module](self) for its promises.
pub struct Passthrough {
    inodes: Inodes,
    kernel: OnceLock<Box<dyn KernelNotifier>>,
    files: Handles<files::OpenFile>,
    directories: Handles<directories::OpenDirectory>,
    owner_override: Option<Owner>,
    /// Our own user id; root may create files in another's name.
    uid: u32,
}

impl Passthrough {
    /// No roots yet. With `owner_override` every file is shown as owned by that owner, whatever the owner of the
    /// backing file.
    #[must_use]
    pub fn new(owner_override: Option<Owner>, descriptors: Descriptors) -> Self {
        Self {
            inodes: Inodes::new(descriptors),
            kernel: OnceLock::new(),
            files: Handles::default(),
            directories: Handles::default(),
            owner_override,
            uid: rustix::process::geteuid().as_raw(),
        }
    }

    /// Says whom to ask to forget files; the first call counts. Without anyone they are known until they are forgotten.
    pub(crate) fn connect(&self, kernel: Box<dyn KernelNotifier>) {
        let _ = self.kernel.set(kernel);
    }

    /// Registers the directory `path` and returns its inode number, the same one each time. It stays known for good,
    /// however often it is forgotten.
    ///
    /// # Errors
    /// Those of opening it; `ENOTDIR` when it is no directory.
    pub(crate) fn add_root(&self, path: &Path) -> io::Result<u64> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        let stat = resolve::stat(&fd)?;
        Ok(self.inodes.pin(fd, &stat)?.number)
    }

    /// Undoes `count` lookups of `ino`; after the last one the number is unknown. Roots stay.
    pub(crate) fn forget(&self, ino: u64, count: u64) {
        self.inodes.forget(ino, count);
    }

    /// Asks the kernel to forget files that were deleted without it: it would remember each until its memory runs short.
    pub(crate) fn forget_deleted(&self) {
        if let Some(kernel) = self.kernel.get() {
            self.inodes.deleted().into_iter().for_each(|name| kernel.forget(name));
        }
    }

    /// How many files are known at present, roots included; each costs a descriptor.
    #[cfg(test)]
    pub(crate) fn known(&self) -> usize {
        self.inodes.len()
    }
}
