//! Answers writes that command something, when they are done or their caller is about to die.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::io::Errno;
use tokio::runtime::Handle;
use tracing::error;

use crate::sys::is_about_to_die;
use crate::tree::{Pending, Written};

/// How often to look whether a waiting caller is about to die: fuser answers no FUSE_INTERRUPT, so without this look even
/// SIGKILL would wait for the engine. A caller that handles its signal waits on: it lives, and after EINTR it would write
/// the command again, as Python and Go do.
const LOOK: Duration = Duration::from_millis(100);

/// Calls `reply` once, now or later.
pub(crate) fn answer(
    runtime: &Handle,
    written: Written,
    caller: u32,
    reply: impl FnOnce(Result<u32, Errno>) + Send + 'static,
) {
    match written {
        Written::Now(result) => reply(result),
        Written::Later(Pending { cancelled, interrupted, done }) => {
            // Its own task: what has begun continues if the caller is gone.
            let commands = runtime.spawn(done);
            runtime.spawn(async move {
                tokio::select! {
                    result = commands => reply(result.unwrap_or_else(|panic| {
                        error!(%panic, "a command failed");
                        Err(Errno::IO)
                    })),
                    () = dies(caller) => {
                        cancelled.store(true, Ordering::Release);
                        reply(Err(interrupted()));
                    }
                }
            });
        }
    }
}

async fn dies(caller: u32) {
    loop {
        tokio::time::sleep(LOOK).await;
        // 0: it lives in a pid namespace that we don't see. Then only the deadline frees it.
        if caller != 0 && is_about_to_die(caller).unwrap_or(false) {
            return;
        }
    }
}
