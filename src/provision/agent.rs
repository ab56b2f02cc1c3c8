//! The agent of an engine: the container that serves the files of the nodes there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::teardown::{labelled, remove_listed, value};
use crate::agent::{self, RemoteFiles};
use crate::cluster::{ClusterId, label};
use crate::engine::{
    Bind, ContainerId, ContainerSpec, Engine, EngineError, Labels, Result, RunOptions, Status, Stdin, VolumeMount,
};
use crate::selfimage::{self, SelfImage};
use crate::sync::{JoinSet, time};

/// How long an agent lives on when it hears nothing, in seconds: as long as a sandbox.
const LEASE: u64 = 60;
/// Wait before an agent that cannot be reached is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// What it needs of root's capabilities to act on files as the daemon does on its own machine.
const CAPABILITIES: [&str; 7] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETGID", "SETUID"];

/// What an agent is made of.
pub struct AgentPlan {
    /// Where it runs.
    pub engine: Arc<dyn Engine>,
    /// Whose nodes it serves.
    pub cluster: ClusterId,
    /// Those of everything that the cluster has in an engine.
    pub labels: Labels,
    /// Our own program.
    pub image: SelfImage,
    /// The engine's socket on its own host, if it has one there: through it, the agent removes the cluster's containers
    /// when it has heard nothing for as long as its lease.
    pub socket: Option<PathBuf>,
    /// How long the engine may take to make and start it.
    pub timeout: Duration,
}

/// An agent that is kept running, and connected, until this is dropped; the container then ends by itself.
#[must_use]
pub struct KeptAgent {
    _task: JoinSet<()>,
}

impl AgentPlan {
    /// Makes the volume and the container, connects `files` to it, and sees to it that they stay connected: a connection
    /// that is lost is made again, and so is a container. Also returns where the volume lies on the engine's host: a node
    /// binds directories below.
    ///
    /// # Errors
    /// The engine's.
    pub async fn begin(self, files: Arc<RemoteFiles>) -> Result<(KeptAgent, PathBuf)> {
        let volume = self.volume();
        self.in_time(self.engine.create_volume(&volume, &self.labels, None)).await?;
        let mountpoint = self.in_time(self.engine.volume_mountpoint(&volume)).await?;
        let mut container = self.in_time(self.make(&files)).await?;
        let mut task = JoinSet::default();
        task.spawn(async move {
            loop {
                files.disconnected().await;
                info!(engine = %self.engine.info().address, "lost the agent");
                while let Err(error) = self.connect_again(&mut container, &files).await {
                    warn!(engine = %self.engine.info().address, %error, "no agent");
                    time::sleep(RETRY).await;
                }
            }
        });
        Ok((KeptAgent { _task: task }, mountpoint))
    }

    /// Names of nodes do not begin with a dash.
    fn volume(&self) -> String {
        format!("cthulhu-{}---files", self.cluster)
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        time::timeout(self.timeout, call).await.unwrap_or(Err(EngineError::TimedOut(self.timeout)))
    }

    async fn make(&self, files: &RemoteFiles) -> Result<ContainerId> {
        for listed in labelled(self.engine.as_ref(), &self.ours()).await? {
            // The last one, which does not answer or has not gone yet.
            if value(&listed.labels, label::ROLE) == Some(label::AGENT) {
                self.engine.remove(&listed.id).await?;
            }
        }
        let id = match self.create(self.socket.as_deref()).await {
            // There is no such socket.
            Err(EngineError::Refused(_)) if self.socket.is_some() => self.create(None).await?,
            created => created?,
        };
        // Attached first, so that nothing it says is missed.
        let attachment = self.engine.attach(&id).await?;
        self.engine.start(&id).await?;
        files.connect(attachment).await.map_err(|error| EngineError::Refused(format!("the agent failed: {error}")))?;
        Ok(id)
    }

    fn ours(&self) -> String {
        format!("{}={}", label::CLUSTER, self.cluster)
    }

    async fn create(&self, socket: Option<&Path>) -> Result<ContainerId> {
        let spec = self.container(socket);
        match self.engine.create(&spec).await {
            // `cthulhu prune` by another version of the program, while no container of ours used the image.
            Err(EngineError::NotFound(_)) => {
                selfimage::ensure(self.engine.as_ref()).await?;
                self.engine.create(&spec).await
            }
            done => done,
        }
    }

    fn container(&self, socket: Option<&Path>) -> ContainerSpec {
        let name = format!("cthulhu-{}---agent", self.cluster);
        let mut entrypoint = self.image.internal("agent");
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        entrypoint.extend([user.to_string(), group.to_string(), LEASE.to_string()]);
        if socket.is_some() {
            entrypoint.extend([self.engine.info().id.clone(), self.cluster.to_string()]);
        }
        let mut labels = self.labels.clone();
        labels.push((label::ROLE.into(), label::AGENT.into()));
        labels.push((label::CONTAINER.into(), format!("{name}/0")));
        let bind = |source: &Path| Bind { source: source.into(), target: agent::SOCKET.into(), read_only: false };
        ContainerSpec {
            name,
            image: self.image.reference.clone(),
            entrypoint: Some(entrypoint),
            labels,
            binds: socket.map(bind).into_iter().collect(),
            volumes: vec![VolumeMount { name: self.volume(), target: agent::BASE.into(), ..VolumeMount::default() }],
            run: RunOptions {
                user: Some("0:0".into()),
                cap_add: CAPABILITIES.map(str::to_owned).to_vec(),
                cap_drop: vec!["ALL".into()],
                read_only: true,
                ..RunOptions::default()
            },
            stdin: Stdin::Kept,
            // What nodes' files hold is no log.
            keeps_no_log: true,
            auto_remove: !self.engine.info().setup.live_restore,
            host_users: self.engine.info().setup.remaps_users,
            // Above all no network.
            ..ContainerSpec::default()
        }
    }

    /// Connects to the container if it runs still, else to a new one.
    async fn connect_again(&self, container: &mut ContainerId, files: &RemoteFiles) -> Result<()> {
        let attached = self.in_time(async {
            self.engine.ping().await?;
            let seen = self.engine.inspect(container).await?;
            if !matches!(seen.status, Status::Running | Status::Paused) {
                return Err(EngineError::NotFound("the agent has ended".into()));
            }
            self.engine.attach(container).await
        });
        match attached.await {
            Ok(attachment) => {
                if files.connect(attachment).await.is_ok() {
                    return Ok(());
                }
                // It runs and does not answer.
            }
            Err(EngineError::NotFound(_) | EngineError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
        *container = self.in_time(self.make(files)).await?;
        Ok(())
    }
}

/// Whether an engine's containers can have this directory of ours: it is there on the engine's machine too.
///
/// # Errors
/// The engine's.
pub(crate) async fn sees(
    engine: &dyn Engine,
    dir: &Path,
    image: &SelfImage,
    cluster: &ClusterId,
    labels: &Labels,
) -> Result<bool> {
    let spec = ContainerSpec {
        name: format!("cthulhu-{cluster}---sees"),
        image: image.reference.clone(),
        // It is not started.
        entrypoint: Some(image.internal("agent")),
        labels: labels.clone(),
        binds: vec![Bind { source: dir.into(), target: agent::BASE.into(), read_only: true }],
        ..ContainerSpec::default()
    };
    match engine.create(&spec).await {
        Ok(container) => engine.remove(&container).await.map(|()| true),
        // "invalid mount config for type "bind": bind source path does not exist"
        Err(EngineError::Refused(why)) if why.contains("does not exist") => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the containers of a cluster from an engine, the agent last; volumes and networks stay.
///
/// # Errors
/// The first of the engine's; everything else was still tried.
pub(crate) async fn remove_containers(engine: &dyn Engine, cluster: &ClusterId) -> Result<()> {
    let listed = labelled(engine, &format!("{}={cluster}", label::CLUSTER)).await?;
    let is_agent = |labels: &Labels| value(labels, label::ROLE) == Some(label::AGENT);
    let (agents, others): (Vec<_>, Vec<_>) = listed.into_iter().partition(|listed| is_agent(&listed.labels));
    remove_listed(engine, &others).await.1?;
    remove_listed(engine, &agents).await.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::simulated::SimulatedEngine;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[tokio::test]
    async fn a_lease_that_ran_out_costs_containers_and_nothing_else() {
        let engine = SimulatedEngine::new();
        engine.add_image("image");
        let cluster = ClusterId("a".into());
        let containers = [
            ("agent", labels(&[(label::CLUSTER, "a"), (label::ROLE, label::AGENT)])),
            ("i001", labels(&[(label::CLUSTER, "a"), (label::NODE, "i001"), (label::ROLE, label::NODE_ROLE)])),
            ("other", labels(&[(label::CLUSTER, "b"), (label::NODE, "i001"), (label::ROLE, label::NODE_ROLE)])),
        ];
        for (name, labels) in containers {
            let spec = ContainerSpec { name: name.into(), image: "image".into(), labels, ..ContainerSpec::default() };
            engine.create(&spec).await.unwrap();
        }
        let ours = labels(&[(label::CLUSTER, "a")]);
        engine.create_network("net", &"10.0.0.0/24".into(), &ours).await.unwrap();
        engine.create_volume("files", &ours, None).await.unwrap();
        remove_containers(&engine, &cluster).await.unwrap();
        let left: Vec<_> = engine.list(None).await.unwrap().into_iter().map(|listed| listed.name).collect();
        assert_eq!(left, ["other"]);
        assert_eq!(engine.list_networks(Some(label::CLUSTER)).await.unwrap().len(), 1);
        assert_eq!(engine.list_volumes(Some(label::CLUSTER)).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_agent_has_nothing_but_the_files_and_ends_with_its_lease() {
        let engine = Arc::new(SimulatedEngine::new());
        let image = SelfImage { reference: "self".into(), argv: vec!["/cthulhu".into()] };
        let timeout = Duration::from_secs(1);
        let (cluster, socket) = (ClusterId("a".into()), Some("/run/docker.sock".into()));
        let plan = AgentPlan { engine, cluster, labels: labels(&[(label::CLUSTER, "a")]), image, socket, timeout };
        let spec = plan.container(None);
        assert!(matches!(spec.network, crate::engine::Network::None) && spec.binds.is_empty() && spec.run.read_only);
        assert_eq!(spec.entrypoint.as_ref().map(Vec::len), Some(6), "no engine to remove anything from");
        assert_eq!(spec.run.cap_drop, ["ALL"]);
        let with_socket = plan.container(plan.socket.as_deref());
        assert_eq!(with_socket.binds.len(), 1);
        assert_eq!(with_socket.entrypoint.unwrap().last().map(String::as_str), Some("a"));
    }
}
