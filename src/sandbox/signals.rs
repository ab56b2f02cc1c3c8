//! What pid 1 of a container must do itself: end on SIGTERM and SIGINT, and reap orphans.

use std::io;
use std::thread;

use rustix::process::WaitOptions;

use crate::sys::Signals;

/// Installs the handlers, and starts the thread that acts on them.
///
/// The kernel drops signals to pid 1 that it has no handler for.
///
/// Every child is reaped here: code in this process must not wait for a child of its own.
pub(super) fn watch() -> io::Result<()> {
    let mut signals = Signals::catch(&[libc::SIGTERM, libc::SIGINT, libc::SIGCHLD])?;
    let act = move || {
        while let Ok(received) = signals.wait() {
            if received.signal == libc::SIGCHLD {
                reap();
            } else {
                // The main thread sleeps in a read that nothing interrupts, and has nothing to save.
                std::process::exit(0);
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).stack_size(128 << 10).spawn(act)?;
    Ok(())
}

/// Takes the exit status of every child that has one: signals merge, so one may stand for many.
fn reap() {
    while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
}
