//! What mounting needs of the machine, looked at before anything is made.

use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Result, bail};

/// Whether /dev/fuse may be used.
///
/// # Errors
/// What to do.
pub(crate) fn fuse_device() -> Result<()> {
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
pub(crate) fn fuse_helper() -> Result<()> {
    if !rustix::process::geteuid().is_root() && on_path("fusermount3").is_none() {
        bail!("fusermount3 is missing, with which an ordinary user mounts: sudo apt-get install fuse3");
    }
    Ok(())
}

/// What a daemon needs at its busiest: 14 while it idles, and some for what waits for a disk.
const THREADS: usize = 24;

/// Whether this process may have as many threads as a daemon needs: without them it would be up, and not answer.
///
/// # Errors
/// What to do.
pub(crate) fn threads() -> Result<()> {
    let (stay, end) = std::sync::mpsc::channel::<()>();
    let end = std::sync::Arc::new(std::sync::Mutex::new(end));
    let begun = (0..THREADS).map(|_| {
        let end = end.clone();
        // Each stays until all are there: the channel ends.
        std::thread::Builder::new().stack_size(64 << 10).spawn(move || drop(end.lock().map(|end| end.recv())))
    });
    let begun: Vec<_> = begun.collect();
    drop(stay);
    let mut refused = None;
    for thread in begun {
        match thread {
            Ok(thread) => drop(thread.join()),
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        None => Ok(()),
        Some(error) => bail!(
            "the daemon needs {THREADS} threads, and may not have them ({error}): allow this user or container more \
             processes (ulimit -u, --pids-limit)"
        ),
    }
}

/// Where a program is, by PATH.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}
