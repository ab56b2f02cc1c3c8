//! What mounting needs of the machine, looked at before anything is made.

use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Result, bail};

/// Whether /dev/fuse may be used.
///
/// # Errors
/// What to do.
pub fn fuse_device() -> Result<()> {
    match File::options().read(true).write(true).open("/dev/fuse") {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("there is no /dev/fuse: load the module with sudo modprobe fuse, or give this container the device")
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            bail!("you may not open /dev/fuse: allow it with sudo chmod 0666 /dev/fuse")
        }
        Err(error) => bail!("cannot open /dev/fuse: {error}"),
    }
}

/// Whether this user has what mounts for him.
///
/// # Errors
/// What to do.
pub fn fuse_helper() -> Result<()> {
    if !rustix::process::geteuid().is_root() && on_path("fusermount3").is_none() {
        bail!("fusermount3 is missing, with which an ordinary user mounts: sudo apt-get install fuse3");
    }
    Ok(())
}

/// Where a program is, by PATH.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}
