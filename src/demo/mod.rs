//! The demo room: a small peer, the default program of a node, so that a cluster can be tried without an image.
//!
//! Each node beats its heart to its peers over UDP, says on stdout and in its log whom it lost and found, and shows
//! its view of the cluster as JSON over HTTP. It may touch its sockets, its config file (read) and its log (append).
//! What it believes of its peers is [`view`], free of I/O.

use std::path::PathBuf;
use std::process::ExitCode;

mod config;
mod http;
mod journal;
mod node;
pub mod view;

pub use config::Config;

/// Options of `cthulhu demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Who this node is and who its peers are, as JSON
    #[arg(long, value_name = "PATH", default_value = "/opt/app/etc/config.json")]
    pub config: PathBuf,
    /// File to append to [default: the node's own *.log in /opt/app/var, if there is one]
    #[arg(long, value_name = "PATH")]
    pub log: Option<PathBuf>,
}

/// Runs a node until SIGTERM or SIGINT. Call it outside any runtime.
pub fn run(args: &Args) -> ExitCode {
    match start(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("cthulhu demo: {why}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: &Args) -> Result<(), String> {
    let config = Config::read(&args.config)?;
    let journal = journal::Journal::open(args.log.as_deref())?;
    // One thread is plenty, and keeps a hundred of these nodes small.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| format!("cannot start: {e}"))?;
    runtime.block_on(node::serve(&config, &journal))
}
