//! Runs schedules on clusters of their own, each with a `cthulhu run`, to find a smaller one that fails too.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command};

use anyhow::{Context, Result};
use rustix::fs::{MemfdFlags, memfd_create};
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
    /// How many runs are made side by side.
    pub(crate) jobs: u32,
    /// How often each candidate is tried, if given.
    pub(crate) tries: Option<u32>,
}

/// Shrinks it. Says on stderr what it finds on the way.
///
/// # Errors
/// A sentence: a run cannot be started.
pub(crate) fn shrink(job: &ShrinkJob) -> Result<Shrunk> {
    let mut test = |schedule: &Schedule, runs: u32| {
        let mut candidate = in_memory()?;
        candidate.write_all(schedule.to_string().as_bytes())?;
        let started = (0..runs).map(|_| start(job, &candidate)).collect::<Vec<_>>();
        // All are waited for, also if one could not be started.
        let ended = started.into_iter().map(|started| {
            let (mut child, said) = started?;
            Ok((child.wait()?, said))
        });
        let ended: Vec<io::Result<_>> = ended.collect();
        let mut outcomes = vec![];
        for ended in ended {
            let (status, said) = ended.context("cannot start cthulhu run")?;
            let status = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or_default();
            let outcome = outcome(status);
            if outcome == Outcome::NoVerdict {
                say(&format!("a run came to no verdict (exit status {status}); the end of what it said:"));
                log_so_far(&path(&said)).unwrap_or_default().iter().for_each(|line| say(&format!("  | {line}")));
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    };
    let (jobs, tries) = (job.jobs, job.tries);
    smaller(&job.schedule, Shrinking { test: &mut test, tell: &mut |line| say(&line), jobs, tries })
}

/// A file that is gone with us, however we end.
fn in_memory() -> io::Result<File> {
    Ok(memfd_create(c"cthulhu-shrink", MemfdFlags::CLOEXEC)?.into())
}

/// Where a file of this process can be opened again, and read from the start.
fn path(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Starts a run, and returns what it says, too.
fn start(job: &ShrinkJob, candidate: &File) -> io::Result<(Child, File)> {
    let said = in_memory()?;
    let mut run = Command::new("/proc/self/exe");
    run.args(["run", "--nemesis", "/dev/stdin"]).args(&job.run);
    let mut stdin = File::open(path(candidate))?;
    // Run opens it again. COMMAND inherits this one, and finds nothing in it.
    stdin.seek(SeekFrom::End(0))?;
    run.stdin(stdin).stdout(said.try_clone()?).stderr(said.try_clone()?);
    signal_at_our_end(&mut run, Signal::TERM);
    Ok((run.spawn()?, said))
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
