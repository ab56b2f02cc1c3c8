//! A listing that is read piece by piece while names come and go.

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirEntryExt;

use super::*;

/// An open listing, and what it must give.
pub(crate) struct Listing {
    fh: DirFh,
    /// The directory itself, wherever it moves.
    backing: File,
    offset: u64,
    listed: Vec<String>,
    /// What has been there from the beginning on: name and inode.
    throughout: HashSet<(String, u64)>,
}

impl Listing {
    pub(crate) fn open(bed: &Bed, dir: Option<&str>, ino: u64) -> Option<Self> {
        let fh = bed.fs.opendir(ino).ok()?;
        let backing = File::open(dir.map_or_else(|| bed.dir.path().to_owned(), |dir| bed.path(dir))).unwrap();
        let mut listing = Self { fh, backing, offset: 0, listed: vec![], throughout: HashSet::new() };
        listing.throughout = listing.there();
        Some(listing)
    }

    fn there(&self) -> HashSet<(String, u64)> {
        let path = format!("/proc/self/fd/{}", self.backing.as_raw_fd());
        let name = |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), entry.ino());
        fs::read_dir(path).into_iter().flatten().flatten().map(name).collect()
    }

    /// Something has happened in the directory, perhaps.
    pub(crate) fn changed(&mut self) {
        let there = self.there();
        self.throughout.retain(|entry| there.contains(entry));
    }

    /// Reads up to `room` entries. At the end, whatever was there throughout has been listed exactly once; then it
    /// starts over.
    pub(crate) fn read(&mut self, bed: &Bed, room: usize) {
        let before = self.listed.len();
        let (listed, offset) = (&mut self.listed, &mut self.offset);
        bed.fs
            .readdir(self.fh, *offset, |entry| {
                if listed.len() - before == room {
                    return true;
                }
                *offset = entry.next_offset;
                listed.push(entry.name.to_str().unwrap().to_owned());
                false
            })
            .unwrap();
        if self.listed.len() > before {
            return;
        }
        for (name, _) in &self.throughout {
            let times = self.listed.iter().filter(|listed| *listed == name).count();
            assert_eq!(times, 1, "{name} was there throughout, among {:?}", self.listed);
        }
        self.offset = 0;
        self.listed.clear();
        self.throughout = self.there();
    }

    pub(crate) fn close(self, bed: &Bed) {
        bed.fs.releasedir(self.fh).unwrap();
    }
}
