//! Makes a cluster's containers and network, and removes them again.
//!
//! Knows the recipe of sandbox and node; works through the engine only. It never touches the tree or FUSE.

mod agent;
mod faults;
mod lease;
mod liveness;
mod network;
mod teardown;
mod volumes;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use liveness::Run;

pub use agent::{AgentPlan, KeptAgent};
pub(crate) use agent::{remove_containers, sees};
pub(crate) use faults::FaultsError;
pub use lease::Leases;
pub(crate) use network::{NetworkPlan, free_subnets, taken_name};
pub use network::{NetworkRequest, RequestedNetwork, plan};
pub(crate) use teardown::Found;
pub use teardown::{NotRemoved, clusters, remove_cluster};
pub use volumes::NamedVolume;
pub(crate) use volumes::clean as clean_path;

use crate::cluster::faults::NetState;
use crate::cluster::{Cluster, ClusterId, label};
use crate::engine::{
    Bind, ContainerId, ContainerSpec, Endpoint, Engine, EngineError, Labels, Listed, Network, NetworkOptions, Protocol,
    PublishedPort, Result, RunOptions, Stdin,
};
use crate::fleet::Fleet;
use crate::sandbox::{self, protocol::Capabilities};
use crate::selfimage::{self, SelfImage};
use crate::sync::{AsyncMutex, Mutex, time};

/// Containers made at once. The work is bound by CPU: more than this gains nothing (docs/performance.md).
pub(crate) const AT_ONCE: usize = 8;

/// A TCP port on which hardly any program listens (tcpmux, RFC 1078).
const SELDOM_USED: u16 = 1;

/// How long a sandbox may take to answer.
const SANDBOX: Duration = Duration::from_secs(2);

/// How a node's container is run.
#[derive(Clone, Debug, Default)]
pub struct NodeOptions {
    /// Its places in networks, the one of its own address first.
    pub endpoints: Vec<Endpoint>,
    /// The image.
    pub image: String,
    /// Replaces the image's entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// `KEY=VALUE` each.
    pub env: Vec<String>,
    /// The directory of its `etc` and `var` on its engine's machine.
    pub dir: PathBuf,
    /// Where a node's `etc` appears in it.
    pub etc_target: Option<String>,
    /// Where a node's `var` appears in it.
    pub var_target: Option<String>,
    /// Further host directories.
    pub volumes: Vec<Bind>,
    /// What the image declares as volumes.
    pub image_volumes: Vec<String>,
    /// Volumes that have names, and which other nodes may use too.
    pub named_volumes: Vec<NamedVolume>,
    /// What else is said of its container.
    pub run: RunOptions,
    /// What is said of its network, which its sandbox has.
    pub network: NetworkOptions,
}

struct Sandbox {
    id: ContainerId,
    /// The run of it that was made.
    run: Run,
    /// Held for its connection too: the sandbox ends when this goes, unless it has a lease.
    client: sandbox::Client,
}

/// A node's sandbox, and the state that it has to apply in its network.
#[derive(Default)]
struct SandboxSlot {
    live: Option<Sandbox>,
    desired: Arc<NetState>,
}

/// Makes the containers of one cluster.
pub struct Provisioner {
    fleet: Fleet,
    cluster: Cluster,
    options: Vec<NodeOptions>,
    image: SelfImage,
    owner: String,
    timeout: Duration,
    sandboxes: Vec<AsyncMutex<SandboxSlot>>,
    /// The ports of each node that are published, by its sandbox.
    ports: Vec<Mutex<Vec<PublishedPort>>>,
    /// Whose sandbox a container is.
    sandbox_ids: Mutex<HashMap<ContainerId, usize>>,
    /// What the kernel of each engine can do, once that is known.
    kernels: Vec<OnceLock<Capabilities>>,
    /// The engines' warnings, each once.
    warnings: Mutex<BTreeSet<String>>,
    /// How many containers were described.
    described: AtomicU64,
}

impl Provisioner {
    /// A provisioner for a cluster whose network exists, with the options of each node in order. It gives an engine `timeout` for a
    /// node.
    pub fn new(
        fleet: impl Into<Fleet>,
        cluster: Cluster,
        options: Vec<NodeOptions>,
        image: SelfImage,
        owner: String,
        timeout: Duration,
    ) -> Self {
        let sandboxes = (0..cluster.len()).map(|_| AsyncMutex::default()).collect();
        let ports = (0..cluster.len()).map(|_| Mutex::default()).collect();
        let kernels = (0..cluster.spec().engines()).map(|_| OnceLock::new()).collect();
        let (sandbox_ids, warnings, described) = Default::default();
        Self {
            fleet: fleet.into(),
            cluster,
            options,
            image,
            owner,
            timeout,
            sandboxes,
            ports,
            sandbox_ids,
            kernels,
            warnings,
            described,
        }
    }

    /// The engines that it works through.
    pub(crate) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The engine that a node runs in.
    fn engine_of(&self, index: usize) -> &dyn Engine {
        &**self.fleet.engine(self.cluster.host_of(index))
    }

    /// The ports of a node that are published, with the host's port each.
    pub(crate) fn ports(&self, index: usize) -> Vec<PublishedPort> {
        self.ports[index].lock().clone()
    }

    /// The engines' warnings when containers were created, each once.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warnings.lock().iter().cloned().collect()
    }

    /// Makes a node's sandbox, in place of one that it may have, and its container, and returns the latter's id.
    ///
    /// # Errors
    /// The engine's. The caller names the node.
    pub async fn make(&self, index: usize) -> Result<ContainerId> {
        self.make_in_time(index, false).await
    }

    /// The same in the sandbox that it has.
    ///
    /// # Errors
    /// As [`Provisioner::make`].
    pub(crate) async fn make_in_sandbox(&self, index: usize) -> Result<ContainerId> {
        self.make_in_time(index, true).await
    }

    async fn make_in_time(&self, index: usize, keeps_sandbox: bool) -> Result<ContainerId> {
        let late = |_| {
            let seconds = self.timeout.as_secs_f64();
            Err(EngineError::Unreachable(format!("it did not answer within {seconds} s")))
        };
        time::timeout(self.timeout, self.make_now(index, keeps_sandbox)).await.unwrap_or_else(late)
    }

    async fn make_now(&self, index: usize, keeps_sandbox: bool) -> Result<ContainerId> {
        let mut slot = self.sandboxes[index].lock().await;
        if slot.live.is_none() || !keeps_sandbox {
            // Remove the old one: it may still hold the address, under another name.
            if let Some(sandbox) = &slot.live {
                self.engine_of(index).remove(&sandbox.id).await?;
                self.drop_sandbox(&mut slot);
            }
            let mut sandbox = self.make_sandbox_when_free(index).await?;
            self.hand_on(index, &mut sandbox, &slot.desired).await?;
            self.sandbox_ids.lock().insert(sandbox.id.clone(), index);
            slot.live = Some(sandbox);
        }
        let sandbox = slot.live.as_ref().map(|sandbox| sandbox.id.clone());
        let spec = self.node(index, sandbox.ok_or_else(|| EngineError::NotFound("no sandbox".into()))?);
        self.make_volumes(index, &spec.labels).await?;
        self.create(index, &spec).await
    }

    /// Closes the connection to a sandbox and forgets it.
    fn drop_sandbox(&self, slot: &mut SandboxSlot) {
        if let Some(sandbox) = slot.live.take() {
            self.sandbox_ids.lock().remove(&sandbox.id);
        }
    }

    /// A lost sandbox of ours may hold the address. If it was this node's, it is removed. If it is another node's,
    /// which got the address when it was connected again, it is removed when that node is created again at the same
    /// time.
    async fn make_sandbox_when_free(&self, index: usize) -> Result<Sandbox> {
        const TRIES: u32 = 30;
        for _ in 1..TRIES {
            let any_lost = || self.cluster.snapshot().iter().any(|node| node.sandbox_lost.is_some());
            match self.make_sandbox(index).await {
                Err(EngineError::Refused(why)) if why.contains(network::NOT_FREE) => {
                    if self.remove_sandboxes_of(index).await? {
                        continue;
                    }
                    if !any_lost() {
                        return Err(EngineError::Refused(why));
                    }
                    time::sleep(Duration::from_millis(100)).await;
                }
                made => return made,
            }
        }
        self.make_sandbox(index).await
    }

    /// Removes the sandboxes that a node has under other names: one that was renamed while it was being made is
    /// recorded nowhere. Returns whether there were any.
    async fn remove_sandboxes_of(&self, index: usize) -> Result<bool> {
        let node = self.cluster.node_spec(index);
        let own = self.cluster.spec().sandbox_name(node);
        let is_its = |listed: &Listed| {
            let has = |key: &str, value: &str| listed.labels.iter().any(|label| label.0 == key && label.1 == value);
            has(label::NODE, node.name.as_str()) && has(label::ROLE, label::SANDBOX) && listed.name != own
        };
        let mut removed = false;
        for listed in self.listed(index).await?.iter().filter(|listed| is_its(listed)) {
            self.engine_of(index).remove(&listed.id).await?;
            removed = true;
        }
        Ok(removed)
    }

    /// The cluster's containers in a node's engine.
    async fn listed(&self, index: usize) -> Result<Vec<Listed>> {
        let ours = format!("{}={}", label::CLUSTER, self.cluster.spec().id);
        teardown::labelled(self.engine_of(index), &ours).await
    }

    /// Whether a node's port accepts TCP connections. Tried from the node's own network namespace, so neither the
    /// engine's location nor network faults matter. The inner error says why not.
    ///
    /// # Errors
    /// The sandbox's, or that there is none.
    pub(crate) async fn accepts(&self, index: usize, port: u16) -> Result<std::result::Result<(), String>> {
        let mut slot = self.sandboxes[index].lock().await;
        let sandbox = slot.live.as_mut().ok_or_else(|| EngineError::NotFound("no sandbox".into()))?;
        // A task that creates the node again waits for this lock.
        let asked = time::timeout(SANDBOX, sandbox.client.connects(self.cluster.node_spec(index).ip, port));
        let answer = asked.await.map_err(|_| EngineError::TimedOut(SANDBOX))?;
        answer.map_err(|error| EngineError::Refused(error.to_string()))
    }

    /// Whether a node reaches another's address: something answers there, if only that no program listens.
    ///
    /// # Errors
    /// The sandbox's, or that there is none.
    pub(crate) async fn reaches(&self, from: usize, address: Ipv4Addr) -> Result<bool> {
        let mut slot = self.sandboxes[from].lock().await;
        let sandbox = slot.live.as_mut().ok_or_else(|| EngineError::NotFound("no sandbox".into()))?;
        let asked = time::timeout(SANDBOX, sandbox.client.connects(address, SELDOM_USED)).await;
        let answer = asked.map_err(|_| EngineError::TimedOut(SANDBOX))?;
        let refused = io::ErrorKind::ConnectionRefused.to_string();
        let answer = answer.map_err(|error| EngineError::Refused(error.to_string()))?;
        Ok(answer.map_or_else(|why| why == refused, |()| true))
    }

    async fn make_sandbox(&self, index: usize) -> Result<Sandbox> {
        let engine = self.engine_of(index);
        let spec = self.sandbox(index);
        let id = self.create(index, &spec).await?;
        let mut client = sandbox::Client::new(engine.attach(&id).await?);
        let ip = self.cluster.node_spec(index).ip;
        let network = self.options[index].endpoints.first().map_or("", |endpoint| endpoint.network.as_str());
        engine.start(&id).await.map_err(|error| network::address_taken(error, ip, network))?;
        let hello =
            client.hello().await.map_err(|error| EngineError::Refused(format!("its sandbox failed: {error}")))?;
        let addresses = self.cluster.node_spec(index).addresses();
        if let Some(ip) = addresses.iter().find(|ip| !hello.addresses.contains(ip)) {
            return Err(EngineError::Refused(format!("its sandbox did not get the address {ip}")));
        }
        let seen = engine.inspect(&id).await?;
        let run = Run::of(&seen);
        *self.ports[index].lock() = seen.ports;
        Ok(Sandbox { id, run, client })
    }

    /// Creates a container in place of one of ours that has its name: a sandbox on its way out, or what a create made
    /// whose answer was lost.
    async fn create(&self, index: usize, spec: &ContainerSpec) -> Result<ContainerId> {
        let engine = self.engine_of(index);
        let (id, warnings) = match engine.create_with_warnings(spec).await {
            Err(EngineError::Conflict(_)) => {
                self.remove_by_name(index, &spec.name).await?;
                engine.create_with_warnings(spec).await
            }
            // `cthulhu prune` by another version of the program, while no container of ours used the image.
            Err(EngineError::NotFound(_)) if spec.image == self.image.reference => {
                selfimage::ensure(engine).await?;
                engine.create_with_warnings(spec).await
            }
            done => done,
        }?;
        let is_limited = spec.run.memory.is_some() || spec.run.nano_cpus.is_some();
        if let Some(warning) = warnings.iter().find(|warning| is_limited && tells_a_lost_limit(warning)) {
            engine.remove(&id).await?;
            return Err(EngineError::Refused(format!("the engine would not keep its limits: {warning}")));
        }
        for warning in warnings {
            tracing::warn!(container = spec.name, warning, "the engine warns");
            self.warnings.lock().insert(warning);
        }
        Ok(id)
    }

    async fn remove_by_name(&self, index: usize, name: &str) -> Result<()> {
        for listed in self.listed(index).await? {
            if listed.name == name {
                self.engine_of(index).remove(&listed.id).await?;
            }
        }
        Ok(())
    }

    fn labels(&self, index: usize, role: &str, name: &str) -> Labels {
        let spec = self.cluster.spec();
        let mut labels = cluster_labels(&spec.id, &spec.mountpoint, &self.owner);
        labels.push((label::NODE.into(), self.cluster.node_spec(index).name.to_string()));
        labels.push((label::ROLE.into(), role.into()));
        let number = self.described.fetch_add(1, Ordering::Relaxed);
        labels.push((label::CONTAINER.into(), format!("{name}/{number}")));
        labels
    }

    fn sandbox(&self, index: usize) -> ContainerSpec {
        let node = self.cluster.node_spec(index);
        let name = self.cluster.spec().sandbox_name(node);
        let mut options = self.options[index].network.clone();
        let mut entrypoint = self.image.internal("sandbox");
        let stdin = if self.is_leased(index) {
            entrypoint.extend(lease::arguments());
            Stdin::Kept
        } else {
            Stdin::UntilDetached
        };
        options.ports.extend(node.published_port.map(|host| published(host, self.cluster.spec().port)));
        ContainerSpec {
            labels: self.labels(index, label::SANDBOX, &name),
            name,
            image: self.image.reference.clone(),
            entrypoint: Some(entrypoint),
            network: Network::Attached {
                endpoints: self.options[index].endpoints.clone(),
                hostname: options.hostname.clone().unwrap_or_else(|| self.cluster.spec().host_name(node)),
                hosts: self.cluster.spec().hosts(index),
                options: options.into(),
            },
            run: RunOptions {
                cap_add: vec!["NET_ADMIN".into()],
                cap_drop: vec!["ALL".into()],
                read_only: true,
                ..RunOptions::default()
            },
            stdin,
            // With live-restore, Docker 20.10 removes containers that are to remove themselves when it starts again, running ones too.
            auto_remove: !self.engine_of(index).info().setup.live_restore,
            ..ContainerSpec::default()
        }
    }

    fn node(&self, index: usize, sandbox: ContainerId) -> ContainerSpec {
        let options = &self.options[index];
        let name = self.cluster.spec().container_name(self.cluster.node_spec(index));
        ContainerSpec {
            labels: self.labels(index, label::NODE_ROLE, &name),
            name,
            image: options.image.clone(),
            entrypoint: options.entrypoint.clone(),
            command: options.command.clone(),
            env: options.env.clone(),
            network: Network::Of(sandbox),
            volumes: self.volumes(index),
            binds: self.binds(index),
            run: options.run.clone(),
            ..ContainerSpec::default()
        }
    }
}

/// A TCP port, published on all of the host's addresses.
fn published(host_port: u16, port: u16) -> PublishedPort {
    PublishedPort { host_ip: None, host_port: Some(host_port), port, protocol: Protocol::Tcp }
}

/// Whether the engine says that it ignores a limit that was requested. ("Your kernel does not support memory limit
/// capabilities or the cgroup is not mounted. Limitation discarded.")
fn tells_a_lost_limit(warning: &str) -> bool {
    let warning = warning.to_ascii_lowercase();
    ["discarded", "ignored"].iter().any(|word| warning.contains(word))
}

/// The labels that say to which cluster and node a thing belongs.
pub(crate) fn cluster_labels(id: &ClusterId, mountpoint: &Path, owner: &str) -> Labels {
    vec![
        (label::CLUSTER.into(), id.to_string()),
        (label::MOUNTPOINT.into(), mountpoint.to_string_lossy().into_owned()),
        (label::OWNER.into(), owner.into()),
        (label::USER.into(), rustix::process::geteuid().as_raw().to_string()),
    ]
}
