//! Trees as a node may leave them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use super::*;

fn sweep(dir: &Path) -> Swept {
    contents(open(dir).unwrap().as_fd())
}

fn empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

#[test]
fn everything_goes_and_nothing_outside() {
    let tmp = tempfile::tempdir().unwrap();
    let (inside, outside) = (tmp.path().join("in"), tmp.path().join("out"));
    fs::create_dir_all(inside.join("a/b/c")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "x").unwrap();
    fs::write(inside.join("a/file"), "x").unwrap();
    symlink(&outside, inside.join("a/link")).unwrap();
    symlink(outside.join("precious"), inside.join("link")).unwrap();
    symlink("nowhere", inside.join("dangling")).unwrap();
    fs::hard_link(outside.join("precious"), inside.join("hard")).unwrap();
    assert!(Command::new("mkfifo").arg(inside.join("a/fifo")).status().unwrap().success());
    fs::set_permissions(inside.join("a/b"), fs::Permissions::from_mode(0o0)).unwrap();
    let before = fs::metadata(&outside).unwrap().permissions();
    let size = measure(open(&inside).unwrap().as_fd());
    assert!(size.files >= 8 && size.bytes > 0, "{size:?}");
    let swept = sweep(&inside);
    assert_eq!((swept.left, &swept.why), (0, &None), "{swept:?}");
    assert_eq!(swept.removed, 9);
    assert!(empty(&inside));
    assert_eq!(fs::read_to_string(outside.join("precious")).unwrap(), "x");
    assert_eq!(fs::metadata(&outside).unwrap().permissions(), before);
}

#[test]
fn deeper_than_there_are_descriptors() {
    let tmp = tempfile::tempdir().unwrap();
    let mut at = open(tmp.path()).unwrap();
    for nth in 0..3000 {
        rustix::fs::mkdirat(&at, c"d", Mode::RWXU).unwrap();
        if nth % 100 == 0 {
            drop(openat(&at, c"f", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap());
        }
        at = openat(&at, c"d", OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    fs::create_dir(tmp.path().join(".lifted-1")).unwrap();
    fs::write(tmp.path().join(".lifted-1/x"), "").unwrap();
    drop(at);
    let swept = sweep(tmp.path());
    assert_eq!((swept.left, swept.why), (0, None));
    assert!(empty(tmp.path()));
}

#[test]
fn a_link_is_no_directory_to_sweep() {
    let tmp = tempfile::tempdir().unwrap();
    fs::create_dir(tmp.path().join("real")).unwrap();
    symlink("real", tmp.path().join("link")).unwrap();
    assert!(open(&tmp.path().join("link")).is_err());
    assert!(open(&tmp.path().join("none")).is_err());
}

#[test]
fn another_mount_is_not_entered() {
    // Which mount /proc and /dev/shm are is no matter: they are others than their parents.
    let root = Ground::of(open(Path::new("/")).unwrap()).unwrap();
    assert!(root != Ground::of(look_at(open(Path::new("/")).unwrap(), c"proc").unwrap()).unwrap());
}
