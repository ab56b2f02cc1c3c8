//! The kernel's requests, one by one: to bindmounts if the inode is theirs, else to the tree.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, FileHandle, FopenFlags, Generation, INodeNo, KernelConfig,
    LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr,
    Request, TimeOrNow, WriteFlags,
};
use rustix::io::Errno;

use super::adapter::Adapter;
use super::convert::{self, FOREVER, errno};
use super::negotiate::negotiate;
use super::pending;
use super::reply::{self, caught};
use crate::passthrough::Request as FileRequest;
use crate::passthrough::{self, Answer, DirFh, FileEntry, SetAttr, elsewhere, owns};
use crate::tree::{Fh, Ino, Position};

/// Bytes of a listing that the kernel has room for at least: a page.
const LISTING_ROOM: u32 = 4096;
macro_rules! answer {
    ($reply:ident, $result:expr) => {
        match $result {
            Ok(()) => $reply.ok(),
            Err(e) => $reply.error(errno(e)),
        }
    };
}

/// What lies on different machines is on different file systems.
macro_rules! on_one_machine {
    ($self:ident, $reply:ident, $one:expr, $other:expr) => {
        if !$self.remote.together($one.0, $other.0) {
            return $reply.error(fuser::Errno::EXDEV);
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
                let request = FileRequest::Lookup { parent: parent.0, name: name.as_bytes() };
                return self.perform(req, parent, request, reply::entry(reply));
            }
            match self.tree.lookup(Ino(parent.0), name, req.pid()) {
                Ok(ino) if owns(ino.0) => {
                    self.perform(req, INodeNo(ino.0), FileRequest::Entry { ino: ino.0 }, reply::root(reply));
                }
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

    fn forget(&self, req: &Request, ino: INodeNo, nlookup: u64) {
        if owns(ino.0) {
            let request = FileRequest::Forget { ino: ino.0, count: nlookup };
            caught("forget", || self.perform(req, ino, request, |_, _| {}));
        }
    }

    fn getattr(&self, req: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        caught("getattr", || {
            if owns(ino.0) {
                let fh = fh.map(|fh| passthrough::Fh(fh.0));
                return self.perform(req, ino, FileRequest::Getattr { ino: ino.0, fh }, reply::attr(reply));
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
                let fh = fh.map(|fh| passthrough::Fh(fh.0));
                return self.perform(req, ino, FileRequest::Setattr { ino: ino.0, fh, set }, reply::attr(reply));
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
    fn access(&self, req: &Request, ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        caught("access", || {
            let wanted = mask.bits().cast_unsigned();
            if owns(ino.0) {
                return self.perform(req, ino, FileRequest::Access { ino: ino.0, wanted }, reply::empty(reply));
            }
            answer!(reply, self.tree.access(Ino(ino.0), wanted, self.uid == 0));
        });
    }

    fn readlink(&self, req: &Request, ino: INodeNo, reply: ReplyData) {
        caught("readlink", || {
            if owns(ino.0) {
                return self.perform(req, ino, FileRequest::Readlink { ino: ino.0 }, reply::data(reply));
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
            let (caller, parent_ino, name) = (convert::caller(req), parent.0, name.as_bytes());
            let request = FileRequest::Mknod { caller, parent: parent_ino, name, mode, umask, rdev };
            self.perform(req, parent, request, reply::entry(reply));
        });
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        only_in_bindmounts!(reply, parent);
        caught("mkdir", || {
            let (caller, name) = (convert::caller(req), name.as_bytes());
            let request = FileRequest::Mkdir { caller, parent: parent.0, name, mode, umask };
            self.perform(req, parent, request, reply::entry(reply));
        });
    }

    fn unlink(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        only_in_bindmounts!(reply, parent);
        let request = FileRequest::Unlink { parent: parent.0, name: name.as_bytes() };
        caught("unlink", || self.perform(req, parent, request, reply::empty(reply)));
    }

    fn rmdir(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        only_in_bindmounts!(reply, parent);
        let request = FileRequest::Rmdir { parent: parent.0, name: name.as_bytes() };
        caught("rmdir", || self.perform(req, parent, request, reply::empty(reply)));
    }

    fn symlink(&self, req: &Request, parent: INodeNo, link_name: &OsStr, target: &Path, reply: ReplyEntry) {
        only_in_bindmounts!(reply, parent);
        caught("symlink", || {
            let (name, target) = (link_name.as_bytes(), target.as_os_str().as_bytes());
            let request = FileRequest::Symlink { caller: convert::caller(req), parent: parent.0, name, target };
            self.perform(req, parent, request, reply::entry(reply));
        });
    }

    fn rename(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        only_in_bindmounts!(reply, parent, newparent);
        on_one_machine!(self, reply, parent, newparent);
        caught("rename", || {
            let (name, new_name, flags) = (name.as_bytes(), newname.as_bytes(), flags.bits());
            let request = FileRequest::Rename { parent: parent.0, name, new_parent: newparent.0, new_name, flags };
            self.perform(req, parent, request, reply::empty(reply));
        });
    }

    fn link(&self, req: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        only_in_bindmounts!(reply, ino, newparent);
        on_one_machine!(self, reply, ino, newparent);
        let request = FileRequest::Link { ino: ino.0, parent: newparent.0, name: newname.as_bytes() };
        caught("link", || self.perform(req, ino, request, reply::entry(reply)));
    }

    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        caught("open", || {
            if owns(ino.0) {
                let close = convert::close_flags(flags.0);
                let request = FileRequest::Open { ino: ino.0, flags: flags.0, executes: convert::executes(flags) };
                if elsewhere(ino.0).is_some() {
                    return self.perform(req, ino, request, reply::opened(reply, self.backing_flags() | close));
                }
                let done = self.bindmounts.perform(&request);
                if let Ok(Answer::Opened(fh)) = done
                    && let Some(id) = self.backing(ino.0, fh, |file| reply.open_backing(file))
                {
                    return reply.opened_passthrough(FileHandle(fh.0), close, &id);
                }
                return reply::opened(reply, self.backing_flags() | close)(done, Duration::ZERO);
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
            let (caller, name, close) = (convert::caller(req), name.as_bytes(), convert::close_flags(flags));
            let request = FileRequest::Create { caller, parent: parent.0, name, mode, umask, flags };
            if elsewhere(parent.0).is_some() {
                return self.perform(req, parent, request, reply::created(reply, self.backing_flags() | close));
            }
            let done = self.bindmounts.perform(&request);
            if let Ok(Answer::Created(FileEntry { attr, generation }, fh)) = &done
                && let Some(id) = self.backing(attr.ino, *fh, |file| reply.open_backing(file))
            {
                let (attr, generation) = (convert::backing(attr), Generation(*generation));
                let (ttl, fh) = (Duration::ZERO, FileHandle(fh.0));
                return reply.created_passthrough(&ttl, &attr, generation, fh, close, &id);
            }
            reply::created(reply, self.backing_flags() | close)(done, Duration::ZERO);
        });
    }

    fn read(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        caught("read", || {
            if owns(ino.0) {
                let request = FileRequest::Read { fh: passthrough::Fh(fh.0), offset, size };
                return self.perform(req, ino, request, reply::data(reply));
            }
            match self.tree.read(Fh(fh.0), offset, size as usize) {
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
                let request = FileRequest::Write { fh: passthrough::Fh(fh.0), offset, data, mode };
                return self.perform(req, ino, request, reply::written(reply));
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
                let request = FileRequest::Flush { fh: passthrough::Fh(fh.0) };
                return self.perform(req, ino, request, reply::empty(reply));
            }
            pending::answer(&self.runtime, self.tree.flush(Fh(fh.0)), req.pid(), |result| {
                answer!(reply, result.map(drop));
            });
        });
    }

    fn release(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        caught("release", || {
            if owns(ino.0) {
                if elsewhere(ino.0).is_none() {
                    self.backings.released(ino.0);
                }
                let request = FileRequest::Release { fh: passthrough::Fh(fh.0) };
                return self.perform(req, ino, request, reply::empty(reply));
            }
            self.tree.release(Fh(fh.0));
            reply.ok();
        });
    }

    fn fsync(&self, req: &Request, ino: INodeNo, fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        caught("fsync", || {
            if owns(ino.0) {
                let request = FileRequest::Fsync { fh: passthrough::Fh(fh.0), datasync };
                return self.perform(req, ino, request, reply::empty(reply));
            }
            reply.ok();
        });
    }

    fn opendir(&self, req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        caught("opendir", || {
            if !owns(ino.0) {
                return reply.opened(FileHandle(0), FopenFlags::empty());
            }
            let request = FileRequest::Opendir { ino: ino.0 };
            self.perform(req, ino, request, reply::opened(reply, FopenFlags::empty()));
        });
    }

    fn readdir(&self, req: &Request, ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        caught("readdir", || {
            if elsewhere(ino.0).is_some() {
                let request = FileRequest::Readdir { fh: DirFh(fh.0), offset, room: LISTING_ROOM };
                return self.perform(req, ino, request, reply::listing(reply));
            }
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

    fn releasedir(&self, req: &Request, ino: INodeNo, fh: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        caught("releasedir", || {
            if !owns(ino.0) {
                return reply.ok();
            }
            self.perform(req, ino, FileRequest::Releasedir { fh: DirFh(fh.0) }, reply::empty(reply));
        });
    }

    fn fsyncdir(&self, req: &Request, ino: INodeNo, fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        caught("fsyncdir", || {
            if !owns(ino.0) {
                return reply.ok();
            }
            self.perform(req, ino, FileRequest::Fsyncdir { fh: DirFh(fh.0), datasync }, reply::empty(reply));
        });
    }

    fn statfs(&self, req: &Request, ino: INodeNo, reply: ReplyStatfs) {
        caught("statfs", || {
            if !owns(ino.0) {
                return reply.statfs(0, 0, 0, 0, 0, 4096, 255, 4096);
            }
            self.perform(req, ino, FileRequest::Statfs { ino: ino.0 }, reply::file_system(reply));
        });
    }

    fn setxattr(
        &self,
        req: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        only_in_bindmounts!(reply, ino);
        let request = FileRequest::Setxattr { ino: ino.0, name: name.as_bytes(), value, flags };
        caught("setxattr", || self.perform(req, ino, request, reply::empty(reply)));
    }

    fn getxattr(&self, req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        caught("getxattr", || {
            if !owns(ino.0) {
                // Not ENOSYS: that would turn them off for bindmounts too.
                return reply.error(fuser::Errno::ENODATA);
            }
            let request = FileRequest::Getxattr { ino: ino.0, name: name.as_bytes(), size };
            self.perform(req, ino, request, reply::xattr(reply));
        });
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        caught("listxattr", || {
            if !owns(ino.0) {
                return if size == 0 { reply.size(0) } else { reply.data(&[]) };
            }
            let request = FileRequest::Listxattr { ino: ino.0, size, privileged: req.uid() == 0 };
            self.perform(req, ino, request, reply::xattr(reply));
        });
    }

    fn removexattr(&self, req: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        only_in_bindmounts!(reply, ino);
        let request = FileRequest::Removexattr { ino: ino.0, name: name.as_bytes() };
        caught("removexattr", || self.perform(req, ino, request, reply::empty(reply)));
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
        let (fh, set_id) = (passthrough::Fh(fh.0), convert::set_id(req));
        let request = FileRequest::Fallocate { fh, offset, length, mode, set_id };
        caught("fallocate", || self.perform(req, ino, request, reply::empty(reply)));
    }

    fn lseek(&self, req: &Request, ino: INodeNo, fh: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        caught("lseek", || {
            if owns(ino.0) {
                let request = FileRequest::Lseek { fh: passthrough::Fh(fh.0), offset, whence };
                return self.perform(req, ino, request, reply::offset(reply));
            }
            let found = self.tree.attr(Ino(ino.0)).and_then(|attr| match whence {
                // No holes: data up to the end, where the only hole begins.
                libc::SEEK_DATA if (offset as u64) < attr.size => Ok(offset),
                libc::SEEK_HOLE if (offset as u64) < attr.size => Ok(attr.size as i64),
                libc::SEEK_DATA | libc::SEEK_HOLE => Err(Errno::NXIO),
                _ => Err(Errno::INVAL),
            });
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
            on_one_machine!(self, reply, ino_in, ino_out);
            let (from, to) = ((passthrough::Fh(fh_in.0), offset_in), (passthrough::Fh(fh_out.0), offset_out));
            let request = FileRequest::CopyFileRange { from, to, length: len, set_id: convert::set_id(req) };
            self.perform(req, ino_in, request, reply::written(reply));
        });
    }
}
