//! One change of the network's faults at a time, applied in all sandboxes that it affects or in none.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::ControlError;
use crate::cluster::faults::{FaultError, Faults, NetState, SeededRng};
use crate::cluster::{Cluster, NodeSpec};
use crate::engine::EngineError;
use crate::provision::{FaultsError, Provisioner};
use crate::sync::time::{self, Instant};
use crate::sync::{AsyncMutex, spawn};
use crate::watch::Watch;

type Result<T> = std::result::Result<T, ControlError>;

/// This part of a write's time is left to put back what was before, if it fails.
const TO_PUT_BACK: u32 = 4;

/// The network of a cluster: a cheap handle.
#[derive(Clone)]
pub(crate) struct Network(Arc<Inner>);

struct Inner {
    cluster: Cluster,
    watch: Watch,
    provisioner: Arc<Provisioner>,
    timeout: Duration,
    turn: AsyncMutex<Turn>,
}

/// State of the change that is under way.
struct Turn {
    rng: SeededRng,
    /// Nodes whose sandbox may not have applied what the model says.
    uncertain: BTreeSet<usize>,
}

/// A sandbox whose desired state changes, or has to be sent again.
struct NodeChange {
    index: usize,
    old: Arc<NetState>,
    new: Arc<NetState>,
}

/// Whose links a change is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// All links: it fails while the state of any sandbox is unknown.
    All,
    /// The links of these nodes. Other sandboxes whose state is unknown do not make it fail.
    Nodes(Vec<usize>),
}

impl About {
    fn is(&self, index: usize) -> bool {
        match self {
            Self::All => true,
            Self::Nodes(nodes) => nodes.contains(&index),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unchanged {
    /// Each with the node whose sandbox is the reason, if there is one.
    pub(crate) reasons: Vec<(Option<usize>, ControlError)>,
}

impl From<ControlError> for Unchanged {
    fn from(error: ControlError) -> Self {
        Self { reasons: vec![(None, error)] }
    }
}

impl From<FaultError> for Unchanged {
    fn from(error: FaultError) -> Self {
        ControlError::from(error).into()
    }
}

impl From<Unchanged> for ControlError {
    fn from(unchanged: Unchanged) -> Self {
        let mut all: Vec<_> = unchanged.reasons.into_iter().map(|(_, error)| error).collect();
        if all.len() == 1 { all.remove(0) } else { Self::Several(all) }
    }
}

/// A sandbox's answer to a new state.
enum ApplyOutcome {
    Done,
    Gone,
    /// It is on an engine elsewhere, and it or that engine cannot be reached.
    Unreached(ControlError),
    Failed(ControlError),
}

impl ApplyOutcome {
    /// Takes a sandbox that is gone for a success.
    fn filter_gone(self) -> Result<()> {
        match self {
            Self::Done | Self::Gone => Ok(()),
            Self::Unreached(error) | Self::Failed(error) => Err(error),
        }
    }
}

impl Network {
    /// The network of a cluster whose sandboxes have `timeout` each. `rng` makes random choices.
    pub(crate) fn new(
        cluster: Cluster,
        watch: Watch,
        provisioner: Arc<Provisioner>,
        timeout: Duration,
        rng: SeededRng,
    ) -> Self {
        let turn = AsyncMutex::new(Turn { rng, uncertain: BTreeSet::new() });
        Self(Arc::new(Inner { cluster, watch, provisioner, timeout, turn }))
    }

    /// Computes the new state, has the affected sandboxes apply it, and notifies model, history and tree. Once begun it
    /// runs to its end, even if the caller stops waiting. It takes at most the timeout.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub(crate) async fn change<F>(&self, about: About, change: F) -> std::result::Result<(), Unchanged>
    where
        F: FnOnce(&mut Faults, &mut SeededRng) -> std::result::Result<(), FaultError> + Send + 'static,
    {
        let network = self.clone();
        let changing = spawn(async move { network.change_in_turn(about, change).await });
        changing.await.unwrap_or_else(|_| Err(ControlError::Refused("an error in cthulhu; see its log".into()).into()))
    }

    async fn change_in_turn(
        &self,
        about: About,
        change: impl FnOnce(&mut Faults, &mut SeededRng) -> std::result::Result<(), FaultError>,
    ) -> std::result::Result<(), Unchanged> {
        let Inner { cluster, timeout, turn, .. } = &*self.0;
        let end = Instant::now() + *timeout;
        let deadline = end - *timeout / TO_PUT_BACK;
        let busy = |_| ControlError::Busy("another change of the network's faults is under way".into());
        let mut turn = time::timeout_at(deadline, turn.lock()).await.map_err(busy)?;
        self.check_controlled(&about, deadline).await?;
        let old = cluster.faults();
        let mut new = (*old).clone();
        let mut rng = turn.rng.clone();
        change(&mut new, &mut rng)?;
        let is_new = *old != new;
        let addresses: Vec<_> = cluster.spec().nodes.iter().map(NodeSpec::addresses).collect();
        let states = old.desired(&addresses).into_iter().zip(new.desired(&addresses)).enumerate();
        let changed: Vec<NodeChange> = states
            .map(|(index, (old, new))| NodeChange { index, old, new })
            .filter(|change| {
                // If nothing changes, sandboxes with faults are asked whether these are still in force.
                let is_uncertain = turn.uncertain.contains(&change.index);
                // One in an engine that is away applies its state when it is back.
                let is_here = !self.has_several_engines() || cluster.is_node_reachable(change.index);
                let is_doubtful = (is_uncertain && is_here) || (!is_new && *change.new != NetState::default());
                change.old != change.new || (is_doubtful && about.is(change.index))
            })
            .collect();
        self.check_reachable(&changed).await?;
        self.check_possible(&changed, deadline).await?;
        turn.uncertain.extend(changed.iter().map(|change| change.index));
        let done = join_all(changed.iter().map(|change| self.bring_about(change.index, &change.new, deadline))).await;
        let mut reasons = vec![];
        for (change, done) in changed.iter().zip(done) {
            match done {
                Ok(()) => drop(turn.uncertain.remove(&change.index)),
                Err(error) => reasons.push((Some(change.index), error)),
            }
        }
        if !reasons.is_empty() {
            self.put_back(&changed, &mut turn, &mut reasons, end).await;
            return Err(Unchanged { reasons });
        }
        // A failed change draws no random numbers: later draws do not depend on it.
        turn.rng = rng;
        self.0.watch.notify_change(cluster.set_faults(new));
        Ok(())
    }

    /// Refuses what a kernel cannot do, before anything is touched.
    async fn check_possible(&self, changed: &[NodeChange], deadline: Instant) -> Result<()> {
        for NodeChange { index, new, .. } in changed.iter().filter(|change| *change.new != NetState::default()) {
            let kernel = match time::timeout_at(deadline, self.0.provisioner.kernel_of(*index)).await {
                Ok(Ok(kernel)) => kernel,
                Ok(Err(error)) => {
                    let why = format!("cannot find out which faults are possible here: {error}");
                    return Err(ControlError::Refused(why));
                }
                Err(_) => return Err(self.late(*index)),
            };
            if let Some(why) = kernel.refuses(new) {
                return Err(ControlError::Unsupported(why));
            }
        }
        Ok(())
    }

    /// Refuses a change in an engine that is known to be away while others are there: it could not be applied in all.
    async fn check_reachable(&self, changed: &[NodeChange]) -> std::result::Result<(), Unchanged> {
        if !self.has_several_engines() {
            return Ok(());
        }
        let mut reasons = vec![];
        for NodeChange { index, .. } in changed {
            if !self.0.watch.is_reachable_soon(*index).await {
                reasons.push((Some(*index), self.away(*index)));
            }
        }
        if reasons.is_empty() { Ok(()) } else { Err(Unchanged { reasons }) }
    }

    fn has_several_engines(&self) -> bool {
        self.0.cluster.spec().engines() > 1
    }

    /// That a node's engine is away.
    pub(super) fn away(&self, index: usize) -> ControlError {
        let spec = self.0.cluster.spec();
        let host = spec.hosts.get(spec.nodes[index].host).map_or("", |host| host.name.as_str());
        ControlError::Unreachable(format!("{}: the engine of {host} cannot be reached", self.name(index)))
    }

    /// Has one sandbox apply its part. A sandbox that is gone is an error only if its node still runs.
    async fn bring_about(&self, index: usize, desired: &Arc<NetState>, deadline: Instant) -> Result<()> {
        let outcome = self.in_time(index, deadline, self.0.provisioner.apply(index, desired)).await;
        let (why, unreached) = match outcome {
            ApplyOutcome::Gone => ("cannot reach the engine, and its sandbox is gone; nothing has changed", None),
            ApplyOutcome::Unreached(error) => ("cannot reach the engine; nothing has changed", Some(error)),
            outcome => return outcome.filter_gone(),
        };
        // If the engine is gone, its sandboxes are too unless they have a lease, and it is unknown which nodes run.
        self.0.watch.check_liveness(index).await;
        let Inner { cluster, .. } = &*self.0;
        if !cluster.is_node_reachable(index) {
            return Err(ControlError::Unreachable(format!("{}: {why}", self.name(index))));
        }
        if let Some(error) = unreached {
            return Err(error);
        }
        if !cluster.node(index).is_alive() {
            return Ok(());
        }
        // So that the files say so too.
        let _ = self.0.watch.check_sandbox(index, false).await;
        Err(self.uncontrolled(index, "its sandbox is gone"))
    }

    /// Refuses what cannot be promised: a node runs in a network that its sandbox does not control.
    async fn check_controlled(&self, about: &About, deadline: Instant) -> Result<()> {
        let among = match about {
            About::All => None,
            About::Nodes(nodes) => Some(nodes.as_slice()),
        };
        while let Some((index, why)) = self.0.cluster.uncontrolled(among) {
            // It may be back without our having noticed.
            let is_back = time::timeout_at(deadline, self.0.watch.check_sandbox(index, true)).await;
            let is_back = is_back.unwrap_or(Err(EngineError::TimedOut(self.0.timeout)));
            if !is_back.map_err(|error| ControlError::from_engine(&self.name(index), error))? {
                let why = self.0.cluster.node(index).sandbox_lost.clone().unwrap_or(why);
                return Err(self.uncontrolled(index, &why));
            }
        }
        Ok(())
    }

    fn uncontrolled(&self, index: usize, why: &str) -> ControlError {
        let what_to_do = "which faults are in force in its network is unknown; start it, which recreates both";
        ControlError::Refused(format!("{}: {why}: {what_to_do}", self.name(index)))
    }

    /// All or nothing: sandboxes that may have applied the new state get the earlier one. One that cannot be reached
    /// gets it with the next change.
    async fn put_back(
        &self,
        changed: &[NodeChange],
        turn: &mut Turn,
        reasons: &mut Vec<(Option<usize>, ControlError)>,
        deadline: Instant,
    ) {
        // A silent one finds it in its queue behind the new state when it wakes up.
        let back = changed
            .iter()
            .map(|change| self.in_time(change.index, deadline, self.0.provisioner.put_back(change.index, &change.old)));
        let back = join_all(back).await;
        for (change, outcome) in changed.iter().zip(back) {
            if matches!(outcome, ApplyOutcome::Gone) && self.0.cluster.node(change.index).is_alive() {
                // So that the files say so too.
                let _ = self.0.watch.check_sandbox(change.index, false).await;
            }
            let Err(error) = outcome.filter_gone() else {
                turn.uncertain.remove(&change.index);
                continue;
            };
            turn.uncertain.insert(change.index);
            tracing::warn!(node = %self.name(change.index), %error, "cannot put the earlier faults back");
            // A sandbox that did not answer the first time is reported already.
            let is_silent = |error: &ControlError| {
                matches!(error, ControlError::SandboxSilent { .. } | ControlError::Unreachable(_))
            };
            let told = |(index, reason): &(Option<usize>, _)| *index == Some(change.index) && is_silent(reason);
            if !is_silent(&error) || !reasons.iter().any(told) {
                let why = format!("what was in force before could not be put back: {error}");
                reasons.push((Some(change.index), ControlError::Refused(why)));
            }
        }
    }

    /// Has a node's sandbox destroy what is left of a dead run's connections. Without a sandbox there is no network, so
    /// no connections.
    ///
    /// # Errors
    /// The sandbox's.
    pub(crate) async fn abort(&self, index: usize) -> Result<()> {
        let deadline = Instant::now() + self.0.timeout;
        self.in_time(index, deadline, self.0.provisioner.abort(index)).await.filter_gone()
    }

    fn name(&self, index: usize) -> String {
        self.0.cluster.node_spec(index).name.to_string()
    }

    fn late(&self, index: usize) -> ControlError {
        ControlError::SandboxSilent { node: self.name(index), after: self.0.timeout }
    }

    async fn in_time(
        &self,
        index: usize,
        deadline: Instant,
        asked: impl Future<Output = std::result::Result<(), FaultsError>>,
    ) -> ApplyOutcome {
        match time::timeout_at(deadline, asked).await {
            Ok(Ok(())) => ApplyOutcome::Done,
            Ok(Err(FaultsError::Gone)) => ApplyOutcome::Gone,
            Ok(Err(FaultsError::Silent(after))) => {
                ApplyOutcome::Unreached(ControlError::SandboxSilent { node: self.name(index), after })
            }
            Ok(Err(error)) => ApplyOutcome::Failed(ControlError::Refused(format!("{}: {error}", self.name(index)))),
            Err(_) => ApplyOutcome::Failed(self.late(index)),
        }
    }
}
