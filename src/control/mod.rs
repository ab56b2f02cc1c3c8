//! The command language, and what its commands do.
//!
//! Parses lines, executes them against the engine and reports the results. It never touches the tree or FUSE.

mod completion;
mod error;
mod execute;
mod faults;
mod in_flight;
mod network;
mod roles;
mod verbs;

pub(crate) use error::ControlError;
pub use execute::{Command, Executor};
pub(crate) use execute::{DEFAULT_GRACE, DEFAULT_START_TIMEOUT, NodeFiles, Target};
pub use faults::Setting;
pub(crate) use faults::Writing;
pub(crate) use verbs::{FirstStart, ended_by, is_orderly, script};
pub use verbs::{names as verbs, parse};
