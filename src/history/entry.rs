//! What a line of the history says.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::Object;
use crate::cluster::State;
use crate::engine::Health;

/// One line, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its number: from 1, without a gap.
    pub seq: u64,
    /// When: UTC, RFC 3339 with nine digits of a second.
    pub time: String,
    /// When: CLOCK_MONOTONIC of the daemon's machine, in ns.
    pub mono_ns: u64,
    /// What.
    pub kind: Kind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Something of the cluster as a whole.
    Cluster(ClusterEntry),
    /// A command, or its end.
    Command(CommandEntry),
    /// A node's state.
    State(StateEntry),
    /// Whether a node may be used.
    Ready(ReadyEntry),
    /// What a node's HEALTHCHECK says.
    Health(HealthEntry),
    /// The faults in force.
    Fault(FaultEntry),
    /// Whether a node's network is under control.
    Sandbox(SandboxEntry),
    /// What a test has appended.
    Test(Object),
}

/// Something of the cluster as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase")]
pub enum ClusterEntry {
    /// The first line of a mount.
    #[serde(rename = "mounted")]
    Mounted {
        /// The cluster's id.
        id: String,
        /// Version of the daemon.
        version: String,
        /// Which boot of the machine `mono_ns` counts in.
        boot_id: String,
        /// What the nodes run.
        image: String,
        /// The nodes, all of them created and none running.
        nodes: Vec<NodeAddress>,
        /// What random choices come from; the same one makes the same choices.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seed: Option<u64>,
    },
    /// The last line of a mount.
    #[serde(rename = "unmounting")]
    Unmounting,
    /// From here on nothing is known of the nodes.
    #[serde(rename = "engine lost")]
    EngineLost,
    /// What had changed meanwhile has been told.
    #[serde(rename = "engine back")]
    EngineBack,
    /// There was no room on the disk for so many lines of ours, between the one before and this.
    #[serde(rename = "lines lost")]
    LinesLost {
        /// How many.
        lost: u64,
    },
}

/// A node and its address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddress {
    /// Its name.
    pub name: String,
    /// Its address.
    pub ip: std::net::Ipv4Addr,
}

/// Where a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It begins.
    Invoke,
    /// It has taken effect.
    Ok,
    /// It has failed.
    Fail,
}

/// A command, or its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandEntry {
    /// The same in both lines of one command.
    pub id: u64,
    /// Which of the two.
    pub phase: Phase,
    /// As it was written; with `invoke` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// Its verb; `None` for a line that is no command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verb: Option<String>,
    /// The nodes that it is about.
    pub nodes: Vec<String>,
    /// Name of the errno that the write answers; with `fail` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<String>,
    /// The sentence; with `fail` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Which nodes failed, and with what, when there are several nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failed: BTreeMap<String, String>,
}

/// Why a state changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// A command that was under way.
    Command,
    /// The process ended, by itself as far as is known.
    Exit,
    /// The exit code says that a signal ended it.
    Signal,
    /// The kernel ended it for want of memory.
    Oom,
    /// Somebody else, through the engine.
    Engine,
}

/// A change of a node's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateEntry {
    /// The node.
    pub node: String,
    /// What it was.
    pub from: State,
    /// What it is.
    pub to: State,
    /// Why.
    pub cause: Cause,
    /// Id of the command that is the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<u64>,
    /// Exit code of the run that has ended, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// The signal that such a code stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// It was to stop, outlived its grace, and SIGKILL ended it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub grace_expired: bool,
    /// Pid of the process that runs, in the engine host's pid namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
}

/// Whether a node may be used, as its `ready` file says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyEntry {
    /// The node.
    pub node: String,
    /// Whether.
    pub ready: bool,
}

/// What a node's `health` file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthEntry {
    /// The node.
    pub node: String,
    /// What.
    pub health: Health,
}

/// All faults in force from here on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultEntry {
    /// One text each; none when there are no faults any more.
    pub links: Vec<String>,
}

/// Whether a node's sandbox controls its network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxEntry {
    /// The node.
    pub node: String,
    /// What became of it.
    pub phase: SandboxPhase,
    /// Why; with `lost` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What became of a node's sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxPhase {
    /// From here on it is not known which faults are in force in the node's network.
    Lost,
    /// They are in force again.
    Back,
}

/// What every line has.
#[derive(Deserialize)]
pub(super) struct Head {
    pub seq: u64,
    time: String,
    mono_ns: u64,
}

#[derive(Deserialize)]
struct Body {
    cluster: Option<ClusterEntry>,
    command: Option<CommandEntry>,
    state: Option<StateEntry>,
    ready: Option<ReadyEntry>,
    health: Option<HealthEntry>,
    fault: Option<FaultEntry>,
    sandbox: Option<SandboxEntry>,
    test: Option<Object>,
}

impl Entry {
    /// Reads a line, without its newline.
    ///
    /// # Errors
    /// What is wrong with it, as serde says it.
    pub fn parse(line: &str) -> serde_json::Result<Self> {
        let Head { seq, time, mono_ns } = serde_json::from_str(line)?;
        let body: Body = serde_json::from_str(line)?;
        let mut kinds = [
            body.cluster.map(Kind::Cluster),
            body.command.map(Kind::Command),
            body.state.map(Kind::State),
            body.ready.map(Kind::Ready),
            body.health.map(Kind::Health),
            body.fault.map(Kind::Fault),
            body.sandbox.map(Kind::Sandbox),
            body.test.map(Kind::Test),
        ]
        .into_iter()
        .flatten();
        match (kinds.next(), kinds.next()) {
            (Some(kind), None) => Ok(Self { seq, time, mono_ns, kind }),
            _ => Err(serde::de::Error::custom("a line says one thing")),
        }
    }
}

/// When something happened: both clocks, read together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub wall: SystemTime,
    pub mono_ns: u64,
}

/// The part of a line that does not depend on where it stands: `KIND:{…}}` and the newline.
pub(super) fn body(kind: &Kind) -> String {
    // Only a map with keys that are no strings, or a writer that fails, could keep it from being written.
    let mut text = serde_json::to_string(kind).unwrap_or_default();
    text.push('\n');
    // Its brace opens the line's own object.
    text.split_off(1)
}

/// Writes a line at the end of `out`.
pub(super) fn write_line(out: &mut String, seq: u64, at: Moment, body: &str) {
    let time = humantime::format_rfc3339_nanos(at.wall);
    // A String takes everything.
    let _ = write!(out, "{{\"seq\":{seq},\"time\":\"{time}\",\"mono_ns\":{},{body}", at.mono_ns);
}
