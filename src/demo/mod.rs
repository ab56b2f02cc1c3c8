//! A small peer, the default program of a node, so that a cluster can be tried without an image.
//!
//! Each node beats its heart to its peers over UDP, says on stdout and in its log whom it lost and found, and shows
//! its view of the cluster as JSON over HTTP. It may touch its sockets, its config file (read) and its log (append).
//! What it believes of its peers is [`view`], free of I/O.

use std::path::Path;
use std::process::ExitCode;

mod config;
mod http;
mod journal;
mod node;
pub(crate) mod view;

pub(crate) use config::Config;

/// Runs a node until SIGTERM or SIGINT. Call it outside any runtime.
///
/// `config` says who it is and who its peers are, as JSON; `log` is the file to append to, if not its own `*.log` in
/// `/opt/app/var`.
pub(crate) fn run(config: &Path, log: Option<&Path>) -> ExitCode {
    match start(config, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("cthulhu demo: {why}");
            ExitCode::FAILURE
        }
    }
}

fn start(config: &Path, log: Option<&Path>) -> Result<(), String> {
    let config = Config::read(config)?;
    let journal = journal::Journal::open(log)?;
    // One thread is plenty, and keeps a hundred of these nodes small.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| format!("cannot start: {e}"))?;
    runtime.block_on(node::serve(&config, &journal))
}
