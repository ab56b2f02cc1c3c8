//! Has sandboxes apply network faults.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::liveness::Lost;
use super::{Provisioner, Sandbox, SandboxSlot};
use crate::cluster::faults::NetState;
use crate::engine::EngineError;
use crate::sandbox::ClientError;
use crate::sandbox::protocol::Capabilities;
use crate::sync::time;

/// Why a sandbox has not applied a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultsError {
    /// It is gone. The state is kept for the sandbox that replaces it.
    #[error("its sandbox is gone, and with it the control of its network")]
    Gone,
    /// It refused, in its own words. What was in force before still is.
    #[error("{0}")]
    Refused(String),
    /// Its state is unknown.
    #[error("its sandbox answers nonsense: {0}")]
    Nonsense(String),
    /// It is there, on an engine elsewhere, and cannot be reached, or the engine cannot. What was in force before, or the
    /// new state, is.
    #[error("its sandbox did not answer in {} s", .0.as_secs_f64())]
    Silent(Duration),
}

impl From<ClientError> for FaultsError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Ended | ClientError::Io(_) => Self::Gone,
            ClientError::Refused(why) => Self::Refused(why),
            ClientError::Nonsense(what) => Self::Nonsense(what),
        }
    }
}

impl Provisioner {
    /// What each engine's kernel can do in a sandbox. Those that cannot be asked now are left out.
    ///
    /// # Errors
    /// The first sandbox's.
    pub async fn probe_kernels(&self) -> Result<(), FaultsError> {
        let probed = join_all((0..self.kernels.len()).map(|host| self.kernel_on(host))).await;
        probed.into_iter().try_for_each(|probed| probed.map(drop))
    }

    /// What the kernel of a node's engine can do.
    ///
    /// # Errors
    /// As [`Provisioner::kernel_on`].
    pub(crate) async fn kernel_of(&self, index: usize) -> Result<Capabilities, FaultsError> {
        self.kernel_on(self.cluster.host_of(index)).await
    }

    /// What an engine's kernel can do in a sandbox. The first sandbox that there is finds out, once.
    ///
    /// # Errors
    /// The sandbox's; [`FaultsError::Gone`] if there is none.
    async fn kernel_on(&self, host: usize) -> Result<Capabilities, FaultsError> {
        if let Some(kernel) = self.kernels[host].get() {
            return Ok(*kernel);
        }
        let here = (0..self.sandboxes.len()).filter(|index| self.cluster.host_of(*index) == host);
        for slot in here.map(|index| &self.sandboxes[index]) {
            if let Some(sandbox) = slot.lock().await.live.as_mut() {
                let kernel = match sandbox.client.probe().await.map_err(FaultsError::from) {
                    Err(FaultsError::Gone) => continue,
                    answer => answer?,
                };
                // Two callers at once get the same answer.
                return Ok(*self.kernels[host].get_or_init(|| kernel));
            }
        }
        Err(FaultsError::Gone)
    }

    /// What the kernels of all engines can do, those that are known already.
    pub(crate) fn known_kernels(&self) -> impl Iterator<Item = Capabilities> {
        self.kernels.iter().filter_map(|kernel| kernel.get().copied())
    }

    /// Has a node's sandbox apply this state. A sandbox that is made later begins with it.
    ///
    /// # Errors
    /// The sandbox's.
    pub(crate) async fn apply(&self, index: usize, desired: &Arc<NetState>) -> Result<(), FaultsError> {
        let kernel = self.kernel_of(index).await?;
        let mut slot = self.sandboxes[index].lock().await;
        let applied = self.tell(index, &mut slot, kernel, desired).await;
        if matches!(applied, Ok(()) | Err(FaultsError::Gone)) {
            slot.desired = desired.clone();
        }
        applied
    }

    /// The same with the state before a failed change. A sandbox that is made later begins with it even if this one
    /// does not answer.
    ///
    /// # Errors
    /// The sandbox's.
    pub(crate) async fn put_back(&self, index: usize, desired: &Arc<NetState>) -> Result<(), FaultsError> {
        let kernel = self.kernel_of(index).await?;
        let mut slot = self.sandboxes[index].lock().await;
        slot.desired = desired.clone();
        self.tell(index, &mut slot, kernel, desired).await
    }

    async fn tell(
        &self,
        index: usize,
        slot: &mut SandboxSlot,
        kernel: Capabilities,
        desired: &NetState,
    ) -> Result<(), FaultsError> {
        let Some(sandbox) = slot.live.as_mut() else {
            return Err(FaultsError::Gone);
        };
        let told = self.apply_in_time(index, sandbox, kernel, desired).await;
        if told != Err(FaultsError::Gone) {
            return told;
        }
        // Perhaps only the connection is gone.
        let id = sandbox.id.clone();
        let checked = self.in_time(index, self.check_slot(index, slot, false)).await;
        // Its network may be there whatever the engine says: only its end is an end.
        let told = if self.is_leased(index) { Err(self.silent()) } else { told };
        match checked {
            Some(Ok(Ok(()))) => {
                let sandbox = slot.live.as_mut().ok_or(FaultsError::Gone)?;
                match self.apply_in_time(index, sandbox, kernel, desired).await {
                    Err(FaultsError::Gone) => told,
                    again => again,
                }
            }
            // It is connected to again when it can be reached.
            Some(Ok(Err(Lost::Silent(_)))) if self.is_leased(index) => told,
            // A sandbox that cannot be reached must not control a network any more.
            Some(Ok(Err(_))) => match self.engine_of(index).remove(&id).await {
                Ok(()) | Err(EngineError::NotFound(_) | EngineError::Conflict(_)) => {
                    self.drop_sandbox(slot);
                    Err(FaultsError::Gone)
                }
                // The caller checks whether the engine can be reached.
                Err(EngineError::Unreachable(_) | EngineError::Denied(_)) => told,
                Err(error) => Err(FaultsError::Refused(format!(
                    "its sandbox does not listen any more, and cannot be removed: {error}"
                ))),
            },
            Some(Err(_)) | None => told,
        }
    }

    fn silent(&self) -> FaultsError {
        FaultsError::Silent(self.leased_answer())
    }

    /// As [`Self::apply_to`], but if a leased sandbox does not answer in time, that is the end of its connection.
    async fn apply_in_time(
        &self,
        index: usize,
        sandbox: &mut Sandbox,
        kernel: Capabilities,
        desired: &NetState,
    ) -> Result<(), FaultsError> {
        if let Some(told) = self.in_time(index, self.apply_to(index, sandbox, kernel, desired)).await {
            return told;
        }
        sandbox.client.disconnect();
        Err(FaultsError::Gone)
    }

    /// Awaits what is asked of a sandbox; of a leased one, whose connection may be dead without having said so, only for
    /// as long as a live one needs.
    async fn in_time<T>(&self, index: usize, asked: impl Future<Output = T>) -> Option<T> {
        if !self.is_leased(index) {
            return Some(asked.await);
        }
        time::timeout(self.leased_answer(), asked).await.ok()
    }

    /// Has a sandbox apply this state, and checks that it still has its node's address.
    async fn apply_to(
        &self,
        index: usize,
        sandbox: &mut Sandbox,
        kernel: Capabilities,
        desired: &NetState,
    ) -> Result<(), FaultsError> {
        let addresses = sandbox.client.apply(kernel, desired).await?;
        let ip = self.cluster.node_spec(index).ip;
        if addresses.contains(&ip) {
            return Ok(());
        }
        Err(FaultsError::Refused(format!("its sandbox is not connected to the network with the address {ip}")))
    }

    /// Has a node's sandbox destroy the TCP sockets of the node's dead run, if the kernel lets it.
    ///
    /// # Errors
    /// The sandbox's.
    pub(crate) async fn abort(&self, index: usize) -> Result<(), FaultsError> {
        if !self.kernel_of(index).await?.sock_destroy {
            return Ok(());
        }
        let mut slot = self.sandboxes[index].lock().await;
        let sandbox = slot.live.as_mut().ok_or(FaultsError::Gone)?;
        let aborted = sandbox.client.abort().await;
        if !matches!(aborted, Err(ClientError::Ended | ClientError::Io(_))) || !self.is_leased(index) {
            return Ok(aborted.map(drop)?);
        }
        match self.check_slot(index, &mut slot, false).await {
            Ok(Ok(())) => {
                let sandbox = slot.live.as_mut().ok_or(FaultsError::Gone)?;
                Ok(sandbox.client.abort().await.map(drop)?)
            }
            Ok(Err(Lost::Gone(_))) => Err(FaultsError::Gone),
            // Its network is there, and so are the sockets.
            Ok(Err(Lost::Silent(_))) | Err(_) => Err(self.silent()),
        }
    }

    /// Has a new sandbox apply the state of its predecessor.
    pub(super) async fn hand_on(
        &self,
        index: usize,
        sandbox: &mut Sandbox,
        desired: &NetState,
    ) -> Result<(), EngineError> {
        if *desired == NetState::default() {
            return Ok(());
        }
        let kernel = match self.kernels[self.cluster.host_of(index)].get() {
            Some(kernel) => *kernel,
            None => sandbox.client.probe().await.map_err(|error| refused(&error))?,
        };
        sandbox.client.apply(kernel, desired).await.map(drop).map_err(|error| refused(&error))
    }
}

fn refused(error: &ClientError) -> EngineError {
    EngineError::Refused(format!("its network faults cannot be applied again: {error}"))
}
