//! One client: a program that does an operation for each line that it reads, and answers with a line.

use std::collections::HashSet;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::operation::{Operation, Outcome};
use crate::history::LONGEST_LINE;
use crate::sys::{pidfd_open, readable, signal_at_our_end};
use crate::text::plain;

/// How long a client that has closed its stdout, or whose stdin is closed, may take to end by itself.
const TIME_TO_END: Duration = Duration::from_secs(1);

/// The process groups of all clients that live.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups(Arc<Mutex<HashSet<Pid>>>);

impl Groups {
    /// Kills all of them.
    pub(super) fn kill(&self) {
        for group in self.0.lock().drain() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// A client's process group, which is killed when this is dropped.
#[derive(Debug)]
struct Group {
    pid: Pid,
    all: Groups,
}

impl Group {
    fn new(pid: Pid, all: &Groups) -> Self {
        all.0.lock().insert(pid);
        Self { pid, all: all.clone() }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Nobody has waited for its leader yet: no other group has that number.
        if self.all.0.lock().remove(&self.pid) {
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
    }
}

/// Why a client is of no more use.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It has ended, or has closed its stdin or stdout; with the end of what it wrote.
    Ended(String),
    /// It does not speak the protocol: a sentence without its subject.
    Nonsense(String),
}

/// A client that lives. It dies, with all of its process group, when this is dropped, and when our process ends.
#[derive(Debug)]
pub(super) struct Client {
    // Dropped before the child, which could be waited for then.
    group: Group,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    child: Child,
}

impl Client {
    /// Starts it. Must be called on the thread that goes on for as long as clients are to live.
    ///
    /// # Errors
    /// From starting it.
    pub(super) fn start(command: &[String], environment: &[(&str, String)], groups: &Groups) -> io::Result<Self> {
        let [program, arguments @ ..] = command else { return Err(io::ErrorKind::NotFound.into()) };
        let mut command = std::process::Command::new(program);
        command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        signal_at_our_end(&mut command, Signal::KILL);
        let mut child = Command::from(command).kill_on_drop(true).spawn()?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        match (pid, child.stdin.take(), child.stdout.take()) {
            (Some(pid), stdin, Some(stdout)) => {
                Ok(Self { group: Group::new(pid, groups), stdin, stdout: BufReader::new(stdout), child })
            }
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Whether it waits for an operation, as it should when it has none.
    ///
    /// # Errors
    /// It has ended, or has written what nobody asked for.
    pub(super) fn check(&mut self) -> Result<(), Trouble> {
        match self.stdout.fill_buf().now_or_never() {
            None => Ok(()),
            Some(Ok([_, ..])) => Err(self.unasked()),
            Some(Ok([]) | Err(_)) => Err(Trouble::Ended(String::new())),
        }
    }

    /// Has it do an operation.
    ///
    /// # Errors
    /// It is of no more use. Whether the operation has happened is unknown.
    pub(super) async fn ask(&mut self, operation: &Operation) -> Result<Outcome, Trouble> {
        let ended = |_| Trouble::Ended(String::new());
        if let Some(stdin) = &mut self.stdin {
            stdin.write_all(operation.request().as_bytes()).await.map_err(ended)?;
        }
        let mut line = vec![];
        let longest = LONGEST_LINE as u64;
        (&mut self.stdout).take(longest).read_until(b'\n', &mut line).await.map_err(ended)?;
        if line.last() != Some(&b'\n') {
            return Err(match line.len() < LONGEST_LINE {
                true => Trouble::Ended(String::from_utf8_lossy(&line).into_owned()),
                false => {
                    Trouble::Nonsense(format!("answered {} with a line of more than {longest} bytes", operation.f))
                }
            });
        }
        let outcome = operation.outcome(&line).map_err(Trouble::Nonsense)?;
        match self.stdout.buffer() {
            [] => Ok(outcome),
            _ => Err(self.unasked()),
        }
    }

    fn unasked(&self) -> Trouble {
        let line = self.stdout.buffer().split(|byte| *byte == b'\n').next().unwrap_or_default();
        Trouble::Nonsense(format!("wrote “{}”, which nobody asked for", plain(&String::from_utf8_lossy(line))))
    }

    /// Ends it, with all of its group: at once, or in a moment if it does by itself. Returns how it has ended.
    pub(super) async fn end(mut self, at_once: bool) -> String {
        drop(self.stdin.take());
        let pidfd = self.child.id().map(pidfd_open);
        if let (Some(Ok(pidfd)), false) = (pidfd, at_once) {
            let _ = timeout(TIME_TO_END, readable(pidfd)).await;
        }
        // What it has started goes too, also if it has ended itself.
        drop(self.group);
        // It may be in another group now, or belong to another user, whose processes we cannot kill.
        let _ = self.child.start_kill();
        match timeout(TIME_TO_END, self.child.wait()).await {
            Ok(Ok(status)) => how(status),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "cannot be killed".into(),
        }
    }
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, Some(libc::SIGKILL)) => "was killed (SIGKILL), or has closed its stdin or stdout".into(),
        (None, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
    }
}
