//! The directories behind the nodes' bindmounts and logs, and their lock: a process that writes or deletes there holds it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::config::Config;
use super::lock::Lock;
use super::own::{self, private_dir};
use super::plan::PlannedFile;
use crate::cluster::{ClusterSpec, NodeSpec};
use crate::sweep::{self, Content, IfThere, Planted};
use crate::template::Nodes;

/// A cluster whose nodes write to a data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Writer {
    pub(crate) cluster: String,
    pub(crate) mountpoint: PathBuf,
    /// Address of its engine; of the first, if it has several.
    pub(crate) engine: String,
    /// Addresses of its other engines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) further_engines: Vec<String>,
}

impl Writer {
    /// The addresses of all its engines.
    pub(crate) fn engines(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.engine).chain(&self.further_engines)
    }
}

/// A data directory, taken. Its lock file names the cluster that uses it, until that is all gone: what it says when it
/// is taken is a cluster whose daemon was killed, and whose nodes may still write there.
#[derive(Debug)]
pub(crate) struct DataLock {
    dir: PathBuf,
    lock: Lock,
}

impl DataLock {
    /// Locks a directory, and creates it if it is missing. `None` if it is locked already.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn take(dir: &Path) -> Result<Option<Self>> {
        private_dir(dir)?;
        let lock = Lock::take(&lock_path(dir)).with_context(|| format!("cannot write {}", lock_path(dir).display()))?;
        Ok(lock.map(|lock| Self { dir: dir.to_owned(), lock }))
    }

    /// The cluster that had it last, if that was not all removed.
    pub(crate) fn last_writer(&self) -> Option<Writer> {
        last_writer(&self.dir)
    }

    /// Records which cluster uses it from now on; `None` when all of that cluster is gone.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn set_writer(&self, writer: Option<&Writer>) -> Result<()> {
        let text = writer.map(serde_json::to_string).transpose()?.map_or(String::new(), |text| text + "\n");
        self.lock.say(&text).with_context(|| format!("cannot write {}", lock_path(&self.dir).display()))
    }

    /// Moves the directory to where [`aside`] says, and returns that path.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn move_aside(&self) -> Result<PathBuf> {
        let aside = aside(&self.dir)?;
        let cannot = || format!("cannot remove {} nor move it aside", self.dir.display());
        fs::rename(&self.dir, &aside).with_context(cannot)?;
        Ok(aside)
    }

    /// Starts over with an empty directory. We may not have the right to delete what nodes wrote there as another user:
    /// it stays aside.
    ///
    /// # Errors
    /// A sentence; also if another process was faster.
    pub(crate) fn begin_fresh(&mut self) -> Result<()> {
        // The name first: who opens it from now on finds no files that are about to go.
        let _ = fs::remove_dir_all(self.move_aside()?);
        *self = Self::take(&self.dir)?.with_context(|| taken(&self.dir))?;
        Ok(())
    }
}

fn lock_path(dir: &Path) -> PathBuf {
    dir.join("lock")
}

/// The cluster that had a data directory last, if that was not all removed.
pub(crate) fn last_writer(dir: &Path) -> Option<Writer> {
    serde_json::from_str(&own::read(&lock_path(dir)).ok()?).ok()
}

/// Whether a data directory, which need not exist, is in use.
pub(crate) fn is_taken(dir: &Path) -> bool {
    Lock::is_held(&lock_path(dir))
}

/// Records in a data directory that a cluster is all gone, if it is not in use and that cluster used it last.
pub(crate) fn forget(dir: &Path, cluster: &str) {
    if last_writer(dir).is_none_or(|writer| writer.cluster != cluster) {
        return;
    }
    // If it is in use by now, its user has written the file.
    if let Ok(Some(lock)) = DataLock::take(dir)
        && lock.last_writer().is_some_and(|writer| writer.cluster == cluster)
    {
        let _ = lock.set_writer(None);
    }
}

/// Keeps clusters from beginning to use a data directory for as long as the lock lives. A directory without a lock was never
/// one, and stays as it is.
///
/// # Errors
/// A sentence: a cluster uses it.
pub(crate) fn lock_data(dir: &Path) -> Result<Option<DataLock>> {
    if fs::symlink_metadata(lock_path(dir)).is_err() {
        return Ok(None);
    }
    match DataLock::take(dir)? {
        Some(lock) => Ok(Some(lock)),
        None => bail!("{}", taken(dir)),
    }
}

/// A sentence about a directory that is in use.
pub(crate) fn taken(dir: &Path) -> String {
    let whose = last_writer(dir)
        .map_or("another cluster".to_owned(), |writer| format!("the cluster at {}", writer.mountpoint.display()));
    format!("{}: {whose} keeps its data there now", dir.display())
}

/// A free name beside a path.
fn aside(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().context("no name")?.to_string_lossy();
    // What was aside already, if it is in the way again.
    let name = name.split(".old-").next().unwrap_or_default();
    let free = (1..).map(|nth| path.with_file_name(format!("{name}.old-{nth}")));
    free.into_iter().find(|path| fs::symlink_metadata(path).is_err()).context("no name to move it to")
}

/// The directory in which the configs and secrets of a node lie, by their number.
pub(crate) const FILES: &str = "files";

/// What a node's directory begins with.
///
/// # Errors
/// A sentence about a template.
pub(crate) fn contents(
    spec: &ClusterSpec,
    index: usize,
    config: Option<&Config>,
    initial: Option<&Config>,
    files: &[PlannedFile],
    nodes: &Nodes,
) -> Result<Vec<Planted>> {
    let node = &spec.nodes[index];
    let replace = |path: PathBuf, content| Planted { path, content, if_there: IfThere::Replace };
    let mut planted: Vec<_> = node
        .own_directories()
        .map(|own| replace(own.into(), Content::Directory { mode: sweep::OPEN_TO_ALL }))
        .collect();
    if !files.is_empty() {
        planted.push(replace(FILES.into(), Content::Directory { mode: 0o700 }));
    }
    planted.extend(files.iter().enumerate().map(|(number, file)| {
        let content = Content::File { content: file.content.clone(), mode: file.mode, owner: file.owner };
        replace(Path::new(FILES).join(number.to_string()), content)
    }));
    if node.has_etc && !config.is_some_and(|config| config.has("config.json")) {
        let content = Content::File { content: spec.config_json(index).into(), mode: 0o644, owner: None };
        planted.push(replace("etc/config.json".into(), content));
    }
    if let Some(config) = config {
        config.plant("etc", false, &nodes.variables(index), &mut planted)?;
    }
    if node.has_var {
        planted.push(empty_file(format!("var/{}.log", node.name), 0o666));
    }
    if let Some(initial) = initial {
        initial.plant("var", true, &nodes.variables(index), &mut planted)?;
    }
    Ok(planted)
}

/// An empty file where there is no regular file; one that is there stays.
fn empty_file(path: String, mode: u32) -> Planted {
    let content = Content::File { content: vec![], mode, owner: None };
    Planted { path: path.into(), content, if_there: IfThere::KeepFile }
}

/// Makes a node's directory on this machine.
///
/// # Errors
/// A sentence.
pub(crate) fn prepare(node: &NodeSpec, planted: &[Planted]) -> Result<()> {
    // What is inside is open to every user of a container, so the way to it is closed to every user of the host.
    private_dir(&node.dir)?;
    let _ = fs::set_permissions(&node.dir, fs::Permissions::from_mode(0o700));
    own::check_dir(&node.dir)?;
    Ok(sweep::fill(&node.dir, planted)?)
}

/// Makes a node's log file if it has none.
///
/// # Errors
/// A sentence.
pub(crate) fn prepare_log(node: &NodeSpec) -> Result<()> {
    Ok(sweep::fill(&node.dir, &[empty_file("log".into(), 0o644)])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_a_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        assert!(!is_taken(&data));
        let mut lock = DataLock::take(&data).unwrap().unwrap();
        assert_eq!(lock.last_writer(), None);
        let writer =
            Writer { cluster: "c".into(), mountpoint: "/m".into(), engine: "e".into(), further_engines: vec![] };
        lock.set_writer(Some(&writer)).unwrap();
        assert!(is_taken(&data) && DataLock::take(&data).unwrap().is_none());
        assert!(taken(&data).contains("the cluster at /m keeps"), "{}", taken(&data));
        fs::write(data.join("f"), "x").unwrap();
        lock.begin_fresh().unwrap();
        assert_eq!(lock.last_writer(), None);
        let names = |at: &Path| fs::read_dir(at).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
        assert_eq!((names(&data), names(dir.path())), (vec!["lock".into()], vec!["data".into()]));
        assert!(DataLock::take(&data).unwrap().is_none(), "the new one is taken too");
        // Killed: it is not locked, and it names its last user.
        lock.set_writer(Some(&writer)).unwrap();
        drop(lock);
        let lock = DataLock::take(&data).unwrap().unwrap();
        assert_eq!(lock.last_writer(), Some(writer));
        forget(&data, "c");
        assert!(lock.last_writer().is_some(), "not while somebody has it");
        drop(lock);
        forget(&data, "another");
        let lock = DataLock::take(&data).unwrap().unwrap();
        assert!(lock.last_writer().is_some());
        drop(lock);
        forget(&data, "c");
        let lock = DataLock::take(&data).unwrap().unwrap();
        assert_eq!(lock.last_writer(), None);
        assert!(lock_data(&data).unwrap_err().to_string().contains("keeps its data there"));
        assert!(lock_data(dir.path()).unwrap().is_none() && !dir.path().join("lock").exists());
        forget(&dir.path().join("none"), "c");
        assert!(!dir.path().join("none").exists());
        // The one who moves it aside has what is there, and the name is free.
        let aside = lock.move_aside().unwrap();
        assert!(is_taken(&aside) && !is_taken(&data) && DataLock::take(&data).unwrap().is_some());
    }
}
