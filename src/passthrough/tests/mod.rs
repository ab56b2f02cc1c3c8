//! Tests of the passthrough on real directories, without FUSE.

use std::ffi::OsStr;
use std::path::PathBuf;

use tempfile::TempDir;

use super::{Caller, Descriptors, DirFh, FileEntry, Passthrough};
use crate::agent::tests::Wire;

mod content;
mod fs;
mod hostile;
mod listing;
mod metadata;
mod model;
mod names;
mod reclaim;

use fs::Fs;

/// More than any of these tests makes.
const DESCRIPTORS: Descriptors = Descriptors { files: 1000, directories: 1000, most: 2000, all: 4000 };

/// A backing directory and what serves it.
struct Bed {
    dir: TempDir,
    fs: Fs,
    root: u64,
}

impl Bed {
    fn new() -> Self {
        Self::with(DESCRIPTORS)
    }

    fn with(descriptors: Descriptors) -> Self {
        // As the daemon does, so that modes arrive as asked.
        rustix::process::umask(rustix::fs::Mode::empty());
        let dir = tempfile::tempdir().unwrap();
        if module_path!().contains("wire_tests") {
            let (wire, root) = Wire::new(dir.path(), descriptors);
            return Self { dir, fs: Fs::Remote(wire), root };
        }
        let fs = Passthrough::new(None, descriptors);
        let root = fs.add_root(dir.path()).unwrap();
        Self { dir, fs: Fs::Local(Box::new(fs)), root }
    }

    /// A path for looking behind the passthrough's back.
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn lookup(&self, name: &str) -> super::Result<FileEntry> {
        self.fs.lookup(self.root, OsStr::new(name))
    }

    fn ino(&self, name: &str) -> u64 {
        self.lookup(name).unwrap().attr.ino
    }

    /// Makes a file with that content behind the passthrough's back, and looks it up.
    fn file(&self, name: &str, content: &[u8]) -> u64 {
        std::fs::write(self.path(name), content).unwrap();
        self.ino(name)
    }
}

fn us() -> Caller {
    Caller {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        pid: std::process::id(),
    }
}

/// All that can be listed from an offset on: inode number, offset of the next, name.
fn list(fs: &Fs, fh: DirFh, offset: u64) -> Vec<(u64, u64, String)> {
    let mut found = Vec::new();
    fs.readdir(fh, offset, |entry| {
        found.push((entry.ino, entry.next_offset, entry.name.to_str().unwrap().to_owned()));
        false
    })
    .unwrap();
    found
}
