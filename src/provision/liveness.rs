//! Whether a node's sandbox still controls the node's network.
//!
//! That its container runs is not enough. After `docker restart` the same container has a new network namespace without
//! any rules; after `docker network disconnect` it has lost its address; after a restart of an engine with live-restore,
//! or a failure of the network to another machine, it runs, but our connection to it is gone.

use std::time::Duration;

use async_trait::async_trait;

use super::{Provisioner, Sandbox, SandboxSlot};
use crate::engine::{ContainerId, EngineError, Inspection, Result, Status};
use crate::sandbox::{ClientError, Hello};
use crate::sync::time::timeout;
use crate::watch::Sandboxes;

/// How long a sandbox may take to answer before it counts as lost. One that works answers within milliseconds.
const ANSWER: Duration = Duration::from_secs(10);

/// One run of a container: each has a network namespace of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    started_at: i64,
    pid: Option<i32>,
}

impl Run {
    pub(super) fn of(seen: &Inspection) -> Self {
        Self { started_at: seen.started_at, pid: seen.pid }
    }
}

/// Why a sandbox does not control its node's network, as a sentence about "its sandbox".
#[derive(Debug)]
pub(super) enum Lost {
    /// It has ended, or has another network: nothing that it was told is in force.
    Gone(String),
    /// It cannot be asked. What it was told may still be in force.
    Silent(String),
}

impl Lost {
    fn why(self) -> String {
        match self {
            Self::Gone(why) | Self::Silent(why) => why,
        }
    }
}

#[async_trait]
impl Sandboxes for Provisioner {
    fn index_of(&self, container: &ContainerId) -> Option<usize> {
        self.sandbox_ids.lock().get(container).copied()
    }

    async fn check(&self, index: usize, reapply: bool) -> Result<std::result::Result<(), String>> {
        let mut slot = self.sandboxes[index].lock().await;
        Ok(self.check_slot(index, &mut slot, reapply).await?.map_err(Lost::why))
    }
}

impl Provisioner {
    /// Whether the sandbox is in the run that was made, answers, and has its addresses. Reconnects if only the connection
    /// is gone. With `reapply`, or after reconnecting, also applies its state again, which reads it back.
    ///
    /// # Errors
    /// The engine's. A lost sandbox is not an error of the call: the inner error says why.
    pub(super) async fn check_slot(
        &self,
        index: usize,
        slot: &mut SandboxSlot,
        reapply: bool,
    ) -> Result<std::result::Result<(), Lost>> {
        let gone = |why: &str| Ok(Err(Lost::Gone(format!("its sandbox {why}"))));
        let silent = |why: &str| Ok(Err(Lost::Silent(format!("its sandbox {why}"))));
        let SandboxSlot { live: Some(sandbox), desired } = slot else {
            return gone("is gone");
        };
        let is_leased = self.is_leased(index);
        let limit = if is_leased { self.leased_answer() } else { ANSWER.min(self.timeout / 2) };
        let seen = match self.engine_of(index).inspect(&sandbox.id).await {
            Ok(seen) => seen,
            Err(EngineError::NotFound(_)) => return gone("was removed"),
            Err(error) => return Err(error),
        };
        match seen.status {
            Status::Running if Run::of(&seen) == sandbox.run => {}
            Status::Running => return gone("was restarted, and has a new network without faults"),
            // What is in force stays so. The next caller that needs an answer finds out that there is none.
            Status::Paused => return Ok(Ok(())),
            Status::Created | Status::Exited => return gone("has ended"),
        }
        let hello = match timeout(limit, sandbox.client.hello()).await {
            // A connection over a network may be dead without having said so.
            Err(_) if is_leased => Ok(Err(ClientError::Ended)),
            answer => answer,
        };
        let hello = match hello {
            Ok(Err(ClientError::Ended | ClientError::Io(_))) => {
                match timeout(limit, self.connect_again(index, sandbox))
                    .await
                    .unwrap_or_else(|_| Ok(Err("no answer".into())))?
                {
                    Ok(hello) => hello,
                    Err(why) => return silent(&format!("cannot be connected to again: {why}")),
                }
            }
            Ok(Err(error)) => return silent(&format!("does not answer: {error}")),
            Err(_) => return silent("does not answer"),
            Ok(Ok(hello)) => hello,
        };
        let addresses = self.cluster.node_spec(index).addresses();
        if let Some(ip) = addresses.iter().find(|ip| !hello.addresses.contains(ip)) {
            return gone(&format!("is not connected to the network with the address {ip}"));
        }
        if reapply || sandbox.client.is_unconfirmed() {
            let apply = async {
                let kernel = match self.kernels[self.cluster.host_of(index)].get() {
                    Some(kernel) => *kernel,
                    None => sandbox.client.probe().await?,
                };
                sandbox.client.apply(kernel, desired).await
            };
            match timeout(limit, apply).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return silent(&format!("cannot apply its network faults again: {error}")),
                Err(_) => return silent("does not answer"),
            }
        }
        Ok(Ok(()))
    }

    async fn connect_again(&self, index: usize, sandbox: &mut Sandbox) -> Result<std::result::Result<Hello, String>> {
        let attachment = match self.engine_of(index).attach(&sandbox.id).await {
            Ok(attachment) => attachment,
            Err(error @ (EngineError::NotFound(_) | EngineError::Conflict(_) | EngineError::Refused(_))) => {
                return Ok(Err(error.to_string()));
            }
            Err(error) => return Err(error),
        };
        // At once, so that it stays connected even if the caller stops waiting.
        sandbox.client.connect_again(attachment);
        Ok(sandbox.client.hello().await.map_err(|error| error.to_string()))
    }
}
