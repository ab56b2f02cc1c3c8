//! Network faults: what is written becomes the desired state of every sandbox, applied in all of them or in none.

use super::ControlError;
use super::completion::CompletionGuard;
use super::execute::Executor;
use super::network::{About, Unchanged};
use crate::cluster::NamedRoles;
use crate::cluster::faults::FaultError;
use crate::engine::PublishedPort;
use crate::history::CommandId;

type Result<T> = std::result::Result<T, ControlError>;

/// A file that shows which faults are in force, and sets them when written.
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
    /// The name of the file, as in `links`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::Links => "links",
            Self::Net(_) => "net",
        }
    }

    /// The node whose file it is; `None` for the root's.
    pub(crate) fn node(self) -> Option<usize> {
        match self {
            Self::Partition | Self::Links => None,
            Self::Net(index) => Some(index),
        }
    }
}

/// How a text combines with the present setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    /// It is the whole new state.
    Whole,
    /// Adds lines to a table. For a setting of one line, it is the new state.
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
    /// Records that a setting is written. `roles`: what the words for roles in it stand for.
    pub(crate) fn invoke_setting(
        &self,
        setting: Setting,
        writing: Writing,
        text: &str,
        roles: &NamedRoles,
    ) -> CommandId {
        let nodes = setting.node().map(|index| self.name(index)).into_iter().collect();
        // The other files have one line, and each takes the place of the last.
        let appended = (setting, writing) == (Setting::Links, Writing::More);
        let line = text.trim_end_matches('\n');
        let line = match line.char_indices().find(|(at, _)| *at >= LONGEST_TOLD) {
            Some((at, _)) => format!("{}…", &line[..at]),
            None => line.to_owned(),
        };
        self.recorder().invoke(&line, Some(setting.name()), nodes, self.recorded(roles), appended)
    }

    /// Applies what was written. The history has its end before this returns.
    ///
    /// # Errors
    /// What is wrong with the text, or what this machine cannot do, or which sandbox failed: nothing has changed then.
    pub(crate) async fn set(
        &self,
        id: CommandId,
        setting: Setting,
        writing: Writing,
        text: &str,
        roles: NamedRoles,
    ) -> Result<()> {
        let end = CompletionGuard::of(id, self.recorder());
        if let Err(closed) = self.check_open() {
            return end.tell(Err(closed));
        }
        if let Some(why) = roles.missing {
            return end.tell(Err(ControlError::NoRole(why)));
        }
        let (text, names) = (text.to_owned(), self.cluster().names_with(roles.words));
        let about = setting.node().map_or(About::All, |index| About::Nodes(vec![index]));
        let changed = self.network().change(about, move |faults, rng| {
            faults.change_as_named(names, |faults| match (setting, writing) {
                (Setting::Partition, _) => faults.set_partition(&text, rng),
                (Setting::Links, Writing::Whole) => faults.set_links(&text),
                (Setting::Links, Writing::More) => faults.add_links(&text),
                (Setting::Net(index), _) => faults.set_net(index, &text),
            })
        });
        end.tell(changed.await.map_err(ControlError::from))
    }

    /// Which network faults are possible on all machines: the content of the file `capabilities`.
    pub(crate) fn capabilities(&self) -> String {
        let all = self.provisioner().known_kernels().reduce(|all, kernel| all.common(&kernel));
        all.map(|kernel| kernel.capabilities()).unwrap_or_default()
    }

    /// The ports of a node that are published, with the host's port each.
    pub(crate) fn ports(&self, index: usize) -> Vec<PublishedPort> {
        self.provisioner().ports(index)
    }

    /// Removes all faults, or those of some nodes.
    pub(super) async fn heal(&self, nodes: Option<Vec<usize>>) -> Result<()> {
        self.check_open()?;
        let about = nodes.clone().map_or(About::All, About::Nodes);
        let change = self.network().change(about, move |faults, _| {
            match nodes {
                None => faults.heal(),
                Some(nodes) => faults.heal_nodes(&nodes),
            }
            Ok(())
        });
        Ok(change.await?)
    }

    /// Cuts a node off from the network, or opens it again.
    pub(super) async fn silence(&self, index: usize, silent: bool) -> Result<()> {
        self.check_open()?;
        Ok(self.set_crashed(vec![index], silent).await?)
    }

    /// Cuts these nodes off from the network, all at the same moment. Returns those for which it failed, and why; they
    /// do not hold back the others.
    ///
    /// # Errors
    /// What holds for all of them.
    pub(super) async fn silence_all(&self, mut nodes: Vec<usize>) -> Result<Vec<(usize, ControlError)>> {
        self.check_open()?;
        let mut failed = vec![];
        while !nodes.is_empty() {
            let Err(unchanged) = self.set_crashed(nodes.clone(), true).await else { break };
            let is_theirs = |(index, _): &(Option<usize>, _)| index.is_some_and(|index| nodes.contains(&index));
            if !unchanged.reasons.iter().any(is_theirs) {
                return Err(unchanged.into());
            }
            for (index, reason) in unchanged.reasons {
                if let Some(place) = nodes.iter().position(|node| Some(*node) == index) {
                    failed.push((nodes.remove(place), reason));
                }
            }
        }
        Ok(failed)
    }

    async fn set_crashed(&self, nodes: Vec<usize>, crashed: bool) -> std::result::Result<(), Unchanged> {
        let change = self.network().change(About::Nodes(nodes.clone()), move |faults, _| {
            nodes.into_iter().for_each(|index| faults.set_crashed(index, crashed));
            Ok(())
        });
        change.await
    }

    /// Ends a crash. Destroys what is left of the dead run's connections first, while no packet can leave. Returns
    /// whether there was one.
    pub(super) async fn end_crash(&self, index: usize) -> Result<bool> {
        if !self.cluster().faults().is_crashed(index) {
            return Ok(false);
        }
        self.network().abort(index).await?;
        self.silence(index, false).await?;
        Ok(true)
    }
}
