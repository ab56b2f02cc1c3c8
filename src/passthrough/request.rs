//! The operations as values: what an agent on another machine is sent, and what it answers.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};

use super::attributes::FileSystemStat;
use super::{Attr, Caller, DirFh, Fh, FileEntry, Passthrough, Result, SetAttr, SetId, WriteMode, XattrReply};

/// Most bytes that one request reads. The kernel asks for no more than that.
const MAX_READ: u32 = 1 << 20;

/// One operation; the fields are the arguments of the method of [`Passthrough`] with that name. Names are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request<'a> {
    Lookup {
        parent: u64,
        name: &'a [u8],
    },
    /// A lookup of a root.
    Entry {
        ino: u64,
    },
    /// Has no answer.
    Forget {
        ino: u64,
        count: u64,
    },
    Getattr {
        ino: u64,
        fh: Option<Fh>,
    },
    Setattr {
        ino: u64,
        fh: Option<Fh>,
        set: SetAttr,
    },
    Access {
        ino: u64,
        wanted: u32,
    },
    Readlink {
        ino: u64,
    },
    Mknod {
        caller: Caller,
        parent: u64,
        name: &'a [u8],
        mode: u32,
        umask: u32,
        rdev: u32,
    },
    Mkdir {
        caller: Caller,
        parent: u64,
        name: &'a [u8],
        mode: u32,
        umask: u32,
    },
    Unlink {
        parent: u64,
        name: &'a [u8],
    },
    Rmdir {
        parent: u64,
        name: &'a [u8],
    },
    Symlink {
        caller: Caller,
        parent: u64,
        name: &'a [u8],
        target: &'a [u8],
    },
    Rename {
        parent: u64,
        name: &'a [u8],
        new_parent: u64,
        new_name: &'a [u8],
        flags: u32,
    },
    Link {
        ino: u64,
        parent: u64,
        name: &'a [u8],
    },
    /// `executes`: it is opened to be run, which needs that permission.
    Open {
        ino: u64,
        flags: i32,
        executes: bool,
    },
    Create {
        caller: Caller,
        parent: u64,
        name: &'a [u8],
        mode: u32,
        umask: u32,
        flags: i32,
    },
    Read {
        fh: Fh,
        offset: u64,
        size: u32,
    },
    Write {
        fh: Fh,
        offset: u64,
        #[serde(with = "serde_bytes")]
        data: &'a [u8],
        mode: WriteMode,
    },
    Flush {
        fh: Fh,
    },
    Release {
        fh: Fh,
    },
    Fsync {
        fh: Fh,
        datasync: bool,
    },
    Opendir {
        ino: u64,
    },
    /// As many entries as fit into `room` bytes of the kernel's buffer.
    Readdir {
        fh: DirFh,
        offset: u64,
        room: u32,
    },
    Releasedir {
        fh: DirFh,
    },
    Fsyncdir {
        fh: DirFh,
        datasync: bool,
    },
    Statfs {
        ino: u64,
    },
    Setxattr {
        ino: u64,
        name: &'a [u8],
        value: &'a [u8],
        flags: i32,
    },
    Getxattr {
        ino: u64,
        name: &'a [u8],
        size: u32,
    },
    Listxattr {
        ino: u64,
        size: u32,
        privileged: bool,
    },
    Removexattr {
        ino: u64,
        name: &'a [u8],
    },
    Fallocate {
        fh: Fh,
        offset: u64,
        length: u64,
        mode: i32,
        set_id: SetId,
    },
    Lseek {
        fh: Fh,
        offset: i64,
        whence: i32,
    },
    CopyFileRange {
        from: (Fh, u64),
        to: (Fh, u64),
        length: u64,
        set_id: SetId,
    },
}

/// What an operation answers if it succeeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// Nothing more to say.
    Done,
    /// A lookup, which has to be forgotten.
    Entry(FileEntry),
    /// What `getattr` and `setattr` answer.
    Attr(Attr),
    /// A lookup, and the same file open.
    Created(FileEntry, Fh),
    /// A file is open.
    Opened(Fh),
    /// A directory is open.
    OpenedDir(DirFh),
    /// What was read, or where a link points.
    Data(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Bytes written or copied, or an offset.
    Number(u64),
    /// What is in a directory.
    Listing(Vec<Listed>),
    /// What `statfs` answers.
    FileSystem(FileSystemStat),
    /// What the operations on extended attributes answer.
    Xattr(XattrReply),
}

/// One name in a directory, as [`DirEntry`](super::directories::DirEntry).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listed {
    pub(crate) ino: u64,
    pub(crate) next_offset: u64,
    pub(crate) kind: u32,
    pub(crate) name: Vec<u8>,
}

impl Request<'_> {
    /// Whether it undoes what an earlier one did: it must get there, also if nobody waits for its answer.
    pub(crate) fn gives_back(&self) -> bool {
        matches!(self, Self::Forget { .. } | Self::Release { .. } | Self::Releasedir { .. })
    }
}

impl Answer {
    /// What gives back what the answer holds, if nobody takes it.
    pub(crate) fn give_back(&self) -> Vec<Request<'static>> {
        let forget = |entry: &FileEntry| Request::Forget { ino: entry.attr.ino, count: 1 };
        match self {
            Self::Entry(entry) => vec![forget(entry)],
            Self::Created(entry, fh) => vec![Request::Release { fh: *fh }, forget(entry)],
            Self::Opened(fh) => vec![Request::Release { fh: *fh }],
            Self::OpenedDir(fh) => vec![Request::Releasedir { fh: *fh }],
            _ => vec![],
        }
    }
}

impl Passthrough {
    /// Performs one operation by its value.
    ///
    /// # Errors
    /// Those of the method of that name.
    pub(crate) fn perform(&self, request: &Request<'_>) -> Result<Answer> {
        let os = OsStr::from_bytes;
        Ok(match *request {
            Request::Lookup { parent, name } => Answer::Entry(self.lookup(parent, os(name))?),
            Request::Entry { ino } => Answer::Entry(self.entry(ino)?),
            Request::Forget { ino, count } => {
                self.forget(ino, count);
                Answer::Done
            }
            Request::Getattr { ino, fh } => Answer::Attr(self.getattr(ino, fh)?),
            Request::Setattr { ino, fh, ref set } => Answer::Attr(self.setattr(ino, fh, set)?),
            Request::Access { ino, wanted } => done(self.access(ino, wanted)?),
            Request::Readlink { ino } => Answer::Data(self.readlink(ino)?.into_encoded_bytes()),
            Request::Mknod { caller, parent, name, mode, umask, rdev } => {
                Answer::Entry(self.mknod(caller, parent, os(name), self.masked(parent, mode, umask), rdev)?)
            }
            Request::Mkdir { caller, parent, name, mode, umask } => {
                Answer::Entry(self.mkdir(caller, parent, os(name), self.masked(parent, mode, umask))?)
            }
            Request::Unlink { parent, name } => done(self.unlink(parent, os(name))?),
            Request::Rmdir { parent, name } => done(self.rmdir(parent, os(name))?),
            Request::Symlink { caller, parent, name, target } => {
                Answer::Entry(self.symlink(caller, parent, os(name), os(target))?)
            }
            Request::Rename { parent, name, new_parent, new_name, flags } => {
                done(self.rename(parent, os(name), new_parent, os(new_name), flags)?)
            }
            Request::Link { ino, parent, name } => Answer::Entry(self.link(ino, parent, os(name))?),
            Request::Open { ino, flags, executes } => {
                if executes {
                    self.access(ino, libc::X_OK.cast_unsigned())?;
                }
                Answer::Opened(self.open(ino, flags)?)
            }
            Request::Create { caller, parent, name, mode, umask, flags } => {
                let (entry, fh) = self.create(caller, parent, os(name), self.masked(parent, mode, umask), flags)?;
                Answer::Created(entry, fh)
            }
            Request::Read { fh, offset, size } => Answer::Data(self.read(fh, offset, size.min(MAX_READ))?),
            Request::Write { fh, offset, data, mode } => Answer::Number(self.write(fh, offset, data, mode)? as u64),
            Request::Flush { fh } => done(self.flush(fh)?),
            Request::Release { fh } => done(self.release(fh)?),
            Request::Fsync { fh, datasync } => done(self.fsync(fh, datasync)?),
            Request::Opendir { ino } => Answer::OpenedDir(self.opendir(ino)?),
            Request::Readdir { fh, offset, room } => Answer::Listing(self.listed(fh, offset, room)?),
            Request::Releasedir { fh } => done(self.releasedir(fh)?),
            Request::Fsyncdir { fh, datasync } => done(self.fsyncdir(fh, datasync)?),
            Request::Statfs { ino } => Answer::FileSystem(self.statfs(ino)?),
            Request::Setxattr { ino, name, value, flags } => done(self.setxattr(ino, os(name), value, flags)?),
            Request::Getxattr { ino, name, size } => Answer::Xattr(self.getxattr(ino, os(name), size)?),
            Request::Listxattr { ino, size, privileged } => Answer::Xattr(self.listxattr(ino, size, privileged)?),
            Request::Removexattr { ino, name } => done(self.removexattr(ino, os(name))?),
            Request::Fallocate { fh, offset, length, mode, set_id } => {
                done(self.fallocate(fh, offset, length, mode, set_id)?)
            }
            Request::Lseek { fh, offset, whence } => Answer::Number(self.lseek(fh, offset, whence)?),
            Request::CopyFileRange { from, to, length, set_id } => {
                Answer::Number(self.copy_file_range(from, to, length, set_id)? as u64)
            }
        })
    }

    fn listed(&self, fh: DirFh, offset: u64, room: u32) -> Result<Vec<Listed>> {
        let (mut listed, mut left) = (vec![], room as usize);
        self.readdir(fh, offset, |entry| {
            // struct fuse_dirent and the name, padded to 8 bytes.
            let Some(rest) = left.checked_sub((24 + entry.name.len()).next_multiple_of(8)) else { return true };
            left = rest;
            let (name, kind) = (entry.name.as_bytes().to_vec(), entry.kind);
            listed.push(Listed { ino: entry.ino, next_offset: entry.next_offset, kind, name });
            false
        })?;
        Ok(listed)
    }
}

/// For operations that answer no more than that they succeeded.
fn done((): ()) -> Answer {
    Answer::Done
}
