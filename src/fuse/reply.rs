//! Replies for bindmounts that several requests share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use fuser::{Generation, ReplyEntry, ReplyXattr};
use tracing::error;

use super::convert::{self, FOREVER, errno};
use crate::passthrough::{self, FileEntry, XattrReply};

/// Runs a handler; a panic in it is logged, and its reply, dropped unsent, answers EIO.
pub(super) fn caught(operation: &str, handler: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(handler)).is_err() {
        error!(operation, "a handler panicked");
    }
}

pub(crate) fn entry(reply: ReplyEntry, entry: passthrough::Result<FileEntry>) {
    match entry {
        // No TTL: a container changes these underneath.
        Ok(entry) => reply.entry(&Duration::ZERO, &convert::backing(&entry.attr), Generation(entry.generation)),
        Err(e) => reply.error(errno(e)),
    }
}

/// The same for `etc` and `var` themselves. Which directories those are never changes, only what is known of them.
pub(crate) fn root(reply: ReplyEntry, entry: passthrough::Result<FileEntry>) {
    match entry {
        Ok(FileEntry { attr, generation }) => {
            reply.entry_with_ttls(&Duration::ZERO, &FOREVER, &convert::backing(&attr), Generation(generation));
        }
        Err(e) => reply.error(errno(e)),
    }
}

pub(crate) fn xattr(reply: ReplyXattr, result: passthrough::Result<XattrReply>) {
    match result {
        Ok(XattrReply::Size(size)) => reply.size(size),
        Ok(XattrReply::Data(data)) => reply.data(&data),
        Err(e) => reply.error(errno(e)),
    }
}
