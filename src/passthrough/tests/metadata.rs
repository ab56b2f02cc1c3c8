//! Attributes, extended attributes and the file system's own.

use super::super::attributes::FileSystemStat;
use super::super::{Attr, Owner, SetAttr, SetTime, XattrReply};
use super::*;
use rustix::io::Errno;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn set(bed: &Bed, ino: u64, set: SetAttr) -> Attr {
    bed.fs.setattr(ino, None, &set).unwrap()
}

#[test]
fn attributes_are_the_backing_files() {
    let bed = Bed::new();
    bed.file("f", &[7; 5_000]);
    let attr = bed.lookup("f").unwrap().attr;
    let stat = std::fs::metadata(bed.path("f")).unwrap();
    assert_eq!((attr.size, attr.blocks, u64::from(attr.nlink)), (stat.size(), stat.blocks(), stat.nlink()));
    assert_eq!((attr.uid, attr.gid), (stat.uid(), stat.gid()));
    assert_eq!(attr.kind | u32::from(attr.perm), stat.mode());
    assert_eq!(attr.mtime, stat.modified().unwrap());
    assert_eq!(attr.atime, stat.accessed().unwrap());
    assert_eq!(u64::from(attr.blksize), stat.blksize());
    let since = attr.ctime.duration_since(UNIX_EPOCH).unwrap();
    assert_eq!(i64::try_from(since.as_secs()).unwrap(), stat.ctime());
    if let Ok(born) = stat.created() {
        assert_eq!(attr.btime, born);
    }
}

#[test]
fn the_override_shows_another_owner() {
    let bed = Bed::new();
    bed.file("f", b"");
    let fs = Passthrough::new(Some(Owner { uid: 7, gid: 8 }), DESCRIPTORS);
    let root = fs.add_root(bed.dir.path()).unwrap();
    let attr = fs.lookup(root, OsStr::new("f")).unwrap().attr;
    assert_eq!((attr.uid, attr.gid), (7, 8));
    let root = fs.getattr(root, None).unwrap();
    assert_eq!((root.uid, root.gid), (7, 8));
}

#[test]
fn what_we_may_do_is_what_the_file_system_says() {
    let bed = Bed::new();
    let ino = bed.file("f", b"");
    let root = rustix::process::geteuid().is_root();
    for (mode, owner, roots) in [(0o000, 0o0, 0o6), (0o400, 0o4, 0o6), (0o300, 0o3, 0o7), (0o077, 0o0, 0o7)] {
        set(&bed, ino, SetAttr { mode: Some(mode), ..SetAttr::default() });
        let granted = if root { roots } else { owner };
        for wanted in 0..=7 {
            let expected = if wanted & !granted == 0 { Ok(()) } else { Err(Errno::ACCESS) };
            assert_eq!(bed.fs.access(ino, wanted), expected, "{mode:o} {wanted:o}");
        }
    }
    assert_eq!(bed.fs.access(ino + (1 << 40), 0), Err(Errno::STALE));
}

#[test]
fn modes_and_lengths_are_set() {
    let bed = Bed::new();
    let ino = bed.file("f", b"12345");
    let attr = set(&bed, ino, SetAttr { mode: Some(libc::S_IFREG | 0o2640), ..SetAttr::default() });
    assert_eq!((attr.perm, attr.kind), (0o2640, libc::S_IFREG));
    assert_eq!(set(&bed, ino, SetAttr { size: Some(2), ..SetAttr::default() }).size, 2);
    assert_eq!(set(&bed, ino, SetAttr { size: Some(1 << 33), ..SetAttr::default() }).size, 1 << 33);
    let fh = bed.fs.open(ino, libc::O_WRONLY).unwrap();
    let shorter = SetAttr { size: Some(1), ..SetAttr::default() };
    assert_eq!(bed.fs.setattr(ino, Some(fh), &shorter).unwrap().size, 1);
    assert_eq!(std::fs::read(bed.path("f")).unwrap(), b"1");
    // open(O_RDONLY | O_TRUNC) asks with a handle that can't write.
    let reader = bed.fs.open(ino, libc::O_RDONLY).unwrap();
    let empty = SetAttr { size: Some(0), ..SetAttr::default() };
    assert_eq!(bed.fs.setattr(ino, Some(reader), &empty).unwrap().size, 0);
    assert_eq!(bed.fs.setattr(bed.root, None, &empty), Err(Errno::ISDIR));
    assert!(bed.fs.setattr(ino, None, &SetAttr { size: Some(u64::MAX), ..SetAttr::default() }).is_err());
}

#[test]
fn the_mode_that_comes_with_a_truncation_wins() {
    let bed = Bed::new();
    let ino = bed.file("f", b"12345");
    std::fs::set_permissions(bed.path("f"), PermissionsExt::from_mode(0o4755)).unwrap();
    let attr = set(&bed, ino, SetAttr { size: Some(1), mode: Some(0o755), ..SetAttr::default() });
    assert_eq!((attr.perm, attr.size), (0o755, 1));
    let attr = set(&bed, ino, SetAttr { size: Some(2), mode: Some(0o4444), ..SetAttr::default() });
    assert_eq!((attr.perm, attr.size), (0o4444, 2));
}

#[test]
fn owners_are_set_before_modes() {
    let bed = Bed::new();
    let ino = bed.file("f", b"");
    let nobody = SetAttr { uid: Some(u32::MAX), ..SetAttr::default() };
    assert_eq!(bed.fs.setattr(ino, None, &nobody), Err(Errno::INVAL));
    if !crate::skip::is_root() {
        return;
    }
    let both = SetAttr { uid: Some(5), gid: Some(6), mode: Some(0o4755), ..SetAttr::default() };
    let attr = set(&bed, ino, both);
    assert_eq!((attr.uid, attr.gid, attr.perm), (5, 6, 0o4755));
    let attr = set(&bed, ino, SetAttr { gid: Some(9), ..SetAttr::default() });
    assert_eq!((attr.uid, attr.gid), (5, 9));
    assert_eq!(attr.perm & 0o4000, 0, "a new owner costs the setuid bit");
    symlink("/etc/passwd", bed.path("link")).unwrap();
    let attr = set(&bed, bed.ino("link"), SetAttr { uid: Some(5), ..SetAttr::default() });
    assert_eq!(attr.uid, 5);
    assert_eq!(std::fs::metadata("/etc/passwd").unwrap().uid(), 0);
}

#[test]
fn times_are_exact() {
    let bed = Bed::new();
    let ino = bed.file("f", b"");
    let before_1970 = UNIX_EPOCH - Duration::new(12_345, 250_000_000);
    let times = SetAttr {
        atime: Some(SetTime::At(before_1970)),
        mtime: Some(SetTime::At(UNIX_EPOCH + Duration::new(1_600_000_000, 123_456_789))),
        size: Some(3),
        ..SetAttr::default()
    };
    let attr = set(&bed, ino, times);
    assert_eq!(attr.atime, before_1970);
    assert_eq!(attr.mtime, UNIX_EPOCH + Duration::new(1_600_000_000, 123_456_789));
    let start = SystemTime::now() - Duration::from_secs(1);
    let attr = set(&bed, ino, SetAttr { mtime: Some(SetTime::Now), ..SetAttr::default() });
    assert_eq!(attr.atime, before_1970, "left alone");
    assert!(attr.mtime >= start);
    symlink("f", bed.path("link")).unwrap();
    let link = bed.ino("link");
    let attr = set(&bed, link, SetAttr { mtime: Some(SetTime::At(UNIX_EPOCH)), ..SetAttr::default() });
    assert_eq!(attr.mtime, UNIX_EPOCH);
    assert!(bed.fs.getattr(ino, None).unwrap().mtime >= start, "not followed");
}

#[test]
fn a_symlinks_mode_never_reaches_its_target() {
    let bed = Bed::new();
    let ino = bed.file("f", b"");
    let before = bed.fs.getattr(ino, None).unwrap().perm;
    symlink("f", bed.path("link")).unwrap();
    let mode = SetAttr { mode: Some(0o777), ..SetAttr::default() };
    match bed.fs.setattr(bed.ino("link"), None, &mode) {
        Ok(_) | Err(Errno::OPNOTSUPP) => {}
        Err(errno) => panic!("{errno}"),
    }
    assert_eq!(bed.fs.getattr(ino, None).unwrap().perm, before);
}

#[test]
fn the_file_system_is_the_backing_one() {
    let bed = Bed::new();
    let FileSystemStat { blocks, bsize, namelen, frsize, .. } = bed.fs.statfs(bed.root).unwrap();
    let direct = rustix::fs::statvfs(bed.dir.path()).unwrap();
    assert_eq!((blocks, u64::from(frsize)), (direct.f_blocks, direct.f_frsize));
    assert!(bsize > 0 && namelen >= 255);
    assert_eq!(bed.fs.statfs(1), Err(Errno::STALE));
}

#[test]
fn extended_attributes() {
    let bed = Bed::new();
    let ino = bed.file("f", b"");
    let name = OsStr::new("user.cthulhu");
    match bed.fs.setxattr(ino, name, b"value", 0) {
        Err(Errno::OPNOTSUPP) => {
            crate::skip::skipped("no extended attributes here");
            return;
        }
        done => done.unwrap(),
    }
    let data = |bytes: &[u8]| Ok(XattrReply::Data(bytes.to_vec()));
    assert_eq!(bed.fs.getxattr(ino, name, 0), Ok(XattrReply::Size(5)));
    assert_eq!(bed.fs.getxattr(ino, name, 4), Err(Errno::RANGE));
    assert_eq!(bed.fs.getxattr(ino, name, 5), data(b"value"));
    assert_eq!(bed.fs.getxattr(ino, name, u32::MAX), data(b"value"));
    assert_eq!(bed.fs.setxattr(ino, name, b"x", libc::XATTR_CREATE), Err(Errno::EXIST));
    bed.fs.setxattr(ino, name, b"", libc::XATTR_REPLACE).unwrap();
    assert_eq!(bed.fs.getxattr(ino, name, 0), Ok(XattrReply::Size(0)));
    assert_eq!(bed.fs.getxattr(ino, name, 9), data(b""));
    assert_eq!(bed.fs.setxattr(ino, name, b"", 8), Err(Errno::INVAL));
    let XattrReply::Size(size) = bed.fs.listxattr(ino, 0, true).unwrap() else { panic!("no size") };
    let XattrReply::Data(names) = bed.fs.listxattr(ino, size, true).unwrap() else { panic!("no names") };
    assert!(names.split(|&byte| byte == 0).any(|found| found == b"user.cthulhu"));
    assert_eq!(bed.fs.listxattr(ino, 3, true), Err(Errno::RANGE));
    // Without root, the trusted attributes that root may set are invisible.
    let trusted = bed.fs.setxattr(ino, OsStr::new("trusted.cthulhu"), b"x", 0);
    assert!(trusted.is_ok() || !rustix::process::geteuid().is_root(), "{trusted:?}");
    let shown = |privileged| match bed.fs.listxattr(ino, u32::MAX, privileged) {
        Ok(XattrReply::Data(names)) => String::from_utf8(names).unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(shown(true).contains("trusted."), trusted.is_ok());
    assert!(shown(false).contains("user.cthulhu") && !shown(false).contains("trusted."));
    assert_eq!(bed.fs.listxattr(ino, 0, false), Ok(XattrReply::Size(u32::try_from(shown(false).len()).unwrap())));
    assert_eq!(bed.fs.listxattr(ino, 3, false), Err(Errno::RANGE));
    bed.fs.removexattr(ino, name).unwrap();
    assert_eq!(bed.fs.removexattr(ino, name), Err(Errno::NODATA));
    assert_eq!(bed.fs.getxattr(ino, name, 0), Err(Errno::NODATA));
    // The attributes of a symlink are its own; those of users it can't have.
    symlink("f", bed.path("link")).unwrap();
    assert!(bed.fs.setxattr(bed.ino("link"), name, b"x", 0).is_err());
    assert_eq!(bed.fs.getxattr(ino, name, 0), Err(Errno::NODATA));
    bed.fs.setxattr(bed.root, name, b"dir", 0).unwrap();
    assert_eq!(bed.fs.getxattr(bed.root, name, 3), data(b"dir"));
}
