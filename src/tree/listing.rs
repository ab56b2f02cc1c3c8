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
    /// Where the listing continues after this entry.
    pub next_offset: u64,
}

impl Tree {
    /// Lists a directory, as a thread sees it, from `offset`, 0 or any `next_offset`, until `take` says it is full (true); the
    /// entry that it was full at counts as not taken.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR.
    pub fn readdir(
        &self,
        ino: Ino,
        thread: u32,
        offset: u64,
        mut take: impl FnMut(DirEntry<'_>) -> bool,
    ) -> Result<(), Errno> {
        let entry = self.entry(ino)?;
        let Kind::Directory(children) = &entry.kind else {
            return Err(Errno::NOTDIR);
        };
        let dots = [(".", ino), ("..", entry.parent)];
        let all = dots.into_iter().chain(children.iter().map(|(name, child)| (name.as_str(), *child)));
        // The layout never changes, so the place of an entry is an offset that holds for ever.
        for (at, (name, child)) in all.enumerate().skip(usize::try_from(offset).unwrap_or(usize::MAX)) {
            let ino = self.as_seen_by(child, thread);
            if take(DirEntry { ino, kind: self.kind(child), name, next_offset: at as u64 + 1 }) {
                break;
            }
        }
        Ok(())
    }
}
