//! Replies for bindmounts: from what an operation answers, here or on another machine, to fuser's types.
//!
//! Each function takes a reply and returns what answers it, once the operation is done. The duration is how long the kernel
//! may keep what it is told.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use fuser::{
    FileHandle, FopenFlags, Generation, INodeNo, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr,
};
use rustix::io::Errno;
use tracing::error;

use super::convert::{self, FOREVER, errno};
use crate::passthrough::{Answer, FileEntry, Result, XattrReply};

/// Runs a handler; a panic in it is logged, and its reply, dropped unsent, answers EIO.
pub(super) fn caught(operation: &str, handler: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(handler)).is_err() {
        error!(operation, "a handler panicked");
    }
}

/// The error of an operation that has failed, or has answered another's question.
fn failure(answer: Result<Answer>) -> fuser::Errno {
    errno(answer.err().unwrap_or(Errno::IO))
}

pub(super) fn empty(reply: ReplyEmpty) -> impl FnOnce(Result<Answer>, Duration) + Send + 'static {
    move |answer, _| match answer {
        Ok(Answer::Done) => reply.ok(),
        other => reply.error(failure(other)),
    }
}

pub(super) fn entry(reply: ReplyEntry) -> impl FnOnce(Result<Answer>, Duration) + Send + 'static {
    move |answer, ttl| match answer {
        Ok(Answer::Entry(FileEntry { attr, generation })) => {
            reply.entry(&ttl, &convert::backing(&attr), Generation(generation));
        }
        other => reply.error(failure(other)),
    }
}

/// The same for `etc` and `var` themselves. Which directories those are never changes, only what is known of them.
pub(super) fn root(reply: ReplyEntry) -> impl FnOnce(Result<Answer>, Duration) + Send + 'static {
    move |answer, ttl| match answer {
        Ok(Answer::Entry(FileEntry { attr, generation })) => {
            reply.entry_with_ttls(&ttl, &FOREVER, &convert::backing(&attr), Generation(generation));
        }
        other => reply.error(failure(other)),
    }
}

pub(super) fn attr(reply: ReplyAttr) -> impl FnOnce(Result<Answer>, Duration) + Send + 'static {
    move |answer, ttl| match answer {
        Ok(Answer::Attr(attr)) => reply.attr(&ttl, &convert::backing(&attr)),
        other => reply.error(failure(other)),
    }
}

pub(super) fn data(reply: ReplyData) -> impl FnOnce(Result<Answer>, Duration) + Send + 'static {
    move |answer, _| match answer {
        Ok(Answer::Data(data)) => reply.data(&data),
        other => reply.error(failure(other)),
    }
}

/// For a file that is read and written by requests.
pub(super) fn opened(reply: ReplyOpen, flags: FopenFlags) -> impl FnOnce(Result<Answer>, Duration) + Send + 'static {
    move |answer, _| match answer {
        Ok(Answer::Opened(fh)) => reply.opened(FileHandle(fh.0), flags),
        Ok(Answer::OpenedDir(fh)) => reply.opened(FileHandle(fh.0), flags),
        other => reply.error(failure(other)),
    }
}

/// For a file that is read and written by requests.
pub(super) fn created(reply: ReplyCreate, flags: FopenFlags) -> impl FnOnce(Result<Answer>, Duration) + Send + 'static {
    move |answer, ttl| match answer {
        Ok(Answer::Created(FileEntry { attr, generation }, fh)) => {
            reply.created(&ttl, &convert::backing(&attr), Generation(generation), FileHandle(fh.0), flags);
        }
        other => reply.error(failure(other)),
    }
}

pub(super) fn written(reply: ReplyWrite) -> impl FnOnce(Result<Answer>, Duration) + Send + 'static {
    move |answer, _| match answer {
        Ok(Answer::Number(written)) => reply.written(u32::try_from(written).unwrap_or(u32::MAX)),
        other => reply.error(failure(other)),
    }
}

pub(super) fn offset(reply: ReplyLseek) -> impl FnOnce(Result<Answer>, Duration) + Send + 'static {
    move |answer, _| match answer {
        Ok(Answer::Number(at)) => reply.offset(at.cast_signed()),
        other => reply.error(failure(other)),
    }
}

pub(super) fn listing(mut reply: ReplyDirectory) -> impl FnOnce(Result<Answer>, Duration) + Send + 'static {
    move |answer, _| match answer {
        Ok(Answer::Listing(listed)) => {
            for entry in listed {
                if reply.add(
                    INodeNo(entry.ino),
                    entry.next_offset,
                    convert::file_type(entry.kind),
                    convert::os(&entry.name),
                ) {
                    break;
                }
            }
            reply.ok();
        }
        other => reply.error(failure(other)),
    }
}

pub(super) fn file_system(reply: ReplyStatfs) -> impl FnOnce(Result<Answer>, Duration) + Send + 'static {
    move |answer, _| match answer {
        Ok(Answer::FileSystem(s)) => {
            reply.statfs(s.blocks, s.bfree, s.bavail, s.files, s.ffree, s.bsize, s.namelen, s.frsize);
        }
        other => reply.error(failure(other)),
    }
}

pub(super) fn xattr(reply: ReplyXattr) -> impl FnOnce(Result<Answer>, Duration) + Send + 'static {
    move |answer, _| match answer {
        Ok(Answer::Xattr(XattrReply::Size(size))) => reply.size(size),
        Ok(Answer::Xattr(XattrReply::Data(data))) => reply.data(&data),
        other => reply.error(failure(other)),
    }
}
