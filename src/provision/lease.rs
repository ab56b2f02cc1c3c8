//! Leases of the sandboxes on engines that are not on this machine.
//!
//! On this machine, a connection to a sandbox ends when one of the two processes does, and the sandbox ends with it.
//! Over a network it also ends when the network fails, which is no reason to lose what is in force. So there a sandbox
//! outlives its connections, and ends when nothing has been asked of it for [`LEASE`]: the daemon asks every [`BEAT`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::Provisioner;
use crate::engine::Engine;
use crate::sandbox::{self, ClientError};
use crate::sync::{JoinSet, time};

/// How long a sandbox lives on when nothing is asked of it, in whole seconds. So the network may fail for 45 s at least
/// ([`BEAT`] less) and nothing is lost, and what a killed daemon has left is gone after a minute.
const LEASE: Duration = Duration::from_secs(60);

/// How often each sandbox is asked: so that two requests in a row may be lost, and an idle cluster costs next to nothing.
const BEAT: Duration = Duration::from_secs(15);

/// Wait before sandboxes that could not be reached are tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Timeout of the ping that tells whether a lost engine is back. One whose first packets were lost has another chance
/// soon.
const PING: Duration = Duration::from_secs(2);

/// How long a leased sandbox may take to answer before its connection counts as dead. One that works answers within
/// milliseconds and a round trip. A sixth of a command's time at most, so that two such waits and a ping fit in there.
const ANSWER: Duration = Duration::from_secs(5);

/// How many sandboxes are asked at once: they hardly work for it.
const AT_ONCE: usize = 64;

/// Renews the leases of a cluster's sandboxes until it is dropped, or their provisioner.
#[must_use]
pub struct Leases {
    _tasks: JoinSet<()>,
}

/// Arguments of the sandbox program.
pub(super) fn arguments() -> [String; 2] {
    [sandbox::LEASE.to_owned(), LEASE.as_secs().to_string()]
}

impl Provisioner {
    /// Whether a node's sandbox outlives its connections.
    pub(super) fn is_leased(&self, index: usize) -> bool {
        !self.engine_of(index).info().local
    }

    /// How long a leased sandbox may take to answer.
    pub(super) fn leased_answer(&self) -> Duration {
        ANSWER.min(self.timeout / 6)
    }

    /// Begins to renew the leases of all sandboxes. It tells nobody what it finds: the engine's events do.
    pub fn keep_leases(self: &Arc<Self>) -> Leases {
        let mut tasks = JoinSet::default();
        for (host, engine) in self.fleet.engines().iter().enumerate().filter(|(_, engine)| !engine.info().local) {
            tasks.spawn(beat(Arc::downgrade(self), host, engine.clone()));
        }
        Leases { _tasks: tasks }
    }

    /// Asks every sandbox in an engine. Returns whether all could be reached.
    async fn beat(&self, host: usize) -> bool {
        let is_away = AtomicBool::new(false);
        let beats = stream::iter((0..self.sandboxes.len()).filter(|index| self.cluster.host_of(*index) == host)).map(
            async |index| {
                // Those after the first that cannot be reached are left for later.
                if !is_away.load(Ordering::Relaxed) && !self.renew(index).await {
                    is_away.store(true, Ordering::Relaxed);
                }
            },
        );
        beats.buffer_unordered(AT_ONCE).collect::<()>().await;
        !is_away.into_inner()
    }

    /// Asks a node's sandbox, if there is one, and connects to it again if its connection is dead. Returns whether it
    /// could be reached.
    async fn renew(&self, index: usize) -> bool {
        let limit = self.leased_answer();
        // Whoever holds it for longer asks the sandbox, or makes it.
        let Ok(mut slot) = time::timeout(limit, self.sandboxes[index].lock()).await else { return true };
        let Some(sandbox) = slot.live.as_mut() else { return true };
        match time::timeout(limit, sandbox.client.hello()).await {
            Ok(Ok(_)) if sandbox.client.is_unconfirmed() => {}
            Ok(Ok(_) | Err(ClientError::Refused(_) | ClientError::Nonsense(_))) => return true,
            Ok(Err(ClientError::Ended | ClientError::Io(_))) => {}
            Err(_) => sandbox.client.disconnect(),
        }
        matches!(time::timeout(limit, self.check_slot(index, &mut slot, false)).await, Ok(Ok(_)))
    }
}

async fn beat(provisioner: Weak<Provisioner>, host: usize, engine: Arc<dyn Engine>) {
    let mut all_reached = true;
    loop {
        time::sleep(if all_reached { BEAT } else { RETRY }).await;
        let Some(provisioner) = provisioner.upgrade() else { return };
        let is_there = all_reached || matches!(time::timeout(PING, engine.ping()).await, Ok(Ok(())));
        all_reached = is_there && provisioner.beat(host).await;
    }
}
