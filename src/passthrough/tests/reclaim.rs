//! However many files there are, only a limited number is kept known.

use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::io::Errno;

use super::super::{KernelNotifier, Name};
use super::*;

const FEW: Descriptors = Descriptors { files: 20, directories: 10, most: 60, all: 80 };

/// What a kernel remembers: the names that it has looked up, and how often each file was counted.
#[derive(Default)]
struct Memory {
    names: HashMap<(u64, OsString), u64>,
    lookups: HashMap<u64, u64>,
    asked: Vec<Name>,
}

struct Asked(Arc<Mutex<Memory>>);

impl KernelNotifier for Asked {
    fn forget(&self, name: Name) {
        self.0.lock().asked.push(name);
    }
}

struct Machine {
    bed: Bed,
    memory: Arc<Mutex<Memory>>,
}

impl Machine {
    fn new() -> Self {
        let bed = Bed::with(FEW);
        let memory = Arc::default();
        bed.fs.connect(Box::new(Asked(Arc::clone(&memory))));
        Self { bed, memory }
    }

    /// Looks a name up, remembers it, and then forgets what it was asked to, as the kernel does: a file is forgotten
    /// with the last of its names.
    fn look(&self, parent: u64, name: &str) -> crate::passthrough::Result<u64> {
        let ino = self.bed.fs.lookup(parent, OsStr::new(name))?.attr.ino;
        self.remember(parent, name, ino);
        self.comply();
        Ok(ino)
    }

    fn remember(&self, parent: u64, name: &str, ino: u64) {
        let mut memory = self.memory.lock();
        memory.names.insert((parent, name.into()), ino);
        *memory.lookups.entry(ino).or_default() += 1;
    }

    fn comply(&self) {
        let mut memory = self.memory.lock();
        for Name { parent, name } in std::mem::take(&mut memory.asked) {
            let Some(ino) = memory.names.remove(&(parent, name)) else { continue };
            if !memory.names.values().any(|left| *left == ino) {
                let count = memory.lookups.remove(&ino).unwrap();
                self.bed.fs.forget(ino, count);
            }
        }
    }

    fn known(&self) -> usize {
        self.bed.fs.known()
    }
}

#[test]
fn files_are_asked_back_when_there_are_too_many() {
    let machine = Machine::new();
    for nth in 0..500 {
        let name = format!("f{nth}");
        std::fs::write(machine.bed.path(&name), "").unwrap();
        machine.look(machine.bed.root, &name).unwrap();
        assert!(machine.known() <= 1 + FEW.files, "{}", machine.known());
    }
    assert!(machine.known() >= FEW.files / 2, "no more than needed");
}

#[test]
fn directories_too_the_one_in_use_last() {
    let machine = Machine::new();
    std::fs::create_dir(machine.bed.path("busy")).unwrap();
    let busy = machine.look(machine.bed.root, "busy").unwrap();
    for nth in 0..200 {
        let name = format!("d{nth}");
        std::fs::create_dir(machine.bed.path(&name)).unwrap();
        std::fs::write(machine.bed.path(&format!("busy/f{nth}")), "").unwrap();
        machine.look(machine.bed.root, &name).unwrap();
        machine.look(busy, &format!("f{nth}")).unwrap();
        assert!(machine.known() <= 1 + FEW.files + FEW.directories, "{}", machine.known());
    }
    assert!(machine.bed.fs.inodes.lookups(busy).is_some());
}

#[test]
fn what_is_open_is_not_asked_back() {
    let machine = Machine::new();
    std::fs::write(machine.bed.path("open"), "ours").unwrap();
    let open = machine.look(machine.bed.root, "open").unwrap();
    let fh = machine.bed.fs.open(open, libc::O_RDONLY).unwrap();
    let many = |range: std::ops::Range<u32>| {
        for nth in range {
            let name = format!("f{nth}");
            std::fs::write(machine.bed.path(&name), "").unwrap();
            machine.look(machine.bed.root, &name).unwrap();
        }
    };
    many(0..200);
    assert_eq!(machine.bed.fs.read(fh, 0, 9).unwrap(), b"ours");
    assert!(machine.bed.fs.getattr(open, None).is_ok());
    machine.bed.fs.release(fh).unwrap();
    many(200..400);
    assert_eq!(machine.bed.fs.getattr(open, None), Err(Errno::STALE));
}

#[test]
fn a_renamed_file_is_asked_back_by_its_new_name() {
    let machine = Machine::new();
    let root = machine.bed.root;
    for nth in 0..300 {
        std::fs::write(machine.bed.path("new"), "").unwrap();
        let ino = machine.look(root, "new").unwrap();
        let name = format!("f{nth}");
        machine.bed.fs.rename(root, OsStr::new("new"), root, OsStr::new(&name), 0).unwrap();
        {
            let mut memory = machine.memory.lock();
            memory.names.remove(&(root, "new".into()));
            memory.names.insert((root, name.into()), ino);
        }
        machine.comply();
        assert!(machine.known() <= 2 + FEW.files, "{}", machine.known());
    }
}

#[test]
fn a_name_that_a_file_had_is_never_asked_back_of_another() {
    let machine = Machine::new();
    let root = machine.bed.root;
    // As rotating directories does: the old one moves on, a new one takes its name.
    std::fs::create_dir(machine.bed.path("current")).unwrap();
    let old = machine.look(root, "current").unwrap();
    let rename = |from: &str, to: &str| machine.bed.fs.rename(root, OsStr::new(from), root, OsStr::new(to), 0).unwrap();
    rename("current", "old.0");
    std::fs::create_dir(machine.bed.path("current")).unwrap();
    machine.look(root, "current").unwrap();
    for nth in 0..10 {
        rename(&format!("old.{nth}"), &format!("old.{}", nth + 1));
        assert_eq!(machine.memory.lock().asked, []);
    }
    assert_eq!(machine.bed.ino("old.10"), old);
}

#[test]
fn a_number_used_again_for_another_kind_confuses_nothing() {
    let machine = Machine::new();
    let root = machine.bed.root;
    for nth in 0..2000 {
        // ext4 gives the number of what was just deleted to what is made next.
        let name = format!("n{}", nth % 40);
        let path = machine.bed.path(&name);
        let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path));
        machine.memory.lock().asked.push(Name { parent: root, name: name.as_str().into() });
        machine.comply();
        if nth % 3 == 0 {
            std::fs::create_dir(&path).unwrap()
        } else {
            std::fs::write(&path, "").unwrap()
        }
        machine.look(root, &name).unwrap();
        assert!(machine.known() <= 1 + FEW.files + FEW.directories, "{}", machine.known());
    }
}

#[test]
fn a_file_with_many_names_keeps_few_of_them() {
    let machine = Machine::new();
    let root = machine.bed.root;
    std::fs::write(machine.bed.path("f"), "").unwrap();
    let ino = machine.look(root, "f").unwrap();
    for nth in 0..100 {
        let name = format!("l{nth}");
        machine.bed.fs.link(ino, root, OsStr::new(&name)).unwrap();
        machine.remember(root, &name, ino);
        machine.comply();
        assert!(machine.memory.lock().names.len() <= 4);
    }
    for nth in 0..100 {
        let name = format!("g{nth}");
        std::fs::write(machine.bed.path(&name), "").unwrap();
        machine.look(root, &name).unwrap();
    }
    assert_eq!(machine.bed.fs.getattr(ino, None), Err(Errno::STALE), "asked back by every name");
}

#[test]
fn what_a_kernel_cannot_forget_ends_in_enfile_and_only_for_new_files() {
    let bed = Bed::with(FEW);
    let root = bed.root;
    let mut outcome = Ok(());
    let mut known = 0;
    for nth in 0..100 {
        let name = format!("f{nth}");
        std::fs::write(bed.path(&name), "").unwrap();
        outcome = bed.fs.lookup(root, OsStr::new(&name)).map(drop);
        if outcome.is_err() {
            break;
        }
        known += 1;
    }
    assert_eq!((outcome, known + 1), (Err(Errno::NFILE), FEW.most));
    let again = bed.fs.lookup(root, OsStr::new("f0")).unwrap();
    bed.fs.forget(again.attr.ino, 2);
    assert!(bed.fs.lookup(root, OsStr::new("f99")).is_err_and(|errno| errno == Errno::NOENT));
    bed.fs.mkdir(us(), root, OsStr::new("made"), 0o755).unwrap();
    assert_eq!(bed.fs.mkdir(us(), root, OsStr::new("dir"), 0o755), Err(Errno::NFILE));
    assert!(!bed.path("dir").exists(), "nothing is made that cannot be known");
    let made = bed.lookup("made").unwrap();
    bed.fs.forget(made.attr.ino, 2);
    std::fs::write(bed.path("room"), "").unwrap();
    assert!(bed.fs.lookup(root, OsStr::new("room")).is_ok());
}

#[test]
fn shares_fit_into_any_limit() {
    for limit in [64, 1024, 4096, 20_000, 1 << 20, u64::MAX] {
        for own in [0, 100, limit] {
            let Descriptors { files, directories, most, all } = Descriptors::of_limit(limit, own);
            assert!(files > 0 && directories > 0 && files + directories < most && most < all);
            assert!(most as u64 <= limit / 4 * 3 && most <= 1 << 17, "{limit}: {most}");
            assert!(all as u64 <= limit - own.min(limit / 2), "{limit}: {all}");
        }
    }
}

#[test]
fn open_files_and_directories_leave_the_daemon_its_share() {
    let machine = Machine::new();
    let bed = &machine.bed;
    let root = bed.root;
    std::fs::write(bed.path("one"), "").unwrap();
    let one = bed.lookup("one").unwrap().attr.ino;
    // Two are known.
    let files: Vec<_> = (0..70).map(|_| bed.fs.open(one, libc::O_RDONLY).unwrap()).collect();
    let directories: Vec<_> = (0..8).map(|_| bed.fs.opendir(root).unwrap()).collect();
    for _ in 0..3 {
        assert_eq!(bed.fs.open(one, libc::O_RDONLY), Err(Errno::NFILE));
        assert_eq!(bed.fs.opendir(root), Err(Errno::NFILE));
        let made = bed.fs.create(us(), root, OsStr::new("made"), 0o644, libc::O_RDWR);
        assert!(made.is_err_and(|errno| errno == Errno::NFILE) && !bed.path("made").exists());
        assert_eq!(bed.fs.mkdir(us(), root, OsStr::new("made"), 0o755), Err(Errno::NFILE));
    }
    std::fs::write(bed.path("other"), "").unwrap();
    assert!(bed.fs.lookup(root, OsStr::new("other")).is_err_and(|errno| errno == Errno::NFILE));
    assert!(bed.fs.lookup(root, OsStr::new("one")).is_ok(), "it is known already");
    files.into_iter().for_each(|fh| bed.fs.release(fh).unwrap());
    directories.into_iter().for_each(|fh| bed.fs.releasedir(fh).unwrap());
    assert!(bed.fs.lookup(root, OsStr::new("other")).is_ok());
    let (_, made) = bed.fs.create(us(), root, OsStr::new("made"), 0o644, libc::O_RDWR).unwrap();
    bed.fs.release(made).unwrap();
}
