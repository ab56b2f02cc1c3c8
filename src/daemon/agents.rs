//! The agents of a cluster: one on each machine whose nodes do not see this machine's files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use futures_util::future::try_join_all;
use tokio::runtime::Handle;

use super::machines::Machines;
use super::plan::Plan;
use crate::agent::{RemoteFiles, RemoteMounts};
use crate::cluster::{ClusterId, NodeSpec};
use crate::engine::Labels;
use crate::provision::{AgentPlan, KeptAgent, sees};
use crate::selfimage::SelfImage;
use crate::sweep::{self, Content, IfThere, Planted};

/// How long an agent may leave somebody waiting before it counts as lost. One that works answers within milliseconds.
const SILENCE: Duration = Duration::from_secs(10);

/// Where Docker listens, as a file of its own machine.
const USUAL_SOCKET: &str = "/var/run/docker.sock";

/// Where named volumes lie below what an agent serves. No node has that name there.
const VOLUMES: &str = "volumes";

/// What serves the files of the nodes of other machines.
pub(crate) struct Agents {
    /// Of each machine; `None` if its nodes see this machine's files.
    of_hosts: Vec<Option<Agent>>,
    /// All of them, for the mount.
    pub(super) mounts: Arc<RemoteMounts>,
}

/// One of them.
pub(crate) struct Agent {
    pub(super) files: Arc<RemoteFiles>,
    /// The directory that it serves, on its own machine.
    base: PathBuf,
}

impl Agents {
    /// Makes an agent on each machine that needs one. They are kept running until those that come with them are dropped.
    ///
    /// # Errors
    /// A sentence that names the machine.
    pub(super) async fn begin(
        plan: &Plan,
        machines: &Machines,
        cluster: &ClusterId,
        labels: &Labels,
        image: &SelfImage,
    ) -> Result<(Self, Vec<KeptAgent>)> {
        let mounts = RemoteMounts::default();
        let begin = |host: usize| {
            let engine = machines.fleet.engine(host).clone();
            let files = mounts.machine(SILENCE.min(plan.timeout), Handle::current());
            let has_nodes = machines.nodes_on(host).next().is_some();
            let agent = AgentPlan {
                engine: engine.clone(),
                cluster: cluster.clone(),
                labels: labels.clone(),
                image: image.clone(),
                socket: Some(USUAL_SOCKET.into()),
                timeout: plan.timeout,
            };
            async move {
                let sees_ours = match machines.has_own_files(host) {
                    Some(has_own) => !has_own,
                    None => sees(engine.as_ref(), &plan.data, image, cluster, labels).await?,
                };
                if sees_ours || !has_nodes {
                    return Ok(None);
                }
                let begun = agent.begin(files.clone()).await;
                let (kept, base) = begun.map_err(|error| {
                    anyhow!("cannot serve the files of the nodes on {}: {error}", machines.names[host])
                })?;
                anyhow::Ok(Some((Agent { files, base }, kept)))
            }
        };
        let begun = try_join_all((0..machines.fleet.len()).map(begin)).await?;
        let (mut of_hosts, mut all_kept) = (vec![], vec![]);
        for begun in begun {
            let (agent, kept) = begun.unzip();
            of_hosts.push(agent);
            all_kept.extend(kept);
        }
        Ok((Self { of_hosts, mounts: Arc::new(mounts) }, all_kept))
    }

    /// The one that serves the files of a machine's nodes, if this machine does not.
    pub(super) fn of(&self, host: usize) -> Option<&Agent> {
        self.of_hosts[host].as_ref()
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Agent> {
        self.of_hosts.iter().flatten()
    }
}

impl Agent {
    /// A node's directory on the agent's machine.
    pub(super) fn node_dir(&self, node: &NodeSpec) -> PathBuf {
        self.base.join(name_of(node))
    }

    /// Where a named volume lies on the agent's machine.
    pub(super) fn volume_dir(&self, name: &str) -> PathBuf {
        self.base.join(volume(name))
    }

    /// Has one of a node's directories served in the mount. Returns its number there.
    ///
    /// # Errors
    /// A sentence.
    pub(super) async fn add_root(&self, node: &NodeSpec, own: &str) -> Result<u64> {
        self.serve(&format!("{}/{own}", name_of(node))).await
    }

    /// The same with a named volume.
    ///
    /// # Errors
    /// A sentence.
    pub(super) async fn add_volume(&self, name: &str) -> Result<u64> {
        self.serve(&volume(name)).await
    }

    async fn serve(&self, path: &str) -> Result<u64> {
        self.files.add_root(path).await.map_err(|why| anyhow!("{path}: {why}"))
    }

    /// Makes a node's directory, with this in it.
    ///
    /// # Errors
    /// A sentence.
    pub(super) async fn fill(&self, node: &NodeSpec, planted: Vec<Planted>) -> Result<(), String> {
        self.files.fill(name_of(node), planted).await
    }

    /// Deletes everything in one of a node's directories.
    ///
    /// # Errors
    /// A sentence.
    pub(super) async fn empty(&self, node: &NodeSpec, own: &str) -> Result<(), String> {
        self.files.empty(&format!("{}/{own}", name_of(node))).await
    }

    /// Makes the directory of a named volume.
    ///
    /// # Errors
    /// A sentence.
    pub(super) async fn make_volume(&self, name: &str) -> Result<(), String> {
        let content = Content::Directory { mode: sweep::OPEN_TO_ALL };
        let planted = Planted { path: name.into(), content, if_there: IfThere::Replace };
        self.files.fill(VOLUMES, vec![planted]).await
    }

    /// Deletes everything in a named volume.
    ///
    /// # Errors
    /// A sentence.
    pub(super) async fn empty_volume(&self, name: &str) -> Result<(), String> {
        self.files.empty(&volume(name)).await
    }
}

/// What a node's directory is called below an agent's: as on this machine.
fn name_of(node: &NodeSpec) -> &str {
    node.dir.file_name().and_then(|name| name.to_str()).unwrap_or(node.name.as_str())
}

fn volume(name: &str) -> String {
    Path::new(VOLUMES).join(name).to_string_lossy().into_owned()
}
