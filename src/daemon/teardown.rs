//! Takes a cluster down: its mount, and everything that it has in the engine.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tracing::warn;

use super::paths::{ClusterPaths, OwnMount};
use super::plan::Plan;
use super::start::{self, Made};
use crate::engine::EngineError;
use crate::provision::{NotRemoved, Provisioner, remove_cluster};

/// After requests were cut off, a teardown is over when this number of listings, [`ROUND`] apart, have found nothing.
/// The slowest request that can be under way then is a start: 300 to 400 ms on two busy cores.
const UNSETTLED_ROUNDS: u32 = 8;
const ROUND: Duration = Duration::from_millis(200);
/// How long a teardown that is done looks for what an earlier cluster at its place has left.
const EARLIER: Duration = Duration::from_secs(5);
/// Failed rounds after which a teardown is given up.
const FAILURES: u32 = 3;

/// Removes the mount, the containers, the network, and a mountpoint that was made. `unsettled` says that requests to
/// the engine were cut off: they may still be carried out.
pub(super) async fn take_down(
    plan: &Plan,
    made: &Made,
    sandboxes: Option<Arc<Provisioner>>,
    unsettled: bool,
) -> Result<()> {
    let mount = made.mount.get().and_then(|mount| mount.now().ok().flatten());
    let detached = made.mount.get().map_or(Ok(()), OwnMount::detach);
    if let Err(error) = &detached {
        warn!(%error, "cannot detach the mount");
    }
    // Before it has begun nothing is there, and an engine that was lost would only be waited for again.
    let fleet = made.fleet.lock().clone().filter(|_| made.begun.load(Ordering::Relaxed));
    let mut done = Ok(());
    if let Some(fleet) = &fleet {
        let quiet_rounds = if unsettled { UNSETTLED_ROUNDS } else { 1 };
        let (mut quiet, mut failures) = (0, 0);
        while quiet < quiet_rounds && failures < FAILURES {
            match remove_cluster(fleet.engines(), &made.id.0).await {
                Ok(removed) => {
                    done = Ok(());
                    quiet = if removed == Default::default() { quiet + 1 } else { 0 };
                }
                Err(error) => {
                    done = Err(anyhow!("{}", what_is_left(&error, &plan.paths)));
                    // A minute for one thing, or silence: it would be the same again.
                    failures += if matches!(error.error, EngineError::TimedOut(_)) { FAILURES } else { 1 };
                }
            }
            // After a removal of everything one look is enough, unless a request that was cut off may still be carried out.
            if quiet < quiet_rounds && (unsettled || done.is_err()) {
                tokio::time::sleep(ROUND).await;
            }
        }
    }
    drop(sandboxes);
    if let (Ok(()), Some(fleet)) = (&done, fleet) {
        // What a killed daemon had asked a busy engine for may have come when we had looked for it already.
        let again = start::remove_earlier(&plan.paths, fleet.engines(), |_| {});
        if !matches!(tokio::time::timeout(EARLIER, again).await, Ok(Ok(()))) {
            warn!("cannot look once more for what an earlier cluster here has left");
        }
    }
    if let (Ok(()), Err(error)) = (&done, detached) {
        let at = plan.paths.mountpoint.display();
        done = Err(anyhow!("{error}; when that is unmounted, cthulhu umount {at} removes the dead mount"));
    }
    if made.mountpoint.load(Ordering::Relaxed) {
        // Only if it is empty: it may have existed before, and contain files by now.
        let _ = fs::remove_dir(mount.map_or_else(|| plan.paths.mountpoint.clone(), |mount| mount.mountpoint));
    }
    done
}

/// Why a teardown failed, and how what is left goes away.
fn what_is_left(error: &NotRemoved, paths: &ClusterPaths) -> String {
    let at = paths.mountpoint.display();
    match error.error {
        EngineError::Unreachable(_) | EngineError::TimedOut(_) => format!(
            "{error}; when it answers, cthulhu umount {at} removes the containers and the network that are left in it, \
             and so does the next mount there"
        ),
        _ => format!("{error}; cthulhu umount {at} tries again"),
    }
}
