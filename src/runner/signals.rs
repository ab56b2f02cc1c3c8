//! Who steers a run: what a signal means at each time of it.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::{Signal, pidfd_send_signal};

use crate::sys::{Received, Signals, pidfd_open, signal_at_our_end};

/// Signals that come within this time after one that counted are the same one: timeout(1) and a shell's `kill %1` send theirs
/// to us and to our group.
const SIGNAL_DEBOUNCE: Duration = Duration::from_millis(200);

/// A run and its signals.
///
/// Before COMMAND, the first ends the run. To COMMAND, the first that a process sends is passed on and the next kills it;
/// what a terminal sends it has by itself, and decides: all but SIGHUP, which only the session's leader may have got. While
/// the cluster is taken down, the second leaves that to the daemon.
#[derive(Clone)]
pub(crate) struct SignalRouter {
    state: Arc<Mutex<RouterState>>,
}

struct RouterState {
    phase: Phase,
    /// The daemon takes the cluster down when it is dropped.
    lifeline: Option<ChildStdin>,
    /// Came before COMMAND.
    interrupt: Option<i32>,
    /// Signals since the cluster is to go.
    teardown_signals: u32,
    /// When the last that counted came.
    last: Option<Instant>,
}

impl RouterState {
    /// Whether a signal counts that comes now. One that does not is forgotten: however fast they follow one another, one
    /// counts in each [`SIGNAL_DEBOUNCE`].
    fn counts(&mut self, now: Instant) -> bool {
        let counts = self.last.is_none_or(|last| now.saturating_duration_since(last) >= SIGNAL_DEBOUNCE);
        if counts {
            self.last = Some(now);
        }
        counts
    }
}

enum Phase {
    /// No COMMAND yet.
    Before,
    During {
        pidfd: OwnedFd,
        /// It has been sent one.
        told: bool,
    },
    /// The cluster goes.
    After,
    DaemonExited,
}

impl SignalRouter {
    /// Takes the signals over, for the rest of this process's life.
    ///
    /// # Errors
    /// From starting a thread.
    pub(crate) fn new(lifeline: ChildStdin, mut signals: Signals) -> io::Result<Self> {
        let state = RouterState {
            phase: Phase::Before,
            lifeline: Some(lifeline),
            interrupt: None,
            teardown_signals: 0,
            last: None,
        };
        let router = Self { state: Arc::new(Mutex::new(state)) };
        let routed = router.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            while let Ok(received) = signals.wait() {
                routed.received(received);
            }
        })?;
        Ok(router)
    }

    /// Starts COMMAND, which ends when we do; `None` if there was an interrupt before.
    ///
    /// # Errors
    /// From starting it.
    pub(crate) fn launch(&self, command: &mut Command) -> io::Result<Option<Child>> {
        let mut state = self.state.lock();
        if state.interrupt.is_some() {
            return Ok(None);
        }
        signal_at_our_end(command, Signal::KILL);
        let mut child = command.spawn()?;
        match pidfd_open(child.id()) {
            Ok(pidfd) => state.phase = Phase::During { pidfd, told: false },
            Err(error) => {
                // Not one that no signal reaches.
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        }
        Ok(Some(child))
    }

    /// COMMAND has ended, or will not be: the signals that follow mean the teardown.
    pub(crate) fn command_is_over(&self) {
        self.state.lock().phase = Phase::After;
    }

    /// The daemon has ended: nothing continues after us.
    pub(crate) fn daemon_is_gone(&self) {
        self.state.lock().phase = Phase::DaemonExited;
    }

    /// Lets the daemon take the cluster down.
    pub(crate) fn let_go(&self) {
        self.state.lock().lifeline = None;
    }

    /// The signal that came before COMMAND, if one did.
    pub(crate) fn interrupt(&self) -> Option<i32> {
        self.state.lock().interrupt
    }

    fn received(&self, received: Received) {
        let mut state = self.state.lock();
        let counts = state.counts(Instant::now());
        let hangup = received.by_kernel && received.signal == libc::SIGHUP;
        if !counts && !hangup {
            return;
        }
        match &mut state.phase {
            Phase::Before => {
                state.interrupt = Some(received.signal);
                state.lifeline = None;
                state.teardown_signals = 1;
                state.phase = Phase::After;
                say("interrupted: the cluster is being taken down");
            }
            Phase::During { pidfd, .. } if hangup => {
                let _ = pidfd_send_signal(&*pidfd, Signal::HUP);
            }
            Phase::During { .. } if received.by_kernel => {}
            Phase::During { pidfd, told } => {
                let passed_on = if *told { Some(Signal::KILL) } else { Signal::from_named_raw(received.signal) };
                *told = true;
                if let Some(signal) = passed_on {
                    // It may have ended by now.
                    let _ = pidfd_send_signal(&*pidfd, signal);
                }
            }
            Phase::DaemonExited => {
                say("stopped; what is left stays until cthulhu prune");
                std::process::exit(128 + received.signal);
            }
            Phase::After => {
                state.teardown_signals += 1;
                if state.teardown_signals < 2 {
                    say("the cluster is being taken down; another signal leaves that to the background");
                    return;
                }
                // The daemon sees our end.
                say("the cluster is taken down in the background; what its nodes wrote stays until cthulhu prune");
                std::process::exit(128 + received.signal);
            }
        }
    }
}

/// Prints to the user; a reader that is gone is not an error.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "cthulhu: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_signal_counts_in_each_window_however_fast_they_come() {
        let start = Instant::now();
        let counted = |step: u64, until: u64| {
            let phase = Phase::Before;
            let mut state = RouterState { phase, lifeline: None, interrupt: None, teardown_signals: 0, last: None };
            let times = (0..=until).step_by(usize::try_from(step).unwrap());
            times.filter(|&ms| state.counts(start + Duration::from_millis(ms))).collect::<Vec<_>>()
        };
        assert_eq!(counted(150, 750), [0, 300, 600]);
        assert_eq!(counted(1, 599), [0, 200, 400]);
        assert_eq!(counted(200, 600), [0, 200, 400, 600]);
        assert_eq!(counted(1000, 3000), [0, 1000, 2000, 3000]);
    }
}
