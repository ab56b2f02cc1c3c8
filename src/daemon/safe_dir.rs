//! Writing into a directory that a node may have filled with what it likes: by descriptors, one name at a time, never
//! through a link.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fchmod, mkdirat, openat, statat, symlinkat, unlinkat};
use rustix::io::Errno;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a directory whose parent is ours alone.
///
/// # Errors
/// From the file system; a link at its end is no directory.
pub(crate) fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, DIRECTORY, Mode::empty())?)
}

/// Whether there is anything of that name.
pub(crate) fn has(parent: BorrowedFd<'_>, name: &OsStr) -> bool {
    statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// Opens the directory `name`, made if it is missing, replacing anything else with that name.
///
/// # Errors
/// From the file system.
pub(crate) fn directory(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    match openat(parent, name, DIRECTORY, Mode::empty()) {
        Ok(found) => return Ok(found),
        Err(Errno::NOENT) => {}
        Err(Errno::NOTDIR | Errno::LOOP) => remove(parent, name)?,
        Err(error) => return Err(error.into()),
    }
    mkdirat(parent, name, Mode::RWXU)?;
    let made = openat(parent, name, DIRECTORY, Mode::empty())?;
    // As the etc around it: a node may run as any user.
    fchmod(&made, Mode::from_raw_mode(0o777))?;
    Ok(made)
}

/// Creates the file `name`, replacing anything with that name except a directory.
///
/// # Errors
/// From the file system; a directory in its place.
pub(crate) fn file(parent: BorrowedFd<'_>, name: &OsStr, content: &[u8], mode: u32) -> io::Result<()> {
    remove(parent, name)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(content)?;
    Ok(fchmod(&file, Mode::from_raw_mode(mode))?)
}

/// Creates the symbolic link `name`, replacing anything with that name except a directory.
///
/// # Errors
/// From the file system; a directory in its place.
pub(crate) fn link(parent: BorrowedFd<'_>, name: &OsStr, target: &Path) -> io::Result<()> {
    remove(parent, name)?;
    Ok(symlinkat(target, parent, name)?)
}

fn remove(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => Err(io::Error::other("a directory of the node's is in its place")),
        Err(error) => Err(error.into()),
    }
}
