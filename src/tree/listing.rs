//! Listing directories.

use rustix::io::Errno;

use super::layout::Kind;
use super::{EntryKind, Ino, Tree};

/// One name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirEntry<'a> {
    /// The number of what it names.
    pub ino: Ino,
    /// The type of that.
    pub kind: EntryKind,
    /// The name; `.` and `..` are among them.
    pub name: &'a str,
    /// Where the listing goes on after this entry.
    pub next_offset: u64,
}

impl Tree {
    /// Lists a directory from `offset`, 0 or any `next_offset`, until `take` says it is full (true); the entry that it
    /// was full at counts as not taken.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR.
    pub fn readdir(&self, ino: Ino, offset: u64, mut take: impl FnMut(DirEntry<'_>) -> bool) -> Result<(), Errno> {
        let entry = self.entry(ino)?;
        let Kind::Directory(children) = &entry.kind else {
            return Err(Errno::NOTDIR);
        };
        let dots = [(".", ino), ("..", entry.parent)];
        let all = dots.into_iter().chain(children.iter().map(|(name, child)| (name.as_str(), *child)));
        // The layout never changes, so the place of an entry is an offset that holds for ever.
        for (at, (name, child)) in all.enumerate().skip(usize::try_from(offset).unwrap_or(usize::MAX)) {
            if take(DirEntry { ino: child, kind: self.kind(child), name, next_offset: at as u64 + 1 }) {
                break;
            }
        }
        Ok(())
    }
}
