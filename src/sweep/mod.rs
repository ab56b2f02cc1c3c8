//! The sweep room: deletes what is in a directory that nodes have filled with what they liked, and tells how much it is.
//!
//! By descriptors, one name at a time, below the directory that it is given and nowhere else. It never follows a link,
//! never opens anything but directories, and never crosses into another mount.
//!
//! [`run`] does so as root of a container, for a user who may not delete what nodes wrote as root.

mod delete;
mod measure;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, StatxFlags, openat, statx};
use serde::{Deserialize, Serialize};

pub use delete::contents;
pub use measure::{Size, measure};

/// Directories in one another that are gone into. A descriptor or two are held for each.
const MAX_DEPTH: u32 = 64;

/// Where the directory is in the container that sweeps.
pub const TARGET: &str = "/swept";

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    /// How many names were removed.
    pub removed: u64,
    /// How many could not be.
    pub left: u64,
    /// Why the first of these could not, in words.
    pub why: Option<String>,
}

/// Arguments of the hidden subcommand.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory whose contents are deleted
    pub dir: PathBuf,
}

/// Deletes a directory's contents and says in a JSON line what became of them.
pub fn run(args: &Args) -> ExitCode {
    let swept = open(&args.dir).map(|dir| contents(dir.as_fd()));
    let swept = swept.unwrap_or_else(|error| Swept { removed: 0, left: 1, why: Some(error.to_string()) });
    let text = serde_json::to_string(&swept).unwrap_or_default();
    match writeln!(io::stdout(), "{text}") {
        Ok(()) if swept.left == 0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Opens a directory; a link at its end is none.
///
/// # Errors
/// From the file system.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
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
