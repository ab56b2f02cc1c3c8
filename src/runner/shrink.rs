//! Runs schedules on clusters of their own, each with a `cthulhu run`, to find a smaller one that fails too.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::log_end::log_so_far;
use super::signals::say;
use crate::nemesis::{Outcome, Schedule, Shrinking, Shrunk, shrink as smaller};
use crate::sys::signal_at_our_end;

/// What to shrink, and how each candidate is run.
#[derive(Debug)]
pub(crate) struct ShrinkJob {
    pub(crate) schedule: Schedule,
    /// Options of `cthulhu run`, then `--` and COMMAND.
    pub(crate) run: Vec<OsString>,
    /// How often each candidate is tried, if given.
    pub(crate) tries: Option<u32>,
    /// A directory for the present candidate, and for what its run says.
    pub(crate) scratch: PathBuf,
}

/// Shrinks it. Says on stderr what it finds on the way.
///
/// # Errors
/// A sentence: a run cannot be started.
pub(crate) fn shrink(job: &ShrinkJob) -> Result<Shrunk> {
    let (candidate, said) = (job.scratch.join("schedule"), job.scratch.join("output"));
    let mut test = |schedule: &Schedule| {
        std::fs::write(&candidate, schedule.to_string())
            .with_context(|| format!("cannot write {}", candidate.display()))?;
        let status = run(job, &candidate, &said).context("cannot start cthulhu run")?;
        let outcome = outcome(status);
        if outcome == Outcome::NoVerdict {
            say(&format!("a run came to no verdict (exit status {status}); the end of what it said:"));
            log_so_far(&said).unwrap_or_default().iter().for_each(|line| say(&format!("  | {line}")));
        }
        Ok(outcome)
    };
    smaller(&job.schedule, Shrinking { test: &mut test, tell: &mut |line| say(&line), tries: job.tries })
}

fn run(job: &ShrinkJob, candidate: &Path, said: &Path) -> io::Result<i32> {
    let output = File::create(said)?;
    let mut run = Command::new("/proc/self/exe");
    run.arg("run").arg("--nemesis").arg(candidate).args(&job.run);
    run.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    signal_at_our_end(&mut run, Signal::TERM);
    let status = run.status()?;
    Ok(status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or_default())
}

/// What an exit status of `cthulhu run` says. No verdict: that of `cthulhu check` for unknown (4), of timeout(1) (124), those of
/// run for no cluster and no COMMAND (125 to 127), and the end by a signal.
fn outcome(status: i32) -> Outcome {
    match status {
        0 => Outcome::Passes,
        4 | 124.. => Outcome::NoVerdict,
        _ => Outcome::Fails,
    }
}
