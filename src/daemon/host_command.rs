//! Commands of the user's that run on this machine, beside the nodes. Nothing of one is left when its time is over, nor
//! when the daemon is gone, even by SIGKILL.
//!
//! So a process of ours stands between: it ends the command's process group as soon as its stdin is closed.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::fs::Mode;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use crate::selfimage::INTERNAL;
use crate::sys;
use crate::text::first_lines;

/// Name of the process between.
pub(crate) const GUARD: &str = "guard";
/// So much of what a command prints is read, in bytes: the addresses of all nodes of the largest cluster.
const ANSWER: u64 = 64 << 10;
/// How long the end of a command takes that is killed, at most: unless the kernel holds it.
const END: Duration = Duration::from_secs(1);
/// Exit status as of a shell: the command cannot be run.
const CANNOT_RUN: u8 = 126;

/// A command.
#[derive(Clone, Debug)]
pub(super) struct HostCommand {
    /// A line for the shell.
    pub(super) line: String,
    /// Where it runs.
    pub(super) directory: PathBuf,
    /// The mountpoint of its cluster, which it finds in its environment.
    pub(super) mountpoint: PathBuf,
    /// The umask of the user, which is not the daemon's.
    pub(super) umask: u32,
    /// How long it may take.
    pub(super) limit: Duration,
}

impl HostCommand {
    /// Runs it. Returns what it prints, or a sentence: it takes too long, or fails.
    pub(super) async fn output(&self) -> Result<String, String> {
        let mut guard = Command::new("/proc/self/exe");
        guard.arg0("cthulhu").args([INTERNAL, GUARD, &self.umask.to_string()]).arg(&self.directory).arg(&self.line);
        guard.env("CTHULHU", &self.mountpoint).process_group(0);
        guard.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        sys::close_in_child_from(&mut guard, 3);
        let guard = tokio::process::Command::from(guard).spawn();
        let mut guard = guard.map_err(|error| format!("cannot start a process: {error}"))?;
        // Closed when this is dropped, so also when nobody waits any more.
        let lifeline = guard.stdin.take();
        let (stdout, stderr) = (guard.stdout.take(), guard.stderr.take());
        let done = async { tokio::join!(guard.wait(), read(stdout, ANSWER + 1), read(stderr, ANSWER)) };
        let done = timeout(self.limit, done).await;
        drop(lifeline);
        let Ok((ended, stdout, stderr)) = done else {
            // Or the next one would begin before this one has ended.
            let _ = timeout(END, guard.wait()).await;
            return Err(late(self.limit));
        };
        let ended = ended.map_err(|error| format!("cannot wait for a process: {error}"))?;
        let code = ended.code().unwrap_or_else(|| 128 + ended.signal().unwrap_or_default());
        if code == 0 && stdout.len() as u64 > ANSWER {
            // Its last word may be a part of another.
            return Err(too_long(ANSWER as usize));
        }
        answer(code.into(), &stdout, &stderr)
    }
}

/// What a program has answered: its output, or a sentence that says how it failed.
pub(super) fn answer(code: i64, output: &[u8], errors: &[u8]) -> Result<String, String> {
    if code == 0 {
        return Ok(String::from_utf8_lossy(output).into_owned());
    }
    let first = first_lines(errors, 1).pop().map(|line| format!(": {}", line.trim())).unwrap_or_default();
    Err(format!("exit status {code}{first}"))
}

/// That no answer has come in time.
pub(super) fn late(limit: Duration) -> String {
    format!("no answer within {} s", limit.as_secs_f64())
}

/// That a program has printed more than this, so that a part of its answer may be lost.
pub(super) fn too_long(most: usize) -> String {
    format!("it prints more than {} KiB", most >> 10)
}

/// Reads to the end, and keeps the beginning.
async fn read(from: Option<impl AsyncRead + Unpin>, most: u64) -> Vec<u8> {
    let mut kept = vec![];
    if let Some(mut from) = from {
        let _ = (&mut from).take(most).read_to_end(&mut kept).await;
        let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    }
    kept
}

/// The process between: runs a line in a process group of its own, and kills the group when the line has ended or stdin is
/// closed. Returns the line's exit status.
pub(crate) fn guard(umask: u32, directory: &Path, line: &OsStr) -> ExitCode {
    rustix::process::umask(Mode::from_raw_mode(umask));
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(line).current_dir(directory).stdin(Stdio::null()).process_group(0);
    sys::signal_at_our_end(&mut shell, Signal::KILL);
    let shell = match shell.spawn() {
        Ok(shell) => shell,
        Err(error) => {
            eprintln!("cannot run /bin/sh in {}: {error}", directory.display());
            return CANNOT_RUN.into();
        }
    };
    // The shell is never reaped, so its pid stays the group's.
    let group = Pid::from_child(&shell);
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = kill_process_group(group, Signal::KILL);
    });
    let ended = loop {
        match waitid(WaitId::Pid(group), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Err(rustix::io::Errno::INTR) => {}
            ended => break ended.ok().flatten(),
        }
    };
    let _ = kill_process_group(group, Signal::KILL);
    let status = ended.and_then(|ended| ended.exit_status().or_else(|| Some(128 + ended.terminating_signal()?)));
    status.and_then(|status| u8::try_from(status).ok()).unwrap_or(CANNOT_RUN).into()
}
