//! `cthulhu top`.

use std::path::PathBuf;

use clap::Args;

/// Arguments of top.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Where the cluster is mounted
    #[arg(value_name = "DIR")]
    pub(crate) mountpoint: PathBuf,
    /// Print a table and end, also on a terminal
    #[arg(long)]
    pub(crate) once: bool,
}
