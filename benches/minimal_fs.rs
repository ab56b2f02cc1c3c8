//! The least that a file system of fuser's does: one file with one line, which never changes and is not kept in the page
//! cache. What reading it costs, no file system of fuser's that answers each open goes below.
//!
//! `minimal_fs DIR` mounts it and serves until it is unmounted.

use std::ffi::OsStr;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, LockOwner, MountOption, OpenFlags,
    ReplyAttr, ReplyData, ReplyEntry, Request,
};

/// As long as the kernel may remember names and attributes: longer than any run.
const TTL: Duration = Duration::from_secs(86_400);
const FILE: INodeNo = INodeNo(2);
/// As long as a pid.
const CONTENT: &[u8] = b"1234567\n";

struct MinimalFs;

fn attr(ino: INodeNo) -> FileAttr {
    let (kind, perm, size) = if ino == FILE {
        (FileType::RegularFile, 0o444, CONTENT.len() as u64)
    } else {
        (FileType::Directory, 0o755, 0)
    };
    FileAttr {
        ino,
        size,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        flags: 0,
        blksize: 4096,
    }
}

impl Filesystem for MinimalFs {
    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if parent == INodeNo::ROOT && name == "file" {
            reply.entry(&TTL, &attr(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &attr(ino));
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let rest = usize::try_from(offset).ok().and_then(|offset| CONTENT.get(offset..)).unwrap_or_default();
        reply.data(&rest[..rest.len().min(size as usize)]);
    }
}

fn main() -> std::io::Result<()> {
    let mountpoint = std::env::args_os().nth(1).ok_or_else(|| std::io::Error::other("usage: minimal_fs DIR"))?;
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("minimal_fs".into()), MountOption::RO];
    fuser::mount(MinimalFs, mountpoint, &config)
}
