//! Names in directories: finding, making, moving and removing them.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, fcntl_dupfd_cloexec};

use super::attributes::permissions;
use super::inodes::{Inode, backing_id};
use super::reclaim::Name;
use super::resolve::{check_name, pin, proc_path, stat};
use super::{Caller, FileEntry, Passthrough, Result};
use crate::sys::{FsIdGuard, set_fs_ids};

impl Passthrough {
    /// Finds `name` in the directory `parent`. Symlinks are found, not followed.
    ///
    /// # Errors
    /// `EINVAL` for `.`, `..` and names with a slash, `EXDEV` where another file system is mounted.
    pub(crate) fn lookup(&self, parent: u64, name: &OsStr) -> Result<FileEntry> {
        let parent = self.inodes.get(parent)?;
        self.enter(pin(&parent.fd, name)?, Some((&parent, name)))
    }

    /// The entry of something known, usually a root: a lookup without a name.
    ///
    /// # Errors
    /// `ESTALE` when `ino` isn't known.
    pub(crate) fn entry(&self, ino: u64) -> Result<FileEntry> {
        let known = self.inodes.get(ino)?;
        self.enter(fcntl_dupfd_cloexec(&known.fd, 0)?, None)
    }

    /// Makes the directory `name`.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup); `EEXIST` when there is something of that name.
    pub(crate) fn mkdir(&self, caller: Caller, parent: u64, name: &OsStr, mode: u32) -> Result<FileEntry> {
        check_name(name)?;
        self.inodes.check_room()?;
        let parent = self.inodes.get(parent)?;
        {
            let _identity = self.act_as(caller)?;
            rustix::fs::mkdirat(&parent.fd, name, permissions(mode))?;
        }
        self.enter(pin(&parent.fd, name)?, Some((&parent, name)))
    }

    /// Makes the empty regular file, FIFO, socket or device `name`, as the file type bits of `mode` say; `rdev` is a
    /// device's number, in the encoding of makedev(3) that both sides of FUSE share. Nothing is opened by that: what a
    /// FIFO or a socket joins is up to the kernel of who opens it, and who may make devices it has decided before.
    ///
    /// # Errors
    /// As [`mkdir`](Self::mkdir); `EPERM` for a device when we are not root.
    pub(crate) fn mknod(&self, caller: Caller, parent: u64, name: &OsStr, mode: u32, rdev: u32) -> Result<FileEntry> {
        let kind = match mode & libc::S_IFMT {
            0 | libc::S_IFREG => FileType::RegularFile,
            libc::S_IFIFO => FileType::Fifo,
            libc::S_IFSOCK => FileType::Socket,
            libc::S_IFCHR => FileType::CharacterDevice,
            libc::S_IFBLK => FileType::BlockDevice,
            libc::S_IFDIR => return Err(Errno::PERM),
            _ => return Err(Errno::INVAL),
        };
        let parent = self.inodes.get(parent)?;
        if kind == FileType::RegularFile {
            let file = self.make_file(caller, &parent, name, mode, OFlags::WRONLY)?;
            return self.enter_open(&file, &parent, name);
        }
        check_name(name)?;
        self.inodes.check_room()?;
        {
            let _identity = self.act_as(caller)?;
            rustix::fs::mknodat(&parent.fd, name, kind, permissions(mode), rdev.into())?;
        }
        self.enter(pin(&parent.fd, name)?, Some((&parent, name)))
    }

    /// The mode to request for something new in `parent`: without the bits of `umask`, unless the directory has a
    /// default ACL, which takes the umask's place.
    #[must_use]
    pub(crate) fn masked(&self, parent: u64, mode: u32, umask: u32) -> u32 {
        let has_default_acl = |parent: Arc<Inode>| {
            let path = proc_path(&parent.fd);
            rustix::fs::getxattr_query(path.as_str(), c"system.posix_acl_default").is_ok()
        };
        if umask == 0 || self.inodes.get(parent).is_ok_and(has_default_acl) { mode } else { mode & !(umask & 0o777) }
    }

    /// Makes the symlink `name` that points to `target`, which may be any bytes.
    ///
    /// # Errors
    /// As [`mkdir`](Self::mkdir).
    pub(crate) fn symlink(&self, caller: Caller, parent: u64, name: &OsStr, target: &OsStr) -> Result<FileEntry> {
        check_name(name)?;
        self.inodes.check_room()?;
        let parent = self.inodes.get(parent)?;
        {
            let _identity = self.act_as(caller)?;
            rustix::fs::symlinkat(target, &parent.fd, name)?;
        }
        self.enter(pin(&parent.fd, name)?, Some((&parent, name)))
    }

    /// Makes `name` another name of the file `ino`, of a symlink too.
    ///
    /// # Errors
    /// As [`mkdir`](Self::mkdir); `EPERM` for a directory, `ENOENT` when no name of the file is left, `EXDEV` when
    /// it is on another file system.
    pub(crate) fn link(&self, ino: u64, parent: u64, name: &OsStr) -> Result<FileEntry> {
        check_name(name)?;
        let (inode, parent) = (self.inodes.get(ino)?, self.inodes.get(parent)?);
        // AT_EMPTY_PATH would need CAP_DAC_READ_SEARCH.
        let path = proc_path(&inode.fd);
        rustix::fs::linkat(CWD, path.as_str(), &parent.fd, name, AtFlags::SYMLINK_FOLLOW)?;
        self.enter(fcntl_dupfd_cloexec(&inode.fd, 0)?, Some((&parent, name)))
    }

    /// Removes the name of a file.
    ///
    /// # Errors
    /// `EISDIR` for a directory.
    pub(crate) fn unlink(&self, parent: u64, name: &OsStr) -> Result<()> {
        check_name(name)?;
        rustix::fs::unlinkat(&self.inodes.get(parent)?.fd, name, AtFlags::empty())
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `ENOTEMPTY` when it isn't, `ENOTDIR` for a file.
    pub(crate) fn rmdir(&self, parent: u64, name: &OsStr) -> Result<()> {
        check_name(name)?;
        rustix::fs::unlinkat(&self.inodes.get(parent)?.fd, name, AtFlags::REMOVEDIR)
    }

    /// Moves `name` of `parent` to `new_name` of `new_parent`. `flags` are those of renameat2(2).
    ///
    /// # Errors
    /// `EINVAL` for unknown flags and those that the backing file system doesn't support, `EXDEV` between file
    /// systems.
    pub(crate) fn rename(
        &self,
        parent: u64,
        name: &OsStr,
        new_parent: u64,
        new_name: &OsStr,
        flags: u32,
    ) -> Result<()> {
        check_name(name)?;
        check_name(new_name)?;
        let known = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE | RenameFlags::WHITEOUT;
        if flags & !known.bits() != 0 {
            return Err(Errno::INVAL);
        }
        let (from, to) = (self.inodes.get(parent)?, self.inodes.get(new_parent)?);
        if flags == 0 {
            // Older kernels and seccomp filters know only this one.
            rustix::fs::renameat(&from.fd, name, &to.fd, new_name)?;
        } else {
            let flags = RenameFlags::from_bits_retain(flags);
            rustix::fs::renameat_with(&from.fd, name, &to.fd, new_name, flags)?;
        }
        self.note_move((&from, name), (&to, new_name));
        if flags & RenameFlags::EXCHANGE.bits() != 0 {
            self.note_move((&to, new_name), (&from, name));
        }
        Ok(())
    }

    /// Notes the name under which the kernel knows a file now. What a node has put there instead by now, if it did, is
    /// a name too many of a file that is known, and no harm.
    fn note_move(&self, old: (&Inode, &OsStr), new: (&Inode, &OsStr)) {
        if let Ok(stat) = pin(&new.0.fd, new.1).and_then(stat) {
            let name = |(parent, name): (&Inode, &OsStr)| Name { parent: parent.number, name: name.to_owned() };
            self.ask_to_forget(self.inodes.renamed(backing_id(&stat), &name(old), name(new)));
        }
    }

    /// Makes a new regular file, open and sure to be ours.
    pub(super) fn make_file(
        &self,
        caller: Caller,
        parent: &Inode,
        name: &OsStr,
        mode: u32,
        flags: OFlags,
    ) -> Result<OwnedFd> {
        check_name(name)?;
        self.inodes.check_room()?;
        let exclusive = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let _identity = self.act_as(caller)?;
        rustix::fs::openat(&parent.fd, name, flags | exclusive, permissions(mode))
    }

    /// Counts a lookup of the file behind an `O_PATH` descriptor, which was found under that name.
    pub(super) fn enter(&self, fd: OwnedFd, name: Option<(&Inode, &OsStr)>) -> Result<FileEntry> {
        let stat = stat(&fd)?;
        let name = name.map(|(parent, name)| Name { parent: parent.number, name: name.to_owned() });
        let (inode, forgettable) = self.inodes.count(fd, &stat, name)?;
        self.ask_to_forget(forgettable);
        Ok(FileEntry { attr: self.attr(inode.number, &stat), generation: inode.generation })
    }

    /// Counts a lookup of an open file, whatever its name leads to by now.
    pub(super) fn enter_open(&self, file: &OwnedFd, parent: &Inode, name: &OsStr) -> Result<FileEntry> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let path = proc_path(file);
        let fd = rustix::fs::openat(CWD, path.as_str(), flags, Mode::empty())?;
        self.enter(fd, Some((parent, name)))
    }

    fn ask_to_forget(&self, names: impl IntoIterator<Item = Name>) {
        if let Some(kernel) = self.kernel.get() {
            names.into_iter().for_each(|name| kernel.forget(name));
        }
    }

    /// Makes what this thread creates belong to the caller, as long as the guard lives, if we are root.
    fn act_as(&self, caller: Caller) -> Result<Option<FsIdGuard>> {
        if self.uid != 0 || (caller.uid, caller.gid) == (0, 0) {
            return Ok(None);
        }
        match set_fs_ids(caller.uid, caller.gid) {
            Ok(guard) => Ok(Some(guard)),
            Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::PERM)),
        }
    }
}
