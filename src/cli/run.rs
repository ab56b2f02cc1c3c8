//! `cthulhu run`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use super::args::{MountArgs, seconds};
use super::nemesis::DrawArgs;
use super::plan::plan;
use crate::daemon::{new_id, on_path};
use crate::runner::{self, ArtifactsWhen, Job, cannot_run, words};

/// What `--help` shows after the options.
pub(crate) const AFTER_HELP: &str = "Example:
  cthulhu run -n 3 -i my-kv --port 7000 -- bats tests/
  cthulhu run -n 3 -i my-kv --node-command 'my-kv --id {{ index }}' --artifacts out -- pytest -x

COMMAND finds the cluster in the directory that the environment variable CTHULHU
names. Any number of runs at once: each has container names and a network of its own.
A signal is passed on to COMMAND; a second one kills it.

Exit status: COMMAND's, 128+N if signal N has ended it; 125 if there was no cluster
to run it on, 126 or 127 if there is no such program.";

/// Arguments of run. Options of mount that mean nothing here are not shown, and refused where that would mislead.
#[derive(Debug, Args)]
#[command(
    mut_arg("mountpoint", |arg| arg.hide(true)),
    mut_arg("start", |arg| arg.hide(true)),
    mut_arg("foreground", |arg| arg.hide(true)),
    mut_arg("prefix", |arg| arg.help("Put P- before container names [default: one of its own for each run]")),
    mut_arg("faults", |arg| arg.requires("nemesis")),
    mut_arg("every", |arg| arg.requires("nemesis")),
    mut_arg("lasting", |arg| arg.requires("nemesis")),
    mut_arg("quiet", |arg| arg.requires("nemesis")),
    mut_arg("command", |arg| arg.help("What to run once the nodes are ready")),
)]
pub(crate) struct RunArgs {
    /// Those of mount.
    #[command(flatten)]
    pub(crate) mount: MountArgs,
    /// What the nodes run instead of the image's command: words as in a shell, each a template
    #[arg(long, value_name = "COMMAND")]
    pub(crate) node_command: Option<String>,
    /// When COMMAND fails: keep a report, logs, bindmounts, history, its timeline and the nodes' specs in a new directory in DIR
    #[arg(long, value_name = "DIR")]
    pub(crate) artifacts: Option<PathBuf>,
    /// Keep the artifacts of which runs
    #[arg(long, value_enum, default_value = "failure", value_name = "WHEN", requires = "artifacts")]
    pub(crate) artifacts_when: ArtifactsWhen,
    /// Perform a schedule of faults while COMMAND runs: that of FILE, or one that is drawn
    #[arg(long, value_name = "FILE|seed:N")]
    pub(crate) nemesis: Option<String>,
    #[command(flatten)]
    pub(crate) draw: DrawArgs,
    /// How long the nodes may take to get ready, such as 30s or 2m [default: 60s, or as long as the image's HEALTHCHECK may take]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) wait_timeout: Option<Duration>,
}

impl ValueEnum for ArtifactsWhen {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Failure, Self::Always]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Failure => PossibleValue::new("failure").help(
                "COMMAND failed, a verdict is violated, or there was no cluster to run it on; not of one that a signal ended before COMMAND",
            ),
            Self::Always => PossibleValue::new("always").help("Every run"),
        })
    }
}

/// Runs it.
///
/// # Errors
/// One sentence for the user: the arguments are wrong.
pub(crate) fn run(args: RunArgs) -> Result<ExitCode> {
    Ok(planned(args)?.map_or_else(Into::into, |job| runner::run(&job).into()))
}

/// What to run; or an exit status, if there is no such program, which has been told.
///
/// # Errors
/// One sentence for the user: the arguments are wrong.
pub(super) fn planned(args: RunArgs) -> Result<Result<Job, u8>> {
    let mut mount = args.mount;
    let command = std::mem::take(&mut mount.command);
    if let Some(stray) = mount.mountpoint.take() {
        let stray = stray.display();
        bail!("{stray}: run mounts at a place of its own, and what it runs comes after --: cthulhu run … -- COMMAND");
    }
    let Some(program) = command.first() else {
        bail!("there is nothing to run: cthulhu run … -- COMMAND");
    };
    if mount.foreground {
        bail!("--foreground: run is in the foreground as long as COMMAND runs; leave it out");
    }
    // Before anything is made.
    if !program.contains('/') && on_path(program).is_none() || program.contains('/') && !Path::new(program).exists() {
        return Ok(Err(cannot_run(program, &io::ErrorKind::NotFound.into())));
    }
    let nemesis = args.nemesis.as_deref().map(|what| args.draw.named(what)).transpose()?;
    if let Some(line) = &args.node_command {
        mount.command = words(line).map_err(|why| anyhow!("--node-command: {why}"))?;
    }
    let name = format!("run-{}", &new_id()?.0[..8]);
    if mount.prefix.is_empty() {
        mount.prefix.clone_from(&name);
    }
    mount.start = true;
    mount.mountpoint = Some(std::env::temp_dir().join(format!("cthulhu-{name}")));
    let plan = plan(mount)?;
    let artifacts = args.artifacts.map(std::path::absolute).transpose()?;
    if let Some(dir) = &artifacts {
        can_be_made(dir).with_context(|| format!("--artifacts {}", dir.display()))?;
    }
    let wait_timeout = args.wait_timeout;
    let artifacts_when = args.artifacts_when;
    Ok(Ok(Job { plan, command, artifacts, artifacts_when, wait_timeout, nemesis }))
}

/// Whether there is room for a directory, seen now and not when the tests have failed; it is not made yet.
fn can_be_made(dir: &Path) -> io::Result<()> {
    let there = dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if !there.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(rustix::fs::access(there, rustix::fs::Access::WRITE_OK)?)
}
