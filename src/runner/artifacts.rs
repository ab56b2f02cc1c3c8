//! What is kept of a cluster when its COMMAND has ended.
//!
//! What nodes on this machine wrote is copied once they are gone. What is on other machines goes with the nodes there, so
//! it is copied before that, through the mount.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::copy::{LeftOut, copy_tree, new_directory};
use super::report::{SCHEDULE, report};
use crate::daemon::Plan;
use crate::history::{RecordedHistory, last_verdicts};
use crate::sys::Asked;
use crate::timeline::{Timeline, html};

/// A directory of artifacts: half of it is there only while the cluster is mounted, half is whole only when it has gone.
pub(crate) struct Artifacts {
    dir: PathBuf,
    left_out: LeftOut,
    /// Why not all of it could be written.
    failure: Option<io::Error>,
}

/// What is ours in a directory of artifacts.
const OWN: [&str; 10] = [
    "daemon.log",
    "history",
    "left-out.txt",
    "report.html",
    SCHEDULE,
    "spec.json",
    "status",
    "timeline.html",
    "verdict.json",
    "volumes",
];

/// The directory of a node's artifacts: its name, or its number if we have something of that name.
fn node_directory(plan: &Plan, index: usize) -> String {
    let (name, mounted) = (plan.node_name(index), plan.node_dir(index));
    match mounted.file_name() {
        Some(number) if OWN.contains(&name.as_str()) => number.to_string_lossy().into_owned(),
        _ => name.to_string(),
    }
}

impl Artifacts {
    /// Makes a directory of its own in `parent`, and keeps what the mount says, if there is one.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub(crate) fn begin(parent: &Path, name: &str, plan: &Plan) -> io::Result<Self> {
        let mut artifacts = Self { dir: new_directory(parent, name)?, left_out: LeftOut::default(), failure: None };
        if plan.paths.is_mounted() && plan.paths.ask_mount() == Asked::Answers {
            let asked = artifacts.ask(plan);
            artifacts.note(asked);
        }
        Ok(artifacts)
    }

    /// Keeps what the mount says, and what is on other machines.
    fn ask(&mut self, plan: &Plan) -> io::Result<()> {
        let mount = &plan.paths.mountpoint;
        for file in ["status", "spec.json"] {
            self.keep(&mount.join(file), Path::new(file))?;
        }
        for index in 0..plan.len() {
            let node = node_directory(plan, index);
            fs::create_dir(self.dir.join(&node))?;
            for file in ["state", "exit_code", "inspect.json"] {
                let from = plan.node_dir(index).join(file);
                self.keep(&from, &Path::new(&node).join(file))?;
            }
            let (from, shown) = (plan.node_dir(index).join("bindmounts"), Path::new(&node).join("bindmounts"));
            self.keep_remote(&from, &shown, |name| plan.node_data(index).join(name))?;
        }
        self.keep_remote(&mount.join("volumes"), Path::new("volumes"), |name| plan.data.join("volumes").join(name))
    }

    /// Keeps those directories in a directory of the mount that are not on this machine, where `here` says they would be.
    fn keep_remote(&mut self, from: &Path, shown: &Path, here: impl Fn(&OsStr) -> PathBuf) -> io::Result<()> {
        let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
        for name in entries.flatten().map(|entry| entry.file_name()) {
            if !here(&name).is_dir() {
                self.keep_tree(&from.join(&name), &shown.join(&name))?;
            }
        }
        Ok(())
    }

    /// Keeps the schedule of faults, the history with a picture and a report of it, and what the nodes on this machine wrote.
    /// Returns where all of it is, and what was in the way of the rest. What is small and says most comes first: a full disk
    /// has it.
    pub(crate) fn finish(mut self, plan: &Plan, schedule: Option<&str>) -> (PathBuf, io::Result<()>) {
        if let Some(schedule) = schedule {
            let kept = fs::write(self.dir.join(SCHEDULE), schedule);
            self.note(kept);
        }
        let kept = self.keep(&plan.paths.daemon_log(), Path::new("daemon.log"));
        self.note(kept);
        let history = plan.data.join("history");
        if history.is_file() {
            let kept = self.keep(&history, Path::new("history"));
            self.note(kept);
        }
        for index in 0..plan.len() {
            let kept = self.keep_files(plan, index);
            self.note(kept);
        }
        if history.is_file() {
            let drawn = self.draw(&history);
            self.note(drawn);
        }
        let kept = self.keep_trees(plan);
        self.note(kept);
        if let Some(text) = self.left_out.text() {
            let kept = fs::write(self.dir.join("left-out.txt"), text);
            self.note(kept);
        }
        (self.dir, self.failure.map_or(Ok(()), Err))
    }

    /// Keeps a node's log and what else of its files is ours.
    fn keep_files(&mut self, plan: &Plan, index: usize) -> io::Result<()> {
        let node = node_directory(plan, index);
        let Ok(entries) = fs::read_dir(plan.node_data(index)) else { return Ok(()) };
        fs::create_dir_all(self.dir.join(&node).join("bindmounts"))?;
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())) {
            self.keep(&entry.path(), &Path::new(&node).join(entry.file_name()))?;
        }
        Ok(())
    }

    /// Keeps volumes and bindmounts that are on this machine.
    fn keep_trees(&mut self, plan: &Plan) -> io::Result<()> {
        let volumes = plan.data.join("volumes");
        if volumes.is_dir() {
            self.keep_tree(&volumes, Path::new("volumes"))?;
        }
        for index in 0..plan.len() {
            let shown = Path::new(&node_directory(plan, index)).join("bindmounts");
            let Ok(entries) = fs::read_dir(plan.node_data(index)) else { continue };
            // Not the configs and secrets.
            let is_kept = |entry: &fs::DirEntry| {
                entry.file_type().is_ok_and(|kind| kind.is_dir()) && entry.file_name() != "files"
            };
            for entry in entries.flatten().filter(is_kept) {
                self.keep_tree(&entry.path(), &shown.join(entry.file_name()))?;
            }
        }
        Ok(())
    }

    fn keep_tree(&mut self, from: &Path, shown: &Path) -> io::Result<()> {
        let to = self.dir.join(shown);
        fs::create_dir_all(&to)?;
        copy_tree(from, &to, shown, &mut self.left_out)
    }

    /// Draws the history, once the nodes' logs are there, and keeps the verdicts.
    fn draw(&mut self, history: &Path) -> io::Result<()> {
        let verdicts = last_verdicts(history).unwrap_or_default();
        if !verdicts.is_empty() {
            fs::write(self.dir.join("verdict.json"), format!("{:#}\n", serde_json::json!(verdicts)))?;
        }
        match pages(history, &self.dir) {
            Ok((timeline, report)) => {
                fs::write(self.dir.join("report.html"), report)?;
                fs::write(self.dir.join("timeline.html"), timeline)?;
            }
            Err(why) => self.left_out.add(Path::new("timeline.html"), why),
        }
        Ok(())
    }

    /// Copies a file of ours; what cannot be copied is listed among what was left out.
    fn keep(&mut self, from: &Path, name: &Path) -> io::Result<()> {
        let mut source = match fs::File::open(from) {
            Ok(source) => source,
            Err(error) => {
                self.left_out.add(name, error);
                return Ok(());
            }
        };
        let to = self.dir.join(name);
        let copied = fs::File::create(&to).and_then(|mut target| io::copy(&mut source, &mut target));
        copied.map(drop).or_else(|error| {
            // A part of it would be taken for the whole, and takes the room of others.
            let _ = fs::remove_file(&to);
            self.left_out.or_fail(name, error)
        })
    }

    /// Notes the first thing that was in the way.
    fn note(&mut self, done: io::Result<()>) {
        self.failure = self.failure.take().or(done.err());
    }
}

/// The picture of a history, and the report on it with what is in `dir`.
fn pages(history: &Path, dir: &Path) -> Result<(String, String), String> {
    let bytes = fs::read(history).map_err(|error| error.to_string())?;
    let history = RecordedHistory::read(&bytes).map_err(|error| error.to_string())?;
    let timeline = Timeline::of(&history, None, None)?;
    let lines = history.mounts.last().map(Vec::as_slice).unwrap_or_default();
    Ok((html(&timeline), report(&timeline, lines, Some(dir))))
}
