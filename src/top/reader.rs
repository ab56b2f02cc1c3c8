//! Reads the files of a mount, and waits for their changes.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use super::clean;
use super::faults::Faults;
use super::snapshot::{Node, Snapshot};
use super::usage::Meter;
use crate::daemon::{ClusterPaths, Record};
use crate::engine::docker::parse_time;
use crate::sys;

/// Bytes at the end of a log in which its last line is looked for.
const TAIL: u64 = 4 * 1024;
/// How much is read of the selected node's log: bytes and lines.
const LOG: (u64, usize) = (64 * 1024, 300);
/// No log was asked for.
const NONE: usize = usize::MAX;

/// The files of a mounted cluster.
pub(crate) struct Reader {
    dir: PathBuf,
    image: String,
    /// Addresses of its engines; none if the cluster is not of this user.
    engines: Vec<String>,
    files: Vec<Files>,
    faults: Faults,
    /// Index of the node whose log is wanted.
    wanted: Arc<Wanted>,
}

/// Sets what a reader reads in addition, and wakes it.
pub(crate) struct Wanted {
    node: AtomicUsize,
    wake: OwnedFd,
}

impl Wanted {
    /// Whose log is wanted from now on.
    pub(crate) fn set(&self, node: Option<usize>) {
        self.node.store(node.unwrap_or(NONE), Ordering::Relaxed);
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

struct Files {
    dir: PathBuf,
    name: String,
    ip: String,
    state: Value,
    ready: Value,
    health: Value,
    /// Of which state and pid `started_at` and `container` are.
    described: Option<(String, String)>,
    started_at: i64,
    container: String,
    host: usize,
}

/// A file that is kept open, as poll(2) needs it.
struct Value {
    path: PathBuf,
    file: Option<File>,
}

impl Value {
    fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    /// What it says now; `None` while the engine cannot be reached.
    fn read(&mut self) -> Result<Option<String>> {
        let read = |value: &mut Self| -> io::Result<String> {
            let file = match value.file.take() {
                Some(file) => file,
                None => File::open(&value.path)?,
            };
            let mut bytes = [0; 64];
            let length = value.file.insert(file).read_at(&mut bytes, 0)?;
            Ok(clean::line(&bytes[..length]).trim().to_owned())
        };
        let text = read(self);
        live(&self.path, text)
    }
}

/// `None` for a value that is not known while the engine cannot be reached.
fn live<T>(path: &Path, read: io::Result<T>) -> Result<Option<T>> {
    match read {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.raw_os_error() == Some(libc::EHOSTDOWN) => Ok(None),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOTCONN | libc::ECONNABORTED | libc::ENODEV | libc::ENOENT | libc::EIO) => {
                Err(anyhow!("the mount that {} is in has gone away", path.display()))
            }
            _ => Err(error).with_context(|| format!("cannot read {}", path.display())),
        },
    }
}

fn small(path: &Path) -> Result<Option<String>> {
    let text = live(path, fs::read_to_string(path))?;
    Ok(text.map(|text| clean::line(text.trim().as_bytes())))
}

impl Reader {
    /// Of the cluster that is mounted at `dir`.
    ///
    /// # Errors
    /// A sentence: no cluster is mounted there.
    pub(crate) fn of(dir: &Path) -> Result<Self> {
        let shown = dir.display();
        let advice = "name the mountpoint of a cluster (cthulhu ls lists yours)";
        match rustix::fs::statfs(dir) {
            Ok(_) => {}
            Err(Errno::NOTCONN | Errno::CONNABORTED) => {
                bail!("the daemon of {shown} is gone: cthulhu umount {shown} removes what it left")
            }
            Err(Errno::NOENT) => bail!("there is no {shown}: {advice}"),
            Err(error) => return Err(io::Error::from(error)).with_context(|| format!("cannot read {shown}")),
        }
        let there = |file: &str| fs::symlink_metadata(dir.join(file)).is_ok();
        let paths = ClusterPaths::of(dir)?;
        if !paths.is_mounted() || !["control", "status", "spec.json"].iter().all(|file| there(file)) {
            bail!("no cluster is mounted at {shown}: {advice}");
        }
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| anyhow!("cannot make an eventfd: {error}"))?;
        let mut reader = Self {
            dir: paths.mountpoint.clone(),
            image: String::new(),
            engines: paths.record().iter().flat_map(Record::engines).cloned().collect(),
            files: vec![],
            faults: Faults::new(paths.mountpoint.join("history")),
            wanted: Arc::new(Wanted { node: AtomicUsize::new(NONE), wake }),
        };
        reader.find_nodes()?;
        // Two or three descriptors a node stay open.
        let _ = sys::raise_nofile_limit();
        Ok(reader)
    }

    pub(crate) fn mountpoint(&self) -> &Path {
        &self.dir
    }

    /// What asks its engines.
    pub(crate) fn meters(&self) -> Vec<Arc<Meter>> {
        Meter::of_all(&self.engines)
    }

    /// To say whose log is wanted.
    pub(crate) fn wanted(&self) -> Arc<Wanted> {
        self.wanted.clone()
    }

    fn find_nodes(&mut self) -> Result<()> {
        let mut names = vec![];
        for entry in fs::read_dir(&self.dir).with_context(|| format!("cannot read {}", self.dir.display()))? {
            let name = entry.with_context(|| format!("cannot read {}", self.dir.display()))?.file_name();
            let name = name.to_string_lossy().into_owned();
            let number = name.strip_prefix('i').filter(|digits| digits.len() >= 3);
            let number = number.and_then(|digits| digits.parse::<usize>().ok());
            names.extend(number.map(|number| (number, name)));
        }
        names.sort();
        let hosts = host_names(&self.dir);
        let mut images = vec![];
        for (_, number) in names {
            let dir = self.dir.join(&number);
            let image = small(&dir.join("image"))?.unwrap_or_default();
            if !images.contains(&image) {
                images.push(image);
            }
            let value = |file| Value::new(dir.join(file));
            self.files.push(Files {
                ip: small(&dir.join("ip"))?.unwrap_or_default(),
                state: value("state"),
                ready: value("ready"),
                health: value("health"),
                described: None,
                started_at: 0,
                container: String::new(),
                host: host_of(&dir, &hosts),
                name: small(&dir.join("name"))?.unwrap_or(number),
                dir,
            });
        }
        self.image = images.join(", ");
        Ok(())
    }

    /// What is true now.
    ///
    /// # Errors
    /// A sentence: the mount has gone away.
    pub(crate) fn read(&mut self) -> Result<Snapshot> {
        let told = self.faults.read().clone();
        let mut nodes = vec![];
        for files in &mut self.files {
            let mut node = files.read()?;
            node.faults = told.in_force.iter().map(|fault| fault.count_at(&node.name)).sum();
            nodes.push(node);
        }
        let wanted = self.wanted.node.load(Ordering::Relaxed);
        let log = self.files.get(wanted).map(|files| (wanted, last_lines(&files.dir.join("log"), LOG.0, LOG.1)));
        Ok(Snapshot {
            mountpoint: self.dir.display().to_string(),
            image: self.image.clone(),
            engine: self.engines.join(", "),
            nodes,
            faults: told.links,
            log,
        })
    }

    /// Returns when a state or readiness changes, a log is requested, or `time` is over.
    ///
    /// # Errors
    /// A sentence: poll(2) failed.
    pub(crate) fn wait(&self, time: Duration) -> Result<()> {
        let values = self.files.iter().flat_map(|files| [&files.state, &files.ready, &files.health]);
        let mut fds: Vec<_> = values
            .filter_map(|value| value.file.as_ref())
            .map(|file| PollFd::from_borrowed_fd(file.as_fd(), PollFlags::PRI))
            .collect();
        fds.push(PollFd::from_borrowed_fd(self.wanted.wake.as_fd(), PollFlags::IN));
        let time = Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(time.subsec_nanos()),
        };
        match poll(&mut fds, Some(&time)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => bail!("cannot wait with poll(2): {error}"),
        }
        let _ = rustix::io::read(&self.wanted.wake, &mut [0; 8]);
        Ok(())
    }
}

impl Files {
    fn read(&mut self) -> Result<Node> {
        let state = self.state.read()?;
        let ready = self.ready.read()?.unwrap_or_default();
        let health = self.health.read()?.filter(|health| health != "none").unwrap_or_default();
        let pid = small(&self.dir.join("pid.txt"))?.unwrap_or_default();
        let exit_code = small(&self.dir.join("exit_code"))?.unwrap_or_default();
        // A long file: read only when there is another run.
        let run = (state.clone().unwrap_or_default(), pid.clone());
        if self.described.as_ref() != Some(&run) {
            let text = live(&self.dir, fs::read(self.dir.join("inspect.json")))?.unwrap_or_default();
            let description: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
            let started = description["State"]["StartedAt"].as_str().and_then(parse_time);
            self.started_at = started.unwrap_or(0);
            self.container = small(&self.dir.join("id"))?.unwrap_or_default();
            self.described = Some(run);
        }
        Ok(Node {
            name: self.name.clone(),
            ip: self.ip.clone(),
            state,
            ready,
            health,
            pid,
            exit_code,
            started_at: self.started_at,
            container: self.container.clone(),
            host: self.host,
            last_line: last_lines(&self.dir.join("log"), TAIL, 1).pop().unwrap_or_default(),
            faults: 0,
        })
    }
}

/// The names of a cluster's machines, in the order of its engines; none if there is only one.
fn host_names(root: &Path) -> Vec<String> {
    let table = fs::read_to_string(root.join("hosts")).unwrap_or_default();
    let names = table.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect()
}

/// Which of the machines of these names a node runs on.
fn host_of(node: &Path, hosts: &[String]) -> usize {
    let name = fs::read_to_string(node.join("host")).unwrap_or_default();
    hosts.iter().position(|host| host == name.trim()).unwrap_or_default()
}

/// The last lines of a log; none if it cannot be read now.
fn last_lines(path: &Path, bytes: u64, lines: usize) -> Vec<String> {
    let read = || -> io::Result<Vec<String>> {
        let file = File::open(path)?;
        let from = file.metadata()?.len().saturating_sub(bytes);
        let mut piece = vec![0; usize::try_from(bytes).unwrap_or(0)];
        let mut length = 0;
        while length < piece.len() {
            match file.read_at(&mut piece[length..], from + length as u64)? {
                0 => break,
                more => length += more,
            }
        }
        Ok(clean::last_lines(&piece[..length], lines, from > 0))
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_a_cluster_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = Reader::of(dir.path()).err().unwrap().to_string();
        assert!(error.starts_with("no cluster is mounted at "), "{error}");
        let error = Reader::of(&dir.path().join("none")).err().unwrap().to_string();
        assert!(error.starts_with("there is no "), "{error}");
    }

    #[test]
    fn the_end_of_a_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        fs::write(&log, "one\ntwo\n".repeat(1000) + "last").unwrap();
        assert_eq!(last_lines(&log, 64, 2), ["two", "last"]);
        assert!(last_lines(&dir.path().join("none"), 64, 2).is_empty());
    }
}
