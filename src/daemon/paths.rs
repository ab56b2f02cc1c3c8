//! Where a cluster lives on this machine: its mountpoint, its directory under the user's state, its lock.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::{Access, access};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::lock::{Lock, PROBE_STEP, PROBES};
use super::own;
use super::owner::Owner;
use crate::fuse;
use crate::sweep;
use crate::sys::{self, Asked};

/// A mount that has not answered for this long is reported.
pub(crate) const SILENCE: Duration = Duration::from_secs(5);

/// Bytes of the longest name that Linux's file systems take (NAME_MAX).
const LONGEST_NAME: usize = 255;

/// What the lock says while `cthulhu prune` has it.
const PRUNING: &str = "prune";

/// A text cut to this number of bytes, but not within a character.
fn shortened(text: &str, bytes: usize) -> &str {
    let end = text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= bytes).last();
    &text[..end.unwrap_or_default()]
}

/// What `ls` shows of a cluster, kept in its state directory while it is mounted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub(crate) id: String,
    pub(crate) mountpoint: PathBuf,
    /// Pid of its daemon.
    pub(crate) pid: u32,
    /// How many nodes it has.
    pub(crate) nodes: usize,
    pub(crate) image: String,
    /// Where bindmounts and logs are.
    pub(crate) data: PathBuf,
    /// Address of its engine; of the first, if it has several.
    pub(crate) engine: String,
    /// Addresses of its other engines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) further_engines: Vec<String>,
    /// Some of its nodes' files are on other machines, and go with it.
    #[serde(default)]
    pub(crate) files_elsewhere: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mount: Option<OwnMount>,
    /// Its mountpoint was made for it, and goes with it.
    #[serde(default)]
    pub(crate) made_mountpoint: bool,
}

impl Record {
    /// The addresses of all its engines.
    pub(crate) fn engines(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.engine).chain(&self.further_engines)
    }

    /// Where it is mounted now: elsewhere than at first if a directory above it was renamed.
    pub(crate) fn now_at(&self) -> PathBuf {
        let mount = self.mount.as_ref().and_then(|mount| mount.now().ok().flatten());
        mount.map_or_else(|| self.mountpoint.clone(), |mount| mount.mountpoint)
    }
}

/// A mount of ours, wherever it is by now: a directory above it may be renamed, something may be mounted over it. The kernel gives
/// an id to another mount as soon as it is free, so the source must be the same too, which has the cluster's id in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OwnMount {
    id: u64,
    source: String,
}

impl OwnMount {
    /// The source of a cluster's mount.
    pub(crate) fn source(cluster: &str) -> String {
        format!("cthulhu-{cluster}")
    }

    /// The topmost mount at a path, if it is one of ours.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        let top = sys::mounts_at(path).ok()?.pop()?;
        is_ours(&top.fstype).then(|| Self { id: top.id, source: top.source.to_string_lossy().into_owned() })
    }

    /// Where it is now, if it is still mounted.
    ///
    /// # Errors
    /// Those of reading `/proc/self/mountinfo`.
    pub(crate) fn now(&self) -> std::io::Result<Option<sys::MountEntry>> {
        let is_it = |mount: &sys::MountEntry| is_ours(&mount.fstype) && mount.source == self.source.as_str();
        Ok(sys::mount_with_id(self.id)?.filter(is_it))
    }

    /// Detaches it, if it is still mounted.
    ///
    /// # Errors
    /// From umount2(2) or fusermount3; that something else covers it.
    pub(crate) fn detach(&self) -> std::io::Result<()> {
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
pub(crate) struct ClusterPaths {
    /// Absolute, without symlinks.
    pub(crate) mountpoint: PathBuf,
    pub(crate) state: PathBuf,
}

impl ClusterPaths {
    /// The place of a mountpoint, which need not exist. A mount there that hangs or is dead is not touched.
    ///
    /// # Errors
    /// A sentence: no such parent directory, no home for state.
    pub(crate) fn of(mountpoint: &Path) -> Result<Self> {
        let shown = mountpoint.display();
        let mountpoint = match (mountpoint.parent(), mountpoint.file_name()) {
            (Some(parent), Some(name)) => {
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                let parent = parent.canonicalize().with_context(|| {
                    format!("cannot use {shown} as a mountpoint: no directory {}", parent.display())
                })?;
                let joined = parent.join(name);
                // Only a symlink is followed: anything else may be a mount that does not answer.
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
    pub(crate) fn exactly(mountpoint: PathBuf) -> Result<Self> {
        let digest = Sha256::digest(mountpoint.as_os_str().as_encoded_bytes());
        let hash: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let name = mountpoint.file_name().map_or("root".into(), |name| name.to_string_lossy().into_owned());
        let name = shortened(&name, LONGEST_NAME - 1 - hash.len());
        Ok(Self { state: state_home()?.join(format!("{name}-{hash}")), mountpoint })
    }

    fn lock_path(&self) -> PathBuf {
        self.state.join("lock")
    }

    /// Makes the state directory, in a home for state that only its owner can write to.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn make_state(&self) -> Result<()> {
        if let Some(home) = self.state.parent() {
            own::private_dir(home)?;
            own::check_dir(home)?;
        }
        own::private_dir(&self.state)
    }

    /// Takes the place for this process, for as long as the lock lives.
    ///
    /// # Errors
    /// A sentence that names the daemon that holds it.
    pub(crate) fn lock(&self) -> Result<Lock> {
        let path = self.lock_path();
        let cannot = || format!("cannot write {}", path.display());
        let taken = loop {
            self.make_state()?;
            match Lock::take(&path) {
                // `cthulhu prune` removes what is left of a place, the directory and the lock in it last.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                taken => break taken.with_context(cannot)?,
            }
        };
        let Some(lock) = taken else {
            if own::read(&path).is_ok_and(|text| text.trim() == PRUNING) {
                bail!("cthulhu prune is removing what is left of an earlier cluster here: try again when it is done");
            }
            let daemon = self.holder().map(|pid| format!(" (daemon {pid})")).unwrap_or_default();
            bail!(
                "{} is a mounted cluster already{daemon}: unmount it first with cthulhu umount {0}",
                self.mountpoint.display()
            );
        };
        lock.say(&format!("{}\n", Owner::this_process())).with_context(cannot)?;
        Ok(lock)
    }

    /// Locks a free place, to remove what is left of it; `None` if it is locked. The directory must exist.
    pub(crate) fn lock_to_prune(&self) -> Option<Lock> {
        let lock = Lock::take(&self.lock_path()).ok()??;
        // Do not write our pid: `umount` would end us.
        let _ = lock.say(&format!("{PRUNING}\n"));
        Some(lock)
    }

    /// Whether the place is locked: by a daemon, or by a process that removes what is left of it.
    pub(crate) fn is_held(&self) -> bool {
        Lock::is_held(&self.lock_path())
    }

    /// What `ls` shows of it, if it is a cluster that is not all gone.
    pub(crate) fn record(&self) -> Option<Record> {
        serde_json::from_str(&own::read(&self.state.join("cluster.json")).ok()?).ok()
    }

    /// Pid of the daemon that holds the place, if one does.
    pub(crate) fn holder(&self) -> Option<u32> {
        if !Lock::is_held_now(&self.lock_path()) {
            return None;
        }
        // There is a moment between taking the lock and writing the holder into it.
        (0..PROBES).find_map(|_| {
            let text = own::read(&self.lock_path()).ok()?;
            Owner::pid(&text).or_else(|| {
                std::thread::sleep(PROBE_STEP);
                None
            })
        })
    }

    /// Whether the mount there is one of ours whose daemon is gone. One that does not answer is not.
    pub(crate) fn is_dead_mount(&self) -> bool {
        self.is_mounted() && matches!(self.ask_mount(), Asked::Fails(Errno::NOTCONN | Errno::CONNABORTED))
    }

    /// Asks what is mounted there for an answer. Not by lstat: the kernel answers that from memory for long after the
    /// daemon is gone.
    pub(crate) fn ask_mount(&self) -> Asked {
        sys::ask(&self.mountpoint, SILENCE).unwrap_or(Asked::Silent)
    }

    fn top_mount(&self) -> Option<String> {
        sys::mounts_at(&self.mountpoint).ok()?.pop().map(|mount| mount.fstype)
    }

    /// Whether a mount of ours is there.
    pub(crate) fn is_mounted(&self) -> bool {
        self.top_mount().is_some_and(|fstype| is_ours(&fstype))
    }

    /// Detaches the mount there if it is ours.
    ///
    /// # Errors
    /// From umount2(2) or fusermount3.
    pub(crate) fn detach(&self) -> std::io::Result<()> {
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
    pub(crate) fn check_mountpoint(&self) -> Result<bool> {
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
    pub(crate) fn make_mountpoint(&self, umask: u32) -> Result<bool> {
        // No other user can put anything into it before the mount covers it.
        match fs::DirBuilder::new().mode(0o755 & !umask).create(&self.mountpoint) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot make {}", self.mountpoint.display())),
        }
    }

    /// The data directories in the state directory: that of the last cluster there, and what was moved aside.
    pub(crate) fn data(&self) -> Vec<PathBuf> {
        let is_data = |entry: &fs::DirEntry| {
            let name = entry.file_name();
            let ours = name.to_str().is_some_and(|name| name == "data" || name.starts_with("data.old-"));
            ours && entry.file_type().is_ok_and(|kind| kind.is_dir())
        };
        fs::read_dir(&self.state).into_iter().flatten().flatten().filter(is_data).map(|entry| entry.path()).collect()
    }

    /// Where the data of the cluster lie that is mounted there, or was last, as far as this user's state says.
    pub(crate) fn kept(&self) -> Option<PathBuf> {
        let data = self.record().map_or_else(|| self.state.join("data"), |record| record.data);
        data.is_dir().then_some(data)
    }

    /// Writes what `ls` shows.
    ///
    /// # Errors
    /// From the file system.
    pub(crate) fn write_record(&self, record: &Record) -> Result<()> {
        let path = self.state.join("cluster.json");
        own::write(&path, &format!("{:#}\n", serde_json::to_value(record)?))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Whether it is there: a cluster that is not all gone.
    pub(crate) fn has_record(&self) -> bool {
        self.state.join("cluster.json").exists()
    }

    pub(crate) fn remove_record(&self) {
        let _ = fs::remove_file(self.state.join("cluster.json"));
    }

    pub(crate) fn daemon_log(&self) -> PathBuf {
        self.state.join("daemon.log")
    }

    /// Where the daemon records that its teardown failed.
    pub(crate) fn failure(&self) -> PathBuf {
        self.state.join("teardown-failed")
    }
}

/// The records of all clusters of this user whose state says that they are, or were, mounted, with the pid of the
/// daemon if it lives.
///
/// # Errors
/// A sentence: no home for state.
pub(crate) fn records() -> Result<Vec<(Record, Option<u32>)>> {
    let with_holder = |paths: ClusterPaths| paths.record().map(|record| (record, paths.holder()));
    let mut found: Vec<_> = places()?.into_iter().filter_map(with_holder).collect();
    found.sort_by(|a, b| a.0.mountpoint.cmp(&b.0.mountpoint));
    Ok(found)
}

/// The place of a cluster whose mount is at `mountpoint` by now, as a directory above it was renamed.
///
/// # Errors
/// A sentence: no home for state.
pub(crate) fn moved_to(mountpoint: &Path) -> Result<Option<ClusterPaths>> {
    let Some(here) = OwnMount::at(mountpoint) else { return Ok(None) };
    let found = records()?.into_iter().find(|(record, _)| record.mount.as_ref() == Some(&here));
    found.map(|(record, _)| ClusterPaths::exactly(record.mountpoint)).transpose()
}

/// All places in this user's state: of clusters that are mounted, are left over, or have left what their nodes wrote.
/// Of the latter the mountpoint is not known, and empty.
///
/// # Errors
/// A sentence: no home for state, or one that is not this user's alone.
pub(crate) fn places() -> Result<Vec<ClusterPaths>> {
    let home = state_home()?;
    if fs::symlink_metadata(&home).is_ok() {
        own::check_dir(&home)?;
    }
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
        let mut paths = ClusterPaths { mountpoint: PathBuf::new(), state: entry.path() };
        if let Some(record) = paths.record() {
            paths.mountpoint = record.mountpoint;
        }
        found.push(paths);
    }
    found.sort_by(|a, b| a.state.cmp(&b.state));
    Ok(found)
}

fn is_ours(fstype: &str) -> bool {
    fstype.strip_prefix("fuse.") == Some(fuse::SUBTYPE)
}

/// Every mount of cthulhu's, of any user: where, and whose.
///
/// # Errors
/// From the operating system.
pub(crate) fn our_mounts() -> std::io::Result<Vec<(PathBuf, Option<u32>)>> {
    sys::mounts_of(&format!("fuse.{}", fuse::SUBTYPE))
}

/// A directory that any user of a container may write to.
///
/// # Errors
/// A sentence.
pub(crate) fn open_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    // What continues with --data may belong to a node's own user by now.
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(sweep::OPEN_TO_ALL));
    Ok(())
}

/// `$XDG_STATE_HOME/cthulhu`, by the XDG Base Directory Specification.
///
/// # Errors
/// A sentence: neither HOME nor XDG_STATE_HOME.
pub(crate) fn state_home() -> Result<PathBuf> {
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
            let paths = ClusterPaths::exactly(Path::new("/mnt").join(OsString::from_vec(name))).unwrap();
            paths.state.file_name().unwrap().to_str().unwrap().to_owned()
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
