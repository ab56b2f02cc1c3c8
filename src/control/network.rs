//! One change of the network's faults at a time, in force in all sandboxes that it concerns or in none.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Mutex;

use super::ControlError;
use crate::cluster::Cluster;
use crate::cluster::faults::{Desired, Dice, FaultError, Faults};
use crate::provision::{FaultsError, Provisioner};
use crate::watch::Watch;

type Result<T> = std::result::Result<T, ControlError>;

/// How long a sandbox may take, at least, to be told again what it had. One that is asked whether its node's port is open can
/// be busy for two seconds.
const PUT_BACK: Duration = Duration::from_secs(3);

/// The network of a cluster: a cheap handle.
#[derive(Clone)]
pub struct Network(Arc<Inner>);

struct Inner {
    cluster: Cluster,
    watch: Watch,
    provisioner: Arc<Provisioner>,
    timeout: Duration,
    turn: Mutex<Turn>,
}

/// What whoever has the turn may use.
struct Turn {
    dice: Dice,
    /// Nodes of which nobody knows whether their sandbox has what the model says.
    uncertain: BTreeSet<usize>,
}

/// A sandbox whose desired state changes, or has to be told anew.
struct Change {
    index: usize,
    old: Desired,
    new: Desired,
}

/// What came of asking a sandbox.
enum Outcome {
    Done,
    Gone,
    Failed(ControlError),
}

impl Outcome {
    /// A sandbox that is gone is no failure.
    fn filter_gone(self) -> Result<()> {
        match self {
            Self::Done | Self::Gone => Ok(()),
            Self::Failed(error) => Err(error),
        }
    }
}

impl Network {
    /// The network of a cluster whose sandboxes have `timeout` each. `dice` makes random choices.
    pub fn new(cluster: Cluster, watch: Watch, provisioner: Arc<Provisioner>, timeout: Duration, dice: Dice) -> Self {
        let turn = Mutex::new(Turn { dice, uncertain: BTreeSet::new() });
        Self(Arc::new(Inner { cluster, watch, provisioner, timeout, turn }))
    }

    /// Computes the new state, has the sandboxes that it concerns bring it about, and tells everybody. Once it has begun it comes to its end,
    /// also if nobody waits for it any more.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub async fn change<F>(&self, change: F) -> Result<()>
    where
        F: FnOnce(&mut Faults, &mut Dice) -> std::result::Result<(), FaultError> + Send + 'static,
    {
        let network = self.clone();
        let changing = tokio::spawn(async move { network.change_in_turn(change).await });
        changing.await.unwrap_or_else(|_| Err(ControlError::Refused("an error in cthulhu; see its log".into())))
    }

    async fn change_in_turn(
        &self,
        change: impl FnOnce(&mut Faults, &mut Dice) -> std::result::Result<(), FaultError>,
    ) -> Result<()> {
        let Inner { cluster, timeout, turn, .. } = &*self.0;
        let busy = |_| ControlError::Busy("another change of the network's faults is under way".into());
        let mut turn = tokio::time::timeout(*timeout, turn.lock()).await.map_err(busy)?;
        let old = cluster.faults();
        let mut new = (*old).clone();
        change(&mut new, &mut turn.dice)?;
        if *old == new && turn.uncertain.is_empty() {
            return Ok(());
        }
        let addresses: Vec<_> = cluster.spec().nodes.iter().map(|node| node.ip).collect();
        let changed: Vec<Change> = (0..addresses.len())
            .map(|index| Change { index, old: old.desired(index, &addresses), new: new.desired(index, &addresses) })
            .filter(|change| change.old != change.new || turn.uncertain.contains(&change.index))
            .collect();
        self.check_possible(&changed).await?;
        turn.uncertain.extend(changed.iter().map(|change| change.index));
        let done = join_all(changed.iter().map(|change| self.bring_about(change.index, &change.new))).await;
        let mut failures = vec![];
        for (change, done) in changed.iter().zip(done) {
            match done {
                Ok(()) => drop(turn.uncertain.remove(&change.index)),
                Err(error) => failures.push(error),
            }
        }
        if !failures.is_empty() {
            self.put_back(&changed, &mut turn, &mut failures).await;
            return Err(if failures.len() == 1 { failures.remove(0) } else { ControlError::Several(failures) });
        }
        self.0.watch.spread(cluster.set_faults(new));
        Ok(())
    }

    /// Refuses what the kernel cannot do, before anything is touched.
    async fn check_possible(&self, changed: &[Change]) -> Result<()> {
        if changed.iter().all(|change| change.new == Desired::default()) {
            return Ok(());
        }
        let kernel = match tokio::time::timeout(self.0.timeout, self.0.provisioner.kernel()).await {
            Ok(Ok(kernel)) => kernel,
            Ok(Err(error)) => {
                return Err(ControlError::Refused(format!("cannot find out which faults are possible here: {error}")));
            }
            Err(_) => return Err(self.late(0)),
        };
        match changed.iter().find_map(|change| kernel.refuses(&change.new)) {
            Some(why) => Err(ControlError::Unsupported(why)),
            None => Ok(()),
        }
    }

    /// Has one sandbox bring about its part. One that is gone has nothing to rule over, unless its node still runs.
    async fn bring_about(&self, index: usize, desired: &Desired) -> Result<()> {
        let outcome = self.in_time(index, self.0.timeout, self.0.provisioner.apply(index, desired)).await;
        let Outcome::Gone = outcome else {
            return outcome.filter_gone();
        };
        // Sandboxes go with the engine too, and then nobody knows which nodes run.
        self.0.watch.doubt().await;
        let Inner { cluster, .. } = &*self.0;
        if !cluster.is_reachable() {
            let why = "cannot reach the engine, and its sandbox is gone; what was in force before is in force still";
            return Err(ControlError::Unreachable(format!("{}: {why}", self.name(index))));
        }
        if cluster.node(index).is_alive() {
            let why = "its sandbox is gone, and its network is out of reach; start it, which makes both anew";
            return Err(ControlError::Refused(format!("{}: {why}", self.name(index))));
        }
        Ok(())
    }

    /// All or nothing: those that may have taken the new state get the earlier one. Who cannot be reached is told at the next change.
    async fn put_back(&self, changed: &[Change], turn: &mut Turn, failures: &mut Vec<ControlError>) {
        // One that is silent has it in its queue, behind the new state, when it wakes up.
        let limit = (self.0.timeout / 4).max(PUT_BACK);
        let back = changed
            .iter()
            .map(|change| self.in_time(change.index, limit, self.0.provisioner.apply(change.index, &change.old)));
        let back = join_all(back).await;
        for (change, outcome) in changed.iter().zip(back) {
            let Err(error) = outcome.filter_gone() else {
                turn.uncertain.remove(&change.index);
                continue;
            };
            tracing::warn!(node = %self.name(change.index), %error, "cannot put the earlier faults back");
            // Who did not answer at first is told of already.
            let told = |failure: &ControlError| failure.silent_node() == error.silent_node();
            if error.silent_node().is_none() || !failures.iter().any(told) {
                failures
                    .push(ControlError::Refused(format!("what was in force before could not be put back: {error}")));
            }
        }
    }

    /// Has a node's sandbox destroy what is left of the connections of a dead run. Without a sandbox there is no network, and no
    /// connection in it.
    ///
    /// # Errors
    /// The sandbox's.
    pub async fn abort(&self, index: usize) -> Result<()> {
        self.in_time(index, self.0.timeout, self.0.provisioner.abort(index)).await.filter_gone()
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
        limit: Duration,
        asked: impl Future<Output = std::result::Result<(), FaultsError>>,
    ) -> Outcome {
        match tokio::time::timeout(limit, asked).await {
            Ok(Ok(())) => Outcome::Done,
            Ok(Err(FaultsError::Gone)) => Outcome::Gone,
            Ok(Err(error)) => Outcome::Failed(ControlError::Refused(format!("{}: {error}", self.name(index)))),
            Err(_) => Outcome::Failed(self.late(index)),
        }
    }
}
