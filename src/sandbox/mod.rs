//! The process that holds a node's network namespace, and the daemon's client of it.
//!
//! [`run`] is pid 1 of each sandbox container: it answers requests, one JSON line each, until its stdin ends. With a
//! lease, it also ends when no request has come for that long: where a lost connection leaves stdin open. It may
//! touch its own network namespace (it connects to the node's port when asked), and nothing else; it never starts a program, never opens a file to write.
//!
//! Every sandbox costs memory for as long as a mount lasts, so this runs on plain threads with small buffers.

use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use lease::Leased;
use namespace::Real;

mod address;
mod capabilities;
pub(crate) mod client;
mod lease;
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

/// The option before how many seconds a lease lasts.
pub(crate) const LEASE: &str = "--lease";

/// Serves requests on stdin until its end, SIGTERM or SIGINT; or, with a `lease`, until none has come for that long.
/// Call it before any runtime is built.
///
/// With a lease, the end of stdin is still the end: it comes when nobody can send a request any more. Docker keeps stdin
/// open over all connections to it.
pub(crate) fn run(lease: Option<Duration>) -> ExitCode {
    if let Err(error) = signals::watch() {
        eprintln!("cthulhu sandbox: cannot watch for signals: {error}");
        return ExitCode::FAILURE;
    }
    // Nothing but a name depends on it.
    if let Err(error) = names::begin() {
        eprintln!("cthulhu sandbox: the engine's DNS answers for addresses: {error}");
    }
    let served = match lease {
        None => serve(io::stdin().lock(), io::stdout().lock(), &mut Real::begin()),
        Some(lease) => serve_leased(lease),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        // Our answers have no reader any more: treat it like end of file.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        // The lease is over.
        Err(error) if error.kind() == io::ErrorKind::TimedOut => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cthulhu sandbox: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve_leased(lease: Duration) -> io::Result<()> {
    // Not through `Stdin`, which has a buffer.
    let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    serve(BufReader::new(Leased::new(stdin, lease)), io::stdout().lock(), &mut Real::begin())
}
