//! `cthulhu top`.

use std::path::PathBuf;

use clap::Args;

/// Arguments of top.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Where the cluster is mounted
    #[arg(value_name = "DIR")]
    pub mountpoint: PathBuf,
    /// Print a table and end, also on a terminal
    #[arg(long)]
    pub once: bool,
}
