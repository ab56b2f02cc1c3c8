//! The history room: one append-only file of JSON lines that tells what was done to a cluster, what became of its nodes,
//! and what its tests say of themselves.
//!
//! It may touch that file, the clocks, and the model, whose changes it tells. It never knows of FUSE or of an engine, and
//! never waits for anything but the page cache.

mod causes;
pub mod edn;
mod entry;
mod file;
mod json;
mod mend;
mod recorder;

pub use entry::{
    Cause, ClusterEntry, CommandEntry, Entry, FaultEntry, HealthEntry, Kind, NodeAddress, Phase, ReadyEntry,
    SandboxEntry, SandboxPhase, StateEntry,
};
pub use file::{History, read_lines};
pub use json::{Batch, LONGEST_LINE, Object};
pub use recorder::{Acting, CommandId, Outcome, Recorder};
