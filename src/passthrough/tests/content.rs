//! Opening, reading, writing and the rest of a regular file's life.

use super::super::{SetAttr, SetId};
use super::*;
use crate::passthrough::{Fh, WriteMode};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

fn open(bed: &Bed, name: &str, flags: i32) -> Fh {
    bed.fs.open(bed.ino(name), flags).unwrap()
}

fn create(bed: &Bed, name: &str, flags: i32) -> crate::passthrough::Result<(FileEntry, Fh)> {
    bed.fs.create(us(), bed.root, OsStr::new(name), 0o644, flags)
}

#[test]
fn what_is_written_is_read() {
    let bed = Bed::new();
    let (entry, fh) = create(&bed, "f", libc::O_RDWR | libc::O_EXCL).unwrap();
    assert_eq!(entry.attr.perm, 0o644);
    assert_eq!(bed.fs.write(fh, 0, b"hello", WriteMode::default()), Ok(5));
    assert_eq!(bed.fs.write(fh, 10, b"world", WriteMode::default()), Ok(5));
    assert_eq!(bed.fs.read(fh, 0, 100).unwrap(), b"hello\0\0\0\0\0world");
    assert_eq!(bed.fs.read(fh, 3, 2).unwrap(), b"lo");
    assert_eq!(bed.fs.read(fh, 15, 10).unwrap(), b"");
    assert_eq!(bed.fs.read(fh, 0, 0).unwrap(), b"");
    bed.fs.fsync(fh, true).unwrap();
    bed.fs.fsync(fh, false).unwrap();
    bed.fs.flush(fh).unwrap();
    bed.fs.flush(fh).unwrap();
    bed.fs.release(fh).unwrap();
    assert_eq!(bed.fs.release(fh), Err(Errno::BADF));
    assert_eq!(bed.fs.read(fh, 0, 1), Err(Errno::BADF));
    assert_eq!(bed.fs.flush(fh), Err(Errno::BADF));
    assert_eq!(std::fs::read(bed.path("f")).unwrap().len(), 15);
}

#[test]
fn access_modes_hold() {
    let bed = Bed::new();
    let ino = bed.file("f", b"text");
    let (reader, writer) = (open(&bed, "f", libc::O_RDONLY), open(&bed, "f", libc::O_WRONLY));
    assert_ne!(reader, writer);
    assert_eq!(bed.fs.write(reader, 0, b"x", WriteMode::default()), Err(Errno::BADF));
    assert_eq!(bed.fs.read(writer, 0, 1), Err(Errno::BADF));
    assert_eq!(bed.fs.read(reader, u64::MAX, 1), Err(Errno::INVAL));
    assert_eq!(bed.fs.open(bed.root, libc::O_RDONLY), Err(Errno::ISDIR));
    assert_eq!(bed.fs.open(ino, libc::O_RDONLY | libc::O_DIRECT).map(drop), Ok(()));
    assert_eq!(bed.fs.open(1, libc::O_RDONLY), Err(Errno::STALE));
}

#[test]
fn flags_about_the_name_do_not_matter_any_more() {
    let bed = Bed::new();
    let odd = libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_DIRECTORY | libc::O_NOCTTY | libc::O_PATH;
    bed.file("f", b"text");
    let fh = open(&bed, "f", libc::O_RDWR | odd);
    assert_eq!(bed.fs.read(fh, 0, 9).unwrap(), b"text");
    let fh = open(&bed, "f", libc::O_RDWR | libc::O_TRUNC);
    assert_eq!(bed.fs.read(fh, 0, 9).unwrap(), b"");
}

#[test]
fn creation_is_exclusive_if_asked() {
    let bed = Bed::new();
    bed.file("f", b"text");
    assert_eq!(create(&bed, "f", libc::O_RDWR | libc::O_EXCL).map(drop), Err(Errno::EXIST));
    let (_, fh) = create(&bed, "f", libc::O_RDWR).unwrap();
    assert_eq!(bed.fs.read(fh, 0, 9).unwrap(), b"text");
    let (_, fh) = create(&bed, "f", libc::O_RDWR | libc::O_TRUNC).unwrap();
    assert_eq!(bed.fs.read(fh, 0, 9).unwrap(), b"");
    std::fs::create_dir(bed.path("dir")).unwrap();
    assert_eq!(create(&bed, "dir", libc::O_RDWR).map(drop), Err(Errno::ISDIR));
    let stranger = Caller { uid: us().uid + 1, ..us() };
    let asked = bed.fs.create(stranger, bed.root, OsStr::new("f"), 0o644, libc::O_RDWR);
    assert_eq!(asked.map(drop), Err(Errno::STALE), "nobody checked whether they may");
}

#[test]
fn a_file_without_permissions_can_be_created_for_writing() {
    let bed = Bed::new();
    let (entry, fh) = bed.fs.create(us(), bed.root, OsStr::new("f"), 0, libc::O_RDWR).unwrap();
    assert_eq!(entry.attr.perm, 0);
    assert_eq!(bed.fs.write(fh, 0, b"x", WriteMode::default()), Ok(1));
}

const APPEND: WriteMode = WriteMode { append: true, set_id: SetId::Kept };

#[test]
fn appending_can_be_switched_on_and_off_after_the_open() {
    let bed = Bed::new();
    bed.file("f", b"abc");
    for flags in [libc::O_RDWR, libc::O_RDWR | libc::O_APPEND] {
        let fh = open(&bed, "f", flags);
        bed.fs.write(fh, 0, b"X", APPEND).unwrap();
        bed.fs.write(fh, 0, b"Y", WriteMode::default()).unwrap();
    }
    assert_eq!(std::fs::read(bed.path("f")).unwrap(), b"YbcXX");
}

#[test]
fn a_write_for_an_ordinary_user_takes_the_setuid_bit_away() {
    let bed = Bed::new();
    for (mode, left) in [
        (WriteMode { set_id: SetId::Lost, ..WriteMode::default() }, 0o777),
        (WriteMode::default(), if rustix::process::geteuid().is_root() { 0o6777 } else { 0o777 }),
    ] {
        let ino = bed.file("f", b"text");
        bed.fs.setattr(ino, None, &SetAttr { mode: Some(0o6777), ..SetAttr::default() }).unwrap();
        let fh = bed.fs.open(ino, libc::O_RDWR).unwrap();
        bed.fs.write(fh, 0, b"T", mode).unwrap();
        assert_eq!(bed.fs.getattr(ino, None).unwrap().perm, left, "{mode:?}");
        std::fs::remove_file(bed.path("f")).unwrap();
    }
}

#[test]
fn two_that_append_do_not_overwrite() {
    let bed = Bed::new();
    bed.file("f", b"");
    let flags = libc::O_RDWR | libc::O_APPEND;
    let (one, two) = (open(&bed, "f", flags), open(&bed, "f", flags));
    for round in 0..50 {
        // The kernel's idea of the end may be old.
        bed.fs.write(one, 0, b"1", APPEND).unwrap();
        bed.fs.write(two, round, b"2", APPEND).unwrap();
    }
    assert_eq!(std::fs::read_to_string(bed.path("f")).unwrap(), "12".repeat(50));
    bed.fs.write(one, 1, b"M", WriteMode::default()).unwrap();
    assert!(std::fs::read_to_string(bed.path("f")).unwrap().starts_with("1M12"), "a mapped page goes where it was");
}

#[test]
fn an_open_file_outlives_its_name() {
    let bed = Bed::new();
    let (entry, fh) = create(&bed, "f", libc::O_RDWR).unwrap();
    bed.fs.write(fh, 0, b"text", WriteMode::default()).unwrap();
    bed.fs.unlink(bed.root, OsStr::new("f")).unwrap();
    let attr = bed.fs.getattr(entry.attr.ino, Some(fh)).unwrap();
    assert_eq!((attr.nlink, attr.size), (0, 4));
    let set = SetAttr { size: Some(2), mode: Some(0o600), ..SetAttr::default() };
    assert_eq!(bed.fs.setattr(entry.attr.ino, Some(fh), &set).unwrap().size, 2);
    bed.fs.forget(entry.attr.ino, 1);
    assert_eq!(bed.fs.getattr(entry.attr.ino, None), Err(Errno::STALE));
    assert_eq!(bed.fs.getattr(entry.attr.ino, Some(fh)).unwrap().size, 2);
    assert_eq!(bed.fs.read(fh, 0, 9).unwrap(), b"te");
    bed.fs.release(fh).unwrap();
}

#[test]
fn a_rename_over_an_open_file_leaves_it_open() {
    let bed = Bed::new();
    bed.file("old", b"old");
    bed.file("new", b"new");
    let fh = open(&bed, "old", libc::O_RDONLY);
    bed.fs.rename(bed.root, OsStr::new("new"), bed.root, OsStr::new("old"), 0).unwrap();
    assert_eq!(bed.fs.read(fh, 0, 9).unwrap(), b"old");
    assert_eq!(bed.fs.read(open(&bed, "old", libc::O_RDONLY), 0, 9).unwrap(), b"new");
}

#[test]
fn holes_are_found_and_punched() {
    let bed = Bed::new();
    let (_, fh) = create(&bed, "f", libc::O_RDWR).unwrap();
    const MIB: u64 = 1 << 20;
    bed.fs.write(fh, MIB, b"x", WriteMode::default()).unwrap();
    let size = MIB.cast_signed() + 1;
    let data = bed.fs.lseek(fh, 0, libc::SEEK_DATA).unwrap();
    assert!(data == 0 || data == MIB, "{data}: no holes on this file system, or the right one");
    assert_eq!(bed.fs.lseek(fh, MIB.cast_signed(), libc::SEEK_HOLE).unwrap(), MIB + 1);
    assert_eq!(bed.fs.lseek(fh, size, libc::SEEK_DATA), Err(Errno::NXIO));
    assert_eq!(bed.fs.lseek(fh, -1, libc::SEEK_DATA), Err(Errno::NXIO));
    assert_eq!(bed.fs.lseek(fh, 0, libc::SEEK_END), Err(Errno::INVAL));
    let keep = FallocateFlags::KEEP_SIZE;
    match bed.fs.fallocate(fh, 0, 4 * MIB, keep.bits().cast_signed(), SetId::Kept) {
        Err(Errno::OPNOTSUPP) => crate::skip::skipped("no fallocate here"),
        done => {
            done.unwrap();
            let attr = bed.fs.getattr(bed.ino("f"), Some(fh)).unwrap();
            assert_eq!(attr.size, MIB + 1);
            assert!(attr.blocks * 512 >= 4 * MIB);
            let punch = keep | FallocateFlags::PUNCH_HOLE;
            bed.fs.fallocate(fh, 0, 2 * MIB, punch.bits().cast_signed(), SetId::Kept).unwrap();
            assert_eq!(bed.fs.read(fh, MIB, 1).unwrap(), b"\0");
            bed.fs.fallocate(fh, 0, 2 * MIB, 0, SetId::Kept).unwrap();
            assert_eq!(bed.fs.getattr(bed.ino("f"), None).unwrap().size, 2 * MIB);
        }
    }
    assert!(bed.fs.fallocate(fh, 0, 0, 0, SetId::Kept).is_err());
}

#[test]
fn ranges_are_copied() {
    let bed = Bed::new();
    bed.file("from", b"0123456789");
    let from = open(&bed, "from", libc::O_RDONLY);
    let (_, to) = create(&bed, "to", libc::O_RDWR).unwrap();
    let mut done = 0;
    while done < 5 {
        match bed.fs.copy_file_range((from, 2 + done), (to, 1 + done), 5 - done, SetId::Kept) {
            Ok(copied) => done += copied as u64,
            Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::NOSYS) => {
                crate::skip::skipped("no copy_file_range here");
                return;
            }
            Err(errno) => panic!("{errno}"),
        }
    }
    assert_eq!(bed.fs.read(to, 0, 99).unwrap(), b"\x0023456");
    assert_eq!(bed.fs.copy_file_range((from, 99), (to, 0), 5, SetId::Kept), Ok(0));
    assert_eq!(bed.fs.copy_file_range((to, 0), (from, 0), 5, SetId::Kept), Err(Errno::BADF));
}

#[test]
fn many_threads_share_it() {
    let bed = Bed::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let bed = &bed;
            scope.spawn(move || {
                for turn in 0..100 {
                    let name = format!("{thread}-{turn}");
                    let (entry, fh) = create(bed, &name, libc::O_RDWR | libc::O_EXCL).unwrap();
                    bed.fs.write(fh, 0, name.as_bytes(), WriteMode::default()).unwrap();
                    let found = bed.lookup(&name).unwrap();
                    assert_eq!(found.attr.ino, entry.attr.ino);
                    assert_eq!(bed.fs.read(fh, 0, 99).unwrap(), name.as_bytes());
                    bed.fs.release(fh).unwrap();
                    bed.fs.forget(entry.attr.ino, 2);
                    bed.fs.entry(bed.root).unwrap();
                    bed.fs.forget(bed.root, 1);
                }
            });
        }
    });
    assert_eq!(bed.fs.known(), 1);
    assert_eq!(std::fs::read_dir(bed.dir.path()).unwrap().count(), 400);
}

#[test]
fn the_setuid_bit_goes_when_a_change_is_not_roots() {
    if !crate::skip::is_root() {
        return;
    }
    let bed = Bed::new();
    let ino = bed.file("f", b"content");
    let mode = || bed.fs.getattr(ino, None).unwrap().perm;
    let set = || {
        let set = SetAttr { mode: Some(0o6755), ..SetAttr::default() };
        bed.fs.setattr(ino, None, &set).unwrap();
    };
    let fh = bed.fs.open(ino, libc::O_RDWR).unwrap();
    for (set_id, left) in [(SetId::Kept, 0o6755), (SetId::Lost, 0o755)] {
        set();
        bed.fs.write(fh, 0, b"x", WriteMode { set_id, ..WriteMode::default() }).unwrap();
        assert_eq!(mode(), left, "write");
        set();
        bed.fs.setattr(ino, Some(fh), &SetAttr { size: Some(3), set_id, ..SetAttr::default() }).unwrap();
        assert_eq!(mode(), left, "truncate");
        set();
        bed.fs.fallocate(fh, 0, 100, 0, set_id).unwrap();
        assert_eq!(mode(), left, "fallocate");
    }
}
