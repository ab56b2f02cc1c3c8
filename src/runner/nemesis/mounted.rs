//! A mounted cluster as a performance sees it: its files.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use rustix::io::Errno;
use serde_json::{Map, Value};

use super::super::follow::unusable;
use crate::cluster::{Names, NodeName, NodeWords};
use crate::history::{CommandEvent, CommandPhase, HistoryEvent, HistoryLine, NemesisEvent};
use crate::nemesis::{self, Action, Surroundings, impossible};

/// The nodes that the roles in a line stood for.
pub(crate) type Resolved = BTreeMap<String, Vec<String>>;

/// A cluster, by its mountpoint.
#[derive(Debug)]
pub(crate) struct Mounted {
    root: PathBuf,
    /// Another cluster at the same place has another number, as long as something of this one is open: the turn.
    device: u64,
    surroundings: Surroundings,
    /// The nodes that are there to end.
    oneshots: Vec<String>,
}

/// Why a write failed.
#[derive(Debug)]
pub(crate) struct WriteError {
    pub(crate) errno: Option<Errno>,
    /// The file's `error`, if it says something; else the errno in words.
    pub(crate) sentence: String,
    /// What the roles in the line stood for.
    pub(crate) roles: Resolved,
}

impl WriteError {
    fn new(errno: Errno, sentence: String) -> Self {
        Self { errno: Some(errno), sentence, roles: Resolved::new() }
    }
}

impl Mounted {
    /// Looks at the cluster.
    ///
    /// # Errors
    /// A sentence: there is no mount.
    pub(crate) fn at(root: &Path) -> Result<Self> {
        let shown = root.display();
        let spec =
            fs::read(root.join("spec.json")).with_context(|| format!("{shown} is not the mountpoint of a cluster"))?;
        let spec: Map<String, Value> =
            serde_json::from_slice(&spec).with_context(|| format!("{shown}/spec.json cannot be read"))?;
        let capabilities = fs::read_to_string(root.join("capabilities"))?;
        let surroundings = Surroundings {
            names: Arc::new(names(root, &spec)),
            roles: roles(root),
            impossible: impossible(&capabilities),
        };
        let oneshots = spec.iter().filter(|(_, node)| node["oneshot"] == true).map(|(name, _)| name.clone()).collect();
        let device = fs::metadata(root)?.dev();
        Ok(Self { root: root.to_owned(), device, surroundings, oneshots })
    }

    /// A lock that one nemesis of the cluster has at a time: each would heal what another does. The kernel keeps it, so it goes
    /// with its process, and a process in any namespace heeds it.
    ///
    /// # Errors
    /// A sentence: another has it, or the mount has gone away.
    pub(crate) fn turn(&self) -> Result<File> {
        let at = self.root.display();
        let history = File::open(self.root.join("history")).map_err(|error| unusable(&self.root, &error))?;
        match history.try_lock() {
            Ok(()) => Ok(history),
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "{at}: another nemesis is at work there, and each would heal what the other does: wait until it is over"
                )
            }
            Err(TryLockError::Error(error)) => Err(unusable(&self.root, &error)),
        }
    }

    /// The names of the nodes that are there to run.
    pub(crate) fn nodes(&self) -> Vec<String> {
        let nodes = self.surroundings.nodes().into_iter();
        nodes.filter(|node| !self.oneshots.contains(node)).collect()
    }

    /// Its nodes, roles, and which faults are possible.
    pub(crate) fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// Which nodes each word for a role stands for, as far as is known now.
    pub(crate) fn roles(&self) -> Resolved {
        let mut words = roles(&self.root);
        if words.is_empty() {
            return words;
        }
        let has_role = |node: &String| words.values().flatten().any(|one| one == node);
        let others: Vec<_> = self.surroundings.nodes().into_iter().filter(|node| !has_role(node)).collect();
        words.extend(others.iter().enumerate().map(|(nth, node)| (format!("other{}", nth + 1), vec![node.clone()])));
        words.insert("others".into(), others);
        words
    }

    /// Whether nothing of an action, whose roles are replaced by nodes, has taken effect, so that nothing must be ended.
    pub(crate) fn did_nothing(&self, action: &Action, error: &WriteError) -> bool {
        match error.errno {
            Some(Errno::INVAL | Errno::NOENT | Errno::AGAIN | Errno::OPNOTSUPP | Errno::ACCESS) => true,
            // Of several nodes, the others may have been met.
            Some(Errno::SRCH | Errno::BUSY) => {
                let nodes = action.nodes();
                nodes.len() == 1 && self.surroundings.names.find(&nodes[0]).len() == 1
            }
            _ => false,
        }
    }

    /// The directory of a node.
    pub(crate) fn node_dir(&self, node: &str) -> PathBuf {
        let index = self.surroundings.names.find(node).first().copied().unwrap_or_default();
        self.root.join(NodeName::nth(index).as_str())
    }

    /// A file of a node.
    pub(crate) fn node_file(&self, node: &str, file: &str) -> PathBuf {
        self.node_dir(node).join(file)
    }

    /// The file.
    fn path(&self, file: &nemesis::File) -> PathBuf {
        match file {
            nemesis::File::Control => self.root.join("control"),
            nemesis::File::Partition => self.root.join("partition"),
            nemesis::File::Links => self.root.join("links"),
            nemesis::File::Net(node) => self.node_file(node, "net"),
        }
    }

    /// What a file of faults says.
    pub(crate) fn read(&self, file: &nemesis::File) -> io::Result<String> {
        fs::read_to_string(self.path(file))
    }

    /// Writes what an action says, and returns what its roles stood for.
    ///
    /// # Errors
    /// Those of the write.
    pub(crate) fn write(&self, action: &Action) -> Result<Resolved, WriteError> {
        if let nemesis::File::Net(word) = &action.file
            && self.surroundings.names.find(word).len() != 1
        {
            return Err(WriteError::new(Errno::AGAIN, format!("{word} is not one node now")));
        }
        let (path, history) = (self.path(&action.file), self.root.join("history"));
        let before = fs::metadata(&history).map_or(0, |found| found.len());
        let written =
            OpenOptions::new().write(true).open(&path).and_then(|mut file| file.write_all(action.text().as_bytes()));
        if written.is_ok() && action.roles().is_empty() {
            return Ok(Resolved::new());
        }
        let (known, said) = recorded(&history, before, action).unwrap_or_default();
        let roles = self.resolved(known, action);
        let Err(error) = written else { return Ok(roles) };
        // A node's file has the sentence, and that of all nodes only the one of the last that failed.
        let said = said.filter(|_| !matches!(action.file, nemesis::File::Net(_)));
        let said = said.or_else(|| fs::read_to_string(path.with_file_name("error")).ok()).unwrap_or_default();
        let sentence = if said.trim().is_empty() { error.to_string() } else { said.trim().to_owned() };
        Err(WriteError { errno: error.raw_os_error().map(Errno::from_raw_os_error), sentence, roles })
    }

    /// What the roles in an action stood for that has just been written, as far as the history has it. On a full disk the
    /// daemon keeps its lines for itself: then by the file `roles`, which the write has made new.
    fn resolved(&self, mut known: Resolved, action: &Action) -> Resolved {
        let roles = action.roles();
        if roles.iter().any(|role| !known.contains_key(role)) {
            let latest = self.roles().into_iter().filter(|(role, nodes)| roles.contains(role) && !nodes.is_empty());
            for (role, nodes) in latest {
                known.entry(role).or_insert(nodes);
            }
        }
        known
    }

    /// Whether a command is about a node, too.
    pub(crate) fn means(&self, command: &Action, node: &str) -> bool {
        let words = command.nodes();
        words.is_empty() || words.iter().any(|word| self.surroundings.nodes_of(word).iter().any(|one| one == node))
    }

    /// Appends a line to the history.
    ///
    /// # Errors
    /// A sentence: the mount is gone, or the disk is full.
    pub(crate) fn record(&self, event: NemesisEvent) -> Result<()> {
        let line = serde_json::to_string(&HistoryEvent::Nemesis(event))? + "\n";
        let appended = OpenOptions::new().append(true).open(self.root.join("history"));
        let appended = appended.and_then(|mut history| history.write_all(line.as_bytes()));
        appended.with_context(|| format!("cannot append to {}/history", self.root.display()))
    }

    /// Whether the cluster is still mounted.
    ///
    /// # Errors
    /// A sentence: it is not.
    pub(crate) fn is_there(&self) -> Result<()> {
        match fs::symlink_metadata(self.root.join("control")) {
            Ok(control) if control.dev() == self.device => Ok(()),
            _ => Err(anyhow!("{} is not mounted any more", self.root.display())),
        }
    }
}

/// What the roles in an action stood for, and the sentence if it failed, from the history's lines about it, which are behind
/// `from`.
fn recorded(history: &Path, from: u64, action: &Action) -> io::Result<(Resolved, Option<String>)> {
    let mut file = File::open(history)?;
    file.seek(SeekFrom::Start(from))?;
    let mut lines = String::new();
    file.read_to_string(&mut lines)?;
    let text = action.text();
    // The history has only the beginning of a long line.
    let is_ours = |line: &str| {
        let cut = line.strip_suffix('…').is_some_and(|start| text.starts_with(start));
        cut || line == text.trim_end()
    };
    let mut commands = lines.lines().filter_map(|line| match HistoryLine::parse(line).ok()?.event {
        HistoryEvent::Command(command) => Some(command),
        _ => None,
    });
    let begins = |command: &CommandEvent| command.phase == CommandPhase::Invoke;
    let ours = commands.find(|command| begins(command) && command.line.as_deref().is_some_and(is_ours));
    let Some(ours) = ours else { return Ok(Default::default()) };
    let error = commands.find(|command| command.id == ours.id).and_then(|command| command.error);
    Ok((ours.roles, error))
}

/// The names of the nodes, from `spec.json` and the links in `nodes`.
fn names(root: &Path, spec: &Map<String, Value>) -> Names {
    let text = |node: &Value, member: &str| node[member].as_str().map(str::to_owned);
    let index = |name: &str, node: &Value| NodeName::parse_index(text(node, "index").as_deref().unwrap_or(name));
    let mut nodes: Vec<_> = spec.iter().map(|(name, node)| (index(name, node), name, node)).collect();
    nodes.sort_by_key(|(index, ..)| *index);
    let mut hosts: Vec<(String, Vec<usize>)> = vec![];
    for (nth, (.., node)) in nodes.iter().enumerate() {
        let Some(host) = text(node, "host") else { continue };
        match hosts.iter_mut().find(|(name, _)| *name == host) {
            Some((_, its)) => its.push(nth),
            None => hosts.push((host, vec![nth])),
        }
    }
    let links = fs::read_dir(root.join("nodes")).into_iter().flatten().flatten();
    let links: Vec<_> = links.filter_map(|link| Some((link.file_name(), fs::read_link(link.path()).ok()?))).collect();
    let words: Vec<_> = nodes
        .iter()
        .enumerate()
        .map(|(nth, (_, name, node))| {
            let its =
                |target: &Path| target.file_name().is_some_and(|ip| Some(ip) == node["ip"].as_str().map(AsRef::as_ref));
            let aliases = links.iter().filter(|(_, target)| its(target));
            let aliases = aliases.map(|(link, _)| link.to_string_lossy().into_owned()).filter(|alias| alias != *name);
            (NodeName::choose(nth, Some(name)), text(node, "service"), aliases.collect::<Vec<_>>())
        })
        .collect();
    let words = words.iter().map(|(name, service, aliases)| NodeWords { name, service: service.as_deref(), aliases });
    Names::of(words).on_hosts(hosts)
}

/// The last known nodes of each role: a line for each, the role, its nodes, and what is told for people.
fn roles(root: &Path) -> Resolved {
    let table = fs::read_to_string(root.join("roles")).unwrap_or_default();
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let role = words.next()?.to_owned();
        Some((role, words.take_while(|word| *word != "unknown:").map(str::to_owned).collect()))
    };
    table.lines().filter_map(line).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A directory with the files of a mount whose three nodes are in these states, and i002 leads.
    pub(in crate::runner::nemesis) fn like_a_mount(states: [&str; 3]) -> (tempfile::TempDir, Mounted) {
        let dir = tempfile::tempdir().unwrap();
        let spec = r#"{"i001":{"ip":"10.0.0.2"},"i002":{"ip":"10.0.0.3"},"i003":{"ip":"10.0.0.4"}}"#;
        let files =
            [("spec.json", spec), ("capabilities", ""), ("roles", "leader  i002\n"), ("control", ""), ("history", "")];
        files.iter().for_each(|(file, text)| fs::write(dir.path().join(file), text).unwrap());
        for (node, state) in ["i001", "i002", "i003"].iter().zip(states) {
            fs::create_dir(dir.path().join(node)).unwrap();
            fs::write(dir.path().join(node).join("state"), format!("{state}\n")).unwrap();
        }
        let mounted = Mounted::at(dir.path()).unwrap();
        (dir, mounted)
    }

    fn roles(roles: &[(&str, &str)]) -> Resolved {
        roles.iter().map(|(role, node)| ((*role).to_owned(), vec![(*node).to_owned()])).collect()
    }

    #[test]
    fn what_roles_stood_for_is_known_even_if_the_history_has_not_got_it() {
        let (dir, mounted) = like_a_mount(["running"; 3]);
        let crash = Action::parse("crash @leader @other2").unwrap();
        assert_eq!(mounted.write(&crash).unwrap(), roles(&[("leader", "i002"), ("other2", "i003")]));
        // A line of the history is surer, also if it has only the beginning of a long one.
        for line in ["crash @leader @other2", "crash @leader @oth…"] {
            let invoke = format!(
                r#"{{"seq":1,"mono_ns":1,"command":{{"id":1,"phase":"invoke","line":"{line}","verb":"crash","nodes":[],"roles":{{"leader":["i003"],"other2":["i002"]}}}}}}"#
            );
            let fail = |id: u64| {
                format!(r#"{{"seq":2,"mono_ns":1,"command":{{"id":{id},"phase":"fail","error":"{id} has failed"}}}}"#)
            };
            let history = dir.path().join("history");
            fs::write(&history, [invoke, fail(2), fail(1)].join("\n") + "\n").unwrap();
            let (known, error) = recorded(&history, 0, &crash).unwrap();
            assert_eq!(mounted.resolved(known, &crash), roles(&[("leader", "i003"), ("other2", "i002")]), "{line}");
            // Others that fail at the same time have their own.
            assert_eq!(error.as_deref(), Some("1 has failed"));
        }
    }
}
