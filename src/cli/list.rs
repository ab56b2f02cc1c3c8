//! `cthulhu ls`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::hosts::HostArgs;
use super::{complain, print_json, print_lines};
use crate::daemon::{left_in_engine, records};
use crate::provision::Found;

/// Arguments of ls.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) hosts: HostArgs,
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    further_engines: Vec<String>,
}

/// Adds what only an engine knows of.
fn add(lines: &mut Vec<Line>, found: Vec<Found>, engine: &str) {
    for found in found {
        match lines.iter().position(|line| line.id == found.cluster) {
            // Found in another engine before.
            Some(at) if lines[at].data.is_none() => {
                lines[at].nodes += found.nodes;
                lines[at].further_engines.push(engine.to_owned());
            }
            Some(_) => {}
            None => lines.push(Line {
                id: found.cluster,
                mountpoint: found.mountpoint.into(),
                state: "left over",
                nodes: found.nodes,
                image: found.image,
                pid: None,
                data: None,
                engine: engine.to_owned(),
                further_engines: vec![],
            }),
        }
    }
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
            further_engines: record.further_engines,
        })
        .collect();
    let hosts = args.hosts.addresses()?;
    let named = hosts.iter().map(|host| Some(host.address.as_str()));
    for host in named.chain(hosts.is_empty().then_some(None)) {
        match left_in_engine(host) {
            Ok((found, engine)) => add(&mut lines, found, &engine),
            Err(why) => complain(&format!("what only the engine knows of is not listed: {why}")),
        }
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
