//! `cthulhu prune`.

use std::io::{IsTerminal, Write, stderr, stdin};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use indicatif::HumanBytes;

use super::hosts::HostArgs;
use super::{complain, print_lines};
use crate::daemon::prune::{Left, LeftImage, PruneFilter, look, remove};
use crate::daemon::runtime;
use crate::sweep::Size;
use crate::text::sentence;

/// How long an engine may take to answer.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(10);

/// Arguments of prune.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Only what is left of clusters that were mounted there [default: all that you have left]
    #[arg(value_name = "MOUNTPOINT")]
    pub(crate) mountpoints: Vec<PathBuf>,
    /// Remove it without asking
    #[arg(short, long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) hosts: HostArgs,
}

/// Shows what is left, asks, and removes it.
///
/// # Errors
/// One sentence for the user.
pub(crate) fn prune(args: &PruneArgs) -> Result<ExitCode> {
    let runtime = runtime()?;
    let filter = PruneFilter {
        mountpoints: args.mountpoints.clone(),
        hosts: args.hosts.addresses()?,
        engine_timeout: ENGINE_TIMEOUT,
    };
    let left = runtime.block_on(look(&filter))?;
    for obstacle in &left.obstacles {
        complain(obstacle);
    }
    let mut failed = !left.obstacles.is_empty();
    if left.is_empty() {
        print_lines([if failed { "nothing that can be removed now" } else { "nothing is left over" }.to_owned()])?;
        return Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS });
    }
    print_lines(describe(&left))?;
    if !args.yes {
        if !stdin().is_terminal() || !stderr().is_terminal() {
            bail!("nothing is removed: without a terminal to ask on, cthulhu prune needs --yes");
        }
        if !agreed()? {
            bail!("nothing is removed");
        }
    }
    for failure in runtime.block_on(remove(left)) {
        complain(&sentence(&anyhow!(failure)));
        failed = true;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn agreed() -> Result<bool> {
    write!(stderr(), "Remove all this? [y/N] ")?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// A line for each thing.
fn describe(left: &Left) -> Vec<String> {
    let mut lines = vec![];
    for cluster in &left.clusters {
        let found = &cluster.found;
        let of_whom = match found.uid {
            Some(uid) if uid != rustix::process::geteuid().as_raw() => format!(", of user {uid}"),
            _ => String::new(),
        };
        let containers = count(found.containers as u64, "container");
        let networks = count(found.networks.len() as u64, "network");
        let what = match found.volumes {
            0 => format!("{containers} and {networks}"),
            volumes => format!("{containers}, {networks} and {}", count(volumes as u64, "volume")),
        };
        let engines = cluster.engines.join(", ");
        lines.push(format!("cluster {} at {}: {what} in {engines}{of_whom}", found.cluster, found.mountpoint));
    }
    lines.extend(left.mounts.iter().map(|at| format!("dead mount {}", at.display())));
    for place in &left.places {
        let what = match &place.record {
            Some(record) => format!("state of the cluster at {}", record.mountpoint.display()),
            None => "what nodes of an earlier cluster wrote".to_owned(),
        };
        lines.push(format!("{}: {what}, {}", place.path().display(), size(place.size)));
    }
    let address = |image: &LeftImage| image.engine.info().address.clone();
    let are_in_several = left.images.iter().any(|image| address(image) != address(&left.images[0]));
    lines.extend(left.images.iter().map(|image| {
        let (reference, size) = (&image.reference, HumanBytes(image.size));
        let place = if are_in_several { format!(" in {}", address(image)) } else { String::new() };
        format!("image {reference}{place}, {size}: made by another version of cthulhu, and unused")
    }));
    lines
}

fn size(size: Size) -> String {
    let at_least = if size.more { "at least " } else { "" };
    format!("{at_least}{} in {}", HumanBytes(size.bytes), count(size.files, "file"))
}

fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
