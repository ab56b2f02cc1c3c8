//! The runner room: what is done around a mounted cluster: waiting for its nodes, and a command with a cluster of its own.
//!
//! It uses the mount as any program does, by its files, and the daemon room to mount and to take down. It never asks the
//! engine, and never opens through a link that a node may have planted.

mod artifacts;
mod copy;
mod helm;
mod log_end;
mod nodes;
mod run;
mod words;

pub use nodes::{Goal, Outcome, wait};
pub use run::{ArtifactsWhen, Job, cannot_run, run};
pub use words::words;
