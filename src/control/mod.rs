//! The control room: the command language, and what its commands do.
//!
//! Parses lines, executes them against the engine and tells how it went. It never touches the tree or FUSE.

mod error;
mod execute;
mod faults;
mod network;
mod parse;
mod under_way;

pub use error::ControlError;
pub use execute::{Executor, Invoked, Target};
pub use faults::{Setting, Writing};
pub use parse::{Command, DEFAULT_GRACE, Verb, parse};

/// What `cat control` shows: a script that writes its arguments to itself.
pub fn script(at_root: bool) -> String {
    include_str!("control.sh")
        .replace("@NODES@", if at_root { " [NODE...]" } else { "" })
        .replace("@FAULTS@", if at_root { "the nodes named, or all" } else { "this node's links" })
        .replace("@WHOM@", if at_root { "the nodes named, or all" } else { "this node" })
}
