//! Waits for nodes, by the files of their mount and poll(2).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::log_end::{log_end, log_so_far};
use crate::text::plain;

/// statfs(2)'s number of a FUSE file system (linux/magic.h).
const FUSE_SUPER_MAGIC: rustix::fs::FsWord = 0x6573_5546;
/// While the engine is away no live value can be opened, so there is nothing yet to poll: it is tried so often.
const TRY_AGAIN: Duration = Duration::from_millis(250);
/// The exit code can follow the death, with the engine's word on it.
const CODE_FOLLOWS: Duration = Duration::from_secs(3);
/// Default timeout of a wait: at least this long, or as long as a HEALTHCHECK may take.
const SHORTEST_WAIT: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);
/// Most nodes that a sentence names.
const TOLD: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    Running,
    /// Its process has ended, or its container was removed.
    Exited,
    /// Its file `ready` says `yes`.
    Ready,
    /// The image's HEALTHCHECK passes.
    Healthy,
}

impl Goal {
    /// The node's file that is read in addition to `state`.
    fn file(self) -> Option<&'static str> {
        match self {
            Self::Running | Self::Exited => None,
            Self::Ready => Some("ready"),
            Self::Healthy => Some("health"),
        }
    }

    /// Its name on the command line and in sentences.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Ready => "ready",
            Self::Healthy => "healthy",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WaitOutcome {
    Reached,
    /// One has died instead: a sentence, its log, and the end of that.
    Dead(String, PathBuf, Vec<String>),
    /// The time is over: a sentence on what each node is at, and what there is to say of those that are late.
    TimedOut(String, Vec<Late>),
}

/// A node that is not there in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Late {
    name: String,
    /// Why it is not ready, in lines.
    reason: Vec<String>,
    log: PathBuf,
    /// The end of its log.
    lines: Vec<String>,
}

impl Late {
    fn text(&self, names_log: bool) -> String {
        let mut text = String::new();
        if let Some((sentence, output)) = self.reason.split_first() {
            text.push_str(&format!("{}: {sentence}\n", self.name));
            text.extend(output.iter().map(|line| format!("  | {}\n", line.trim_start())));
        }
        text.push_str(&format!("{}: {}", self.name, log_text(&self.log, &self.lines, names_log)));
        text
    }
}

/// The end of a log.
fn log_text(log: &Path, lines: &[String], names_log: bool) -> String {
    if lines.is_empty() {
        return "its log is empty\n".into();
    }
    let at = if names_log { format!(" ({})", log.display()) } else { String::new() };
    let lines: String = lines.iter().map(|line| format!("  | {line}\n")).collect();
    format!("the end of its log{at}:\n{lines}")
}

impl WaitOutcome {
    /// The report, in lines; with the path of the log if it can be read later.
    pub(crate) fn text(&self, names_log: bool) -> String {
        match self {
            Self::Reached => String::new(),
            Self::TimedOut(why, late) => {
                let late: String = late.iter().map(|late| late.text(names_log)).collect();
                format!("{why}\n{late}")
            }
            Self::Dead(why, log, lines) => format!("{why}; {}", log_text(log, lines, names_log)),
        }
    }
}

/// Waits until every node that `paths` name, by its directory or by the mountpoint of all, is at `goal`. Without `timeout`
/// the time is a minute, or as long as the image's HEALTHCHECK may take to come to a result.
///
/// # Errors
/// A sentence: a path is not a node, the mount goes away, or a node has no HEALTHCHECK that could ever pass.
pub(crate) fn wait(paths: &[PathBuf], goal: Goal, timeout: Option<Duration>) -> Result<WaitOutcome> {
    let began = Instant::now();
    let mut nodes = vec![];
    for path in paths {
        nodes.extend(nodes_at(path, goal)?);
    }
    for node in &nodes {
        node.check_possible(goal)?;
    }
    loop {
        let mut missing = false;
        let mut time = timeout.unwrap_or(SHORTEST_WAIT);
        for node in &mut nodes {
            if timeout.is_none() {
                time = time.max(node.time_to_be_checked());
            }
            node.read()?;
            missing |= !node.holds(goal);
        }
        if !missing {
            return Ok(WaitOutcome::Reached);
        }
        if let Some(dead) = nodes.iter().find(|node| node.is_dead(goal)) {
            return dead.obituary(goal);
        }
        let left = time.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Ok(overdue(&nodes, goal, time));
        }
        let values = nodes.iter().flat_map(Node::values);
        let files: Vec<_> = values.clone().filter_map(|value| value.file.as_ref()).collect();
        let all_open = values.count() == files.len();
        wait_for_change(&files, if all_open { left } else { left.min(TRY_AGAIN) })?;
    }
}

/// Returns when one of the files says something new, or the time is over.
fn wait_for_change(files: &[&File], time: Duration) -> Result<()> {
    let mut fds: Vec<_> = files.iter().map(|file| PollFd::new(*file, PollFlags::PRI)).collect();
    let time =
        Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(time.subsec_nanos()) };
    match poll(&mut fds, Some(&time)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error).context("cannot wait with poll(2)"),
    }
}

struct Value {
    path: PathBuf,
    file: Option<File>,
    /// What it said; `None` while the engine is away.
    said: Option<String>,
}

impl Value {
    fn new(path: PathBuf) -> Self {
        Self { path, file: None, said: None }
    }

    /// Reads what is true now, and so arms poll(2) for what comes after.
    fn read(&mut self) -> Result<()> {
        match self.read_file() {
            Ok(said) => self.said = Some(said),
            // What is open stays so: it can be polled.
            Err(error) if error.raw_os_error() == Some(libc::EHOSTDOWN) => self.said = None,
            Err(error) => return Err(unusable(&self.path, &error)),
        }
        Ok(())
    }

    fn read_file(&mut self) -> io::Result<String> {
        let file = match self.file.take() {
            Some(file) => file,
            None => File::open(&self.path)?,
        };
        let file = self.file.insert(file);
        let mut bytes = [0; 64];
        let got = file.read_at(&mut bytes, 0)?;
        Ok(String::from_utf8_lossy(&bytes[..got]).trim().to_owned())
    }

    fn says(&self, word: &str) -> bool {
        self.said.as_deref() == Some(word)
    }
}

/// Why a file of a node cannot be read; most often because the mount has gone.
fn unusable(path: &Path, error: &io::Error) -> anyhow::Error {
    let node = path.parent().unwrap_or(path).display();
    match error.raw_os_error() {
        Some(libc::ENOTCONN | libc::ECONNABORTED | libc::ENODEV | libc::ENOENT | libc::EIO) => {
            anyhow!("the mount that {node} is in has gone away")
        }
        _ => anyhow!("cannot read {}: {error}", path.display()),
    }
}

struct Node {
    dir: PathBuf,
    name: String,
    state: Value,
    /// The goal's file.
    sign: Option<Value>,
    /// The exit code of a node that is there to end with 0.
    code: Option<Value>,
    /// How long its HEALTHCHECK may take, once that is known.
    checked_after: Option<Duration>,
}

impl Node {
    fn at(dir: &Path, goal: Goal, is_oneshot: bool) -> Result<Self> {
        let name = dir.join("name");
        let name = fs::read_to_string(&name).map_err(|error| unusable(&name, &error))?;
        Ok(Self {
            name: name.trim().to_owned(),
            state: Value::new(dir.join("state")),
            sign: goal.file().map(|file| Value::new(dir.join(file))),
            code: is_oneshot.then(|| Value::new(dir.join("exit_code"))),
            checked_after: None,
            dir: dir.to_owned(),
        })
    }

    fn values(&self) -> impl Iterator<Item = &Value> + Clone {
        std::iter::once(&self.state).chain(&self.sign).chain(&self.code)
    }

    /// State first: a node that gets there between the two reads is seen there.
    fn read(&mut self) -> Result<()> {
        self.state.read()?;
        self.sign.iter_mut().chain(&mut self.code).try_for_each(Value::read)
    }

    fn is_over(&self) -> bool {
        self.state.says("exited") || self.state.says("missing")
    }

    fn holds(&self, goal: Goal) -> bool {
        let sign = |word| self.sign.as_ref().is_some_and(|sign| sign.says(word));
        if self.is_over() && self.code.as_ref().is_some_and(|code| code.says("0")) {
            return true;
        }
        match goal {
            Goal::Running => self.state.says("running"),
            Goal::Exited => self.is_over(),
            Goal::Ready => sign("yes"),
            Goal::Healthy => sign("healthy"),
        }
    }

    fn is_dead(&self, goal: Goal) -> bool {
        let follows = self.code.as_ref().is_some_and(|code| code.says(""));
        goal != Goal::Exited && self.is_over() && !self.holds(goal) && !follows
    }

    /// Its `inspect.json`; `None` while it is unknown.
    fn description(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&fs::read(self.dir.join("inspect.json")).ok()?).ok()
    }

    /// How long its image's HEALTHCHECK may take to come to a result, from the start of the node on.
    fn time_to_be_checked(&mut self) -> Duration {
        if self.checked_after.is_none() {
            self.checked_after = self.description().map(|description| time_to_be_checked(&description));
        }
        self.checked_after.unwrap_or_default()
    }

    /// Refuses to wait for a health that nothing examines.
    fn check_possible(&self, goal: Goal) -> Result<()> {
        let Some(description) = (goal == Goal::Healthy).then(|| self.description()).flatten() else {
            return Ok(());
        };
        let Some(config) = description.get("Config") else { return Ok(()) };
        if !has_healthcheck(config) {
            bail!("{} never gets healthy: its image has no HEALTHCHECK; wait with --for ready", self.dir.display());
        }
        Ok(())
    }

    fn obituary(&self, goal: Goal) -> Result<WaitOutcome> {
        let name = &self.name;
        let why = if self.state.says("missing") {
            "its container was removed".to_owned()
        } else {
            match self.exit_code()?.as_str() {
                "" => "it has ended".to_owned(),
                code => format!("it has ended with exit code {code}"),
            }
        };
        let log = self.dir.join("log");
        let lines = log_end(&log).unwrap_or_default();
        Ok(WaitOutcome::Dead(format!("{name} is not {}: {why}", goal.word()), log, lines))
    }

    fn late(&self) -> Late {
        let log = self.dir.join("log");
        let reason = fs::read_to_string(self.dir.join("ready_reason")).unwrap_or_default();
        Late {
            name: self.name.clone(),
            reason: reason.lines().map(plain).collect(),
            lines: log_so_far(&log).unwrap_or_default(),
            log,
        }
    }

    fn exit_code(&self) -> Result<String> {
        let deadline = Instant::now() + CODE_FOLLOWS;
        let mut code = Value::new(self.dir.join("exit_code"));
        loop {
            code.read()?;
            let left = deadline.saturating_duration_since(Instant::now());
            match (&code.said, &code.file) {
                (Some(said), Some(file)) if said.is_empty() && !left.is_zero() => wait_for_change(&[file], left)?,
                (said, _) => return Ok(said.clone().unwrap_or_default()),
            }
        }
    }

    /// Its present state, for the report of a failed wait.
    fn standing(&self) -> String {
        let Some(state) = &self.state.said else {
            return format!("{} (unknown: the engine cannot be reached)", self.name);
        };
        let more = match (state.as_str(), &self.sign) {
            ("created", _) => format!(", never started: echo start > {}/control", self.dir.display()),
            ("running", Some(sign)) => match sign.said.as_deref() {
                Some("no") => ", not ready".to_owned(),
                Some("none") => ", no HEALTHCHECK".to_owned(),
                Some(health) => format!(", {health}"),
                None => String::new(),
            },
            _ => String::new(),
        };
        format!("{} ({state}{more})", self.name)
    }
}

fn has_healthcheck(config: &serde_json::Value) -> bool {
    let test = config.pointer("/Healthcheck/Test").and_then(|test| test.get(0)).and_then(|kind| kind.as_str());
    !matches!(test, None | Some("" | "NONE"))
}

/// The start period, and then as many checks as make it unhealthy, the last of which takes its full timeout. Docker's
/// defaults stand for what a HEALTHCHECK leaves out.
fn time_to_be_checked(description: &serde_json::Value) -> Duration {
    let config = &description["Config"];
    if !has_healthcheck(config) {
        return Duration::ZERO;
    }
    let number = |key: &str| config["Healthcheck"][key].as_u64().filter(|number| *number > 0);
    let time = |key: &str, seconds| number(key).map_or(Duration::from_secs(seconds), Duration::from_nanos);
    let retries = u32::try_from(number("Retries").unwrap_or(3)).unwrap_or(u32::MAX);
    let checks = time("Interval", 30).saturating_mul(retries);
    time("StartPeriod", 0).saturating_add(checks).saturating_add(time("Timeout", 30)).min(LONGEST_WAIT)
}

fn overdue(nodes: &[Node], goal: Goal, timeout: Duration) -> WaitOutcome {
    let late: Vec<_> = nodes.iter().filter(|node| !node.holds(goal)).collect();
    let mut told = late.iter().take(TOLD).map(|node| node.standing()).collect::<Vec<_>>().join(", ");
    if late.len() > TOLD {
        told.push_str(&format!(" and {} more", late.len() - TOLD));
    }
    let why = format!("not {} after {} s: {told}", goal.word(), timeout.as_secs_f64());
    // The others need no sentence of their own.
    let late = late.iter().take(TOLD).filter(|node| node.state.says("running") && goal != Goal::Exited);
    WaitOutcome::TimedOut(why, late.map(|node| node.late()).collect())
}

/// The nodes that a path names.
fn nodes_at(path: &Path, goal: Goal) -> Result<Vec<Node>> {
    let shown = path.display();
    let neither = || anyhow!("{shown} is no node: name the directory of one, such as cluster/i001, or the mountpoint");
    match rustix::fs::statfs(path) {
        Err(Errno::NOENT) if is_in_root(path) => return nodes_of_service(path, goal),
        Ok(found) if found.f_type == FUSE_SUPER_MAGIC => {}
        Ok(_) => bail!("{shown} is no node: no cluster is mounted there"),
        Err(Errno::NOTCONN | Errno::CONNABORTED) => {
            bail!("{shown} is in a mount whose daemon is gone: cthulhu umount MOUNTPOINT removes what it left")
        }
        Err(error) => return Err(io::Error::from(error)).with_context(|| format!("cannot use {shown}")),
    }
    let has = |files: [&str; 3]| files.iter().all(|file| fs::symlink_metadata(path.join(file)).is_ok());
    if has(["name", "state", "ready"]) {
        let index = fs::read_to_string(path.join("index")).unwrap_or_default();
        let is_oneshot = oneshots(&path.join("..")).iter().any(|oneshot| oneshot == index.trim());
        return Ok(vec![Node::at(path, goal, is_oneshot)?]);
    }
    if !has(ROOT_FILES) {
        return Err(neither());
    }
    nodes_of(path, goal)
}

/// Files that the root of a mount has.
const ROOT_FILES: [&str; 3] = ["control", "status", "spec.json"];

/// The directory in which a path lies.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a path leads to a name in the root of a mount.
fn is_in_root(path: &Path) -> bool {
    let root = parent(path);
    let is_fuse = rustix::fs::statfs(root).is_ok_and(|found| found.f_type == FUSE_SUPER_MAGIC);
    is_fuse && ROOT_FILES.iter().all(|file| fs::symlink_metadata(root.join(file)).is_ok())
}

/// The nodes of the service that a path names: MOUNTPOINT/SERVICE.
fn nodes_of_service(path: &Path, goal: Goal) -> Result<Vec<Node>> {
    let service = path.file_name().unwrap_or_default().to_string_lossy();
    let is_its = |node: &Node| fs::read_to_string(node.dir.join("service")).is_ok_and(|of| of.trim() == service);
    let mut nodes = nodes_of(parent(path), goal)?;
    nodes.retain(is_its);
    if nodes.is_empty() {
        bail!("cannot use {}: there is no node or service of that name", path.display());
    }
    Ok(nodes)
}

/// All nodes of a mount.
fn nodes_of(path: &Path, goal: Goal) -> Result<Vec<Node>> {
    let shown = path.display();
    let mut names = vec![];
    for entry in fs::read_dir(path).with_context(|| format!("cannot read {shown}"))? {
        let name = entry.with_context(|| format!("cannot read {shown}"))?.file_name().to_string_lossy().into_owned();
        let number = name.strip_prefix('i').filter(|digits| digits.len() >= 3);
        let number = number.and_then(|digits| digits.parse::<usize>().ok());
        names.extend(number.map(|number| (number, name)));
    }
    names.sort();
    let oneshots = oneshots(path);
    let node = |(_, name): &(_, String)| Node::at(&path.join(name), goal, oneshots.contains(name));
    names.iter().map(node).collect()
}

/// The numbers (`i001`) of a mount's nodes that are there to end with 0. Only nodes of services have it, and nothing
/// else is known while the engine is away.
fn oneshots(root: &Path) -> Vec<String> {
    let spec = fs::read(root.join("spec.json")).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let spec: serde_json::Map<String, serde_json::Value> = spec.unwrap_or_default();
    let oneshots = spec.values().filter(|node| node["oneshot"] == true);
    oneshots.filter_map(|node| Some(node["index"].as_str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_healthcheck_says_how_long_it_may_take() {
        let time = |healthcheck: &str| {
            let text = format!(r#"{{"Config":{{"Healthcheck":{healthcheck}}}}}"#);
            time_to_be_checked(&serde_json::from_str(&text).unwrap()).as_secs()
        };
        assert_eq!(time(r#"{"Test":["CMD","x"]}"#), 3 * 30 + 30);
        assert_eq!(time(r#"{"Test":["CMD-SHELL","x"],"Interval":0,"Timeout":0,"StartPeriod":0,"Retries":0}"#), 120);
        let all =
            r#"{"Test":["CMD","x"],"Interval":5000000000,"Timeout":2000000000,"StartPeriod":60000000000,"Retries":4}"#;
        assert_eq!(time(all), 60 + 4 * 5 + 2);
        let days = r#"{"Test":["CMD","x"],"Interval":9000000000000000000,"Retries":9999999999}"#;
        assert_eq!(time(days), 86_400);
        for none in ["null", "{}", r#"{"Test":["NONE"]}"#, r#"{"Test":[]}"#] {
            assert_eq!(time(none), 0, "{none}");
        }
        assert_eq!(time_to_be_checked(&serde_json::Value::Null), Duration::ZERO);
    }
}
