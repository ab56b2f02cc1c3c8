//! What a container may do to us through its side of the directory.

use super::*;
use rustix::io::Errno;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

fn os(name: &str) -> &OsStr {
    OsStr::new(name)
}

/// Runs `work` and fails if it takes so long that it must have blocked.
fn without_waiting<T>(work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    assert!(start.elapsed() < Duration::from_secs(60));
    result
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let bed = Bed::new();
    std::fs::create_dir(bed.path("dir")).unwrap();
    let ino = bed.file("file", b"");
    for name in ["", ".", "..", "/", "/etc", "dir/..", "../x", "dir/x", "x/", "a\0b"] {
        let expected = if name.is_empty() { Errno::NOENT } else { Errno::INVAL };
        let name = os(name);
        assert_eq!(bed.fs.lookup(bed.root, name), Err(expected));
        assert_eq!(bed.fs.mkdir(us(), bed.root, name, 0o755), Err(expected));
        assert_eq!(bed.fs.mknod(us(), bed.root, name, 0o644, 0), Err(expected));
        assert_eq!(bed.fs.symlink(us(), bed.root, name, os("x")), Err(expected));
        assert_eq!(bed.fs.create(us(), bed.root, name, 0o644, libc::O_RDWR).map(drop), Err(expected));
        assert_eq!(bed.fs.link(ino, bed.root, name), Err(expected));
        assert_eq!(bed.fs.unlink(bed.root, name), Err(expected));
        assert_eq!(bed.fs.rmdir(bed.root, name), Err(expected));
        assert_eq!(bed.fs.rename(bed.root, name, bed.root, os("y"), 0), Err(expected));
        assert_eq!(bed.fs.rename(bed.root, os("file"), bed.root, name, 0), Err(expected));
    }
    assert_eq!(std::fs::read_dir(bed.dir.path()).unwrap().count(), 2);
}

#[test]
fn symlinks_are_never_followed() {
    let bed = Bed::new();
    let secret = tempfile::tempdir().unwrap();
    std::fs::write(secret.path().join("shadow"), "secret").unwrap();
    symlink(secret.path().join("shadow"), bed.path("file")).unwrap();
    symlink(secret.path(), bed.path("dir")).unwrap();
    symlink("/etc/shadow", bed.path("shadow")).unwrap();
    for name in ["file", "dir", "shadow"] {
        let attr = bed.lookup(name).unwrap().attr;
        assert_eq!(attr.kind, libc::S_IFLNK);
        for flags in [libc::O_RDONLY, libc::O_RDWR, libc::O_WRONLY | libc::O_TRUNC, libc::O_CREAT] {
            assert_eq!(bed.fs.open(attr.ino, flags), Err(Errno::LOOP));
            let created = bed.fs.create(us(), bed.root, os(name), 0o644, flags);
            assert_eq!(created.map(drop), Err(Errno::LOOP));
        }
        assert_eq!(bed.fs.opendir(attr.ino), Err(Errno::NOTDIR));
        assert_eq!(bed.fs.lookup(attr.ino, os("shadow")), Err(Errno::NOTDIR));
        assert_eq!(bed.fs.unlink(attr.ino, os("shadow")), Err(Errno::NOTDIR));
        assert_eq!(bed.fs.mkdir(us(), attr.ino, os("new"), 0o755), Err(Errno::NOTDIR));
        let set = super::super::SetAttr { size: Some(0), ..Default::default() };
        assert_eq!(bed.fs.setattr(attr.ino, None, &set), Err(Errno::INVAL));
    }
    // A dangling one must not make its target either.
    symlink(secret.path().join("planted"), bed.path("dangling")).unwrap();
    let created = bed.fs.create(us(), bed.root, os("dangling"), 0o644, libc::O_RDWR);
    assert_eq!(created.map(drop), Err(Errno::LOOP));
    assert_eq!(bed.fs.mknod(us(), bed.root, os("dangling"), 0o644, 0), Err(Errno::EXIST));
    assert_eq!(std::fs::read_dir(secret.path()).unwrap().count(), 1);
    assert_eq!(std::fs::read(secret.path().join("shadow")).unwrap(), b"secret");
}

#[test]
fn a_directory_swapped_for_a_symlink_changes_nothing() {
    let bed = Bed::new();
    let secret = tempfile::tempdir().unwrap();
    std::fs::write(secret.path().join("f"), "secret").unwrap();
    std::fs::create_dir(bed.path("dir")).unwrap();
    std::fs::write(bed.path("dir/f"), "ours").unwrap();
    let dir = bed.ino("dir");
    std::fs::rename(bed.path("dir"), bed.path("moved")).unwrap();
    symlink(secret.path(), bed.path("dir")).unwrap();
    let file = bed.fs.lookup(dir, os("f")).unwrap().attr;
    let fh = bed.fs.open(file.ino, libc::O_RDONLY).unwrap();
    assert_eq!(bed.fs.read(fh, 0, 99).unwrap(), b"ours");
    bed.fs.unlink(dir, os("f")).unwrap();
    assert!(secret.path().join("f").exists());
}

#[test]
fn a_file_swapped_for_something_else_is_still_the_file() {
    let bed = Bed::new();
    let ino = bed.file("f", b"ours");
    std::fs::rename(bed.path("f"), bed.path("moved")).unwrap();
    symlink("/etc/shadow", bed.path("f")).unwrap();
    let fh = bed.fs.open(ino, libc::O_RDONLY).unwrap();
    assert_eq!(bed.fs.read(fh, 0, 99).unwrap(), b"ours");
}

#[test]
fn a_directory_moved_out_is_still_the_directory() {
    let bed = Bed::new();
    let outside = tempfile::tempdir().unwrap();
    std::fs::create_dir(bed.path("dir")).unwrap();
    let dir = bed.ino("dir");
    std::fs::rename(bed.path("dir"), outside.path().join("dir")).unwrap();
    std::fs::write(outside.path().join("neighbour"), "").unwrap();
    let made = bed.fs.mkdir(us(), dir, os("inner"), 0o755).unwrap();
    assert!(outside.path().join("dir/inner").exists());
    assert_eq!(bed.fs.lookup(made.attr.ino, os("..")), Err(Errno::INVAL));
    assert_eq!(bed.fs.lookup(dir, os("../neighbour")), Err(Errno::INVAL));
}

#[test]
fn special_files_are_never_opened() {
    let bed = Bed::new();
    rustix::fs::mkfifoat(rustix::fs::CWD, bed.path("fifo"), 0o666.into()).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(bed.path("socket")).unwrap();
    let device = rustix::fs::makedev(1, 3);
    let made = rustix::fs::mknodat(
        rustix::fs::CWD,
        bed.path("device"),
        rustix::fs::FileType::CharacterDevice,
        0o666.into(),
        device,
    );
    if let Err(errno) = made {
        crate::skip::skipped(format!("the device: {errno}"));
    }
    for name in ["fifo", "socket", "device"] {
        let Ok(entry) = bed.lookup(name) else {
            continue;
        };
        assert_eq!(u64::from(entry.attr.rdev), if name == "device" { device } else { 0 });
        for flags in [libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR] {
            assert_eq!(without_waiting(|| bed.fs.open(entry.attr.ino, flags)), Err(Errno::NXIO));
            let created = without_waiting(|| bed.fs.create(us(), bed.root, os(name), 0o644, flags));
            assert_eq!(created.map(drop), Err(Errno::NXIO));
        }
        assert_eq!(bed.fs.opendir(entry.attr.ino), Err(Errno::NOTDIR));
        let set = super::super::SetAttr { size: Some(0), ..Default::default() };
        assert_eq!(without_waiting(|| bed.fs.setattr(entry.attr.ino, None, &set)), Err(Errno::INVAL));
        // What needs no opening works.
        let set = super::super::SetAttr { mode: Some(0o600), ..Default::default() };
        assert_eq!(bed.fs.setattr(entry.attr.ino, None, &set).unwrap().perm, 0o600);
        bed.fs.unlink(bed.root, os(name)).unwrap();
    }
}

#[test]
fn a_name_swapped_all_the_time_never_leads_out() {
    let bed = Bed::new();
    let secret = tempfile::tempdir().unwrap();
    std::fs::write(secret.path().join("f"), "secret").unwrap();
    for (name, target) in [("a", bed.path("real")), ("b", secret.path().to_owned())] {
        if name == "a" {
            std::fs::create_dir(&target).unwrap();
            std::fs::write(target.join("f"), "ours").unwrap();
        } else {
            symlink(&target, bed.path("link")).unwrap();
        }
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let exchange = rustix::fs::RenameFlags::EXCHANGE;
            let cwd = rustix::fs::CWD;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                rustix::fs::renameat_with(cwd, bed.path("real"), cwd, bed.path("link"), exchange).unwrap();
            }
        });
        for _ in 0..2_000 {
            let Ok(dir) = bed.lookup("real") else {
                continue;
            };
            if let Ok(file) = bed.fs.lookup(dir.attr.ino, os("f")) {
                let fh = bed.fs.open(file.attr.ino, libc::O_RDONLY).unwrap();
                assert_eq!(bed.fs.read(fh, 0, 99).unwrap(), b"ours");
                bed.fs.release(fh).unwrap();
                bed.fs.forget(file.attr.ino, 1);
            }
            bed.fs.forget(dir.attr.ino, 1);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(bed.fs.known(), 1);
}

#[test]
fn other_mounts_are_not_entered() {
    let fs = Passthrough::new(None, DESCRIPTORS);
    let root = fs.add_root(std::path::Path::new("/")).unwrap();
    assert_eq!(fs.lookup(root, os("proc")), Err(Errno::XDEV));
    assert_eq!(fs.known(), 1);
}

#[test]
fn a_lease_does_not_make_us_wait() {
    let bed = Bed::new();
    let ino = bed.file("f", b"");
    let holder = std::process::Command::new("python3")
        .args(["-c", "import fcntl,os,sys,time,signal\nsignal.signal(signal.SIGIO, signal.SIG_IGN)\nfd=os.open(sys.argv[1],os.O_RDWR)\nfcntl.fcntl(fd,fcntl.F_SETLEASE,fcntl.F_WRLCK)\nprint('held',flush=True)\ntime.sleep(60)"])
        .arg(bed.path("f"))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn();
    let Ok(mut holder) = holder else {
        crate::skip::skipped("needs python3");
        return;
    };
    let mut word = [0u8; 4];
    let held = std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut word).is_ok();
    if held {
        assert_eq!(without_waiting(|| bed.fs.open(ino, libc::O_RDONLY)), Err(Errno::AGAIN));
    } else {
        crate::skip::skipped("no leases here");
    }
    holder.kill().unwrap();
    holder.wait().unwrap();
}
