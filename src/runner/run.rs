//! A command with a cluster of its own.

use std::cell::OnceCell;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::artifacts::Artifacts;
use super::nemesis::{Ending, NemesisJob, Prepared, Stop};
use super::nodes::{Goal, WaitOutcome, wait};
use super::signals::{SignalRouter, say};
use crate::daemon::prune::{PruneFilter, look, remove};
use crate::daemon::{Plan, attached, await_end, runtime, started, umount, within_reach};
use crate::history::{VerdictResult, last_verdicts};
use crate::sys::{Signals, pidfd_open, wait_for_children};
use crate::text::{harmless, plain};

/// Exit status when it is cthulhu that failed: as of docker run, env(1), timeout(1).
pub(crate) const OWN_FAILURE: u8 = 125;
/// Exit statuses as in a shell: COMMAND cannot be run; COMMAND does not exist.
const NO_PROGRAM: u8 = 126;
const NOT_FOUND: u8 = 127;
/// How long what the schedule writes when COMMAND ends may take.
const LAST_WRITE: Duration = Duration::from_secs(5);
/// How long an engine may take to answer when what a dead daemon left is looked for.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(10);

/// Of which runs artifacts are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArtifactsWhen {
    /// Those whose COMMAND failed or whose last verdict on a model is `violated`, and those that got no cluster, unless a
    /// signal ended them before COMMAND.
    Failure,
    /// All.
    Always,
}

/// What to run, and on which cluster.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) plan: Plan,
    /// COMMAND and its arguments; not empty.
    pub(crate) command: Vec<String>,
    /// Where to keep what is left of the cluster.
    pub(crate) artifacts: Option<PathBuf>,
    /// When to keep it.
    pub(crate) artifacts_when: ArtifactsWhen,
    /// Timeout for the nodes to get ready, if given.
    pub(crate) wait_timeout: Option<Duration>,
    /// The schedule of faults to perform while COMMAND runs.
    pub(crate) nemesis: Option<NemesisJob>,
}

/// Mounts, starts, waits until the nodes are ready, runs COMMAND, takes all down. Returns the exit status, having said
/// on stderr what there was to say.
pub(crate) fn run(job: &Job) -> u8 {
    job.run().unwrap_or_else(|error| {
        say(&crate::text::sentence(&error));
        OWN_FAILURE
    })
}

impl Job {
    fn run(&self) -> Result<u8> {
        let caught = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
        let signals = Signals::catch(&caught).and_then(|signals| wait_for_children().map(|()| signals));
        let signals = signals.context("cannot catch signals")?;
        let daemon = attached(&self.plan)?;
        let router = SignalRouter::new(daemon.lifeline, signals)?;
        let schedule = OnceCell::new();
        let done = started(daemon.reports).and_then(|()| self.with_cluster(&router, &schedule));
        router.command_is_over();
        let mut status = match (router.interrupt(), done) {
            (Some(signal), _) => 128 + u8::try_from(signal).unwrap_or_default(),
            (None, Ok(status)) => status,
            (None, Err(error)) => {
                say(&crate::text::sentence(&error));
                OWN_FAILURE
            }
        };
        let failed = (status != 0 || self.is_violated()) && router.interrupt().is_none();
        let wanted = self.artifacts.as_ref().filter(|_| failed || self.artifacts_when == ArtifactsWhen::Always);
        let artifacts = wanted.map(|parent| Artifacts::begin(parent, &self.plan.prefix, &self.plan));
        router.let_go();
        let gone = self.taken_down(daemon.child, &router);
        // Protects it from a prune that runs meanwhile.
        let kept = self.plan.paths.lock_to_prune();
        if let Some(artifacts) = artifacts {
            let finished = artifacts.and_then(|artifacts| {
                let (dir, all) = artifacts.finish(&self.plan, schedule.get().map(String::as_str));
                say(&format!("artifacts: {}", dir.display()));
                all
            });
            if let Err(error) = finished {
                say(&crate::text::sentence(&anyhow!(error).context("cannot keep all artifacts")));
            }
        }
        drop(kept);
        if let Err(error) = gone.and_then(|()| self.forget()) {
            say(&crate::text::sentence(&error));
            if status == 0 {
                status = OWN_FAILURE;
            }
        }
        Ok(status)
    }

    /// Whether a checker has found that the operations do not fit their model, and says so.
    fn is_violated(&self) -> bool {
        let verdicts = last_verdicts(&self.plan.data.join("history")).unwrap_or_default();
        let violated: Vec<_> = verdicts.iter().filter(|verdict| verdict.result == VerdictResult::Violated).collect();
        for verdict in &violated {
            say(&plain(&format!("violated: {}: {}", verdict.model, verdict.text)));
        }
        !violated.is_empty()
    }

    /// Runs COMMAND on the cluster. `schedule` gets the text of the schedule that is performed meanwhile.
    fn with_cluster(&self, router: &SignalRouter, schedule: &OnceCell<String>) -> Result<u8> {
        let mountpoint = &self.plan.paths.mountpoint;
        let (paths, timeout) = ([mountpoint.clone()], self.wait_timeout);
        match within_reach(&paths.clone(), move || wait(&paths, Goal::Ready, timeout))? {
            WaitOutcome::Reached => {}
            in_vain => {
                say(in_vain.text(false).trim_end());
                return Ok(OWN_FAILURE);
            }
        }
        let performance = self.nemesis.as_ref().map(|job| job.prepare(mountpoint)).transpose()?;
        if let Some(performance) = &performance {
            let _ = schedule.set(performance.text());
        }
        let (program, arguments) = self.command.split_first().context("there is no COMMAND")?;
        let mut command = Command::new(program);
        command.args(arguments).env("CTHULHU", mountpoint);
        match router.launch(&mut command) {
            Ok(Some(child)) => match performance {
                None => status(child),
                Some(performance) => beside(performance, child),
            },
            Ok(None) => Ok(OWN_FAILURE),
            Err(error) => Ok(cannot_run(program, &error)),
        }
    }

    /// Waits until the daemon has taken the cluster down, and does it in its place if it was killed.
    fn taken_down(&self, mut daemon: Child, router: &SignalRouter) -> Result<()> {
        // Where the kernel has no pidfd, it is waited for as long as it takes.
        if let Ok(pidfd) = pidfd_open(daemon.id()) {
            await_end(&self.plan.paths, daemon.id(), &pidfd, false)?;
        }
        daemon.wait().context("cannot wait for the daemon")?;
        router.daemon_is_gone();
        let paths = &self.plan.paths;
        if let Ok(why) = std::fs::read_to_string(paths.failure()) {
            return Err(anyhow!("not all of the cluster is gone: {}", why.trim()));
        }
        if paths.has_record() {
            umount(paths, &self.plan.hosts)?;
            say("the daemon was killed; what it left is removed");
        }
        let _ = std::fs::remove_dir(&paths.mountpoint);
        Ok(())
    }

    /// Removes what is kept of a cluster that is gone: its place is not mounted again.
    fn forget(&self) -> Result<()> {
        let mountpoints = vec![self.plan.paths.mountpoint.clone()];
        let filter = PruneFilter { mountpoints, hosts: self.plan.hosts.clone(), engine_timeout: SWEEP_TIMEOUT };
        let failures = runtime()?.block_on(async { Ok::<_, anyhow::Error>(remove(look(&filter).await?).await) })?;
        match failures.first() {
            None => Ok(()),
            Some(why) => Err(anyhow!("{why}")),
        }
    }
}

/// Performs a schedule until COMMAND has ended; what is in force then goes with the cluster.
fn beside(performance: Prepared, child: Child) -> Result<u8> {
    let stop = Arc::new(Stop::default());
    let asked = Arc::clone(&stop);
    let perform = move || performance.perform(&asked, &|line| say(&harmless(&format!("nemesis: {line}"))));
    let (done, result) = channel();
    let thread = std::thread::Builder::new().name("nemesis".into());
    if let Err(error) = thread.spawn(move || drop(done.send(perform()))) {
        say(&format!("the schedule cannot be performed: {error}"));
    }
    let status = status(child);
    stop.ask(Ending::Leave);
    // A mount that does not answer keeps a write for ever.
    match result.recv_timeout(LAST_WRITE) {
        Ok(Ok(performance)) if !performance.errors.is_empty() => {
            let failed = performance.errors.len();
            let writes = if failed == 1 { "write" } else { "writes" };
            say(&format!("nemesis: {failed} {writes} did not go as the schedule says"));
        }
        Ok(Err(error)) => say(&crate::text::sentence(&error.context("the schedule ended early"))),
        _ => {}
    }
    status
}

fn status(mut child: Child) -> Result<u8> {
    let status = child.wait().context("cannot wait for COMMAND")?;
    let number = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(number.and_then(|number| u8::try_from(number).ok()).unwrap_or(OWN_FAILURE))
}

/// Says why COMMAND cannot be run, and returns the exit status for it, that of a shell.
pub(crate) fn cannot_run(program: &str, error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::NotFound {
        say(&format!("cannot run {program}: command not found"));
        NOT_FOUND
    } else {
        say(&format!("cannot run {program}: {}", crate::text::sentence(&anyhow!(error.to_string()))));
        NO_PROGRAM
    }
}
