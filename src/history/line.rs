//! The format of a line of the history. All code that reads or writes lines uses these types.
//!
//! Lines of other versions are read too. Unknown members are ignored, members that have not always been there have defaults.
//! A line whose event is unknown, or lacks what it cannot do without, is an error: [`super::RecordedHistory`] passes over it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::SystemTime;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::Object;
use super::json::Members;
use crate::cluster::State;
use crate::cluster::faults::FaultInForce;
use crate::engine::{Clock, Health};

/// Identifies a command, over all mounts that continue one history. The first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandId(pub u64);

/// One line, read.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryLine {
    /// Counts from 1, without a gap; 0 if the line has none.
    pub seq: u64,
    /// UTC, RFC 3339 with nine digits of a second; empty if the line has none.
    pub time: String,
    /// CLOCK_MONOTONIC of the daemon's machine, in ns; 0 if the line has none.
    pub mono_ns: u64,
    /// What happened: the one member that is not about number and time.
    pub event: HistoryEvent,
}

/// What a line says. The variant is the member's name: a new one needs an arm in [`HistoryEvent::read`] too.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HistoryEvent {
    /// The mount, its engine or this file.
    Cluster(ClusterEvent),
    /// The start or the end of a command.
    Command(CommandEvent),
    /// A node's state has changed, or more is known of its end.
    State(StateEvent),
    /// A node's `ready` file has changed.
    Ready(ReadyEvent),
    /// A node's `health` file has changed.
    Health(HealthEvent),
    /// The faults in force have changed.
    Fault(FaultEvent),
    /// The sandbox of a node was lost, or is back.
    Sandbox(SandboxEvent),
    /// Other nodes have a role.
    Role(RoleEvent),
    /// What a schedule of faults does.
    Nemesis(NemesisEvent),
    /// What a checker found in the operations of the test.
    Verdict(VerdictEvent),
    /// What a test has appended.
    Test(Object),
}

/// What happened to a cluster as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase")]
pub enum ClusterEvent {
    /// The first line of a mount.
    #[serde(rename = "mounted")]
    Mounted {
        /// The cluster's id, as in its containers' labels.
        #[serde(default)]
        id: String,
        /// Version of the daemon.
        #[serde(default)]
        version: String,
        /// Which boot of the machine `mono_ns` counts in.
        #[serde(default)]
        boot_id: String,
        /// The image that the nodes run.
        #[serde(default)]
        image: String,
        /// The nodes in their order, all of them created and none running.
        #[serde(default)]
        nodes: Vec<NodeAddress>,
        /// What random choices come from: the same one makes the same choices.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seed: Option<u64>,
        /// The machines that the nodes run on, if there are several.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        hosts: Vec<HostAddress>,
    },
    /// The last line of a mount.
    #[serde(rename = "unmounting")]
    Unmounting,
    /// From here on nothing is known of the nodes.
    #[serde(rename = "engine lost")]
    EngineLost(EngineOf),
    /// What had changed meanwhile is in the lines before this one.
    #[serde(rename = "engine back")]
    EngineBack(EngineOf),
    /// The clock of one of several machines goes otherwise than the last line about it said.
    #[serde(rename = "clock")]
    Clock {
        /// The machine.
        host: String,
        /// How it goes.
        clock: ClockReading,
    },
    /// The disk was full: lines of the daemon's own are missing just before this one.
    #[serde(rename = "lines lost")]
    LinesLost {
        /// How many are missing.
        lost: u64,
    },
}

/// Whose engine it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineOf {
    /// The machine, if there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// One of several machines that nodes run on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAddress {
    /// What the user calls it.
    pub name: String,
    /// Where its engine is reached.
    #[serde(default)]
    pub address: String,
    /// How its clock goes, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockReading>,
}

/// How a machine's clock differs from that of the daemon's machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockReading {
    /// How far it is ahead, in ns.
    pub offset_ns: i64,
    /// How far that may be wrong, in ns.
    pub error_ns: u64,
}

impl From<Clock> for ClockReading {
    fn from(Clock { offset, error }: Clock) -> Self {
        Self { offset_ns: offset, error_ns: error }
    }
}

/// A node and its address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddress {
    /// As in `i001`.
    pub name: String,
    /// IPv4; empty if the line has none.
    #[serde(default)]
    pub ip: String,
    /// The machine that it runs on, if there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// Where a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CommandPhase {
    /// It begins.
    Invoke,
    /// It has taken effect.
    Ok,
    /// It has failed.
    Fail,
}

/// The start or the end of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandEvent {
    /// The [`CommandId`], the same in both lines of one command.
    pub id: u64,
    /// Whether it begins or how it ended.
    pub phase: CommandPhase,
    /// As it was written; with `invoke` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// `None` for a line that is no command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verb: Option<String>,
    /// The nodes that it means.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// What the roles in it stood for, as in `leader` and `["i002"]`; with `invoke` only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, Vec<String>>,
    /// Whether it was added to what `links` had (`>>`); with `invoke` only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub appended: bool,
    /// Name of the errno that the write answers; with `fail` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<String>,
    /// The sentence of the `error` file; with `fail` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Which of several nodes failed, with the name of the errno; with `fail` only.
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
    /// The kernel ended it because memory was short.
    Oom,
    /// Another client of the engine.
    Engine,
}

/// A change of a node's state. From exited to exited: more is known of its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateEvent {
    /// The node's name.
    pub node: String,
    /// What the last line about this node said.
    pub from: State,
    /// The state from here on.
    pub to: State,
    /// With `from` and `to` both exited, it corrects the line before.
    pub cause: Cause,
    /// The [`CommandId`], if a command is the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<u64>,
    /// Exit code of the run that has ended, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Name of the signal that such a code stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// It was to stop, outlived its grace, and SIGKILL ended it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub grace_expired: bool,
    /// Pid of the process that runs, in the engine host's pid namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
}

/// What a node's `ready` file says from here on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyEvent {
    /// The node's name.
    pub node: String,
    /// Whether its probe passes; without a probe, whether it runs.
    pub ready: bool,
}

/// What a node's `health` file says from here on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthEvent {
    /// The node's name.
    pub node: String,
    /// What the image's HEALTHCHECK says.
    pub health: Health,
}

/// All faults in force from here on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultEvent {
    /// One text each, as in `i001>i002 drop`; none when there are no faults any more.
    pub links: Vec<String>,
    /// The same, typed. Early versions did not write it; of what a later version writes, this one may know only the texts.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "known_faults")]
    pub in_force: Vec<FaultInForce>,
}

fn known_faults<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<FaultInForce>, D::Error> {
    let json = serde_json::Value::deserialize(from)?;
    Ok(serde_json::from_value(json).unwrap_or_default())
}

/// Whether a node's sandbox controls its network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxEvent {
    /// The node's name.
    pub node: String,
    /// Whether it does not any more, or does again.
    pub phase: SandboxPhase,
    /// A sentence; with `lost` only.
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

/// Which nodes have a role from here on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleEvent {
    /// As in `leader`.
    pub name: String,
    /// The nodes that have it; none if nobody has.
    pub nodes: Vec<String>,
    /// Why it is not known any more; `nodes` are the last known then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a schedule of faults does. Not the daemon writes these lines, but what performs the schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "lowercase")]
pub enum NemesisEvent {
    /// The schedule begins; its times count from here.
    Started {
        /// What it was drawn from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seed: Option<u64>,
        /// How many episodes it has.
        episodes: u64,
        /// The process that performs it: without it, nobody ends what the schedule does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// An episode begins.
    Begin {
        /// Counted from 1, in the order of the schedule.
        episode: u64,
        /// As the schedule has it: `crash @leader`.
        words: String,
        /// With the nodes that the roles in it stood for, if it has roles.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resolved: Option<String>,
        /// How much later than the schedule says the write began, in ms.
        late_ms: u64,
        /// What went otherwise than the schedule says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// An episode ends.
    End {
        /// As when it began.
        episode: u64,
        /// What was written to end it: `start i002`, or the file that was cleared.
        words: String,
        /// How much later than the schedule says the write began, in ms.
        late_ms: u64,
        /// What went otherwise than the schedule says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// No fault is in force any more, and all nodes run.
    Healed {
        /// Why not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// The quiet time after that is over, too.
    Over,
}

/// What a checker found in the operations of the test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictEvent {
    /// What the operations were held against: `register`, `set`, ….
    pub model: String,
    /// Whether they fit it.
    pub result: VerdictResult,
    /// A sentence.
    pub text: String,
    /// How many operations were looked at.
    pub operations: u64,
    /// The number (`seq`) of a line: the test's lines up to it were not looked at.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub after: u64,
    /// What does not fit; the first ones, if there are many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub anomalies: Vec<AnomalyEvent>,
    /// How many more there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Whether the operations of a test fit a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerdictResult {
    /// They do.
    Good,
    /// They do not, whatever became of those whose end is unknown.
    Violated,
    /// That was not found out.
    Unknown,
}

/// Operations that do not fit a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnomalyEvent {
    /// In a word or two: `lost`, `stale read`.
    pub kind: String,
    /// A sentence.
    pub text: String,
    /// The key that the operations are about, if they name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<serde_json::Value>,
    /// The numbers (`seq`) of the lines of the operations, of their begins and ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<u64>,
    /// The faults that were in force meanwhile: `i001>i002 drop`, `i002 crashed`, `i003 paused`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

impl HistoryLine {
    /// Reads a line, with or without its newline.
    ///
    /// # Errors
    /// It is not a JSON object, does not have exactly one event that is known here, or has members that are not what
    /// they should be; in the words of serde.
    pub fn parse(line: &str) -> serde_json::Result<Self> {
        Self::of(&serde_json::from_str(line)?)
    }

    /// The same of a line that has been taken apart.
    pub(super) fn of(members: &Members<'_>) -> serde_json::Result<Self> {
        let mut events = members.0.iter().filter_map(|(name, json)| HistoryEvent::read(name, json));
        match (events.next(), events.next()) {
            (Some(event), None) => Ok(Self {
                seq: members.get("seq")?.unwrap_or_default(),
                time: members.get("time")?.unwrap_or_default(),
                mono_ns: members.get("mono_ns")?.unwrap_or_default(),
                event: event?,
            }),
            _ => Err(Error::custom("a line has one event")),
        }
    }
}

impl HistoryEvent {
    /// The event that a member of a line is; `None` if it is none that is known here.
    fn read(name: &str, json: &RawValue) -> Option<serde_json::Result<Self>> {
        let json = json.get();
        Some(match name {
            "cluster" => serde_json::from_str(json).map(Self::Cluster),
            "command" => serde_json::from_str(json).map(Self::Command),
            "state" => serde_json::from_str(json).map(Self::State),
            "ready" => serde_json::from_str(json).map(Self::Ready),
            "health" => serde_json::from_str(json).map(Self::Health),
            "fault" => serde_json::from_str(json).map(Self::Fault),
            "sandbox" => serde_json::from_str(json).map(Self::Sandbox),
            "role" => serde_json::from_str(json).map(Self::Role),
            "nemesis" => serde_json::from_str(json).map(Self::Nemesis),
            "verdict" => serde_json::from_str(json).map(Self::Verdict),
            "test" => serde_json::from_str(json).map(Self::Test),
            _ => return None,
        })
    }

    /// The event that an appended object stands for, if it is one of those that programs around the mount record: it is then a
    /// line of that kind, and not the test's own.
    pub(super) fn appended(object: &str) -> Option<Self> {
        let members: Members<'_> = serde_json::from_str(object).ok()?;
        match members.0.as_slice() {
            [(name, json)] if matches!(name.as_str(), "nemesis" | "verdict") => Self::read(name, json)?.ok(),
            _ => None,
        }
    }

    /// The part of a line that does not depend on where it stands: `KIND:{…}}` and the newline.
    pub(super) fn body(&self) -> String {
        // Only a map with keys that are no strings, or a writer that fails, could keep it from being written.
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.push('\n');
        // Its brace opens the line's own object.
        text.split_off(1)
    }
}

/// When something happened: both clocks, read together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(crate) wall: SystemTime,
    pub(crate) mono_ns: u64,
}

/// Writes a line at the end of `out`.
pub(super) fn write_line(out: &mut String, seq: u64, at: Moment, body: &str) {
    let time = humantime::format_rfc3339_nanos(at.wall);
    // A String takes everything.
    let _ = write!(out, "{{\"seq\":{seq},\"time\":\"{time}\",\"mono_ns\":{},{body}", at.mono_ns);
}
