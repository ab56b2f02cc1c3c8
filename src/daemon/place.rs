//! Where a cluster lives on this machine: its mountpoint, its directory under the user's state, its lock.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::owner::Owner;
use crate::fuse;
use crate::sys;

/// Who asks whether a lock is held holds it for a moment himself: so many tries, so far apart, decide.
const PROBES: u32 = 20;
const PROBE_STEP: Duration = Duration::from_millis(10);

fn locked(file: &File, operation: FlockOperation) -> bool {
    (0..PROBES).any(|_| {
        let locked = flock(file, operation).is_ok();
        if !locked {
            std::thread::sleep(PROBE_STEP);
        }
        locked
    })
}

/// What `ls` shows of a cluster, kept in its state directory while it is mounted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its id.
    pub id: String,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// Pid of its daemon.
    pub pid: u32,
    /// How many nodes it has.
    pub nodes: usize,
    /// What they run.
    pub image: String,
    /// Where bindmounts and logs are.
    pub data: PathBuf,
    /// Address of its engine.
    pub engine: String,
}

/// A mountpoint and the state directory that belongs to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Place {
    /// Absolute, without symlinks.
    pub mountpoint: PathBuf,
    /// The state directory.
    pub state: PathBuf,
}

impl Place {
    /// The place of a mountpoint, which need not exist. A mount there that hangs or is dead is not touched.
    ///
    /// # Errors
    /// A sentence: no such parent directory, no home for state.
    pub fn of(mountpoint: &Path) -> Result<Self> {
        let shown = mountpoint.display();
        let mountpoint = match (mountpoint.parent(), mountpoint.file_name()) {
            (Some(parent), Some(name)) => {
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                let parent = parent.canonicalize().with_context(|| {
                    format!("cannot use {shown} as a mountpoint: no directory {}", parent.display())
                })?;
                let joined = parent.join(name);
                // Only a symlink is followed: whatever else is there may be a mount that does not answer.
                let is_link = fs::read_link(&joined).is_ok();
                if is_link {
                    joined.canonicalize().with_context(|| format!("{shown} is a dangling link"))?
                } else {
                    joined
                }
            }
            _ => mountpoint.canonicalize().with_context(|| format!("cannot use {shown} as a mountpoint"))?,
        };
        let digest = Sha256::digest(mountpoint.as_os_str().as_encoded_bytes());
        let hash: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let name = mountpoint.file_name().map_or("root".into(), |name| name.to_string_lossy().into_owned());
        Ok(Self { state: state_home()?.join(format!("{name}-{hash}")), mountpoint })
    }

    /// Takes the place for this process, for as long as the lock lives.
    ///
    /// # Errors
    /// A sentence that names the daemon that has it.
    pub fn lock(&self) -> Result<Lock> {
        private_dir(&self.state)?;
        let path = self.state.join("lock");
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        if !locked(&file, FlockOperation::NonBlockingLockExclusive) {
            let daemon = self.holder().map(|pid| format!(" (daemon {pid})")).unwrap_or_default();
            bail!(
                "{} is a mounted cluster already{daemon}: unmount it first with cthulhu umount {0}",
                self.mountpoint.display()
            );
        }
        let written = file.set_len(0).and_then(|()| file.rewind());
        written
            .and_then(|()| writeln!(file, "{}", Owner::this_process()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Lock { _file: file })
    }

    /// Pid of the daemon that holds the place, if one does.
    pub fn holder(&self) -> Option<u32> {
        let file = File::open(self.state.join("lock")).ok()?;
        // Shared: two who ask do not take each other for a daemon.
        if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
            return None;
        }
        // Between taking the lock and writing who has it lies a moment.
        (0..PROBES).find_map(|_| {
            let text = fs::read_to_string(self.state.join("lock")).ok()?;
            Owner::pid(&text).or_else(|| {
                std::thread::sleep(PROBE_STEP);
                None
            })
        })
    }

    /// Whether the mount there is one of ours whose daemon is gone. Ask only where no daemon of this user holds the
    /// place: a daemon that hangs would hang the question.
    pub fn is_dead_mount(&self) -> bool {
        let dead = || {
            // Not lstat: the kernel answers that from memory for long after the daemon is gone.
            let asked = rustix::fs::statfs(&self.mountpoint);
            matches!(asked, Err(Errno::NOTCONN | Errno::CONNABORTED))
        };
        self.is_mounted() && dead()
    }

    fn top_mount(&self) -> Option<String> {
        sys::mounts_at(&self.mountpoint).ok()?.pop().map(|mount| mount.fstype)
    }

    /// Whether a mount of ours is there.
    pub fn is_mounted(&self) -> bool {
        self.top_mount().is_some_and(|fstype| is_ours(&fstype))
    }

    /// Detaches the mount there if it is ours.
    ///
    /// # Errors
    /// From umount2(2) or fusermount3.
    pub fn detach(&self) -> std::io::Result<()> {
        match self.top_mount() {
            Some(fstype) if is_ours(&fstype) => sys::detach_mount(&self.mountpoint),
            _ => Ok(()),
        }
    }

    /// Checks that something can be mounted there; clears a dead mount of ours away first. With `make`, a missing
    /// directory is made: whether it was is returned.
    ///
    /// # Errors
    /// A sentence: missing, no directory, not empty, a mount already.
    pub fn check_mountpoint(&self, make: bool) -> Result<bool> {
        let mut made = false;
        let path = self.mountpoint.display();
        if self.is_dead_mount() {
            self.detach().with_context(|| format!("cannot detach the dead mount at {path}"))?;
        }
        if let Some(fstype) = self.top_mount() {
            bail!("{path} is a mountpoint already ({fstype}): unmount it, or choose another directory");
        }
        match fs::symlink_metadata(&self.mountpoint) {
            Ok(meta) if !meta.is_dir() => bail!("{path} is not a directory: a cluster is mounted on an empty one"),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && make => {
                fs::create_dir(&self.mountpoint).with_context(|| format!("cannot make {path}"))?;
                made = true;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("there is no directory {path}: make it first with mkdir {path}")
            }
            Err(error) => bail!("cannot use {path}: {error}"),
        }
        let mut entries = fs::read_dir(&self.mountpoint).with_context(|| format!("cannot read {path}"))?;
        if entries.next().is_some() {
            bail!("{path} is not empty: a mount would hide what is in it");
        }
        Ok(made)
    }

    /// Where the data of the cluster lie that is mounted there, or was last, as far as this user's state says.
    pub fn kept(&self) -> Option<PathBuf> {
        let record = fs::read_to_string(self.state.join("cluster.json")).ok();
        let record = record.and_then(|text| serde_json::from_str::<Record>(&text).ok());
        let data = record.map_or_else(|| self.state.join("data"), |record| record.data);
        data.is_dir().then_some(data)
    }

    /// Writes what `ls` shows.
    ///
    /// # Errors
    /// From the file system.
    pub fn write_record(&self, record: &Record) -> Result<()> {
        let path = self.state.join("cluster.json");
        fs::write(&path, format!("{:#}\n", serde_json::to_value(record)?))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Whether it is there: a cluster that is not all gone.
    pub fn has_record(&self) -> bool {
        self.state.join("cluster.json").exists()
    }

    /// Removes it.
    pub fn remove_record(&self) {
        let _ = fs::remove_file(self.state.join("cluster.json"));
    }

    /// Where the daemon logs.
    pub fn daemon_log(&self) -> PathBuf {
        self.state.join("daemon.log")
    }

    /// Where the daemon notes that its teardown failed.
    pub fn failure(&self) -> PathBuf {
        self.state.join("teardown-failed")
    }
}

/// The records of all clusters of this user whose state says that they are, or were, mounted, with the pid of the
/// daemon if it lives.
///
/// # Errors
/// A sentence: no home for state.
pub fn records() -> Result<Vec<(Record, Option<u32>)>> {
    let home = state_home()?;
    let mut found = vec![];
    for entry in fs::read_dir(&home).into_iter().flatten().flatten() {
        let Ok(text) = fs::read_to_string(entry.path().join("cluster.json")) else { continue };
        let Ok(record) = serde_json::from_str::<Record>(&text) else { continue };
        let place = Place { mountpoint: record.mountpoint.clone(), state: entry.path() };
        found.push((record, place.holder()));
    }
    found.sort_by(|a, b| a.0.mountpoint.cmp(&b.0.mountpoint));
    Ok(found)
}

/// Takes a directory named with `--data` for this process: two clusters would overwrite each other's files in it.
///
/// # Errors
/// A sentence.
pub fn lock_data(data: &Path) -> Result<Lock> {
    private_dir(data)?;
    let path = data.join("lock");
    let options = File::options().create(true).truncate(false).write(true).open(&path);
    let file = options.with_context(|| format!("cannot write {}", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!("--data {}: another cluster keeps its data there now", data.display());
    }
    Ok(Lock { _file: file })
}

/// Held while a daemon has a place.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

fn is_ours(fstype: &str) -> bool {
    fstype.strip_prefix("fuse.") == Some(fuse::SUBTYPE)
}

/// A directory for state, 0700, made with its parents.
///
/// # Errors
/// A sentence.
pub fn private_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make {}", path.display()))
}

/// A directory that any user of a container may write to.
///
/// # Errors
/// A sentence.
pub fn open_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    // What continues with --data may belong to a node's own user by now.
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o777));
    Ok(())
}

/// `$XDG_STATE_HOME/cthulhu`, by the XDG Base Directory Specification.
fn state_home() -> Result<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|base| base.join("cthulhu"))
        .ok_or_else(|| anyhow!("no place for state: set HOME or XDG_STATE_HOME to an absolute path"))
}
