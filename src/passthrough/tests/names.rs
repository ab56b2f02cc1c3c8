//! Looking up, making, linking, moving, removing; and the counting of lookups.

use super::*;
use rustix::fs::{FileType, RenameFlags};
use rustix::io::Errno;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

const NAME: &str = "name";

fn os(name: &str) -> &OsStr {
    OsStr::new(name)
}

#[test]
fn a_file_keeps_its_number() {
    let bed = Bed::new();
    let first = bed.file(NAME, b"x");
    assert!(super::super::owns(first));
    assert_eq!(bed.ino(NAME), first);
    bed.fs.forget(first, 2);
    assert_eq!(bed.fs.getattr(first, None), Err(Errno::STALE));
    let again = bed.lookup(NAME).unwrap();
    assert_eq!(again.attr.ino, first);
    assert_eq!(again.attr.size, 1);
    assert_eq!(bed.lookup("other"), Err(Errno::NOENT));
}

#[test]
fn a_new_file_never_takes_a_known_number() {
    let bed = Bed::new();
    let old = bed.file(NAME, b"old");
    for turn in 0..50 {
        std::fs::remove_file(bed.path(NAME)).unwrap();
        std::fs::write(bed.path(NAME), b"new").unwrap();
        let new = bed.lookup(NAME).unwrap();
        assert_ne!(new.attr.ino, old, "turn {turn}");
        bed.fs.forget(new.attr.ino, 1);
    }
    assert_eq!(bed.fs.getattr(old, None).unwrap().nlink, 0);
}

#[test]
fn lookups_are_counted_over_all_names() {
    let bed = Bed::new();
    let ino = bed.file(NAME, b"x");
    std::fs::hard_link(bed.path(NAME), bed.path("second")).unwrap();
    assert_eq!(bed.ino("second"), ino);
    let linked = bed.fs.link(ino, bed.root, os("third")).unwrap();
    assert_eq!((linked.attr.ino, linked.attr.nlink), (ino, 3));
    assert_eq!(bed.fs.inodes.lookups(ino), Some(3));
    bed.fs.forget(ino, 2);
    assert_eq!(bed.fs.inodes.lookups(ino), Some(1));
    assert_eq!(bed.fs.known(), 2);
    bed.fs.forget(ino, 1);
    assert_eq!(bed.fs.inodes.lookups(ino), None);
    bed.fs.forget(ino, 1);
    assert_eq!(bed.fs.known(), 1);
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "lookups forgotten")]
fn forgetting_too_much_is_noticed() {
    let bed = Bed::new();
    let ino = bed.file(NAME, b"x");
    // Not over the wire: the panic would be elsewhere.
    super::super::Passthrough::forget(&bed.fs, ino, 2);
}

#[test]
fn every_reply_counts_one() {
    let bed = Bed::new();
    let entries = [
        bed.fs.mkdir(us(), bed.root, os("dir"), 0o755).unwrap(),
        bed.fs.mknod(us(), bed.root, os("file"), libc::S_IFREG | 0o644, 0).unwrap(),
        bed.fs.symlink(us(), bed.root, os("link"), os("target")).unwrap(),
        bed.fs.create(us(), bed.root, os("made"), 0o644, libc::O_RDWR).unwrap().0,
    ];
    for entry in entries {
        assert_eq!(bed.fs.inodes.lookups(entry.attr.ino), Some(1));
        bed.fs.forget(entry.attr.ino, 1);
    }
    assert_eq!(bed.fs.known(), 1);
}

#[test]
fn roots_stay() {
    let bed = Bed::new();
    assert_eq!(bed.fs.add_root(bed.dir.path()).unwrap(), bed.root);
    let entry = bed.fs.entry(bed.root).unwrap();
    assert_eq!(entry.attr.ino, bed.root);
    bed.fs.forget(bed.root, 1);
    assert!(bed.fs.getattr(bed.root, None).is_ok());
    std::fs::create_dir(bed.path("inner")).unwrap();
    let inner = bed.lookup("inner").unwrap();
    assert_eq!(bed.fs.add_root(&bed.path("inner")).unwrap(), inner.attr.ino);
    bed.fs.forget(inner.attr.ino, 1);
    assert_eq!(bed.fs.entry(inner.attr.ino).unwrap().generation, inner.generation);
    std::fs::write(bed.path("file"), "").unwrap();
    assert!(bed.fs.add_root(&bed.path("file")).is_err());
    assert!(bed.fs.add_root(&bed.path("none")).is_err());
}

#[test]
fn creations_take_mode_and_kind() {
    let bed = Bed::new();
    let dir = bed.fs.mkdir(us(), bed.root, os("dir"), 0o1751).unwrap().attr;
    assert_eq!((dir.kind, dir.perm), (libc::S_IFDIR, 0o1751));
    let file = bed.fs.mknod(us(), dir.ino, os("file"), libc::S_IFREG | 0o604, 0).unwrap().attr;
    assert_eq!((file.kind, file.perm, file.size), (libc::S_IFREG, 0o604, 0));
    assert_eq!(bed.fs.mknod(us(), dir.ino, os("file"), 0o600, 0), Err(Errno::EXIST));
    assert_eq!(bed.fs.mkdir(us(), dir.ino, os("file"), 0o700), Err(Errno::EXIST));
    let link = bed.fs.symlink(us(), bed.root, os("link"), os("no/where")).unwrap().attr;
    assert_eq!((link.kind, link.size), (libc::S_IFLNK, 8));
    assert_eq!(bed.fs.readlink(link.ino).unwrap(), "no/where");
    assert_eq!(bed.fs.readlink(file.ino), Err(Errno::INVAL));
    assert_eq!(bed.fs.readlink(dir.ino), Err(Errno::INVAL));
    for kind in [libc::S_IFIFO, libc::S_IFSOCK] {
        let special = bed.fs.mknod(us(), dir.ino, os("special"), kind | 0o640, 0).unwrap().attr;
        assert_eq!((special.kind, special.perm, special.rdev), (kind, 0o640, 0));
        assert_eq!(bed.fs.mknod(us(), dir.ino, os("special"), kind | 0o640, 0), Err(Errno::EXIST));
        assert_eq!(bed.fs.open(special.ino, libc::O_RDWR), Err(Errno::NXIO), "made, never opened");
        bed.fs.unlink(dir.ino, os("special")).unwrap();
    }
    let null = u32::try_from(rustix::fs::makedev(1, 3)).unwrap();
    for kind in [libc::S_IFCHR, libc::S_IFBLK] {
        match bed.fs.mknod(us(), dir.ino, os("device"), kind | 0o600, null) {
            Ok(FileEntry { attr, .. }) => {
                assert_eq!((attr.kind, attr.perm, attr.rdev), (kind, 0o600, null));
                assert_eq!(bed.fs.open(attr.ino, libc::O_RDWR), Err(Errno::NXIO), "made, never opened");
                bed.fs.unlink(dir.ino, os("device")).unwrap();
            }
            Err(errno) => assert!(errno == Errno::PERM && !rustix::process::geteuid().is_root(), "{errno}"),
        }
    }
    assert_eq!(bed.fs.mknod(us(), bed.root, os("special"), libc::S_IFMT, 0), Err(Errno::INVAL));
}

#[test]
fn a_default_acl_takes_the_place_of_the_umask() {
    let bed = Bed::new();
    let dir = bed.fs.mkdir(us(), bed.root, os("dir"), 0o755).unwrap().attr.ino;
    assert_eq!(bed.fs.masked(dir, 0o2777, 0o027), 0o2750);
    assert_eq!(bed.fs.masked(dir, 0o666, 0), 0o666);
    // Version 2; user, group and others, each with its permissions and no id.
    let mut acl = vec![2, 0, 0, 0];
    for (tag, permissions) in [(1, 7), (4, 5), (32, 5)] {
        acl.extend([tag, 0, permissions, 0, 255, 255, 255, 255]);
    }
    if let Err(errno) = bed.fs.setxattr(dir, os("system.posix_acl_default"), &acl, 0) {
        crate::skip::skipped(format!("{errno}"));
        return;
    }
    assert_eq!(bed.fs.masked(dir, 0o2777, 0o027), 0o2777);
    assert_eq!(bed.fs.mkdir(us(), dir, os("inner"), 0o777).unwrap().attr.perm, 0o755);
}

#[test]
fn symlinks_can_be_linked_themselves() {
    let bed = Bed::new();
    symlink("/nowhere", bed.path("link")).unwrap();
    let ino = bed.ino("link");
    assert_eq!(bed.fs.link(ino, bed.root, os("second")).unwrap().attr.ino, ino);
    assert_eq!(std::fs::symlink_metadata(bed.path("second")).unwrap().nlink(), 2);
    assert_eq!(bed.fs.link(bed.root, bed.root, os("dir")), Err(Errno::PERM));
    std::fs::remove_file(bed.path("link")).unwrap();
    std::fs::remove_file(bed.path("second")).unwrap();
    assert_eq!(bed.fs.link(ino, bed.root, os("again")), Err(Errno::NOENT));
}

#[test]
fn removals_tell_kinds_apart() {
    let bed = Bed::new();
    std::fs::create_dir_all(bed.path("dir/inner")).unwrap();
    bed.file("file", b"");
    assert_eq!(bed.fs.unlink(bed.root, os("dir")), Err(Errno::ISDIR));
    assert_eq!(bed.fs.rmdir(bed.root, os("file")), Err(Errno::NOTDIR));
    assert_eq!(bed.fs.rmdir(bed.root, os("dir")), Err(Errno::NOTEMPTY));
    bed.fs.rmdir(bed.ino("dir"), os("inner")).unwrap();
    bed.fs.rmdir(bed.root, os("dir")).unwrap();
    bed.fs.unlink(bed.root, os("file")).unwrap();
    assert_eq!(bed.fs.unlink(bed.root, os("file")), Err(Errno::NOENT));
    assert_eq!(std::fs::read_dir(bed.dir.path()).unwrap().count(), 0);
}

#[test]
fn renames_obey_their_flags() {
    let bed = Bed::new();
    let (one, two) = (bed.file("one", b"1"), bed.file("two", b"2"));
    std::fs::create_dir(bed.path("dir")).unwrap();
    let dir = bed.ino("dir");
    let rename = |from: &str, to: &str, flags| bed.fs.rename(bed.root, os(from), bed.root, os(to), flags);
    assert_eq!(rename("one", "two", RenameFlags::NOREPLACE.bits()), Err(Errno::EXIST));
    rename("one", "two", RenameFlags::EXCHANGE.bits()).unwrap();
    assert_eq!((bed.ino("one"), bed.ino("two")), (two, one));
    rename("one", "three", RenameFlags::NOREPLACE.bits()).unwrap();
    rename("three", "two", 0).unwrap();
    assert_eq!(bed.ino("two"), two);
    assert_eq!(bed.fs.getattr(one, None).unwrap().nlink, 0);
    bed.fs.rename(bed.root, os("two"), dir, os("deep"), 0).unwrap();
    assert_eq!(bed.fs.lookup(dir, os("deep")).unwrap().attr.ino, two);
    assert_eq!(rename("dir", "x", 1 << 5), Err(Errno::INVAL));
    assert_eq!(rename("dir", "x", 3), Err(Errno::INVAL));
    match bed.fs.rename(dir, os("deep"), bed.root, os("top"), RenameFlags::WHITEOUT.bits()) {
        Ok(()) => assert_eq!(bed.fs.lookup(dir, os("deep")).unwrap().attr.kind, libc::S_IFCHR),
        Err(errno) => crate::skip::skipped(format!("no whiteouts here ({errno})")),
    }
}

#[test]
fn names_may_be_long_but_not_too_long() {
    let bed = Bed::new();
    let longest = "x".repeat(255);
    bed.fs.mkdir(us(), bed.root, os(&longest), 0o755).unwrap();
    assert!(bed.lookup(&longest).is_ok());
    let too_long = "x".repeat(256);
    assert_eq!(bed.lookup(&too_long), Err(Errno::NAMETOOLONG));
    assert_eq!(bed.fs.mkdir(us(), bed.root, os(&too_long), 0o755), Err(Errno::NAMETOOLONG));
    let odd = OsStr::new("a\nb \u{1}");
    bed.fs.mkdir(us(), bed.root, odd, 0o755).unwrap();
    assert!(bed.fs.lookup(bed.root, odd).is_ok());
}

#[test]
fn root_creates_in_the_callers_name() {
    let bed = Bed::new();
    if !crate::skip::is_root() {
        return;
    }
    // Nobody but the kernel's check decides who may write here.
    std::fs::set_permissions(bed.dir.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let caller = Caller { uid: 4_001, gid: 4_002, pid: 0 };
    let flags = libc::O_RDWR | libc::O_EXCL;
    let attrs = [
        bed.fs.mkdir(caller, bed.root, os("dir"), 0o700).unwrap().attr,
        bed.fs.mknod(caller, bed.root, os("file"), 0o600, 0).unwrap().attr,
        bed.fs.mknod(caller, bed.root, os("fifo"), libc::S_IFIFO | 0o600, 0).unwrap().attr,
        bed.fs.symlink(caller, bed.root, os("link"), os("x")).unwrap().attr,
        bed.fs.create(caller, bed.root, os("made"), 0o4_755, flags).unwrap().0.attr,
    ];
    for attr in attrs {
        assert_eq!((attr.uid, attr.gid), (4_001, 4_002));
    }
    assert_eq!(attrs[4].perm, 0o4_755);
    assert_eq!(crate::sys::fs_ids(), (0, 0));
    assert_eq!(bed.fs.mkdir(caller, bed.root, os("dir"), 0o700), Err(Errno::EXIST));
    assert_eq!(crate::sys::fs_ids(), (0, 0));
}

#[test]
fn the_directory_decides_the_group_with_setgid() {
    let bed = Bed::new();
    if !crate::skip::is_root() {
        return;
    }
    std::os::unix::fs::chown(bed.dir.path(), Some(1), Some(77)).unwrap();
    std::fs::set_permissions(bed.dir.path(), PermissionsExt::from_mode(0o2777)).unwrap();
    let caller = Caller { uid: 4_001, gid: 4_002, pid: 0 };
    let dir = bed.fs.mkdir(caller, bed.root, os("dir"), 0o755).unwrap().attr;
    assert_eq!((dir.uid, dir.gid, dir.perm), (4_001, 77, 0o2755));
}

#[test]
fn kinds_of_planted_files_are_told() {
    let bed = Bed::new();
    rustix::fs::mkfifoat(rustix::fs::CWD, bed.path("fifo"), 0o600.into()).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(bed.path("socket")).unwrap();
    for (name, kind) in [("fifo", FileType::Fifo), ("socket", FileType::Socket)] {
        assert_eq!(bed.lookup(name).unwrap().attr.kind, kind.as_raw_mode());
    }
}
