//! Which files the kernel is asked to forget.
//!
//! The kernel remembers a file for as long as it has memory to spare, and each one costs us a descriptor, which pins
//! the backing file in the kernel's memory too. A node may have made a million of them. So when too many are known, the
//! kernel is asked to drop the names of those that were not looked up for longest and that are not open: the "clock" or
//! second-chance order (F. J. Corbató, "A Paging Experiment with the Multics System", 1968).

use std::collections::VecDeque;
use std::ffi::OsString;

use serde::{Deserialize, Serialize};

/// Names kept of one file. More, as only hard links make them, and the kernel is asked to forget the oldest.
const NAMES: usize = 4;
/// Entries looked at for one lookup too many: more than one, so that a few in use do not stop the way.
pub(super) const LOOKS: usize = 8;
/// Entries of forgotten files that a queue may always have.
const SLACK: usize = 64;

/// How many descriptors may be held for files that the kernel remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// From here on the kernel is asked to forget files that are no directories.
    pub(crate) files: usize,
    /// The same for directories. They have a share of their own, because a directory whose name is dropped has none for
    /// a shell in it, until it is looked up again: getcwd(3) fails.
    pub(crate) directories: usize,
    /// Files and directories beyond which `ENFILE` is answered: the kernel could not forget them, as they are in use.
    pub(crate) most: usize,
    /// Known ones and open ones together beyond which `ENFILE` is answered. What is left of the process's limit is for its
    /// own work.
    pub(crate) all: usize,
}

impl Descriptors {
    /// The shares of a process that may have `limit` descriptors open and needs `own` of them itself. For what the kernel
    /// remembers it is half of the others, and in any case no more than the kernel has room to pin (1.5 KB each on ext4).
    #[must_use]
    pub fn of_limit(limit: u64, own: u64) -> Self {
        const LARGEST: usize = 64 << 10;
        let all = usize::try_from(limit.saturating_sub(own).max(limit / 2)).unwrap_or(usize::MAX);
        let share = (all / 2).min(LARGEST);
        Self { files: share / 4 * 3, directories: share / 4, most: share + share / 2, all }
    }
}

/// Where the kernel knows a file from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Name {
    /// Inode number of the directory.
    pub(crate) parent: u64,
    pub(crate) name: OsString,
}

/// What is needed to have one file forgotten.
#[derive(Debug)]
pub(super) struct Remembered {
    names: Vec<Name>,
    /// Its entry in the queue.
    pub(super) ticket: u64,
    /// Looked up since the queue last came by.
    wanted: bool,
    /// The kernel was asked to forget it, but has not yet.
    asked: bool,
}

impl Remembered {
    /// Where the kernel knows it from.
    pub(super) fn names(&self) -> &[Name] {
        &self.names
    }

    /// Records that a name no longer belongs to this file.
    pub(super) fn unnamed(&mut self, name: &Name) {
        self.names.retain(|known| known != name);
    }

    /// Notes a name; returns one to be forgotten if there are too many.
    pub(super) fn named(&mut self, name: Name) -> Option<Name> {
        self.names.retain(|known| *known != name);
        self.names.push(name);
        (self.names.len() > NAMES).then(|| self.names.remove(0))
    }
}

/// Known files of one kind, in the order in which they are asked back.
#[derive(Debug)]
pub(super) struct Queue {
    limit: usize,
    /// Number and ticket; those of files forgotten since are passed over.
    order: VecDeque<(u64, u64)>,
    tickets: u64,
    known: usize,
    asked: usize,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, order: VecDeque::new(), tickets: 0, known: 0, asked: 0 }
    }

    /// A file has become known.
    pub(super) fn enter(&mut self, number: u64) -> Remembered {
        self.known += 1;
        self.tickets += 1;
        self.order.push_back((number, self.tickets));
        Remembered { names: Vec::with_capacity(1), ticket: self.tickets, wanted: false, asked: false }
    }

    /// It has been looked up again.
    pub(super) fn wanted(&mut self, file: &mut Remembered) {
        file.wanted = true;
        self.asked -= usize::from(std::mem::take(&mut file.asked));
    }

    /// It is no longer known.
    pub(super) fn left(&mut self, file: &Remembered) {
        self.known -= 1;
        self.asked -= usize::from(file.asked);
    }

    /// Drops the entries of files that are no longer known, once they are the greater part. `ticket` gives a known
    /// file's.
    pub(super) fn compact(&mut self, ticket: impl Fn(u64) -> Option<u64>) {
        if self.order.len() > 2 * self.known + SLACK {
            self.order.retain(|(number, old)| ticket(*number) == Some(*old));
        }
    }

    /// Whether more are known than may be, not counting those that the kernel was asked to forget.
    pub(super) fn is_over(&self) -> bool {
        self.known - self.asked > self.limit
    }

    /// The next one whose turn it is, number and ticket; it goes to the end of the queue when it is judged.
    pub(super) fn next(&mut self) -> Option<(u64, u64)> {
        self.order.pop_front()
    }

    /// Decides on the file whose turn it was: names to be forgotten, or none if it is wanted or not `idle`.
    pub(super) fn judge(&mut self, number: u64, file: &mut Remembered, idle: bool) -> Vec<Name> {
        self.order.push_back((number, file.ticket));
        let wanted = std::mem::take(&mut file.wanted);
        // The kernel kept it when asked before: it counts as known again.
        self.asked -= usize::from(std::mem::take(&mut file.asked));
        if wanted || !idle {
            return vec![];
        }
        file.asked = true;
        self.asked += 1;
        file.names.clone()
    }
}
