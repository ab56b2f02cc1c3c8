//! What is done around a mounted cluster: waiting for its nodes, a command with a cluster of its own, a verdict on its
//! history.
//!
//! It uses the mount as any program does, by its files, and `daemon` to mount and to take down. It never asks the
//! engine, and never opens through a link that a node may have planted.

mod artifacts;
mod checking;
mod copy;
mod follow;
mod log_end;
pub(crate) mod nemesis;
mod nodes;
mod report;
mod run;
mod shell_split;
mod shrink;
mod signals;
mod workload;

pub(crate) use checking::{Checked, UNKNOWN, check, record};
pub(crate) use nodes::{Goal, WaitOutcome, wait};
pub(crate) use report::report;
pub(crate) use run::{ArtifactsWhen, Job, OWN_FAILURE, cannot_run, run};
pub(crate) use shell_split::words;
pub(crate) use shrink::{ShrinkJob, shrink};
pub(crate) use workload::{Workload, WorkloadEnd, usual_keys, workload};
