//! What the tests ask: the passthrough itself, or the same through both sides of an agent.

use std::ffi::OsString;
use std::ops::Deref;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::super::attributes::FileSystemStat;
use super::super::directories::DirEntry;
use super::super::{Answer, Attr, Fh, KernelNotifier, Request, Result, SetAttr, SetId, WriteMode, XattrReply};
use super::*;

pub(super) enum Fs {
    Local(Box<Passthrough>),
    Remote(Wire),
}

/// What is not asked over the wire.
impl Deref for Fs {
    type Target = Passthrough;

    fn deref(&self) -> &Passthrough {
        match self {
            Self::Local(fs) => fs,
            Self::Remote(wire) => wire.far_end(),
        }
    }
}

macro_rules! operations {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty: $request:expr, $pattern:pat => $value:expr;)*) => {
        impl Fs {
            $(pub(super) fn $name(&self, $($argument: $type),*) -> Result<$answer> {
                match self {
                    Self::Local(fs) => fs.$name($($argument),*),
                    Self::Remote(wire) => match wire.perform($request)? {
                        $pattern => Ok($value),
                        other => panic!("{other:?}"),
                    },
                }
            })*
        }
    };
}

operations! {
    lookup(parent: u64, name: &OsStr) -> FileEntry:
        Request::Lookup { parent, name: name.as_bytes() }, Answer::Entry(entry) => entry;
    entry(ino: u64) -> FileEntry: Request::Entry { ino }, Answer::Entry(entry) => entry;
    getattr(ino: u64, fh: Option<Fh>) -> Attr: Request::Getattr { ino, fh }, Answer::Attr(attr) => attr;
    setattr(ino: u64, fh: Option<Fh>, set: &SetAttr) -> Attr:
        Request::Setattr { ino, fh, set: *set }, Answer::Attr(attr) => attr;
    access(ino: u64, wanted: u32) -> (): Request::Access { ino, wanted }, Answer::Done => ();
    readlink(ino: u64) -> OsString: Request::Readlink { ino }, Answer::Data(target) => OsString::from_vec(target);
    mknod(caller: Caller, parent: u64, name: &OsStr, mode: u32, rdev: u32) -> FileEntry:
        Request::Mknod { caller, parent, name: name.as_bytes(), mode, umask: 0, rdev }, Answer::Entry(entry) => entry;
    mkdir(caller: Caller, parent: u64, name: &OsStr, mode: u32) -> FileEntry:
        Request::Mkdir { caller, parent, name: name.as_bytes(), mode, umask: 0 }, Answer::Entry(entry) => entry;
    unlink(parent: u64, name: &OsStr) -> (): Request::Unlink { parent, name: name.as_bytes() }, Answer::Done => ();
    rmdir(parent: u64, name: &OsStr) -> (): Request::Rmdir { parent, name: name.as_bytes() }, Answer::Done => ();
    symlink(caller: Caller, parent: u64, name: &OsStr, target: &OsStr) -> FileEntry:
        Request::Symlink { caller, parent, name: name.as_bytes(), target: target.as_bytes() },
        Answer::Entry(entry) => entry;
    rename(parent: u64, name: &OsStr, new_parent: u64, new_name: &OsStr, flags: u32) -> ():
        Request::Rename { parent, name: name.as_bytes(), new_parent, new_name: new_name.as_bytes(), flags },
        Answer::Done => ();
    link(ino: u64, parent: u64, name: &OsStr) -> FileEntry:
        Request::Link { ino, parent, name: name.as_bytes() }, Answer::Entry(entry) => entry;
    open(ino: u64, flags: i32) -> Fh: Request::Open { ino, flags, executes: false }, Answer::Opened(fh) => fh;
    create(caller: Caller, parent: u64, name: &OsStr, mode: u32, flags: i32) -> (FileEntry, Fh):
        Request::Create { caller, parent, name: name.as_bytes(), mode, umask: 0, flags },
        Answer::Created(entry, fh) => (entry, fh);
    read(fh: Fh, offset: u64, size: u32) -> Vec<u8>: Request::Read { fh, offset, size }, Answer::Data(data) => data;
    write(fh: Fh, offset: u64, data: &[u8], mode: WriteMode) -> usize:
        Request::Write { fh, offset, data, mode }, Answer::Number(written) => written as usize;
    flush(fh: Fh) -> (): Request::Flush { fh }, Answer::Done => ();
    release(fh: Fh) -> (): Request::Release { fh }, Answer::Done => ();
    fsync(fh: Fh, datasync: bool) -> (): Request::Fsync { fh, datasync }, Answer::Done => ();
    opendir(ino: u64) -> DirFh: Request::Opendir { ino }, Answer::OpenedDir(fh) => fh;
    releasedir(fh: DirFh) -> (): Request::Releasedir { fh }, Answer::Done => ();
    fsyncdir(fh: DirFh, datasync: bool) -> (): Request::Fsyncdir { fh, datasync }, Answer::Done => ();
    statfs(ino: u64) -> FileSystemStat: Request::Statfs { ino }, Answer::FileSystem(stat) => stat;
    setxattr(ino: u64, name: &OsStr, value: &[u8], flags: i32) -> ():
        Request::Setxattr { ino, name: name.as_bytes(), value, flags }, Answer::Done => ();
    getxattr(ino: u64, name: &OsStr, size: u32) -> XattrReply:
        Request::Getxattr { ino, name: name.as_bytes(), size }, Answer::Xattr(reply) => reply;
    listxattr(ino: u64, size: u32, privileged: bool) -> XattrReply:
        Request::Listxattr { ino, size, privileged }, Answer::Xattr(reply) => reply;
    removexattr(ino: u64, name: &OsStr) -> ():
        Request::Removexattr { ino, name: name.as_bytes() }, Answer::Done => ();
    fallocate(fh: Fh, offset: u64, length: u64, mode: i32, set_id: SetId) -> ():
        Request::Fallocate { fh, offset, length, mode, set_id }, Answer::Done => ();
    lseek(fh: Fh, offset: i64, whence: i32) -> u64: Request::Lseek { fh, offset, whence }, Answer::Number(at) => at;
    copy_file_range(from: (Fh, u64), to: (Fh, u64), length: u64, set_id: SetId) -> usize:
        Request::CopyFileRange { from, to, length, set_id }, Answer::Number(copied) => copied as usize;
}

impl Fs {
    /// Returns once it has been forgotten.
    pub(super) fn forget(&self, ino: u64, count: u64) {
        match self {
            Self::Local(fs) => fs.forget(ino, count),
            Self::Remote(wire) => wire.forget(ino, count),
        }
    }

    pub(super) fn connect(&self, kernel: Box<dyn KernelNotifier>) {
        match self {
            Self::Local(fs) => fs.connect(kernel),
            Self::Remote(wire) => wire.connect(kernel),
        }
    }

    /// Over the wire, in listings of as much as a kernel has room for.
    pub(super) fn readdir(&self, fh: DirFh, mut offset: u64, mut take: impl FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        let wire = match self {
            Self::Local(fs) => return fs.readdir(fh, offset, take),
            Self::Remote(wire) => wire,
        };
        loop {
            let request = Request::Readdir { fh, offset, room: 4096 };
            let Answer::Listing(listed) = wire.perform(request)? else { panic!("no listing") };
            let Some(last) = listed.last() else { return Ok(()) };
            offset = last.next_offset;
            for entry in &listed {
                let (ino, next_offset, kind) = (entry.ino, entry.next_offset, entry.kind);
                if take(DirEntry { ino, next_offset, kind, name: OsStr::from_bytes(&entry.name) }) {
                    return Ok(());
                }
            }
        }
    }
}
