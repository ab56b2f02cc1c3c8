//! The sandbox room: the process that holds a node's network namespace, and the daemon's client of it.
//!
//! [`run`] is pid 1 of each sandbox container: it answers requests, one JSON line each, until its stdin ends. It may
//! touch its own network namespace (it connects to the node's port when asked), and nothing else; it never starts a program, never opens a file to write.
//!
//! Every sandbox costs memory for as long as a mount lasts, so this runs on plain threads with small buffers.

use std::io;
use std::process::ExitCode;

use namespace::Real;

mod address;
pub mod client;
mod means;
mod namespace;
mod netlink;
mod nft;
mod plan;
pub mod protocol;
mod queues;
mod server;
mod signals;
mod sockets;
mod tc;

pub use client::{Client, ClientError};
pub use namespace::{Namespace, Pretended};
pub use protocol::Hello;
pub use queues::{Hold, Queues};
pub use server::serve;

/// Serves requests on stdin until its end, SIGTERM or SIGINT. Call it before any runtime is built.
pub fn run() -> ExitCode {
    if let Err(error) = signals::watch() {
        eprintln!("cthulhu sandbox: cannot watch for signals: {error}");
        return ExitCode::FAILURE;
    }
    match serve(io::stdin().lock(), io::stdout().lock(), &mut Real::begin()) {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody is left to read our answers: that is an end like end of file.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cthulhu sandbox: {error}");
            ExitCode::FAILURE
        }
    }
}
