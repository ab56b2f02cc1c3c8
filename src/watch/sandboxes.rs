//! Keeps the model's view of the sandboxes true: a sandbox may end, restart or be disconnected by others.

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
    /// Whether a node's sandbox still controls its network; if not, the inner error says why. With `reapply`, its state
    /// is applied again, because the network may be another one.
    async fn check(&self, index: usize, reapply: bool) -> Result<std::result::Result<(), String>>;
}

impl Watch {
    /// Checks whether a node's sandbox still controls its network: the model is then no older than this call. With
    /// `reapply`, also has it apply its state again.
    ///
    /// # Errors
    /// The engine's.
    pub(crate) async fn check_sandbox(&self, index: usize, reapply: bool) -> Result<bool> {
        let Some(sandboxes) = &self.0.sandboxes else { return Ok(true) };
        let _turn = self.0.nodes[index].sandbox_check.lock().await;
        // A lost sandbox may come back with another interface, which has none of its rules.
        let reapply = reapply || self.0.cluster.node(index).sandbox_lost.is_some();
        loop {
            let before = *self.0.nodes[index].sandbox_events.lock();
            let state = self.limited(sandboxes.check(index, reapply)).await?;
            let is_lost = state.is_err();
            // Under the lock of the event handler, so that no event comes in between.
            let events = self.0.nodes[index].sandbox_events.lock();
            if is_lost || *events == before {
                self.apply(index, &News::Sandbox(state.map_err(Into::into)));
                return Ok(!is_lost);
            }
        }
    }

    /// Handles an event of a container that is not a node's.
    pub(super) fn on_sandbox_event(&self, event: &Event) {
        let Some(index) = self.0.sandboxes.as_ref().and_then(|all| all.index_of(&event.container)) else { return };
        let why = match &event.kind {
            EventKind::Died(_) => "its sandbox has ended",
            EventKind::Removed => "its sandbox was removed",
            // Perhaps from another network.
            EventKind::Disconnected => {
                *self.0.nodes[index].sandbox_events.lock() += 1;
                return self.check_soon(index);
            }
            // Only a lost sandbox can have come back.
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
        let mut events = self.0.nodes[index].sandbox_events.lock();
        *events += 1;
        self.apply(index, &News::Sandbox(Err(why.into())));
    }

    fn check_soon(&self, index: usize) {
        let watch = self.clone();
        self.spawn(async move {
            if let Err(error) = watch.check_sandbox(index, true).await {
                warn!(node = %watch.0.cluster.node_spec(index).name, %error, "cannot look at a sandbox");
            }
        });
    }

    /// Checks all sandboxes in an engine after it was away, and has those that are connected again read back their faults.
    ///
    /// # Errors
    /// The engine's.
    pub(super) async fn check_sandboxes(&self, host: usize) -> Result<()> {
        let check = |index| async move {
            match self.check_sandbox(index, true).await {
                Err(error @ (EngineError::Unreachable(_) | EngineError::Denied(_))) => Err(error),
                // An error of one does not hold back the others.
                Err(error) => {
                    let why = format!("its sandbox cannot be looked at: {error}");
                    self.apply(index, &News::Sandbox(Err(why.into())));
                    Ok(())
                }
                Ok(_) => Ok(()),
            }
        };
        let checks = stream::iter(self.nodes_on(host)).map(check);
        let mut checks = checks.buffer_unordered(AT_ONCE);
        while let Some(checked) = checks.next().await {
            checked?;
        }
        Ok(())
    }
}
