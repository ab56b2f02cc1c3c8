//! The table of known files, and the numbers they go by.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rustix::fs::{FileType, Statx, makedev};
use rustix::io::Errno;

use super::numbers::{BackingId, Numbering, Numbers};
use super::reclaim::{Descriptors, LOOKS, Name, Queue, Remembered};
use super::{Result, resolve};

/// A file that the kernel knows.
#[derive(Debug)]
pub(super) struct Inode {
    /// `O_PATH`: it pins the file, so that its number can't pass to another one.
    pub(super) fd: OwnedFd,
    pub(super) kind: FileType,
    pub(super) backing: BackingId,
    pub(super) number: u64,
    /// From the time of birth, if the file system keeps it: an inode number used again gets another one.
    pub(super) generation: u64,
    pinned: AtomicBool,
}

impl Inode {
    fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }

    /// Whether it stays known whatever is forgotten: a root.
    pub(super) fn is_pinned(&self) -> bool {
        self.pinned.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub(super) struct Inodes {
    table: Mutex<Table>,
    open: Arc<AtomicUsize>,
    /// As [`Descriptors::all`].
    all: usize,
}

/// Counts as an open file or directory for as long as it lives.
#[derive(Debug)]
pub(super) struct Opened(Arc<AtomicUsize>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Table {
    known: HashMap<u64, KnownInode>,
    numbers: Numbers,
    /// Files and directories apart: see [`Descriptors`].
    files: Queue,
    directories: Queue,
    most: usize,
}

#[derive(Debug)]
struct KnownInode {
    inode: Arc<Inode>,
    lookups: u64,
    remembered: Remembered,
}

impl Inodes {
    pub(super) fn new(numbering: Numbering, descriptors: Descriptors) -> Self {
        let table = Table {
            known: HashMap::new(),
            numbers: Numbers::new(numbering),
            files: Queue::new(descriptors.files),
            directories: Queue::new(descriptors.directories),
            most: descriptors.most,
        };
        Self { table: Mutex::new(table), open: Arc::default(), all: descriptors.all }
    }

    /// Counts what is about to be opened; refuses one too many.
    pub(super) fn opening(&self) -> Result<Opened> {
        self.open.fetch_add(1, Ordering::Relaxed);
        let opened = Opened(Arc::clone(&self.open));
        if self.len() <= self.left() { Ok(opened) } else { Err(Errno::NFILE) }
    }

    /// How many files and directories may be known beside the open ones.
    fn left(&self) -> usize {
        self.all.saturating_sub(self.open.load(Ordering::Relaxed))
    }

    pub(super) fn get(&self, number: u64) -> Result<Arc<Inode>> {
        self.table.lock().known.get(&number).map(|slot| Arc::clone(&slot.inode)).ok_or(Errno::STALE)
    }

    /// Counts a lookup of the file behind `fd`, which is dropped when the file is known already. `name` is where it was
    /// found. Also returns the names that the kernel should be asked to forget.
    pub(super) fn count(&self, fd: OwnedFd, stat: &Statx, name: Option<Name>) -> Result<(Arc<Inode>, Vec<Name>)> {
        let left = self.left();
        let mut table = self.table.lock();
        let inode = table.enter(fd, stat, 1, left)?;
        let mut forgettable = vec![];
        if let Some(name) = name {
            table.touch(name.parent);
            forgettable.extend(table.name(inode.number, name));
        }
        forgettable.extend(table.too_many(inode.kind));
        Ok((inode, forgettable))
    }

    /// Makes the file behind `fd` known for good, by `number` if that is given.
    pub(super) fn pin(&self, fd: OwnedFd, stat: &Statx, number: Option<u64>) -> Result<Arc<Inode>> {
        let mut table = self.table.lock();
        if let Some(number) = number {
            table.numbers.fix(backing_id(stat), number);
        }
        let inode = table.enter(fd, stat, 0, usize::MAX)?;
        // Under the lock, where no forget can come between.
        inode.pinned.store(true, Ordering::Relaxed);
        Ok(inode)
    }

    /// Notes that a file, if it is known, goes by another name. Returns a name that the kernel should forget, if the
    /// file has too many.
    pub(super) fn renamed(&self, backing: BackingId, old: &Name, new: Name) -> Option<Name> {
        let mut table = self.table.lock();
        let number = table.numbers.of(backing);
        let remembered = &mut table.known.get_mut(&number)?.remembered;
        remembered.unnamed(old);
        remembered.named(new)
    }

    /// Refuses what would make one file too many known.
    pub(super) fn check_room(&self) -> Result<()> {
        let left = self.left();
        let table = self.table.lock();
        if table.known.len() < table.most.min(left) { Ok(()) } else { Err(Errno::NFILE) }
    }

    pub(super) fn forget(&self, number: u64, count: u64) {
        let gone = self.table.lock().forget(number, count);
        // The close happens out here, not under the lock.
        drop(gone);
    }

    /// The number of a file that is only named, not looked up.
    pub(super) fn number(&self, backing: BackingId) -> u64 {
        self.table.lock().numbers.of(backing)
    }

    pub(super) fn len(&self) -> usize {
        self.table.lock().known.len()
    }

    /// The names of known files that no longer exist.
    pub(super) fn deleted(&self) -> Vec<Name> {
        let known: Vec<_> = {
            let table = self.table.lock();
            table.known.values().map(|slot| (Arc::clone(&slot.inode), slot.remembered.names().to_vec())).collect()
        };
        let exists = |inode: &Inode| resolve::stat(&inode.fd).map_or(true, |stat| stat.stx_nlink > 0);
        known.into_iter().filter(|(inode, _)| !exists(inode)).flat_map(|(_, names)| names).collect()
    }

    #[cfg(test)]
    pub(super) fn lookups(&self, number: u64) -> Option<u64> {
        self.table.lock().known.get(&number).map(|slot| slot.lookups)
    }
}

impl Table {
    fn enter(&mut self, fd: OwnedFd, stat: &Statx, lookups: u64, left: usize) -> Result<Arc<Inode>> {
        let backing = backing_id(stat);
        let number = self.numbers.of(backing);
        if let Some(slot) = self.known.get_mut(&number) {
            slot.lookups = slot.lookups.saturating_add(lookups);
            let queue = if slot.inode.is_directory() { &mut self.directories } else { &mut self.files };
            queue.wanted(&mut slot.remembered);
            return Ok(Arc::clone(&slot.inode));
        }
        if self.known.len() >= self.most.min(left) {
            return Err(Errno::NFILE);
        }
        let kind = resolve::kind_of(stat);
        let pinned = AtomicBool::new(false);
        let inode = Arc::new(Inode { fd, kind, backing, number, generation: generation(stat), pinned });
        let queue = if kind == FileType::Directory { &mut self.directories } else { &mut self.files };
        let remembered = queue.enter(number);
        self.known.insert(number, KnownInode { inode: Arc::clone(&inode), lookups, remembered });
        Ok(inode)
    }

    fn forget(&mut self, number: u64, count: u64) -> Option<KnownInode> {
        let slot = self.known.get_mut(&number)?;
        debug_assert!(count <= slot.lookups, "{count} lookups forgotten of {}", slot.lookups);
        slot.lookups = slot.lookups.saturating_sub(count);
        if slot.lookups > 0 || slot.inode.is_pinned() {
            return None;
        }
        let gone = self.known.remove(&number)?;
        let Self { known, files, directories, .. } = self;
        let queue = if gone.inode.is_directory() { directories } else { files };
        queue.left(&gone.remembered);
        let same_kind = |slot: &&KnownInode| slot.inode.is_directory() == gone.inode.is_directory();
        queue.compact(|number| known.get(&number).filter(same_kind).map(|slot| slot.remembered.ticket));
        Some(gone)
    }

    fn touch(&mut self, number: u64) {
        if let Some(slot) = self.known.get_mut(&number) {
            self.directories.wanted(&mut slot.remembered);
        }
    }

    fn name(&mut self, number: u64, name: Name) -> Option<Name> {
        self.known.get_mut(&number)?.remembered.named(name)
    }

    /// Names of files that the kernel should forget, as there are too many of that kind.
    fn too_many(&mut self, kind: FileType) -> Vec<Name> {
        let queue = if kind == FileType::Directory { &mut self.directories } else { &mut self.files };
        let mut names = vec![];
        for _ in 0..LOOKS {
            if !queue.is_over() {
                break;
            }
            let Some((number, ticket)) = queue.next() else { break };
            let is_it = |slot: &&mut KnownInode| {
                slot.remembered.ticket == ticket && slot.inode.is_directory() == (kind == FileType::Directory)
            };
            let Some(slot) = self.known.get_mut(&number).filter(is_it) else {
                // Forgotten since.
                continue;
            };
            // Its users, for example an open file, have a clone.
            let idle = Arc::strong_count(&slot.inode) == 1 && !slot.inode.is_pinned();
            names.extend(queue.judge(number, &mut slot.remembered, idle));
        }
        names
    }
}

pub(super) fn backing_id(stat: &Statx) -> BackingId {
    (makedev(stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino)
}

fn generation(stat: &Statx) -> u64 {
    let born = stat.stx_btime;
    born.tv_sec.cast_unsigned().wrapping_mul(1_000_000_000).wrapping_add(u64::from(born.tv_nsec))
}
