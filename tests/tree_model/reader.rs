//! An open file as its reader knows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cthulhu::tree::{Fh, Ino, Tree};
use rustix::io::Errno;

/// What a file says, or why it says nothing.
type Content = Result<Vec<u8>, Errno>;

/// What a file says now, as somebody else who opens it reads it.
pub fn content(tree: &Tree, ino: Ino) -> Content {
    let fh = tree.open(ino, false)?;
    let content = tree.read(fh, 0, 1 << 20);
    tree.release(fh);
    content
}

/// An open file, and what must be read through it.
pub struct Reader {
    fh: Fh,
    ino: Ino,
    pollable: bool,
    /// The one version that it reads.
    version: Vec<u8>,
    /// What it was told last; an error is something to be told, too.
    seen: Content,
    /// What the file said when the wait in poll(2) began, and how often that was woken.
    waits: Option<(Content, Arc<AtomicUsize>)>,
}

impl Reader {
    pub fn open(tree: &Tree, ino: Ino, pollable: bool) -> Option<Self> {
        let now = content(tree, ino);
        let fh = tree.open(ino, false);
        assert_eq!(fh.err(), now.as_ref().err().copied());
        let version = now.clone().ok()?;
        Some(Self { fh: fh.unwrap(), ino, pollable, version, seen: now, waits: None })
    }

    pub fn read(&mut self, tree: &Tree, offset: usize, size: usize) {
        let got = tree.read(self.fh, offset as u64, size);
        if offset == 0 {
            self.seen = content(tree, self.ino);
            assert_eq!(tree.poll(self.fh, None), Ok(false), "nothing is new to who has just read");
            match &self.seen {
                Ok(now) => self.version.clone_from(now),
                Err(errno) => return assert_eq!(got, Err(*errno)),
            }
        }
        let from = offset.min(self.version.len());
        let to = (from + size).min(self.version.len());
        assert_eq!(got.as_deref(), Ok(&self.version[from..to]), "one version, at {offset}");
    }

    pub fn poll(&mut self, tree: &Tree) {
        let woken = Arc::new(AtomicUsize::new(0));
        let count = woken.clone();
        let wake = Box::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let changed = tree.poll(self.fh, Some(wake)).unwrap();
        let now = content(tree, self.ino);
        if !self.pollable {
            assert!(!changed);
        } else if now != self.seen {
            assert!(changed, "a change that poll does not tell");
        }
        if self.pollable && !changed {
            self.waits = Some((now, woken));
        }
    }

    /// A change wakes who waits, once.
    pub fn check(&self, tree: &Tree) {
        if let Some((then, woken)) = &self.waits {
            let woken = woken.load(Ordering::SeqCst);
            assert!(woken <= 1);
            assert!(woken == 1 || content(tree, self.ino) == *then, "nobody woke who waits in poll");
        }
    }

    pub fn release(self, tree: &Tree) {
        tree.release(self.fh);
        assert_eq!(tree.read(self.fh, 0, 1), Err(Errno::BADF));
        assert_eq!(tree.poll(self.fh, None), Err(Errno::BADF));
    }
}
