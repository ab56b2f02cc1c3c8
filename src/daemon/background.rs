//! Mounting in the background: a child of our own program becomes the daemon, and its parent reports how that went.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::oneshot;

use super::lifecycle::run;
use super::needs::threads;
use super::own;
use super::plan::Plan;
use super::report::{Report, Reporter, Unready, follow, to_pipe};
use super::runtime::runtime;
use crate::selfimage::INTERNAL;
use crate::sys;

/// Starts the daemon and waits until its cluster can be used. Returns the report for the user.
///
/// # Errors
/// The daemon's sentence.
pub(crate) fn mount_in_background(plan: &Plan) -> Result<String> {
    let mut child = spawn(plan)?;
    let started = hand_over(&mut child, plan);
    if let Ok(Some(ready)) = started {
        return Ok(ready);
    }
    // It ends by itself once it has taken away what it made.
    let ended = child.wait();
    started?;
    let at = plan.paths.mountpoint.display();
    match (fs::read_to_string(plan.paths.failure()), ended) {
        (Ok(why), _) => bail!("interrupted before the cluster was up, and not all could be removed: {}", why.trim()),
        // The signal itself killed it before it could listen. It records what it makes before it makes it.
        (Err(_), Ok(status)) if status.code().is_some() || !plan.paths.has_record() => {
            bail!("interrupted before the cluster was up; what had been made is removed")
        }
        _ => bail!("interrupted, and the daemon was killed; cthulhu umount {at} removes what it had made"),
    }
}

/// A daemon whose cluster lives no longer than this process holds on to it: it sees the end of [`lifeline`] and takes
/// everything down.
///
/// [`lifeline`]: Self::lifeline
pub(crate) struct Attached {
    pub(crate) child: Child,
    pub(crate) lifeline: ChildStdin,
    /// What it says of its start: give it to [`started`].
    pub(crate) reports: ChildStdout,
}

/// Starts a daemon that ends when this process does, whichever way that comes.
///
/// # Errors
/// A sentence.
pub(crate) fn attached(plan: &Plan) -> Result<Attached> {
    let mut child = spawn(plan)?;
    let mut lifeline = child.stdin.take().context("the daemon has no stdin")?;
    let reports = child.stdout.take().context("the daemon has no stdout")?;
    // If it is gone already, its report says why.
    let _ = writeln!(lifeline, "{}", serde_json::to_string(plan)?);
    Ok(Attached { child, lifeline, reports })
}

/// Shows how a start goes, until the cluster can be used.
///
/// # Errors
/// The daemon's sentence.
pub(crate) fn started(reports: ChildStdout) -> Result<()> {
    Ok(follow(BufReader::new(reports)).map(drop)?)
}

fn spawn(plan: &Plan) -> Result<Child> {
    plan.paths.make_state()?;
    let log_path = plan.paths.daemon_log();
    let log = own::append(&log_path).with_context(|| format!("cannot write {}", log_path.display()))?;
    let mut daemon = Command::new("/proc/self/exe");
    // What ps shows, and pgrep finds.
    daemon.arg0("cthulhu").args([INTERNAL, "daemon"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
    // A daemon that held a descriptor of the shell's would keep the shell's pipes open for as long as it lives.
    sys::close_in_child_from(&mut daemon, 3);
    daemon.spawn().context("cannot start the daemon")
}

/// The report for the user once the cluster is up; `None` if it was interrupted and the daemon says nothing more.
fn hand_over(child: &mut Child, plan: &Plan) -> Result<Option<String>> {
    let mut stdin = child.stdin.take().context("the daemon has no stdin")?;
    let stdout = child.stdout.take().context("the daemon has no stdout")?;
    let forwarding = forward_interrupts(child.id())?;
    // If it is gone already, what follows shows that.
    let _ = writeln!(stdin, "{}", serde_json::to_string(plan)?);
    let up = follow(BufReader::new(stdout));
    let before = std::mem::replace(&mut *forwarding.lock(), Forwarding::Over);
    let ready = match (before, up) {
        // It ends, though it came up first; or has ended, before it could say so itself.
        (Forwarding::Done, Ok(_) | Err(Unready::Silent)) => {
            return Ok(None);
        }
        (_, up) => up?,
    };
    // This lets the daemon stay. Without it, end of file tells the daemon that its parent is gone.
    writeln!(stdin, "stay").context("the daemon is gone")?;
    Ok(Some(ready))
}

/// What happens to interrupts.
#[derive(PartialEq, Eq)]
enum Forwarding {
    /// None has come; the next is passed on.
    Ready,
    /// One was passed on.
    Done,
    /// The cluster is up: they mean nothing to it any more.
    Over,
}

/// ^C in the terminal reaches us and not the daemon, which has a session of its own: pass it on.
fn forward_interrupts(daemon: u32) -> Result<Arc<Mutex<Forwarding>>> {
    let forwarding = Arc::new(Mutex::new(Forwarding::Ready));
    let state = forwarding.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        std::io::Result::Ok([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?])
    })?;
    let signals = std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            loop {
                let [int, term] = &mut signals;
                tokio::select! { _ = int.recv() => {} _ = term.recv() => {} }
                let mut state = state.lock();
                let pid = i32::try_from(daemon).ok().and_then(Pid::from_raw);
                if let (Some(pid), true) = (pid, *state != Forwarding::Over) {
                    let _ = kill_process(pid, Signal::TERM);
                    *state = Forwarding::Done;
                }
            }
        });
    });
    signals.context("cannot start a thread")?;
    Ok(forwarding)
}

/// The daemon itself: reads its plan from stdin, reports on stdout, logs to stderr.
///
/// # Errors
/// What it has reported.
pub(crate) fn run_child() -> Result<()> {
    let mut stdin = BufReader::new(std::io::stdin());
    let mut line = String::new();
    stdin.read_line(&mut line)?;
    let plan: Plan = serde_json::from_str(&line).context("the daemon takes its plan from cthulhu mount")?;
    let report = to_pipe(File::from(rustix::io::dup(std::io::stdout())?));
    reported(&report, &plan.paths.daemon_log(), || serve(&plan, stdin, report.clone()))
}

/// Whichever way the work fails, the command that waits for the daemon gets a sentence: the first one counts.
fn reported(report: &Reporter, log: &Path, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let done = catch_unwind(AssertUnwindSafe(work));
    let done = done.unwrap_or_else(|_| Err(anyhow!("an error in cthulhu ended the daemon: see {}", log.display())));
    if let Err(error) = &done {
        report(Report::Failed(format!("{error:#}")));
    }
    done
}

/// The daemon, from its plan to its end.
fn serve(plan: &Plan, mut stdin: BufReader<std::io::Stdin>, report: Reporter) -> Result<()> {
    threads()?;
    rustix::process::setsid()?;
    rustix::process::umask(rustix::fs::Mode::empty());
    std::env::set_current_dir("/")?;
    let (gone, abandoned) = oneshot::channel();
    std::thread::Builder::new().name("parent".into()).spawn(move || {
        let mut rest = String::new();
        let _ = stdin.read_to_string(&mut rest);
        if rest.trim() != "stay" {
            let _ = gone.send(());
        }
    })?;
    runtime()?.block_on(run(plan, report, abandoned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_panics_or_fails_says_so() {
        let said = Arc::new(Mutex::new(vec![]));
        let report: Reporter = Arc::new({
            let said = said.clone();
            move |report| said.lock().push(report)
        });
        let log = Path::new("/somewhere/daemon.log");
        assert!(reported(&report, log, || panic!("on purpose")).is_err());
        assert!(reported(&report, log, || bail!("no engine")).is_err());
        assert!(reported(&report, log, || Ok(())).is_ok());
        let [panicked, failed] = ["an error in cthulhu ended the daemon: see /somewhere/daemon.log", "no engine"];
        assert_eq!(*said.lock(), [panicked, failed].map(|why| Report::Failed(why.into())));
    }
}
