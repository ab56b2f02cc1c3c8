//! How the clocks of several engines differ from ours.

use std::time::Duration;

use futures_util::future::join_all;
use tracing::warn;

use super::Watch;
use crate::engine::Clock;
use crate::sync::time;

/// How often they are read. A clock that nobody corrects drifts by a few ms in that time (50 parts in a million: 3 ms).
const READ_AGAIN: Duration = Duration::from_secs(60);

/// How often it is read in a row: the quickest answer says it most exactly.
const TRIES: u32 = 3;

impl Watch {
    /// Reads an engine's clock, if it can be reached.
    pub(super) async fn read_clock(&self, host: usize) {
        if !self.0.cluster.is_reachable(host) {
            return;
        }
        let mut best: Option<Clock> = None;
        for _ in 0..TRIES {
            match self.limited(self.0.fleet.engine(host).clock()).await {
                Ok(clock) => best = best.filter(|best| best.error <= clock.error).or(Some(clock)),
                Err(error) => return warn!(engine = self.address(host), %error, "cannot read its clock"),
            }
        }
        if let Some(clock) = best {
            self.notify_change(self.0.cluster.set_clock(host, clock));
        }
    }

    /// Reads all of them again and again, until the watch ends.
    pub(super) async fn follow_clocks(self) {
        loop {
            time::sleep(READ_AGAIN).await;
            join_all((0..self.0.engines.len()).map(|host| self.read_clock(host))).await;
        }
    }
}
