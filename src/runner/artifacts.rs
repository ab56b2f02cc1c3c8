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
    /// It cannot be written.
    pub(crate) fn begin(parent: &Path, name: &str, plan: &Plan) -> io::Result<Self> {
        let mut artifacts = Self { dir: new_directory(parent, name)?, left_out: LeftOut::default() };
        let mount = &plan.paths.mountpoint;
        if plan.paths.is_mounted() && plan.paths.ask_mount() == Asked::Answers {
            for file in ["status", "spec.json"] {
                artifacts.keep(&mount.join(file), Path::new(file))?;
            }
            for index in 0..plan.len() {
                let node = node_directory(plan, index);
                fs::create_dir(artifacts.dir.join(&node))?;
                for file in ["state", "exit_code", "inspect.json"] {
                    let from = plan.node_dir(index).join(file);
                    artifacts.keep(&from, &Path::new(&node).join(file))?;
                }
                let (from, shown) = (plan.node_dir(index).join("bindmounts"), Path::new(&node).join("bindmounts"));
                artifacts.keep_remote(&from, &shown, |name| plan.node_data(index).join(name))?;
            }
            artifacts.keep_remote(&mount.join("volumes"), Path::new("volumes"), |name| {
                plan.data.join("volumes").join(name)
            })?;
        }
        Ok(artifacts)
    }

    /// Keeps those directories in a directory of the mount that are not on this machine, where `here` says they would be.
    fn keep_remote(&mut self, from: &Path, shown: &Path, here: impl Fn(&OsStr) -> PathBuf) -> io::Result<()> {
        let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
        for name in entries.flatten().map(|entry| entry.file_name()) {
            if !here(&name).is_dir() {
                let (from, shown) = (from.join(&name), shown.join(&name));
                let to = self.dir.join(&shown);
                fs::create_dir_all(&to)?;
                copy_tree(&from, &to, &shown, &mut self.left_out)?;
            }
        }
        Ok(())
    }

    /// Keeps the schedule of faults, what the nodes on this machine wrote, and the history with a picture and a report of
    /// it. Returns where all of it is.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn finish(mut self, plan: &Plan, schedule: Option<&str>) -> io::Result<PathBuf> {
        let gathered = self.gather(plan, schedule);
        if let Some(text) = self.left_out.text() {
            fs::write(self.dir.join("left-out.txt"), text)?;
        }
        gathered.map(|()| self.dir)
    }

    fn gather(&mut self, plan: &Plan, schedule: Option<&str>) -> io::Result<()> {
        if let Some(schedule) = schedule {
            fs::write(self.dir.join(SCHEDULE), schedule)?;
        }
        self.keep(&plan.paths.daemon_log(), Path::new("daemon.log"))?;
        let history = plan.data.join("history");
        if history.is_file() {
            self.keep(&history, Path::new("history"))?;
        }
        let volumes = plan.data.join("volumes");
        if volumes.is_dir() {
            let shown = Path::new("volumes");
            let to = self.dir.join(shown);
            fs::create_dir_all(&to)?;
            copy_tree(&volumes, &to, shown, &mut self.left_out)?;
        }
        for index in 0..plan.len() {
            let (node, from) = (node_directory(plan, index), plan.node_data(index));
            let Ok(entries) = fs::read_dir(&from) else { continue };
            fs::create_dir_all(self.dir.join(&node).join("bindmounts"))?;
            for entry in entries.flatten() {
                let name = entry.file_name();
                match entry.file_type() {
                    Ok(kind) if kind.is_file() => self.keep(&entry.path(), &Path::new(&node).join(&name))?,
                    // Not the configs and secrets.
                    Ok(kind) if kind.is_dir() && name != "files" => {
                        let shown = Path::new(&node).join("bindmounts").join(&name);
                        let to = self.dir.join(&shown);
                        fs::create_dir(&to)?;
                        copy_tree(&entry.path(), &to, &shown, &mut self.left_out)?;
                    }
                    _ => {}
                }
            }
        }
        if history.is_file() {
            self.draw(&history)?;
        }
        Ok(())
    }

    /// Draws the history, once the nodes' logs are there, and keeps the verdicts.
    fn draw(&mut self, history: &Path) -> io::Result<()> {
        match pages(history, &self.dir) {
            Ok((timeline, report)) => {
                fs::write(self.dir.join("timeline.html"), timeline)?;
                fs::write(self.dir.join("report.html"), report)?;
            }
            Err(why) => self.left_out.add(Path::new("timeline.html"), why),
        }
        let verdicts = last_verdicts(history).unwrap_or_default();
        if !verdicts.is_empty() {
            fs::write(self.dir.join("verdict.json"), format!("{:#}\n", serde_json::json!(verdicts)))?;
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
        let copied = fs::File::create(self.dir.join(name)).and_then(|mut target| io::copy(&mut source, &mut target));
        copied.map(drop).or_else(|error| self.left_out.or_fail(name, error))
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
