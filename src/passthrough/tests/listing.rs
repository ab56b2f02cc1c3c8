//! Listing directories: complete, resumable, and true to lookups.

use super::*;
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};

const MANY: usize = 10_000;

fn fill(bed: &Bed, count: usize) {
    for number in 0..count {
        std::fs::write(bed.path(&format!("entry-{number:05}")), "").unwrap();
    }
}

/// Lists in replies of `room` entries, as the kernel asks.
fn list_in_pieces(bed: &Bed, fh: DirFh, room: usize, mut between: impl FnMut(&[String])) -> Vec<String> {
    let (mut names, mut offset) = (Vec::new(), 0);
    loop {
        let before = names.len();
        bed.fs
            .readdir(fh, offset, |entry| {
                if names.len() - before == room {
                    return true;
                }
                offset = entry.next_offset;
                names.push(entry.name.to_str().unwrap().to_owned());
                false
            })
            .unwrap();
        if names.len() == before {
            return names;
        }
        between(&names);
    }
}

#[test]
fn lists_what_lookups_find() {
    let bed = Bed::new();
    fill(&bed, 3);
    std::fs::create_dir(bed.path("dir")).unwrap();
    std::os::unix::fs::symlink("x", bed.path("link")).unwrap();
    let fh = bed.fs.opendir(bed.root).unwrap();
    let mut kinds = HashMap::new();
    bed.fs
        .readdir(fh, 0, |entry| {
            kinds.insert(entry.name.to_str().unwrap().to_owned(), (entry.ino, entry.kind));
            false
        })
        .unwrap();
    assert_eq!(kinds.len(), 7);
    assert_eq!(kinds["."], (bed.root, libc::S_IFDIR));
    assert_eq!(kinds[".."], (bed.root, libc::S_IFDIR), "above a root is nothing of ours");
    for name in ["entry-00000", "dir", "link"] {
        let attr = bed.lookup(name).unwrap().attr;
        assert_eq!(kinds[name], (attr.ino, attr.kind));
    }
    let dir = bed.ino("dir");
    let inner = bed.fs.opendir(dir).unwrap();
    let names = list(&bed.fs, inner, 0);
    let above = names.iter().find(|(_, _, name)| name == "..").unwrap();
    assert_eq!(above.0, bed.root);
    bed.fs.fsyncdir(fh, false).unwrap();
    bed.fs.fsyncdir(fh, true).unwrap();
    bed.fs.releasedir(fh).unwrap();
    assert_eq!(bed.fs.releasedir(fh), Err(Errno::BADF));
    assert_eq!(bed.fs.readdir(fh, 0, |_| false), Err(Errno::BADF));
    let file = bed.file("file", b"");
    assert_eq!(bed.fs.opendir(file), Err(Errno::NOTDIR));
}

#[test]
fn a_listing_ends_when_its_directory_is_removed() {
    let bed = Bed::new();
    std::fs::create_dir(bed.path("dir")).unwrap();
    let fh = bed.fs.opendir(bed.ino("dir")).unwrap();
    let entries = list(&bed.fs, fh, 0);
    std::fs::remove_dir(bed.path("dir")).unwrap();
    for (_, offset, _) in entries {
        assert_eq!(list(&bed.fs, fh, offset), []);
    }
    bed.fs.releasedir(fh).unwrap();
}

#[test]
fn ten_thousand_entries_each_once() {
    let bed = Bed::new();
    fill(&bed, MANY);
    let fh = bed.fs.opendir(bed.root).unwrap();
    for room in [1_000_000, 97] {
        let names = list_in_pieces(&bed, fh, room, |_| {});
        assert_eq!(names.len(), MANY + 2);
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), MANY + 2);
    }
}

#[test]
fn any_offset_resumes() {
    let bed = Bed::new();
    fill(&bed, 700);
    let fh = bed.fs.opendir(bed.root).unwrap();
    let all = list(&bed.fs, fh, 0);
    for index in [699, 0, 350, 1, 701, 350] {
        let rest = list(&bed.fs, fh, all[index].1);
        assert_eq!(rest, all[index + 1..], "after entry {index}");
        // Another handle takes the same offsets.
        let other = bed.fs.opendir(bed.root).unwrap();
        assert_eq!(list(&bed.fs, other, all[index].1), all[index + 1..]);
        bed.fs.releasedir(other).unwrap();
    }
}

#[test]
fn removing_while_listing_loses_nothing_else() {
    let bed = Bed::new();
    fill(&bed, 2_000);
    let fh = bed.fs.opendir(bed.root).unwrap();
    let mut removed = 0;
    // As `rm -r` does: list some, remove them, go on.
    let names = list_in_pieces(&bed, fh, 50, |names| {
        for name in &names[removed..] {
            if name.starts_with("entry") {
                bed.fs.unlink(bed.root, OsStr::new(name)).unwrap();
            }
        }
        removed = names.len();
    });
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), 2_002);
    assert_eq!(std::fs::read_dir(bed.dir.path()).unwrap().count(), 0);
}

#[test]
fn others_stay_listed_while_names_come_and_go() {
    let bed = Bed::new();
    fill(&bed, 1_000);
    let fh = bed.fs.opendir(bed.root).unwrap();
    let mut turn = 0;
    let names = list_in_pieces(&bed, fh, 20, |_| {
        let name = bed.path(&format!("passing-{turn}"));
        std::fs::write(&name, "").unwrap();
        if turn % 2 == 0 {
            std::fs::remove_file(name).unwrap();
        }
        turn += 1;
    });
    let stayed: Vec<_> = names.iter().filter(|name| name.starts_with("entry")).collect();
    assert_eq!(stayed.len(), 1_000);
    assert_eq!(stayed.iter().collect::<HashSet<_>>().len(), 1_000);
}

#[test]
fn rewinding_reads_afresh() {
    let bed = Bed::new();
    let fh = bed.fs.opendir(bed.root).unwrap();
    assert_eq!(list(&bed.fs, fh, 0).len(), 2);
    fill(&bed, 1);
    assert_eq!(list(&bed.fs, fh, 0).len(), 3);
}

#[test]
fn a_removed_directory_lists_nothing() {
    let bed = Bed::new();
    std::fs::create_dir(bed.path("dir")).unwrap();
    let dir = bed.ino("dir");
    let fh = bed.fs.opendir(dir).unwrap();
    bed.fs.rmdir(bed.root, OsStr::new("dir")).unwrap();
    assert_eq!(list(&bed.fs, fh, 0), []);
    assert_eq!(bed.fs.lookup(dir, OsStr::new("x")), Err(Errno::NOENT));
    assert_eq!(bed.fs.getattr(dir, None).unwrap().kind, libc::S_IFDIR);
}
