//! `cthulhu ls`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::engine_args::EngineArgs;
use super::{complain, print_json, print_lines};
use crate::daemon::{left_in_engine, records};

/// Arguments of ls.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    // Looked in for what is left over.
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

/// One cluster. Its fields are documented in docs/interface.md.
#[derive(Debug, Serialize)]
struct Line {
    id: String,
    mountpoint: PathBuf,
    state: &'static str,
    nodes: usize,
    image: Option<String>,
    pid: Option<u32>,
    data: Option<PathBuf>,
    engine: String,
}

/// Prints the clusters of this user.
///
/// # Errors
/// One sentence for the user.
pub(crate) fn list(args: &LsArgs) -> Result<ExitCode> {
    let mut lines: Vec<_> = records()?
        .into_iter()
        .map(|(record, daemon)| Line {
            mountpoint: if daemon.is_some() { record.now_at() } else { record.mountpoint.clone() },
            id: record.id,
            // A record whose daemon is gone stands for what that one could not remove.
            state: if daemon.is_some() { "mounted" } else { "left over" },
            nodes: record.nodes,
            image: Some(record.image),
            pid: daemon,
            data: Some(record.data),
            engine: record.engine,
        })
        .collect();
    match left_in_engine(args.engine.address().as_deref()) {
        Ok((found, engine)) => {
            for found in found {
                if lines.iter().any(|line| line.id == found.cluster) {
                    continue;
                }
                lines.push(Line {
                    id: found.cluster,
                    mountpoint: found.mountpoint.into(),
                    state: "left over",
                    nodes: found.nodes,
                    image: found.image,
                    pid: None,
                    data: None,
                    engine: engine.clone(),
                });
            }
        }
        Err(why) => complain(&format!("what only the engine knows of is not listed: {why}")),
    }
    lines.sort_by(|a, b| a.mountpoint.cmp(&b.mountpoint));
    if args.json {
        return print_json(&lines);
    }
    let head = format!("{:<10} {:>5}  {:<29} {}", "STATE", "NODES", "IMAGE", "MOUNTPOINT");
    let row = |line: &Line| {
        let (state, at, image) = (line.state, line.mountpoint.display(), line.image.as_deref().unwrap_or("-"));
        format!("{state:<10} {:>5}  {image:<29} {at}", line.nodes)
    };
    print_lines(std::iter::once(head).chain(lines.iter().map(row)))
}
