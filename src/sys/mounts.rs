//! Mounts: what is mounted where, and detaching one without waiting for it.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{UnmountFlags, unmount};

/// One mount, as `/proc/self/mountinfo` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountEntry {
    /// Identifies a mount as long as it exists, wherever it is moved and whatever is mounted over it.
    pub(crate) id: u64,
    /// Where it is now.
    pub(crate) mountpoint: PathBuf,
    /// The kind of file system, with its subtype: `ext4`, `fuse.cthulhu`.
    pub(crate) fstype: String,
    /// What is mounted: a device, or the name that the file system gave itself.
    pub(crate) source: OsString,
}

/// The mounts whose mountpoint is exactly `path`, the topmost last.
///
/// `path` must be absolute and free of symlinks; it is compared, never looked up, so that a hung mount cannot block
/// the question.
///
/// # Errors
/// Those of reading `/proc/self/mountinfo`.
pub(crate) fn mounts_at(path: &Path) -> io::Result<Vec<MountEntry>> {
    Ok(parse_mountinfo(&std::fs::read("/proc/self/mountinfo")?, path))
}

/// The mount with that id, if it is there.
///
/// # Errors
/// Those of reading `/proc/self/mountinfo`.
pub(crate) fn mount_with_id(id: u64) -> io::Result<Option<MountEntry>> {
    Ok(entries(&std::fs::read("/proc/self/mountinfo")?).find(|mount| mount.id == id))
}

/// Whether a path leads to the mount with that id, and not to one that covers it. Asks the file system there nothing.
pub(crate) fn leads_to(path: &Path, id: u64) -> bool {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(root) = rustix::fs::open(path, flags, Mode::empty()) else { return false };
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", root.as_raw_fd())).unwrap_or_default();
    let found = info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    found == Some(id)
}

/// Every mount of that kind: where, and the `user_id` among its options, which FUSE has.
///
/// # Errors
/// Those of reading `/proc/self/mountinfo`.
pub(crate) fn mounts_of(fstype: &str) -> io::Result<Vec<(PathBuf, Option<u32>)>> {
    Ok(parse_mounts_of(&std::fs::read("/proc/self/mountinfo")?, fstype))
}

fn parse_mounts_of(text: &[u8], fstype: &str) -> Vec<(PathBuf, Option<u32>)> {
    let of_kind = |line: &[u8]| {
        let mut fields = line.split(|&byte| byte == b' ');
        let mountpoint = PathBuf::from(unescape(fields.nth(4)?));
        fields.find(|&field| field == b"-")?;
        if unescape(fields.next()?).as_bytes() != fstype.as_bytes() {
            return None;
        }
        let options = String::from_utf8_lossy(fields.nth(1)?).into_owned();
        let user = options.split(',').find_map(|option| option.strip_prefix("user_id=")?.parse().ok());
        Some((mountpoint, user))
    };
    text.split(|&byte| byte == b'\n').filter_map(of_kind).collect()
}

/// Detaches whatever is mounted at `path` at once, even while it is in use (MNT_DETACH). Without the privilege for
/// that it asks `fusermount3`, which lets users detach their own FUSE mounts.
///
/// # Errors
/// Those of umount2(2) (`EINVAL` when nothing is mounted there); when `fusermount3` refuses, its own words.
pub fn detach_mount(path: &Path) -> io::Result<()> {
    match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::PERM) => detach_as_user(path),
        Err(errno) => Err(errno.into()),
    }
}

/// Blocks until `done`, asked at once and after each change of the mounts (proc_pid_mounts(5)), says so.
///
/// # Errors
/// Those of opening `/proc/self/mountinfo` or of poll(2).
pub(crate) fn wait_for_mounts(mut done: impl FnMut() -> bool) -> io::Result<()> {
    let mounts = std::fs::File::open("/proc/self/mountinfo")?;
    while !done() {
        match poll(&mut [PollFd::new(&mounts, PollFlags::PRI)], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn detach_as_user(path: &Path) -> io::Result<()> {
    let output = Command::new("fusermount3")
        .args(["-u", "-z", "--"])
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot run fusermount3: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("fusermount3: {}", words.trim().trim_start_matches("fusermount3: "))))
}

fn parse_mountinfo(text: &[u8], path: &Path) -> Vec<MountEntry> {
    entries(text).filter(|mount| mount.mountpoint.as_os_str() == path.as_os_str()).collect()
}

fn entries(text: &[u8]) -> impl Iterator<Item = MountEntry> {
    text.split(|&byte| byte == b'\n').filter_map(parse_line)
}

/// One line: `36 35 98:0 /root /mountpoint rw,noatime master:1 - ext4 /dev/root rw`.
fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|&byte| byte == b' ');
    let id = str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let mountpoint = unescape(fields.nth(3)?).into();
    // Any number of optional fields ends with a single dash.
    fields.find(|&field| field == b"-")?;
    let fstype = String::from_utf8_lossy(unescape(fields.next()?).as_bytes()).into_owned();
    let source = unescape(fields.next()?);
    Some(MountEntry { id, mountpoint, fstype, source })
}

/// Undoes the kernel's octal escapes of blank, tab, newline, backslash and hash.
fn unescape(field: &[u8]) -> OsString {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let code = (byte == b'\\').then(|| octal(after)).flatten();
        plain.push(code.unwrap_or(byte));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(plain)
}

fn octal(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits.get(..3)?).ok()?;
    if !text.bytes().all(|byte| (b'0'..=b'7').contains(&byte)) {
        return None;
    }
    u8::from_str_radix(text, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &[u8] = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
        40 22 0:50 / /mnt/with\\040blank rw,nosuid shared:1 master:2 - fuse.cthulhu my\\134name rw\n\
        41 22 0:51 / /mnt/with\\040blank rw - tmpfs none rw\n\
        broken line\n";

    #[test]
    fn finds_stacked_mounts_in_order() {
        let found = parse_mountinfo(SAMPLE, Path::new("/mnt/with blank"));
        let fstypes: Vec<_> = found.iter().map(|entry| entry.fstype.as_str()).collect();
        assert_eq!(fstypes, ["fuse.cthulhu", "tmpfs"]);
        assert_eq!(found[0].source, std::ffi::OsStr::new("my\\name"));
        assert_eq!((found[0].id, found[1].id), (40, 41));
        assert!(parse_mountinfo(SAMPLE, Path::new("/mnt")).is_empty());
    }

    #[test]
    fn finds_mounts_of_a_kind_and_whose_they_are() {
        let text = b"40 22 0:50 / /a\\040b rw shared:1 - fuse.x none rw,user_id=1000,group_id=5\n\
            41 22 0:51 / /c rw - fuse.x none rw\n42 22 0:52 / /d rw - tmpfs fuse.x rw,user_id=7\n";
        let found = parse_mounts_of(text, "fuse.x");
        assert_eq!(found, [("/a b".into(), Some(1000)), ("/c".into(), None)]);
    }

    #[test]
    fn unescapes_only_whole_escapes() {
        for (escaped, plain) in
            [(&b"a\\040b"[..], &b"a b"[..]), (b"a\\04", b"a\\04"), (b"\\999", b"\\999"), (b"\\134012", b"\\012")]
        {
            assert_eq!(unescape(escaped).as_bytes(), plain);
        }
    }

    #[test]
    fn sees_proc_itself() {
        let found = mounts_at(Path::new("/proc")).unwrap();
        let proc = found.iter().find(|entry| entry.fstype == "proc").unwrap();
        assert_eq!(mount_with_id(proc.id).unwrap().as_ref(), Some(proc));
        assert_eq!(leads_to(Path::new("/proc"), proc.id), found.last() == Some(proc));
        assert!(!leads_to(Path::new("/"), proc.id) && !leads_to(Path::new("/none"), proc.id));
        assert_eq!(mount_with_id(u64::MAX).unwrap(), None);
    }

    #[test]
    fn detaching_what_is_not_mounted_fails() {
        let dir = tempfile::tempdir().unwrap();
        assert!(detach_mount(dir.path()).is_err());
    }
}
