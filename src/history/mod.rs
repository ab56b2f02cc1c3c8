//! An append-only file of JSON lines: what was done to a cluster, what happened to its nodes, and what its tests
//! appended.
//!
//! May touch that file, the clocks, and the model, whose changes it records. Never knows FUSE, never asks an engine, and
//! never waits for anything but the page cache.
//!
//! A new kind of line: its type and its arm in [`HistoryEvent`] (`line.rs`), and whatever records it (`recorder.rs`).

mod attribution;
pub mod edn;
mod file;
mod follow;
mod json;
mod line;
mod read;
mod recorder;
mod recover;
mod stream;
mod verdicts;

pub(crate) use attribution::CanCause;
pub use file::History;
pub(crate) use file::read_lines;
pub(crate) use follow::Follower;
pub use json::Batch;
pub(crate) use json::{LONGEST_LINE, Object};
pub use line::*;
#[cfg(test)]
pub(crate) use read::ReadError;
pub(crate) use read::RecordedHistory;
pub(crate) use recorder::AttributionGuard;
pub use recorder::{CommandOutcome, Recorder};
pub(crate) use stream::HistoryLines;
pub(crate) use verdicts::{last_verdicts, replace_verdict};
