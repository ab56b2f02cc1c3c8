//! A command with a cluster of its own.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::artifacts::Artifacts;
use super::helm::{Helm, say};
use super::nodes::{Goal, Outcome, wait};
use crate::daemon::prune::{Wish, look, remove};
use crate::daemon::{Plan, attached, runtime, started, umount};
use crate::sys::{Signals, wait_for_children};

/// Exit status when it is cthulhu that failed: as of docker run, env(1), timeout(1).
const OWN_FAILURE: u8 = 125;
/// COMMAND is no program that can be run; there is none of that name.
const NO_PROGRAM: u8 = 126;
const NOT_FOUND: u8 = 127;
/// How long an engine may take to answer when what a dead daemon left is looked for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Of which runs artifacts are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ArtifactsWhen {
    /// COMMAND failed, or there was no cluster to run it on; not of one that a signal ended before COMMAND
    Failure,
    /// Every run
    Always,
}

/// What is to be run, and on what.
#[derive(Debug)]
pub struct Job {
    /// The cluster.
    pub plan: Plan,
    /// COMMAND and its arguments; not empty.
    pub command: Vec<String>,
    /// Where to keep what is left of the cluster.
    pub artifacts: Option<PathBuf>,
    /// When to keep it.
    pub artifacts_when: ArtifactsWhen,
    /// How long the nodes may take to get ready, if somebody has said so.
    pub wait_timeout: Option<Duration>,
}

/// Mounts, starts, waits until the nodes are ready, runs COMMAND, takes all down. Returns the exit status, having said
/// on stderr what there was to say.
pub fn run(job: &Job) -> u8 {
    job.run().unwrap_or_else(|error| {
        say(&crate::cli::sentence(&error));
        OWN_FAILURE
    })
}

impl Job {
    fn run(&self) -> Result<u8> {
        let caught = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
        let signals = Signals::catch(&caught).and_then(|signals| wait_for_children().map(|()| signals));
        let signals = signals.context("cannot catch signals")?;
        let daemon = attached(&self.plan)?;
        let helm = Helm::new(daemon.lifeline, signals)?;
        let done = started(daemon.reports).and_then(|()| self.with_cluster(&helm));
        helm.command_is_over();
        let mut status = match (helm.interrupt(), done) {
            (Some(signal), _) => 128 + u8::try_from(signal).unwrap_or_default(),
            (None, Ok(status)) => status,
            (None, Err(error)) => {
                say(&crate::cli::sentence(&error));
                OWN_FAILURE
            }
        };
        let failed = status != 0 && helm.interrupt().is_none();
        let wanted = self.artifacts.as_ref().filter(|_| failed || self.artifacts_when == ArtifactsWhen::Always);
        let artifacts = wanted.map(|parent| Artifacts::begin(parent, &self.plan.args.prefix, &self.plan));
        helm.let_go();
        let gone = self.taken_down(daemon.child, &helm);
        // From a prune that somebody calls meanwhile.
        let kept = self.plan.place.lock_to_prune();
        if let Some(artifacts) = artifacts {
            match artifacts.and_then(|artifacts| artifacts.finish(&self.plan)) {
                Ok(dir) => say(&format!("artifacts: {}", dir.display())),
                Err(error) => say(&crate::cli::sentence(&anyhow!(error).context("cannot keep all artifacts"))),
            }
        }
        drop(kept);
        if let Err(error) = gone.and_then(|()| self.forget()) {
            say(&crate::cli::sentence(&error));
            if status == 0 {
                status = OWN_FAILURE;
            }
        }
        Ok(status)
    }

    fn with_cluster(&self, helm: &Helm) -> Result<u8> {
        let mountpoint = &self.plan.place.mountpoint;
        match wait(std::slice::from_ref(mountpoint), Goal::Ready, self.wait_timeout)? {
            Outcome::Reached => {}
            in_vain => {
                say(in_vain.text(false).trim_end());
                return Ok(OWN_FAILURE);
            }
        }
        let (program, arguments) = self.command.split_first().context("there is no COMMAND")?;
        let mut command = Command::new(program);
        command.args(arguments).env("CTHULHU", mountpoint);
        match helm.launch(&mut command) {
            Ok(Some(child)) => status(child),
            Ok(None) => Ok(OWN_FAILURE),
            Err(error) => Ok(cannot_run(program, &error)),
        }
    }

    /// Waits until the daemon has taken the cluster down, and does it in its place if it was killed.
    fn taken_down(&self, mut daemon: Child, helm: &Helm) -> Result<()> {
        daemon.wait().context("cannot wait for the daemon")?;
        helm.daemon_is_gone();
        let place = &self.plan.place;
        if let Ok(why) = std::fs::read_to_string(place.failure()) {
            return Err(anyhow!("not all of the cluster is gone: {}", why.trim()));
        }
        if place.has_record() {
            umount(place, self.plan.args.host.as_deref())?;
            say("the daemon was killed; what it left is removed");
        }
        let _ = std::fs::remove_dir(&place.mountpoint);
        Ok(())
    }

    /// Removes what is kept of a cluster that is gone: nobody mounts at its place again.
    fn forget(&self) -> Result<()> {
        let mountpoints = vec![self.plan.place.mountpoint.clone()];
        let wish = Wish { mountpoints, host: self.plan.args.host.clone(), patience: PATIENCE };
        let failures = runtime()?.block_on(async { Ok::<_, anyhow::Error>(remove(look(&wish).await?).await) })?;
        match failures.first() {
            None => Ok(()),
            Some(why) => Err(anyhow!("{why}")),
        }
    }
}

fn status(mut child: Child) -> Result<u8> {
    let status = child.wait().context("cannot wait for COMMAND")?;
    let number = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(number.and_then(|number| u8::try_from(number).ok()).unwrap_or(OWN_FAILURE))
}

/// Says why COMMAND cannot be run, and returns the exit status for it, that of a shell.
pub fn cannot_run(program: &str, error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::NotFound {
        say(&format!("cannot run {program}: command not found"));
        NOT_FOUND
    } else {
        say(&format!("cannot run {program}: {}", crate::cli::sentence(&anyhow!(error.to_string()))));
        NO_PROGRAM
    }
}
