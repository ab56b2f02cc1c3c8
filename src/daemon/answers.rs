//! A way out of mounts whose daemon is stopped or hangs.
//!
//! A call into such a mount does not return, and may not even be interrupted by SIGKILL. So code that goes into one
//! first asks it through [`sys::ask`], and works on a thread that can be abandoned.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};

use super::paths::{SILENCE, our_mounts, records};
use crate::sys::{self, Asked};
use crate::text::harmless;

/// Work is given up after the mount has left this number of requests unanswered, [`SILENCE`] each.
const GIVEN_UP: u32 = 6;
/// How often it is asked while work is under way.
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Checks that what the paths lead to can be gone into.
///
/// # Errors
/// A sentence: one of them leads into a mount that does not answer.
pub(crate) fn check_answers(paths: &[PathBuf]) -> Result<()> {
    // Other file systems are not our business.
    if our_mounts().is_ok_and(|mounts| mounts.is_empty()) {
        return Ok(());
    }
    for path in paths {
        // If no process can be started, the answer is unknown.
        if matches!(sys::ask(path, SILENCE), Ok(Asked::Silent)) {
            return Err(anyhow!(silent(path)));
        }
    }
    Ok(())
}

/// Does `work`, which goes into what is at these paths.
///
/// # Errors
/// The work's; a sentence if one of the paths leads into a mount that does not answer, or no longer. The work is left
/// behind then.
pub(crate) fn within_reach<T: Send + 'static>(
    paths: &[PathBuf],
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    check_answers(paths)?;
    let (done, result) = channel();
    let working = thread::Builder::new().name("work".into()).spawn(move || drop(done.send(work())))?;
    let mut rounds = 0;
    loop {
        match result.recv_timeout(ASK_AGAIN) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => match working.join() {
                Ok(()) => return Err(anyhow!("the work has ended without a result")),
                Err(panic) => std::panic::resume_unwind(panic),
            },
        }
        match check_answers(paths) {
            Ok(()) => rounds = 0,
            Err(silent) if rounds + 1 == GIVEN_UP => return Err(silent),
            Err(silent) => {
                if rounds == 0 {
                    eprintln!("cthulhu: {}", harmless(&silent.to_string()));
                }
                rounds += 1;
            }
        }
    }
}

/// A sentence on a path into a mount that does not answer, and what to do.
pub(crate) fn silent(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mounts = our_mounts().unwrap_or_default().into_iter().map(|(at, _)| at);
    let at = mounts.filter(|at| absolute.starts_with(at)).max_by_key(|at| at.as_os_str().len());
    let record = records().unwrap_or_default().into_iter().find(|(record, _)| at.as_ref() == Some(&record.now_at()));
    let at = at.unwrap_or(absolute);
    no_answer(&at, record.and_then(|(_, daemon)| daemon))
}

/// A sentence on the cluster at `at` that does not answer, and what to do.
pub(crate) fn no_answer(at: &Path, daemon: Option<u32>) -> String {
    let silence = format!("{} has not answered for {} s", at.display(), SILENCE.as_secs());
    let Some(pid) = daemon else {
        return format!(
            "{silence}: its daemon is stopped, or hangs. Find its process (pgrep -af 'cthulhu .*daemon'); kill -CONT PID \
             lets it go on, kill -9 PID ends it; fusermount3 -uz {} takes the mount away",
            at.display()
        );
    };
    let (what, on) = match sys::is_stopped(pid) {
        true => ("is stopped", format!("kill -CONT {pid} lets it go on; ")),
        false => ("hangs, or has too much to do", String::new()),
    };
    format!(
        "{silence}: its daemon, process {pid}, {what}. {on}kill -9 {pid}, and then cthulhu umount {}, removes the cluster",
        at.display()
    )
}
