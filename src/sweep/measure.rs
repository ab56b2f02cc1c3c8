//! How much there is to delete.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, statat};

use super::{Ground, MAX_DEPTH, enter, look_at, names};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// Bytes that it takes on the disk.
    pub(crate) bytes: u64,
    /// Names in it and below.
    pub(crate) files: u64,
    /// Whether there is more, which could not be looked at.
    pub(crate) more: bool,
}

/// Adds up a directory's contents.
pub(crate) fn measure(dir: BorrowedFd<'_>) -> Size {
    let mut size = Size::default();
    match Ground::of(dir) {
        Ok(ground) => add(dir, ground, MAX_DEPTH, &mut size),
        Err(_) => size.more = true,
    }
    size
}

fn add(dir: BorrowedFd<'_>, ground: Ground, depth: u32, size: &mut Size) {
    let Ok(names) = names(dir) else {
        size.more = true;
        return;
    };
    for name in names {
        let Ok(about) = statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW) else {
            size.more = true;
            continue;
        };
        size.files += 1;
        size.bytes += u64::try_from(about.st_blocks).unwrap_or(0) * 512;
        if FileType::from_raw_mode(about.st_mode) != FileType::Directory {
            continue;
        }
        let inner = look_at(dir, &name);
        let inner = inner.ok().filter(|seen| depth > 0 && Ground::of(seen).is_ok_and(|inner| inner == ground));
        match inner.and_then(|seen| enter(seen).ok()) {
            Some(inner) => add(inner.as_fd(), ground, depth - 1, size),
            None => size.more = true,
        }
    }
}
