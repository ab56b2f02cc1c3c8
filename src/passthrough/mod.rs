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
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

mod attributes;
mod data;
mod directories;
mod entries;
mod files;
mod handles;
mod inodes;
mod numbers;
mod reclaim;
mod request;
mod resolve;
#[cfg(test)]
mod tests;
/// The same over the wire, through both sides of an agent.
#[cfg(test)]
#[allow(clippy::duplicate_mod)]
#[path = "tests/mod.rs"]
mod wire_tests;
mod xattrs;

pub(crate) use attributes::{Attr, Owner, SetAttr, SetTime};
pub(crate) use data::{SetId, WriteMode};
pub(crate) use files::OpenFile;
pub(crate) use handles::{DirFh, Fh};
pub(crate) use numbers::{Elsewhere, Life, MOST_LIVES, elsewhere, owns, remote_root};
pub use reclaim::Descriptors;
pub(crate) use reclaim::Name;
pub(crate) use request::{Answer, Request};
pub(crate) use xattrs::XattrReply;

use handles::Handles;
use inodes::Inodes;
use numbers::Numbering;

/// Result of an operation; the error is what the caller's system call returns.
pub(crate) type Result<T> = std::result::Result<T, Errno>;

/// Who asks: the identity under which new files are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Caller {
    /// User id, of the file system kind (fsuid).
    pub(crate) uid: u32,
    /// Group id, of the file system kind (fsgid).
    pub(crate) gid: u32,
    /// Thread id, 0 when it lives in another pid namespace.
    pub(crate) pid: u32,
}

/// What a lookup, or a creation, found. Each one is a lookup that [`Passthrough::forget`] has to undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// With which identity access(2) is answered: the process's own, or that of the calling thread.
    access_flags: AtFlags,
}

impl Passthrough {
    /// No roots yet. With `owner_override` every file is shown as owned by that owner, whatever the owner of the
    /// backing file.
    #[must_use]
    pub fn new(owner_override: Option<Owner>, descriptors: Descriptors) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        Self::numbered(Numbering::Local, owner_override, uid, AtFlags::empty(), descriptors)
    }

    /// The same for a mount on another machine: its numbers are those of `life`. `uid` is the user under whose identity the
    /// calling threads act, which need not be the process's.
    #[must_use]
    pub(crate) fn remote(life: Life, uid: u32, descriptors: Descriptors) -> Self {
        Self::numbered(Numbering::Remote(life), None, uid, AtFlags::EACCESS, descriptors)
    }

    fn numbered(
        numbering: Numbering,
        owner_override: Option<Owner>,
        uid: u32,
        access_flags: AtFlags,
        descriptors: Descriptors,
    ) -> Self {
        Self {
            inodes: Inodes::new(numbering, descriptors),
            kernel: OnceLock::new(),
            files: Handles::default(),
            directories: Handles::default(),
            owner_override,
            uid,
            access_flags,
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
        Ok(self.pin_root(rustix::fs::openat(CWD, path, flags, Mode::empty())?, None)?)
    }

    /// Registers a directory by a number of [`remote_root`], whatever number it would get by itself.
    ///
    /// # Errors
    /// Those of statx(2).
    pub(crate) fn add_root_as(&self, directory: OwnedFd, number: u64) -> Result<()> {
        self.pin_root(directory, Some(number)).map(drop)
    }

    fn pin_root(&self, directory: OwnedFd, number: Option<u64>) -> Result<u64> {
        let stat = resolve::stat(&directory)?;
        Ok(self.inodes.pin(directory, &stat, number)?.number)
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
