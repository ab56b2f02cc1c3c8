//! The directories of the nodes: made for the mount, and made again by `reset`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::{Result, anyhow};
use async_trait::async_trait;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use rustix::process::{getegid, geteuid};

use super::agents::Agents;
use super::config::Config;
use super::data::{self, DataLock};
use super::own::private_dir;
use super::paths::open_dir;
use super::plan::{Plan, PlannedFile};
use super::remove_contents::{Emptying, empty};
use crate::cluster::ClusterSpec;
use crate::control;
use crate::engine::{Engine, Labels};
use crate::passthrough::Passthrough;
use crate::sweep::Planted;
use crate::template::Nodes;

/// How many nodes' directories are made at once: those on other machines wait for the network.
const AT_ONCE: usize = 8;

/// What the directories of the nodes of one cluster begin with.
pub(crate) struct NodeFiles {
    spec: ClusterSpec,
    /// Which of `configs` each node gets.
    recipes: Vec<usize>,
    /// Read once, at mount: what is edited later belongs to the next mount.
    configs: Vec<Option<Config>>,
    /// The same for `var`, where there is no file of that name yet.
    initial: Vec<Option<Config>>,
    /// Of each recipe: the files that are mounted one by one.
    files: Vec<Vec<PlannedFile>>,
    nodes: Arc<Nodes>,
    agents: Agents,
    engine: Arc<dyn Engine>,
    how: Emptying,
    /// What serves the directories, once there is a mount.
    served: OnceLock<Arc<Passthrough>>,
}

impl NodeFiles {
    /// Reads what the plan puts into the directories.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(crate) fn read(
        plan: &Plan,
        spec: &ClusterSpec,
        nodes: &Arc<Nodes>,
        agents: Agents,
        engine: &Arc<dyn Engine>,
        labels: &Labels,
        data: &Arc<Mutex<DataLock>>,
    ) -> Result<Self> {
        let ours = (geteuid().as_raw(), getegid().as_raw());
        let how = Emptying { owner: Some(ours), labels: labels.clone(), lock: Some(data.clone()) };
        let read = |option: &'static str, dir: &Option<PathBuf>| {
            dir.as_deref().map(|dir| Config::read(option, dir)).transpose()
        };
        let configs = plan.recipes.iter().map(|recipe| read("--config", &recipe.config));
        let initial = plan.recipes.iter().map(|recipe| read("--initial", &recipe.initial));
        Ok(Self {
            spec: spec.clone(),
            recipes: plan.nodes.iter().map(|node| node.recipe).collect(),
            configs: configs.collect::<Result<_>>()?,
            initial: initial.collect::<Result<_>>()?,
            files: plan.recipes.iter().map(|recipe| recipe.files.clone()).collect(),
            nodes: nodes.clone(),
            agents,
            engine: engine.clone(),
            how,
            served: OnceLock::new(),
        })
    }

    /// Makes the directories of all nodes below `data`. What is in them already stays.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) async fn prepare_all(&self, data: &Path) -> Result<()> {
        private_dir(data)?;
        if let Some(all) = self.spec.volumes.values().next().and_then(|volume| volume.parent()) {
            // As of a node's directories: what is inside is open to every user of a container.
            private_dir(all)?;
        }
        for (name, volume) in &self.spec.volumes {
            match self.agents.of(self.spec.host_of_volume(name)) {
                Some(agent) => agent.make_volume(name).await.map_err(|why| anyhow!("{name}: {why}"))?,
                None => open_dir(volume)?,
            }
        }
        let prepare_one = async |index: usize| {
            let node = &self.spec.nodes[index];
            match self.agents.of(node.host) {
                // What it writes to its output is kept here all the same.
                Some(agent) => {
                    data::prepare(node, &[])?;
                    let filled = agent.fill(node, self.contents(index)?).await;
                    filled.map_err(|why| anyhow!("{}: {why}", node.name))?;
                }
                None => self.prepare(index)?,
            }
            data::prepare_log(node)
        };
        let mut prepared = stream::iter(0..self.spec.nodes.len()).map(prepare_one).buffer_unordered(AT_ONCE);
        while let Some(prepared) = prepared.next().await {
            prepared?;
        }
        Ok(())
    }

    /// What serves the files of nodes on other machines.
    pub(crate) fn agents(&self) -> &Agents {
        &self.agents
    }

    /// Sets what serves the directories from now on.
    pub(crate) fn served_by(&self, bindmounts: Arc<Passthrough>) {
        let _ = self.served.set(bindmounts);
    }

    /// What a node's directory begins with.
    fn contents(&self, index: usize) -> Result<Vec<Planted>> {
        let recipe = self.recipes[index];
        let (config, initial) = (self.configs[recipe].as_ref(), self.initial[recipe].as_ref());
        data::contents(&self.spec, index, config, initial, &self.files[recipe], &self.nodes)
    }

    fn prepare(&self, index: usize) -> Result<()> {
        data::prepare(&self.spec.nodes[index], &self.contents(index)?)
    }
}

#[async_trait]
impl control::NodeFiles for Arc<NodeFiles> {
    async fn renew(&self, index: usize) -> std::result::Result<(), String> {
        let node = &self.spec.nodes[index];
        let agent = self.agents.of(node.host);
        let mut emptied = Ok(());
        for sub in node.own_directories() {
            emptied = emptied.and(match agent {
                Some(agent) => agent.empty(node, sub).await,
                None => empty(&node.dir.join(sub), Some(&self.engine), &self.how).await,
            });
        }
        if let Some(agent) = agent {
            let contents = self.contents(index).map_err(|error| format!("{error:#}"))?;
            let filled = agent.fill(node, contents).await;
            return emptied.and(filled);
        }
        // Also if something could not be deleted: without its configuration the node would not even start.
        let files = self.clone();
        let prepared = tokio::task::spawn_blocking(move || files.prepare(index)).await;
        emptied?;
        prepared.map_err(|panic| panic.to_string())?.map_err(|error| format!("{error:#}"))
    }

    async fn empty_volumes(&self, names: &[String]) -> std::result::Result<(), String> {
        let mut emptied = Ok(());
        for (name, dir) in names.iter().filter_map(|name| self.spec.volumes.get_key_value(name)) {
            emptied = emptied.and(match self.agents.of(self.spec.host_of_volume(name)) {
                Some(agent) => agent.empty_volume(name).await,
                None => empty(dir, Some(&self.engine), &self.how).await,
            });
        }
        emptied
    }

    async fn forget_deleted(&self) {
        let files = self.clone();
        let forgotten = tokio::task::spawn_blocking(move || {
            if let Some(bindmounts) = files.served.get() {
                bindmounts.forget_deleted();
            }
        });
        let _ = forgotten.await;
        // One that does not answer is another one later, which knows no files.
        join_all(self.agents.all().map(|agent| agent.files.forget_deleted())).await;
    }
}
