//! The process that holds a node's network namespace, and the daemon's client of it.
//!
//! [`run`] is pid 1 of each sandbox container: it answers requests, one JSON line each, until its stdin ends. It may
//! touch its own network namespace (it connects to the node's port when asked), and nothing else; it never starts a program, never opens a file to write.
//!
//! Every sandbox costs memory for as long as a mount lasts, so this runs on plain threads with small buffers.

use std::io;
use std::process::ExitCode;

use namespace::Real;

mod address;
mod capabilities;
pub(crate) mod client;
mod names;
mod namespace;
mod netlink;
mod nft;
mod plan;
pub(crate) mod protocol;
mod queues;
mod rates;
mod server;
mod signals;
mod sockets;
mod tc;

pub use client::Client;
pub(crate) use client::ClientError;
pub use namespace::FakeNamespace;
pub(crate) use protocol::Hello;
pub use server::serve;

/// Serves requests on stdin until its end, SIGTERM or SIGINT. Call it before any runtime is built.
pub(crate) fn run() -> ExitCode {
    if let Err(error) = signals::watch() {
        eprintln!("cthulhu sandbox: cannot watch for signals: {error}");
        return ExitCode::FAILURE;
    }
    // Nothing but a name depends on it.
    if let Err(error) = names::begin() {
        eprintln!("cthulhu sandbox: the engine's DNS answers for addresses: {error}");
    }
    match serve(io::stdin().lock(), io::stdout().lock(), &mut Real::begin()) {
        Ok(()) => ExitCode::SUCCESS,
        // Our answers have no reader any more: treat it like end of file.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cthulhu sandbox: {error}");
            ExitCode::FAILURE
        }
    }
}
