//! Fills, measures or deletes the contents of a directory that nodes could fill with anything.
//!
//! By descriptors, one name at a time, below the directory that it is given and nowhere else. It never follows a link,
//! never opens anything but directories, and never crosses into another mount.
//!
//! [`run`] does so as root of a container, for a user who may not delete what nodes wrote as root.

mod delete;
mod fill;
mod measure;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use rustix::fs::{
    AtFlags, Dir, Gid, Mode, OFlags, StatxFlags, Uid, fchmod, fchown, fremovexattr, fstat, openat, statx,
};
use serde::{Deserialize, Serialize};

pub(crate) use delete::contents;
pub(crate) use fill::fill;
pub use fill::{Content, IfThere, Planted};
pub(crate) use measure::{Size, measure};

/// Directories in one another that are gone into. A descriptor or two are held for each.
const MAX_DEPTH: u32 = 64;

/// Mode of a directory that any user of a container may write to.
pub(crate) const OPEN_TO_ALL: u32 = 0o777;

/// Where the directory is in the container that sweeps.
pub(crate) const TARGET: &str = "/swept";

/// What happened to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Swept {
    /// How many names were removed.
    pub(crate) removed: u64,
    /// How many could not be.
    pub(crate) left: u64,
    /// Why the first of these could not, in words.
    pub(crate) why: Option<String>,
}

/// Deletes the contents of [`TARGET`] and of nothing else, and says in a JSON line what became of them. With an owner, user
/// and group, the directory itself becomes as it was made for that owner.
pub(crate) fn run(owner: Option<(u32, u32)>) -> ExitCode {
    let swept = empty(Path::new(TARGET), owner);
    let swept = swept.unwrap_or_else(|error| Swept { removed: 0, left: 1, why: Some(error.to_string()) });
    let text = serde_json::to_string(&swept).unwrap_or_default();
    match writeln!(io::stdout(), "{text}") {
        Ok(()) if swept.left == 0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Deletes everything in a directory, and with an owner makes the directory itself as it was made for that owner.
///
/// # Errors
/// The directory cannot be opened or given to the owner.
pub(crate) fn empty(path: &Path, owner: Option<(u32, u32)>) -> io::Result<Swept> {
    empty_open(&open(path)?, owner)
}

/// The same of a directory that is open.
///
/// # Errors
/// It cannot be given to the owner.
pub(crate) fn empty_open(dir: &OwnedFd, owner: Option<(u32, u32)>) -> io::Result<Swept> {
    let swept = contents(dir.as_fd());
    if let Some((user, group)) = owner {
        let about = fstat(dir)?;
        if (about.st_uid, about.st_gid) != (user, group) {
            fchown(dir, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
        }
        // A list of further rights limits what the mode says. There may be none, and file systems that have none.
        for list in [c"system.posix_acl_access", c"system.posix_acl_default"] {
            let _ = fremovexattr(dir, list);
        }
        fchmod(dir, Mode::from_raw_mode(OPEN_TO_ALL))?;
    }
    Ok(swept)
}

/// Opens a directory; a link at its end is none.
///
/// # Errors
/// From the file system.
pub(crate) fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    Ok(File::options().read(true).custom_flags(flags).open(path)?.into())
}

/// Which mount of which file system something lies on.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Ground {
    device: (u32, u32),
    mount: u64,
}

impl Ground {
    fn of(file: impl AsFd) -> rustix::io::Result<Self> {
        let about = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
        Ok(Self { device: (about.stx_dev_major, about.stx_dev_minor), mount: about.stx_mnt_id })
    }
}

/// The names in a directory.
fn names(dir: impl AsFd) -> rustix::io::Result<Vec<std::ffi::CString>> {
    let mut names = vec![];
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

/// A subdirectory as a thing that can be looked at, whatever its mode says.
fn look_at(dir: impl AsFd, name: &std::ffi::CStr) -> rustix::io::Result<OwnedFd> {
    openat(dir, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// The same directory, opened to be listed.
fn enter(seen: impl AsFd) -> rustix::io::Result<OwnedFd> {
    openat(seen, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests;
