//! Keeps the model true about the sandboxes: what holds a node's network may end, restart or be disconnected on its own.

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use tracing::warn;

use super::Watch;
use crate::cluster::News;
use crate::engine::{ContainerId, EngineError, Event, EventKind, Result};

/// How many sandboxes are checked at once after the engine was away.
const AT_ONCE: usize = 8;

/// The containers that hold the nodes' networks.
#[async_trait]
pub trait Sandboxes: Send + Sync + 'static {
    /// The node whose sandbox this container is.
    fn index_of(&self, container: &ContainerId) -> Option<usize>;
    /// Whether a node's sandbox still controls its network; if not, the inner error says why. With `reapply`, what it was told
    /// is brought about again, as the network may be another one.
    async fn check(&self, index: usize, reapply: bool) -> Result<std::result::Result<(), String>>;
}

impl Watch {
    /// Looks whether a node's sandbox still controls its network: what the model says afterwards is no older than this call.
    /// With `reapply`, also has it bring about again what it was told.
    ///
    /// # Errors
    /// The engine's.
    pub async fn check_sandbox(&self, index: usize, reapply: bool) -> Result<bool> {
        let Some(sandboxes) = &self.0.sandboxes else { return Ok(true) };
        let _turn = self.0.checking[index].lock().await;
        // What was lost may come back with another interface, to which nothing of what it was told applies.
        let reapply = reapply || self.0.cluster.node(index).sandbox_lost.is_some();
        loop {
            let before = *self.0.sandbox_events[index].lock();
            let state = self.limited(sandboxes.check(index, reapply)).await?;
            let is_lost = state.is_err();
            // Under the lock of who takes events in, so that none comes in between.
            let events = self.0.sandbox_events[index].lock();
            if is_lost || *events == before {
                self.tell(index, &News::Sandbox(state.map_err(Into::into)));
                return Ok(!is_lost);
            }
        }
    }

    /// Takes in an event of a container that is no node's.
    pub(super) fn on_sandbox_event(&self, event: &Event) {
        let Some(index) = self.0.sandboxes.as_ref().and_then(|all| all.index_of(&event.container)) else { return };
        let why = match &event.kind {
            EventKind::Died(_) => "its sandbox has ended",
            EventKind::Removed => "its sandbox was removed",
            // Perhaps from a network that is none of ours.
            EventKind::Disconnected => {
                *self.0.sandbox_events[index].lock() += 1;
                return self.check_soon(index);
            }
            // Only what was lost before can have come back.
            EventKind::Started | EventKind::Connected | EventKind::Unpaused => {
                if self.0.cluster.node(index).sandbox_lost.is_some() {
                    self.check_soon(index);
                }
                return;
            }
            EventKind::Created
            | EventKind::Paused
            | EventKind::OutOfMemory
            | EventKind::Health
            | EventKind::ExecEnded
            | EventKind::Other => return,
        };
        let mut events = self.0.sandbox_events[index].lock();
        *events += 1;
        self.tell(index, &News::Sandbox(Err(why.into())));
    }

    fn check_soon(&self, index: usize) {
        let watch = self.clone();
        self.spawn(async move {
            if let Err(error) = watch.check_sandbox(index, true).await {
                warn!(node = %watch.0.cluster.node_spec(index).name, %error, "cannot look at a sandbox");
            }
        });
    }

    /// Looks at all of them after the engine was away: what is connected again has its faults read back.
    ///
    /// # Errors
    /// The engine's.
    pub(super) async fn check_sandboxes(&self) -> Result<()> {
        let check = |index| async move {
            match self.check_sandbox(index, true).await {
                Err(error @ (EngineError::Unreachable(_) | EngineError::Denied(_))) => Err(error),
                // One of them keeps nobody from the others.
                Err(error) => {
                    let why = format!("its sandbox cannot be looked at: {error}");
                    self.tell(index, &News::Sandbox(Err(why.into())));
                    Ok(())
                }
                Ok(_) => Ok(()),
            }
        };
        let checks = stream::iter(0..self.0.cluster.len()).map(check);
        let mut checks = checks.buffer_unordered(AT_ONCE);
        while let Some(checked) = checks.next().await {
            checked?;
        }
        Ok(())
    }
}
