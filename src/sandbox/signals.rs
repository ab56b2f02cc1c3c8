//! What pid 1 of a container must do itself: end on SIGTERM and SIGINT, and reap orphans.

use std::io;
use std::thread;

use rustix::process::WaitOptions;
use tokio::signal::unix::{SignalKind, signal};

/// Installs the handlers, and starts the thread that acts on them.
///
/// The kernel drops signals to pid 1 that it has no handler for, and std has no way to install one; so this one thread
/// runs a small tokio runtime. It sleeps until a signal comes.
///
/// Every child is reaped here: code in this process must not wait for a child of its own.
pub(super) fn watch() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut terminate, mut interrupt, mut child) = {
        let _context = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::child())?)
    };
    let act = async move {
        loop {
            tokio::select! {
                // The main thread sleeps in a read that nothing interrupts, and has nothing to save.
                _ = terminate.recv() => std::process::exit(0),
                _ = interrupt.recv() => std::process::exit(0),
                _ = child.recv() => reap(),
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).stack_size(128 << 10).spawn(move || runtime.block_on(act))?;
    Ok(())
}

/// Takes the exit status of every child that has one: signals merge, so one may stand for many.
fn reap() {
    while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
}
