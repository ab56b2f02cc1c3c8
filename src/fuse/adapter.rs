//! The kernel's requests, one by one: to bindmounts if the inode is theirs, else to the tree.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BackingId, BsdFileFlags, CopyFileRangeFlags, FileHandle, FopenFlags, Generation, INodeNo,
    KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite,
    ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use rustix::io::Errno;
use tokio::runtime::Handle;

use super::backing::Backings;
use super::convert::{self, FOREVER, errno};
use super::negotiate::negotiate;
use super::pending;
use super::reply::{self, caught};
use crate::passthrough::{self, DirFh, OpenFile, Passthrough, SetAttr, XattrReply, owns};
use crate::sys;
use crate::tree::{Fh, Ino, Position, Tree};

/// access(2)'s bit.
const EXECUTE: u32 = libc::X_OK.cast_unsigned();

pub(crate) struct Adapter {
    tree: Tree,
    bindmounts: Arc<Passthrough>,
    runtime: Handle,
    uid: u32,
    gid: u32,
    /// Other users may use the mount, so the kernel checks permissions. Without it, all callers are our own user (fuser
    /// refuses others), and the backing file system checks our rights. Then the kernel does not ask for the attributes of
    /// each directory on a path: see docs/architecture.md.
    allow_other: bool,
    /// Files of bindmounts can be read past the page cache and still be mapped (Linux 6.6).
    direct: AtomicBool,
    backings: Backings,
}

impl Adapter {
    pub(crate) fn new(tree: Tree, bindmounts: Arc<Passthrough>, runtime: Handle, allow_other: bool) -> Self {
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let (direct, backings) = (AtomicBool::new(false), Backings::default());
        Self { tree, bindmounts, runtime, uid, gid, allow_other, direct, backings }
    }

    fn synthesized_attr(&self, ino: Ino) -> Result<(Duration, fuser::FileAttr), Errno> {
        let ttl = if self.tree.is_cacheable(ino) { FOREVER } else { Duration::ZERO };
        Ok((ttl, convert::attr(&self.tree.attr(ino)?, self.uid, self.gid)))
    }

    /// What the kernel reads and writes by itself for a file that was just opened, if it may.
    fn backing(
        &self,
        ino: u64,
        fh: passthrough::Fh,
        register: impl FnOnce(&OpenFile) -> std::io::Result<BackingId>,
    ) -> Option<Arc<BackingId>> {
        self.backings.opened(ino, || {
            // The kernel writes with the rights that we have now, whichever process writes: so drop the setuid bit.
            let _rights = sys::without_setid()?;
            register(&*self.bindmounts.file(fh)?)
        })
    }

    /// How files of bindmounts are opened, if not by the kernel itself: what a container writes must be read at once, so not from the page cache,
    /// which could not know.
    fn backing_flags(&self) -> FopenFlags {
        if self.direct.load(Ordering::Relaxed) { FopenFlags::FOPEN_DIRECT_IO } else { FopenFlags::empty() }
    }
}

macro_rules! answer {
    ($reply:ident, $result:expr) => {
        match $result {
            Ok(()) => $reply.ok(),
            Err(e) => $reply.error(errno(e)),
        }
    };
}

/// Denied everywhere but in bindmounts: the tree makes its own entries.
macro_rules! only_in_bindmounts {
    ($reply:ident, $($ino:expr),+) => {
        if $(!owns($ino.0))||+ {
            return $reply.error(fuser::Errno::EPERM);
        }
    };
}

impl fuser::Filesystem for Adapter {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let abilities = negotiate(config, self.allow_other);
        self.direct.store(abilities.direct, Ordering::Relaxed);
        if abilities.passthrough {
            self.backings.allow();
        }
        Ok(())
    }

    fn lookup(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        caught("lookup", || {
            if owns(parent.0) {
                return reply::entry(reply, self.bindmounts.lookup(parent.0, name));
            }
            match self.tree.lookup(Ino(parent.0), name, req.pid()) {
                Ok(ino) if owns(ino.0) => reply::root(reply, self.bindmounts.entry(ino.0)),
                found => match found.and_then(|ino| self.synthesized_attr(ino)) {
                    // Attributes are remembered from getattr only: news of an inode that the kernel is about to make
                    // would find none to invalidate.
                    Ok((_, attr)) => {
                        let name = if self.tree.differs_by_thread(Ino(attr.ino.0)) { Duration::ZERO } else { FOREVER };
                        reply.entry_with_ttls(&Duration::ZERO, &name, &attr, Generation(0));
                    }
                    Err(e) => reply.error(errno(e)),
                },
            }
        });
    }

    fn forget(&self, _req: &Request, ino: INodeNo, nlookup: u64) {
        if owns(ino.0) {
            caught("forget", || self.bindmounts.forget(ino.0, nlookup));
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        caught("getattr", || {
            if owns(ino.0) {
                let fh = fh.map(|fh| passthrough::Fh(fh.0));
                return match self.bindmounts.getattr(ino.0, fh) {
                    Ok(attr) => reply.attr(&Duration::ZERO, &convert::backing(&attr)),
                    Err(e) => reply.error(errno(e)),
                };
            }
            match self.synthesized_attr(Ino(ino.0)) {
                Ok((ttl, attr)) => reply.attr(&ttl, &attr),
                Err(e) => reply.error(errno(e)),
            }
        });
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        caught("setattr", || {
            if owns(ino.0) {
                let (atime, mtime) = (atime.map(convert::set_time), mtime.map(convert::set_time));
                let set = SetAttr { mode, uid, gid, size, set_id: convert::set_id(req), atime, mtime };
                return match self.bindmounts.setattr(ino.0, fh.map(|fh| passthrough::Fh(fh.0)), &set) {
                    Ok(attr) => reply.attr(&Duration::ZERO, &convert::backing(&attr)),
                    Err(e) => reply.error(errno(e)),
                };
            }
            let Ok((ttl, attr)) = self.synthesized_attr(Ino(ino.0)) else {
                return reply.error(fuser::Errno::ENOENT);
            };
            // `echo stop > control` truncates first: it succeeds, and the file says what it said.
            let truncates_only = size.is_some() && mode.is_none() && uid.is_none() && gid.is_none();
            match (truncates_only, attr.perm & 0o200 != 0) {
                (true, true) => reply.attr(&ttl, &attr),
                (true, false) => reply.error(fuser::Errno::EACCES),
                (false, _) => reply.error(fuser::Errno::EPERM),
            }
        });
    }

    /// Asked for access(2) and chdir(2), unless the kernel decides by itself.
    fn access(&self, _req: &Request, ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        caught("access", || {
            let wanted = mask.bits().cast_unsigned();
            if owns(ino.0) {
                return answer!(reply, self.bindmounts.access(ino.0, wanted));
            }
            answer!(reply, self.tree.access(Ino(ino.0), wanted, self.uid == 0));
        });
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        caught("readlink", || {
            if owns(ino.0) {
                return match self.bindmounts.readlink(ino.0) {
                    Ok(target) => reply.data(target.as_encoded_bytes()),
                    Err(e) => reply.error(errno(e)),
                };
            }
            match self.tree.readlink(Ino(ino.0)) {
                Ok(target) => reply.data(target.as_bytes()),
                Err(e) => reply.error(errno(e)),
            }
        });
    }

    fn mknod(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, rdev: u32, reply: ReplyEntry) {
        only_in_bindmounts!(reply, parent);
        caught("mknod", || {
            let mode = self.bindmounts.masked(parent.0, mode, umask);
            reply::entry(reply, self.bindmounts.mknod(convert::caller(req), parent.0, name, mode, rdev));
        });
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        only_in_bindmounts!(reply, parent);
        caught("mkdir", || {
            let mode = self.bindmounts.masked(parent.0, mode, umask);
            reply::entry(reply, self.bindmounts.mkdir(convert::caller(req), parent.0, name, mode));
        });
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        only_in_bindmounts!(reply, parent);
        caught("unlink", || answer!(reply, self.bindmounts.unlink(parent.0, name)));
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        only_in_bindmounts!(reply, parent);
        caught("rmdir", || answer!(reply, self.bindmounts.rmdir(parent.0, name)));
    }

    fn symlink(&self, req: &Request, parent: INodeNo, link_name: &OsStr, target: &Path, reply: ReplyEntry) {
        only_in_bindmounts!(reply, parent);
        caught("symlink", || {
            let target = target.as_os_str();
            reply::entry(reply, self.bindmounts.symlink(convert::caller(req), parent.0, link_name, target));
        });
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        only_in_bindmounts!(reply, parent, newparent);
        caught("rename", || {
            answer!(reply, self.bindmounts.rename(parent.0, name, newparent.0, newname, flags.bits()));
        });
    }

    fn link(&self, _req: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        only_in_bindmounts!(reply, ino, newparent);
        caught("link", || reply::entry(reply, self.bindmounts.link(ino.0, newparent.0, newname)));
    }

    fn open(&self, _req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        caught("open", || {
            if owns(ino.0) {
                let may_run = || if convert::executes(flags) { self.bindmounts.access(ino.0, EXECUTE) } else { Ok(()) };
                return match may_run().and_then(|()| self.bindmounts.open(ino.0, flags.0)) {
                    Ok(fh) => {
                        let close = convert::close_flags(flags.0);
                        match self.backing(ino.0, fh, |file| reply.open_backing(file)) {
                            Some(id) => reply.opened_passthrough(FileHandle(fh.0), close, &id),
                            None => reply.opened(FileHandle(fh.0), self.backing_flags() | close),
                        }
                    }
                    Err(e) => reply.error(errno(e)),
                };
            }
            match self.tree.open(Ino(ino.0), convert::writes(flags.0)) {
                Ok(fh) => {
                    let flags = FopenFlags::FOPEN_DIRECT_IO | convert::close_flags(flags.0);
                    reply.opened(FileHandle(fh.0), flags);
                }
                Err(e) => reply.error(errno(e)),
            }
        });
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        only_in_bindmounts!(reply, parent);
        caught("create", || {
            let mode = self.bindmounts.masked(parent.0, mode, umask);
            match self.bindmounts.create(convert::caller(req), parent.0, name, mode, flags) {
                Ok((entry, fh)) => {
                    let backing = self.backing(entry.attr.ino, fh, |file| reply.open_backing(file));
                    let (attr, generation) = (convert::backing(&entry.attr), Generation(entry.generation));
                    let (ttl, fh, close) = (Duration::ZERO, FileHandle(fh.0), convert::close_flags(flags));
                    match backing {
                        Some(id) => reply.created_passthrough(&ttl, &attr, generation, fh, close, &id),
                        None => reply.created(&ttl, &attr, generation, fh, self.backing_flags() | close),
                    }
                }
                Err(e) => reply.error(errno(e)),
            }
        });
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        caught("read", || {
            let data = if owns(ino.0) {
                self.bindmounts.read(passthrough::Fh(fh.0), offset, size)
            } else {
                self.tree.read(Fh(fh.0), offset, size as usize)
            };
            match data {
                Ok(data) => reply.data(&data),
                Err(e) => reply.error(errno(e)),
            }
        });
    }

    fn write(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        caught("write", || {
            if owns(ino.0) {
                let mode = convert::write_mode(write_flags, flags);
                return match self.bindmounts.write(passthrough::Fh(fh.0), offset, data, mode) {
                    Ok(written) => reply.written(u32::try_from(written).unwrap_or(u32::MAX)),
                    Err(e) => reply.error(errno(e)),
                };
            }
            let at = Position { offset, appends: flags.0 & libc::O_APPEND != 0 };
            pending::answer(&self.runtime, self.tree.write(Fh(fh.0), at, data), req.pid(), |result| match result {
                Ok(written) => reply.written(written),
                Err(e) => reply.error(errno(e)),
            });
        });
    }

    fn flush(&self, req: &Request, ino: INodeNo, fh: FileHandle, _lock_owner: LockOwner, reply: ReplyEmpty) {
        caught("flush", || {
            if owns(ino.0) {
                return answer!(reply, self.bindmounts.flush(passthrough::Fh(fh.0)));
            }
            pending::answer(&self.runtime, self.tree.flush(Fh(fh.0)), req.pid(), |result| {
                answer!(reply, result.map(drop));
            });
        });
    }

    fn release(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        caught("release", || {
            if owns(ino.0) {
                self.backings.released(ino.0);
                return answer!(reply, self.bindmounts.release(passthrough::Fh(fh.0)));
            }
            self.tree.release(Fh(fh.0));
            reply.ok();
        });
    }

    fn fsync(&self, _req: &Request, ino: INodeNo, fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        caught("fsync", || {
            if owns(ino.0) {
                return answer!(reply, self.bindmounts.fsync(passthrough::Fh(fh.0), datasync));
            }
            reply.ok();
        });
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        caught("opendir", || {
            if !owns(ino.0) {
                return reply.opened(FileHandle(0), FopenFlags::empty());
            }
            match self.bindmounts.opendir(ino.0) {
                Ok(fh) => reply.opened(FileHandle(fh.0), FopenFlags::empty()),
                Err(e) => reply.error(errno(e)),
            }
        });
    }

    fn readdir(&self, req: &Request, ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        caught("readdir", || {
            let listed = if owns(ino.0) {
                self.bindmounts.readdir(DirFh(fh.0), offset, |entry| {
                    reply.add(INodeNo(entry.ino), entry.next_offset, convert::file_type(entry.kind), entry.name)
                })
            } else {
                self.tree.readdir(Ino(ino.0), req.pid(), offset, |entry| {
                    reply.add(INodeNo(entry.ino.0), entry.next_offset, convert::kind(entry.kind), entry.name)
                })
            };
            answer!(reply, listed);
        });
    }

    fn releasedir(&self, _req: &Request, ino: INodeNo, fh: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        caught("releasedir", || {
            let done = if owns(ino.0) { self.bindmounts.releasedir(DirFh(fh.0)) } else { Ok(()) };
            answer!(reply, done);
        });
    }

    fn fsyncdir(&self, _req: &Request, ino: INodeNo, fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        caught("fsyncdir", || {
            let done = if owns(ino.0) { self.bindmounts.fsyncdir(DirFh(fh.0), datasync) } else { Ok(()) };
            answer!(reply, done);
        });
    }

    fn statfs(&self, _req: &Request, ino: INodeNo, reply: ReplyStatfs) {
        caught("statfs", || {
            if !owns(ino.0) {
                return reply.statfs(0, 0, 0, 0, 0, 4096, 255, 4096);
            }
            match self.bindmounts.statfs(ino.0) {
                Ok(s) => reply.statfs(s.blocks, s.bfree, s.bavail, s.files, s.ffree, s.bsize, s.namelen, s.frsize),
                Err(e) => reply.error(errno(e)),
            }
        });
    }

    fn setxattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        only_in_bindmounts!(reply, ino);
        caught("setxattr", || answer!(reply, self.bindmounts.setxattr(ino.0, name, value, flags)));
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        caught("getxattr", || {
            if !owns(ino.0) {
                // Not ENOSYS: that would turn them off for bindmounts too.
                return reply.error(fuser::Errno::ENODATA);
            }
            reply::xattr(reply, self.bindmounts.getxattr(ino.0, name, size));
        });
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        caught("listxattr", || {
            let nothing = if size == 0 { XattrReply::Size(0) } else { XattrReply::Data(vec![]) };
            let names = if owns(ino.0) { self.bindmounts.listxattr(ino.0, size, req.uid() == 0) } else { Ok(nothing) };
            reply::xattr(reply, names);
        });
    }

    fn removexattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        only_in_bindmounts!(reply, ino);
        caught("removexattr", || answer!(reply, self.bindmounts.removexattr(ino.0, name)));
    }

    fn poll(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        ph: PollNotifier,
        _events: PollEvents,
        flags: PollFlags,
        reply: ReplyPoll,
    ) {
        caught("poll", || {
            if owns(ino.0) {
                return reply.poll(convert::ALWAYS);
            }
            let wake = flags
                .contains(PollFlags::FUSE_POLL_SCHEDULE_NOTIFY)
                .then(|| -> crate::tree::Wake { Box::new(move || drop(ph.notify())) });
            match self.tree.poll(Fh(fh.0), wake) {
                Ok(news) => reply.poll(convert::poll_events(self.tree.is_stream(Ino(ino.0)), news)),
                Err(e) => reply.error(errno(e)),
            }
        });
    }

    fn fallocate(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        only_in_bindmounts!(reply, ino);
        caught("fallocate", || {
            answer!(
                reply,
                self.bindmounts.fallocate(passthrough::Fh(fh.0), offset, length, mode, convert::set_id(req))
            );
        });
    }

    fn lseek(&self, _req: &Request, ino: INodeNo, fh: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        caught("lseek", || {
            let found = if owns(ino.0) {
                self.bindmounts.lseek(passthrough::Fh(fh.0), offset, whence).map(|at| at as i64)
            } else {
                self.tree.attr(Ino(ino.0)).and_then(|attr| match whence {
                    // No holes: data up to the end, where the only hole begins.
                    libc::SEEK_DATA if (offset as u64) < attr.size => Ok(offset),
                    libc::SEEK_HOLE if (offset as u64) < attr.size => Ok(attr.size as i64),
                    libc::SEEK_DATA | libc::SEEK_HOLE => Err(Errno::NXIO),
                    _ => Err(Errno::INVAL),
                })
            };
            match found {
                Ok(at) => reply.offset(at),
                Err(e) => reply.error(errno(e)),
            }
        });
    }

    fn copy_file_range(
        &self,
        req: &Request,
        ino_in: INodeNo,
        fh_in: FileHandle,
        offset_in: u64,
        ino_out: INodeNo,
        fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        caught("copy_file_range", || {
            if !owns(ino_in.0) || !owns(ino_out.0) {
                // As between file systems: the caller reads and writes instead.
                return reply.error(fuser::Errno::EXDEV);
            }
            let (from, to) = (passthrough::Fh(fh_in.0), passthrough::Fh(fh_out.0));
            match self.bindmounts.copy_file_range((from, offset_in), (to, offset_out), len, convert::set_id(req)) {
                Ok(copied) => reply.written(u32::try_from(copied).unwrap_or(u32::MAX)),
                Err(e) => reply.error(errno(e)),
            }
        });
    }
}
