//! Where a cluster lives on this machine: its mountpoint, its directory under the user's state, its lock.

use std::fs::{self, File};
use std::io::{ErrorKind, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::{Access, FlockOperation, access, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::owner::Owner;
use crate::fuse;
use crate::sys;

/// Who asks whether a lock is held holds it for a moment himself: so many tries, so far apart, decide.
const PROBES: u32 = 20;
const PROBE_STEP: Duration = Duration::from_millis(10);

/// Bytes of the longest name that Linux's file systems take (NAME_MAX).
const LONGEST_NAME: usize = 255;

/// What the lock says while `cthulhu prune` has it.
const PRUNING: &str = "prune";

/// A text without what comes after so many bytes, and not cut within a character.
fn shortened(text: &str, bytes: usize) -> &str {
    let end = text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= bytes).last();
    &text[..end.unwrap_or_default()]
}

fn lock_file(path: &Path) -> std::io::Result<File> {
    File::options().create(true).truncate(false).read(true).write(true).open(path)
}

/// Whether the lock that was taken is the one that others will find.
fn is_still_there(file: &File, path: &Path) -> bool {
    let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(held), Ok(found)) if same(&held, &found))
}

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
    /// Its mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<OwnMount>,
    /// Its mountpoint was made for it, and goes with it.
    #[serde(default)]
    pub made_mountpoint: bool,
}

impl Record {
    /// Where it is mounted now: elsewhere than at first if a directory above it was renamed.
    pub fn now_at(&self) -> PathBuf {
        let mount = self.mount.as_ref().and_then(|mount| mount.now().ok().flatten());
        mount.map_or_else(|| self.mountpoint.clone(), |mount| mount.mountpoint)
    }
}

/// A mount of ours, wherever it is by now: a directory above it may be renamed, something may be mounted over it. The kernel gives
/// an id to another mount as soon as it is free, so the source must be the same too, which has the cluster's id in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnMount {
    id: u64,
    source: String,
}

impl OwnMount {
    /// The source of a cluster's mount.
    pub fn source(cluster: &str) -> String {
        format!("cthulhu-{cluster}")
    }

    /// The topmost mount at a path, if it is one of ours.
    pub fn at(path: &Path) -> Option<Self> {
        let top = sys::mounts_at(path).ok()?.pop()?;
        is_ours(&top.fstype).then(|| Self { id: top.id, source: top.source.to_string_lossy().into_owned() })
    }

    /// Where it is now, if it is still mounted.
    ///
    /// # Errors
    /// Those of reading `/proc/self/mountinfo`.
    pub fn now(&self) -> std::io::Result<Option<sys::MountEntry>> {
        let is_it = |mount: &sys::MountEntry| is_ours(&mount.fstype) && mount.source == self.source.as_str();
        Ok(sys::mount_with_id(self.id)?.filter(is_it))
    }

    /// Detaches it, if it is still mounted.
    ///
    /// # Errors
    /// From umount2(2) or fusermount3; that something else covers it.
    pub fn detach(&self) -> std::io::Result<()> {
        let Some(mount) = self.now()? else { return Ok(()) };
        if sys::leads_to(&mount.mountpoint, self.id) {
            return sys::detach_mount(&mount.mountpoint);
        }
        let at = mount.mountpoint.display();
        Err(std::io::Error::other(format!("something else is mounted over {at}")))
    }
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
        Self::exactly(mountpoint)
    }

    /// The place of a mountpoint whose path is absolute and free of symlinks, which is not looked up.
    ///
    /// # Errors
    /// A sentence: no home for state.
    pub fn exactly(mountpoint: PathBuf) -> Result<Self> {
        let digest = Sha256::digest(mountpoint.as_os_str().as_encoded_bytes());
        let hash: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let name = mountpoint.file_name().map_or("root".into(), |name| name.to_string_lossy().into_owned());
        let name = shortened(&name, LONGEST_NAME - 1 - hash.len());
        Ok(Self { state: state_home()?.join(format!("{name}-{hash}")), mountpoint })
    }

    /// Takes the place for this process, for as long as the lock lives.
    ///
    /// # Errors
    /// A sentence that names the daemon that has it.
    pub fn lock(&self) -> Result<Lock> {
        let path = self.state.join("lock");
        let mut file = loop {
            private_dir(&self.state)?;
            match lock_file(&path) {
                // `cthulhu prune` removes what is left of a place, the directory and the lock in it last.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| format!("cannot write {}", path.display())),
                Ok(file) if !locked(&file, FlockOperation::NonBlockingLockExclusive) => break Err(file),
                Ok(file) if is_still_there(&file, &path) => break Ok(file),
                Ok(_) => {}
            }
        }
        .or_else(|_| {
            if fs::read_to_string(&path).is_ok_and(|text| text.trim() == PRUNING) {
                bail!("cthulhu prune is removing what is left of an earlier cluster here: try again when it is done");
            }
            let daemon = self.holder().map(|pid| format!(" (daemon {pid})")).unwrap_or_default();
            bail!(
                "{} is a mounted cluster already{daemon}: unmount it first with cthulhu umount {0}",
                self.mountpoint.display()
            );
        })?;
        let written = file.set_len(0).and_then(|()| file.rewind());
        written
            .and_then(|()| writeln!(file, "{}", Owner::this_process()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Lock { _file: file })
    }

    /// Takes a place that nobody has, to remove what is left of it; `None` if somebody has it. The directory must exist.
    pub fn lock_to_prune(&self) -> Option<Lock> {
        let path = self.state.join("lock");
        let mut file = lock_file(&path).ok()?;
        if !locked(&file, FlockOperation::NonBlockingLockExclusive) || !is_still_there(&file, &path) {
            return None;
        }
        // Not our pid: whoever unmounts would end us.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{PRUNING}"));
        Some(Lock { _file: file })
    }

    /// Whether somebody has the place: a daemon, or who removes what is left of it.
    pub fn is_held(&self) -> bool {
        let file = File::open(self.state.join("lock"));
        file.is_ok_and(|file| !locked(&file, FlockOperation::NonBlockingLockShared))
    }

    /// What `ls` shows of it, if it is a cluster that is not all gone.
    pub fn record(&self) -> Option<Record> {
        serde_json::from_str(&fs::read_to_string(self.state.join("cluster.json")).ok()?).ok()
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

    /// Checks that something can be mounted there; clears a dead mount of ours away first. A directory that is missing can
    /// be made, if its parent says so. Returns whether the one that is there was made by a cluster that was killed, and so
    /// is ours to remove.
    ///
    /// # Errors
    /// A sentence: no directory, not empty, a mount already, cannot be made.
    pub fn check_mountpoint(&self) -> Result<bool> {
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
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let parent = self.mountpoint.parent().unwrap_or(Path::new("/"));
                access(parent, Access::WRITE_OK | Access::EXEC_OK).with_context(|| format!("cannot make {path}"))?;
                return Ok(false);
            }
            Err(error) => bail!("cannot use {path}: {error}"),
        }
        let mut entries = fs::read_dir(&self.mountpoint).with_context(|| format!("cannot read {path}"))?;
        if entries.next().is_some() {
            bail!("{path} is not empty: a mount would hide what is in it");
        }
        Ok(self.record().is_some_and(|record| record.made_mountpoint))
    }

    /// Makes the directory if it is missing; returns whether it was.
    ///
    /// # Errors
    /// A sentence.
    pub fn make_mountpoint(&self, umask: u32) -> Result<bool> {
        // Nobody else puts something into it before the mount covers it.
        match fs::DirBuilder::new().mode(0o755 & !umask).create(&self.mountpoint) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot make {}", self.mountpoint.display())),
        }
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
    let with_holder = |place: Place| place.record().map(|record| (record, place.holder()));
    let mut found: Vec<_> = places()?.into_iter().filter_map(with_holder).collect();
    found.sort_by(|a, b| a.0.mountpoint.cmp(&b.0.mountpoint));
    Ok(found)
}

/// The place of a cluster whose mount is at `mountpoint` by now, as a directory above it was renamed.
///
/// # Errors
/// A sentence: no home for state.
pub fn moved_to(mountpoint: &Path) -> Result<Option<Place>> {
    let Some(here) = OwnMount::at(mountpoint) else { return Ok(None) };
    let found = records()?.into_iter().find(|(record, _)| record.mount.as_ref() == Some(&here));
    found.map(|(record, _)| Place::exactly(record.mountpoint)).transpose()
}

/// All places that this user's state tells of: of clusters that are mounted, are left over, or have left what their nodes
/// wrote. Of the latter the mountpoint is not known, and empty.
///
/// # Errors
/// A sentence: no home for state.
pub fn places() -> Result<Vec<Place>> {
    let home = state_home()?;
    let mut found = vec![];
    for entry in fs::read_dir(&home).into_iter().flatten().flatten() {
        // A link, or a directory of another name, is not of our making.
        let name = entry.file_name();
        let ours = name.to_str().and_then(|name| name.rsplit_once('-')).is_some_and(|(_, hash)| {
            hash.len() == 12 && hash.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
        });
        if !ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let mut place = Place { mountpoint: PathBuf::new(), state: entry.path() };
        if let Some(record) = place.record() {
            place.mountpoint = record.mountpoint;
        }
        found.push(place);
    }
    found.sort_by(|a, b| a.state.cmp(&b.state));
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

/// Every mount of ours, whoever's it is: where, and whose.
///
/// # Errors
/// From the operating system.
pub fn our_mounts() -> std::io::Result<Vec<(PathBuf, Option<u32>)>> {
    sys::mounts_of(&format!("fuse.{}", fuse::SUBTYPE))
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
///
/// # Errors
/// A sentence: neither HOME nor XDG_STATE_HOME.
pub fn state_home() -> Result<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|base| base.join("cthulhu"))
        .ok_or_else(|| anyhow!("no place for state: set HOME or XDG_STATE_HOME to an absolute path"))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn every_mountpoint_has_a_state_directory_of_its_own() {
        let state = |name: Vec<u8>| {
            let place = Place::exactly(Path::new("/mnt").join(OsString::from_vec(name))).unwrap();
            place.state.file_name().unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(state(b"cluster".to_vec()), "cluster-740181dd6e98", "where earlier versions look");
        let longest = "x".repeat(242);
        assert!(state(longest.clone().into()).starts_with(&format!("{longest}-")));
        let (a, b) = (format!("{longest}a"), format!("{longest}b"));
        assert_ne!(state(a.into()), state(b.into()));
        // One byte that is no text is shown as three.
        for name in
            ["x".repeat(255).into(), "é".repeat(127).into(), format!("x{}", "€".repeat(84)).into(), vec![0xff; 255]]
        {
            let state = state(name);
            assert!((240..=255).contains(&state.len()), "{}", state.len());
            let (_, hash) = state.rsplit_once('-').unwrap();
            assert_eq!(hash.len(), 12);
        }
    }
}
