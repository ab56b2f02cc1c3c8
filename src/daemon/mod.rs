//! Wiring and life cycle. Brings a cluster up, waits for its end whichever way it comes, takes it down.
//!
//! Only `top`, `runner`, `doctor` and `cli` use it.

mod agents;
mod answers;
mod background;
mod check;
mod config;
mod data;
#[cfg(any(feature = "fuzzing", test))]
pub mod fuzzed;
mod host_command;
mod images;
mod left;
mod lifecycle;
mod lock;
mod machines;
mod names;
mod needs;
mod networks;
mod node_files;
mod own;
mod owner;
mod panics;
mod paths;
mod plan;
mod program;
pub(crate) mod prune;
mod readiness;
mod remove_contents;
mod report;
mod roles;
mod runtime;
mod specs;
mod start;
mod teardown;
mod umount;

pub(crate) use answers::{ASK_AGAIN, check_answers, within_reach};
pub(crate) use background::{attached, mount_in_background, run_child, started};
pub(crate) use data::lock_data;
pub(crate) use host_command::{GUARD, guard};
pub(crate) use left::left_in_engine;
pub(crate) use lifecycle::mount_in_foreground;
pub(crate) use names::new_id;

pub(crate) use needs::{fuse_device, on_path};
pub(crate) use owner::Owner;
pub use panics::log_panics;
pub use paths::Record;
pub(crate) use paths::{ClusterPaths, records, state_home};
pub use plan::Plan;
pub(crate) use plan::{
    NodeRecipe, PlannedEndpoint, PlannedFile, PlannedNode, PlannedRole, PlannedRoles, PlannedVolume, Readiness,
    RoleCommand, Variable, is_own_label,
};
pub(crate) use readiness::line_pattern;
pub(crate) use runtime::runtime;
pub(crate) use umount::{Kept, await_end, umount};
