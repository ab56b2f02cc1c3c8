//! Network faults: what is written becomes the desired state of every sandbox, in force in all of them or in none.

use std::time::Duration;

use futures_util::future::join_all;

use super::ControlError;
use super::execute::Executor;
use crate::cluster::faults::{Desired, Dice, FaultError, Faults};
use crate::history::CommandId;
use crate::provision::FaultsError;

type Result<T> = std::result::Result<T, ControlError>;

/// A file that says which faults are in force, and takes what is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// The root's `partition`.
    Partition,
    /// The root's `links`.
    Links,
    /// A node's `net`.
    Net(usize),
}

impl Setting {
    /// The file's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::Links => "links",
            Self::Net(_) => "net",
        }
    }

    /// The node whose file it is; `None` for the root's.
    pub fn node(self) -> Option<usize> {
        match self {
            Self::Partition | Self::Links => None,
            Self::Net(index) => Some(index),
        }
    }
}

/// What a text means to what is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// It is the whole new state.
    Whole,
    /// Lines of a table are added. To what has one line only, it is the new state.
    More,
}

impl From<FaultError> for ControlError {
    fn from(error: FaultError) -> Self {
        match error {
            FaultError::Invalid(why) => Self::Invalid(why),
            FaultError::NoSuchNode(name) => Self::NoSuchNode(name),
        }
    }
}

/// How much of a text is kept in the history, in bytes.
const LONGEST_TOLD: usize = 1024;

impl Executor {
    /// A setting is written: says so to the history.
    pub fn invoke_setting(&self, setting: Setting, text: &str) -> CommandId {
        let nodes = setting.node().map(|index| self.name(index)).into_iter().collect();
        let line = text.trim_end_matches('\n');
        let line = match line.char_indices().find(|(at, _)| *at >= LONGEST_TOLD) {
            Some((at, _)) => format!("{}…", &line[..at]),
            None => line.to_owned(),
        };
        self.recorder().invoke(&line, Some(setting.name()), nodes)
    }

    /// Brings about what was written. Its end is in the history before this returns.
    ///
    /// # Errors
    /// What is wrong with the text, or what this machine cannot do, or which sandbox failed: nothing has changed then.
    pub async fn set(&self, id: CommandId, setting: Setting, writing: Writing, text: &str) -> Result<()> {
        let end = self.end_of(id);
        let answer = self.change_faults(|faults, dice| match (setting, writing) {
            (Setting::Partition, _) => faults.set_partition(text, dice),
            (Setting::Links, Writing::Whole) => faults.set_links(text),
            (Setting::Links, Writing::More) => faults.add_links(text),
            (Setting::Net(index), _) => faults.set_net(index, text),
        });
        end.tell(answer.await)
    }

    /// What of the network's faults is possible here, as the file `capabilities` says it.
    pub fn capabilities(&self) -> String {
        self.provisioner().known_kernel().map(|kernel| kernel.capabilities()).unwrap_or_default()
    }

    /// Takes all faults away, or those of some nodes.
    pub(super) async fn heal(&self, nodes: Option<&[usize]>) -> Result<()> {
        self.change_faults(|faults, _| {
            match nodes {
                None => faults.heal(),
                Some(nodes) => nodes.iter().for_each(|&index| faults.heal_node(index)),
            }
            Ok(())
        })
        .await
    }

    /// Nothing leaves or enters a node from here on.
    pub(super) async fn silence(&self, index: usize) -> Result<()> {
        self.change_faults(|faults, _| {
            faults.set_crashed(index, true);
            Ok(())
        })
        .await
    }

    /// Ends a crash: what is left of the dead run's connections goes first, while nobody can hear of it.
    pub(super) async fn end_crash(&self, index: usize, is_alive: bool) -> Result<()> {
        if !self.cluster().faults().is_crashed(index) {
            return Ok(());
        }
        if !is_alive {
            // Without a sandbox there is no network, and no connection in it.
            self.in_time(index, self.timeout(), self.provisioner().abort(index)).await.filter_gone()?;
        }
        self.change_faults(|faults, _| {
            faults.set_crashed(index, false);
            Ok(())
        })
        .await
    }

    /// One change at a time: computes the new state, has the sandboxes that it concerns bring it about, and tells everybody.
    async fn change_faults(
        &self,
        change: impl FnOnce(&mut Faults, &mut Dice) -> std::result::Result<(), FaultError>,
    ) -> Result<()> {
        self.check_open()?;
        let busy = |_| ControlError::Busy("another change of the network's faults is under way".into());
        let mut dice = tokio::time::timeout(self.timeout(), self.faults_turn().lock()).await.map_err(busy)?;
        let old = self.cluster().faults();
        let mut new = (*old).clone();
        change(&mut new, &mut dice)?;
        if *old == new {
            return Ok(());
        }
        let addresses: Vec<_> = self.cluster().spec().nodes.iter().map(|node| node.ip).collect();
        let changed: Vec<Change> = (0..addresses.len())
            .map(|index| Change { index, old: old.desired(index, &addresses), new: new.desired(index, &addresses) })
            .filter(|change| change.old != change.new)
            .collect();
        self.check_possible(&changed).await?;
        let limit = self.timeout();
        let done = join_all(changed.iter().map(|change| self.bring_about(change.index, &change.new, limit))).await;
        let mut failures: Vec<_> = done.into_iter().filter_map(std::result::Result::err).collect();
        if !failures.is_empty() {
            self.put_back(&changed, &mut failures).await;
            return Err(if failures.len() == 1 { failures.remove(0) } else { ControlError::Several(failures) });
        }
        self.tell(self.cluster().set_faults(new));
        Ok(())
    }

    /// Refuses what the kernel cannot do, before anything is touched.
    async fn check_possible(&self, changed: &[Change]) -> Result<()> {
        if changed.iter().all(|change| change.new == Desired::default()) {
            return Ok(());
        }
        let kernel = match tokio::time::timeout(self.timeout(), self.provisioner().kernel()).await {
            Ok(Ok(kernel)) => kernel,
            Ok(Err(error)) => {
                return Err(ControlError::Refused(format!("cannot find out which faults are possible here: {error}")));
            }
            Err(_) => return Err(ControlError::TimedOut { node: self.name(0), after: self.timeout() }),
        };
        match changed.iter().find_map(|change| kernel.refuses(&change.new)) {
            Some(why) => Err(ControlError::Unsupported(why)),
            None => Ok(()),
        }
    }

    /// Has one sandbox bring about its part. One that is gone has nothing to rule over, unless its node still runs.
    async fn bring_about(&self, index: usize, desired: &Desired, limit: Duration) -> Result<()> {
        let applied = self.in_time(index, limit, self.provisioner().apply(index, desired)).await;
        match applied {
            Outcome::Gone if self.cluster().node(index).is_alive() => Err(ControlError::Refused(format!(
                "{}: its sandbox is gone, and its network is out of reach; start it, which makes both anew",
                self.name(index)
            ))),
            other => other.filter_gone(),
        }
    }

    /// All or nothing: those that have taken the new state get the earlier one.
    async fn put_back(&self, changed: &[Change], failures: &mut Vec<ControlError>) {
        // One that is silent has it in its queue, behind the new state, when it wakes up.
        let limit = self.timeout() / 4;
        let back = changed.iter().map(|change| self.bring_about(change.index, &change.old, limit));
        let back = join_all(back).await;
        for (change, error) in changed.iter().zip(back).filter_map(|(change, back)| Some((change, back.err()?))) {
            tracing::warn!(node = %self.name(change.index), %error, "cannot put the earlier faults back");
            // Who could not be reached at first is told of already.
            let told = |failure: &ControlError| failure.silent_node() == error.silent_node();
            if error.silent_node().is_none() || !failures.iter().any(told) {
                failures
                    .push(ControlError::Refused(format!("what was in force before could not be put back: {error}")));
            }
        }
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
            Err(_) => Outcome::Failed(ControlError::TimedOut { node: self.name(index), after: limit }),
        }
    }
}

/// A sandbox whose desired state changes.
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
