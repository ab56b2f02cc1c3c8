//! The nodes' directories on another machine.
//!
//! An *agent* is a container on that machine's engine which runs our own program and serves the directories: it performs
//! operations with the same [`Passthrough`](crate::passthrough::Passthrough) that the daemon uses for its own machine's
//! ([`run`]). The daemon talks to it over its attached stdin and stdout ([`RemoteFiles`]). An agent opens nothing outside of
//! the one directory it is given, and never starts a program.
//!
//! A connection may break and be made again: the agent goes on, and files stay open. What was asked and not answered is
//! answered EHOSTDOWN. If it is another process that answers then, all numbers of the earlier one are stale.

mod client;
mod frames;
mod mounts;
mod protocol;
mod registry;
mod server;
#[cfg(test)]
pub(crate) mod tests;

/// The directory that an agent's container serves.
pub(crate) const BASE: &str = "/nodes";
/// Where the engine's socket is in an agent's container, if it has one.
pub(crate) const SOCKET: &str = "/engine.sock";

pub use client::RemoteFiles;
pub use mounts::RemoteMounts;
pub use server::serve;
pub(crate) use server::{Agent, run};
