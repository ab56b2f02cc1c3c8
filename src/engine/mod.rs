//! What cthulhu asks of a container engine.
//!
//! Holds the [`Engine`] trait, its plain data and its errors. Implementations: [`docker`] (the only code that names
//! bollard) and [`simulated`] (in memory). It does not know clusters, trees or FUSE.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite};

mod clock;
pub mod docker;
mod liveness;
mod options;
mod signal;
pub mod simulated;
mod spec;

pub use clock::Clock;
pub(crate) use liveness::{falls_silent, while_it_answers};
pub(crate) use options::check_tmpfs_options;
pub use options::{
    CgroupNamespace, Device, Gpus, HealthCheck, NetworkOptions, Protocol, PublishedPort, RestartPolicy, RunOptions,
    Ulimit,
};
pub(crate) use signal::Signal;
pub use spec::{Bind, ContainerSpec, Endpoint, Network, Stdin, VolumeMount};

/// A boxed stream that can be held by a task.
pub type BoxStream<T> = Pin<Box<dyn Stream<Item = T> + Send>>;

/// The engine's own id of a container (64 hex digits on Docker).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct ContainerId(pub String);

impl std::fmt::Display for ContainerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Labels as the engine stores them: key and value.
pub type Labels = Vec<(String, String)>;

/// What can go wrong when the engine is asked for something.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum EngineError {
    /// No connection to the engine, or it broke.
    #[error("cannot reach the engine: {0}")]
    Unreachable(String),
    /// We may not use the engine's socket.
    #[error("no permission to use the engine: {0}")]
    Denied(String),
    /// The thing named does not exist (HTTP 404).
    #[error("{0}")]
    NotFound(String),
    /// Its present state forbids the operation, or the name is taken (HTTP 409).
    #[error("{0}")]
    Conflict(String),
    /// No answer in time.
    #[error("the engine did not answer in {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The engine refused, for the reason it gave.
    #[error("{0}")]
    Refused(String),
}

/// Result of an engine call.
pub type Result<T> = std::result::Result<T, EngineError>;

/// Who the engine is and where.
#[derive(Clone, Debug)]
pub struct EngineInfo {
    /// Product and version, for example `Docker Engine 20.10.24, API 1.41`.
    pub description: String,
    /// The address in use, for example `unix:///var/run/docker.sock`.
    pub address: String,
    /// What its machine is called; empty if it does not say.
    pub name: String,
    /// The engine's own id; empty if it does not say. Docker 20.10 takes it from /etc/docker/key.json, so engines on one machine, and
    /// copied machines, have the same; [`Swarm::node`] is unique.
    pub id: String,
    /// The labels that its administrator gave it.
    pub labels: Labels,
    /// Its part in a swarm, if it is in one.
    pub swarm: Option<Swarm>,
    /// Whether it runs on this machine, so that its containers see this machine's files.
    pub(crate) is_here: bool,
    /// It is reached over ssh: on another machine, or as if it were.
    pub(crate) over_ssh: bool,
    /// Whether its processes run on this machine, in a pid namespace that we see: pidfds and host routes mean something then.
    pub(crate) local: bool,
    /// How it is set up.
    pub(crate) setup: Setup,
}

/// An engine's part in a Docker swarm, as it was when we connected.
///
/// Two engines are in one swarm if [`Engine::swarm_nodes`] of a manager names the [`node`](Self::node) of the other: workers
/// do not know the swarm's id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swarm {
    /// The swarm's id; empty on a worker.
    pub cluster: String,
    /// This engine's id in the swarm.
    pub node: String,
    /// The address at which the swarm's other engines reach this one.
    pub address: String,
    /// Whether it answers for the swarm: only a manager creates overlay networks and lists nodes.
    pub is_manager: bool,
    /// Whether it takes part now. One that has joined but lost the managers, or whose swarm is locked, does not.
    pub is_active: bool,
    /// Addresses of the managers it knows, `HOST:PORT`, sorted.
    pub managers: Vec<String>,
}

/// How an engine is set up, as far as that changes what its containers can do. What an engine does not report counts as
/// usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    /// It runs as an ordinary user, with a network namespace of its own.
    pub(crate) rootless: bool,
    /// Root in a container is another user on the host (`userns-remap`).
    pub(crate) remaps_users: bool,
    /// Containers keep running while it restarts (`live-restore`).
    pub(crate) live_restore: bool,
    pub(crate) limits_memory: bool,
    /// It can limit CPU time.
    pub(crate) limits_cpu: bool,
    pub(crate) freezes: bool,
    /// It runs in a virtual machine of Docker Desktop.
    pub(crate) desktop: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            rootless: false,
            remaps_users: false,
            live_restore: false,
            limits_memory: true,
            limits_cpu: true,
            freezes: true,
            desktop: false,
        }
    }
}

/// Ports that one Linux bridge holds (BR_MAX_PORTS, net/bridge/br_private.h: 1 << 10, port 0 unused). No cluster can
/// have more nodes.
pub(crate) const BRIDGE_PORTS: usize = 1023;

/// How far a network reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetworkDriver {
    /// The engine's host.
    #[default]
    Bridge,
    /// All engines of a swarm. Any container may be attached; traffic between engines is not encrypted.
    Overlay,
}

impl NetworkDriver {
    /// The engine's word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Overlay => "overlay",
        }
    }
}

/// A network to create.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewNetwork {
    /// How far it reaches.
    pub driver: NetworkDriver,
    /// `ADDRESS/BITS`.
    pub subnet: String,
    /// The address of the bridge itself; the engine chooses the first one if there is none.
    pub gateway: Option<Ipv4Addr>,
    /// Of which the engine takes addresses of its own choice: `ADDRESS/BITS`, within the subnet.
    pub ip_range: Option<String>,
    /// Without a way out of the engine's host.
    pub internal: bool,
}

impl From<&str> for NewNetwork {
    /// An ordinary network on this subnet.
    fn from(subnet: &str) -> Self {
        Self { subnet: subnet.into(), ..Self::default() }
    }
}

/// A container's state as the engine sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Created, never started.
    Created,
    /// Running.
    Running,
    /// Frozen.
    Paused,
    /// Its process has ended (also the engine's `dead`, `removing`, podman's `stopped`).
    Exited,
}

/// What the engine says of a container's HEALTHCHECK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// The image has none.
    None,
    /// Not yet decided.
    Starting,
    /// Last probe passed.
    Healthy,
    /// Enough probes in a row failed.
    Unhealthy,
}

/// The latest check that a container's HEALTHCHECK has made, in whichever run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// When it began, in ns since the Unix epoch on the engine's clock.
    pub(crate) began: i64,
    /// Its exit status: 0 if it passed, -1 from Docker if it took too long.
    pub(crate) exit_code: i64,
    /// What it wrote: at most the first [`OUTPUT_KEPT`] bytes.
    pub(crate) output: String,
}

/// How a program ended that was run in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    pub(crate) code: i64,
    /// What it wrote to stdout and stderr: at most the first [`OUTPUT_KEPT`] bytes.
    pub(crate) output: Vec<u8>,
    /// Of that, what it wrote to stdout.
    pub(crate) stdout: Vec<u8>,
}

/// Most of a program's output that is kept, in bytes.
pub(crate) const OUTPUT_KEPT: usize = 4096;

/// One container, inspected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Its id.
    pub id: ContainerId,
    /// Its state.
    pub status: Status,
    /// Host pid of its first process; `None` unless running or paused.
    pub pid: Option<i32>,
    /// Exit code of its last run; `None` if it has never run or its first run still lasts.
    pub exit_code: Option<i64>,
    /// The kernel's OOM killer has ended a process of its present or last run.
    pub(crate) out_of_memory: bool,
    /// State of its HEALTHCHECK.
    pub health: Health,
    /// It is called unhealthy though too few checks in a row have failed for that: Docker does so from the moment a
    /// container is paused until the first check after it was resumed.
    pub(crate) unhealthy_unchecked: bool,
    /// The latest check, if there was one.
    pub(crate) check: Option<Check>,
    /// When its present or last run began, in ns since the Unix epoch on the engine's clock; 0 if never.
    pub started_at: i64,
    /// The ports that are published now, with the host's port each; none while it does not run.
    pub ports: Vec<PublishedPort>,
    /// The engine's whole answer, as JSON text, pretty-printed, no newline at its end.
    pub raw: String,
}

/// A container in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: ContainerId,
    /// Its name, without a leading slash.
    pub name: String,
    /// The image that it was made from, as the engine writes it.
    pub(crate) image: String,
    /// Its labels, those of its image among them.
    pub(crate) labels: Labels,
    /// The labels of its image; `None` if the image is gone, or the listing was not filtered by label.
    pub(crate) image_labels: Option<Labels>,
    /// As the listing says; may lag behind a running operation.
    pub running: bool,
}

/// A network in a listing.
#[derive(Clone, Debug)]
pub struct ListedNetwork {
    /// Its id.
    pub id: String,
    pub(crate) name: String,
    /// Its driver (`bridge`, `host`, …).
    pub driver: String,
    pub(crate) labels: Labels,
    /// IPv4 subnets in CIDR form.
    pub subnets: Vec<String>,
    /// Its bridge has no address on the host (gateway mode `isolated`): host and nodes do not reach each other.
    pub(crate) isolated: bool,
    /// Addresses in use: the gateway's, reserved ones, and those that containers hold now.
    pub used: Vec<Ipv4Addr>,
    /// The parts of the subnets, in CIDR form, from which the engine chooses addresses; empty if it chooses from all of them.
    pub(crate) ranges: Vec<String>,
    /// DNS names that containers have in it, each with the container's own name. Of containers that do not run, too.
    pub(crate) names: Vec<(String, String)>,
}

/// A volume in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedVolume {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
}

/// An image in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedImage {
    pub(crate) reference: String,
    /// Bytes.
    pub(crate) size: u64,
}

/// What happened to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was created.
    Created,
    /// It began a run.
    Started,
    /// Its run ended, with this exit code.
    Died(Option<i64>),
    /// It was paused.
    Paused,
    /// It was resumed.
    Unpaused,
    /// It was removed.
    Removed,
    /// The kernel's OOM killer ended one of its processes.
    OutOfMemory,
    /// Its health changed.
    Health,
    /// It was connected to a network.
    Connected,
    /// It was disconnected from one.
    Disconnected,
    /// A program run in it beside its own has ended; a HEALTHCHECK's check is one.
    ExecEnded,
    /// Anything else that may have changed it (rename, update, …).
    Other,
}

/// One event of a container of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which container.
    pub container: ContainerId,
    /// What happened.
    pub kind: EventKind,
    /// When, in ns since the Unix epoch on the engine's clock.
    pub(crate) time: i64,
}

/// A step in pulling an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullProgress {
    /// What is being done, for example `Downloading`.
    pub(crate) step: String,
    /// Bytes done so far, over all layers known.
    pub(crate) done: u64,
    /// Bytes in all, over all layers known; 0 if unknown.
    pub(crate) total: u64,
}

/// What a container uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of all its processes so far in this run, in ns. 0 if it does not run.
    pub(crate) cpu: u64,
    /// Memory in bytes, without the page cache that the kernel can drop at once; `None` if it does not run, or the
    /// engine does not say.
    pub(crate) memory: Option<u64>,
}

/// A piece of a container's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// When the engine took it, in ns since the Unix epoch; 0 if it gave no time.
    pub time: i64,
    /// The bytes written, with their newline.
    pub bytes: Vec<u8>,
}

/// An attached container's standard streams. Dropping it closes stdin.
pub struct Attachment {
    /// Writes to the container's stdin.
    pub stdin: Pin<Box<dyn AsyncWrite + Send>>,
    /// Reads the container's stdout (frames removed); stderr is dropped.
    pub stdout: Pin<Box<dyn AsyncRead + Send>>,
}

/// What cthulhu needs of a container engine. Every call may take as long as the engine does; callers set deadlines.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Who answers, and where.
    fn info(&self) -> &EngineInfo;

    /// Succeeds when the engine answers.
    async fn ping(&self) -> Result<()>;
    /// Its clock beside ours. `Refused` if it does not tell its time.
    async fn clock(&self) -> Result<Clock>;
    /// The ids ([`Swarm::node`]) of all engines in its swarm, sorted. `Refused` unless it is a manager.
    async fn swarm_nodes(&self) -> Result<Vec<String>>;

    /// Creates a container, with all its endpoints or not at all. [`EngineError::Conflict`] when the name is taken, `NotFound` when
    /// the image is missing.
    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId> {
        Ok(self.create_with_warnings(spec).await?.0)
    }
    /// The same, with the engine's warnings: for example that it ignores a limit that was asked for.
    async fn create_with_warnings(&self, spec: &ContainerSpec) -> Result<(ContainerId, Vec<String>)>;
    /// Starts it; `Ok` too when it runs already.
    async fn start(&self, id: &ContainerId) -> Result<()>;
    /// Stop signal, then SIGKILL after `grace`; `Ok` too when it does not run.
    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()>;
    /// Sends `signal` (a name such as `SIGTERM`, or a number); `Conflict` when it does not run.
    async fn kill(&self, id: &ContainerId, signal: &str) -> Result<()>;
    /// Pauses it; `Conflict` when it is paused or does not run.
    async fn pause(&self, id: &ContainerId) -> Result<()>;
    /// Resumes it; `Conflict` when it is not paused.
    async fn unpause(&self, id: &ContainerId) -> Result<()>;
    /// Removes it with its anonymous volumes, killing it first. After `Ok` the engine no longer knows it, also if
    /// another client began the removal.
    async fn remove(&self, id: &ContainerId) -> Result<()>;
    /// Its description. Waits while the engine works on that container.
    async fn inspect(&self, id: &ContainerId) -> Result<Inspection>;
    /// All containers, stopped ones too, that carry `label` (`key` or `key=value`), or all if `None`. A container has its image's labels too.
    async fn list(&self, label: Option<&str>) -> Result<Vec<Listed>>;
    /// Events of containers that carry `label`, and connections of any container to networks, from the moment this returns; ends with an
    /// error when the connection breaks.
    async fn events(&self, label: &str) -> Result<BoxStream<Result<Event>>>;
    /// Output from `since` (ns since the epoch, exclusive of nothing: the piece at `since` comes again) on, all runs; with `follow` until the container stops.
    async fn logs(&self, id: &ContainerId, since: i64, follow: bool) -> Result<BoxStream<Result<LogChunk>>>;
    /// What it uses now. An engine that cannot answer at once takes a second or two.
    async fn stats(&self, id: &ContainerId) -> Result<Usage>;
    /// Runs a program in a running container and returns when it has ended. `Conflict` when the container does not run. A program that cannot be started has status 126 or 127, as in a shell. Dropping the call does not end the program.
    async fn exec(&self, id: &ContainerId, argv: &[String]) -> Result<Exit>;
    /// Attaches to stdin and stdout. Call it before `start` to miss nothing.
    async fn attach(&self, id: &ContainerId) -> Result<Attachment>;

    /// Whether the image is there.
    async fn has_image(&self, reference: &str) -> Result<bool>;
    /// The paths that the image declares as volumes (VOLUME), sorted.
    async fn image_volumes(&self, reference: &str) -> Result<Vec<String>>;
    /// Pulls an image; the stream ends when it is there, or with an error.
    async fn pull(&self, reference: &str) -> Result<BoxStream<Result<PullProgress>>>;
    /// Makes an image from an uncompressed tar archive of its root file system.
    async fn import(&self, reference: &str, archive: Vec<u8>) -> Result<()>;
    /// Images of that name, one for each tag.
    async fn list_images(&self, name: &str) -> Result<Vec<ListedImage>>;
    /// Removes an image; `Ok` too when it is gone, [`EngineError::Conflict`] while a container uses it.
    async fn remove_image(&self, reference: &str) -> Result<()>;

    /// Creates a network and returns its id. `Conflict` when the name or the subnet is taken; `Refused` for an overlay
    /// on an engine that is not a swarm's manager.
    async fn create_network(&self, name: &str, network: &NewNetwork, labels: &Labels) -> Result<String>;
    /// Networks that carry `label`, or all, without [`ListedNetwork::used`] and [`ListedNetwork::names`].
    async fn list_networks(&self, label: Option<&str>) -> Result<Vec<ListedNetwork>>;
    /// One network by name or id, whole.
    async fn network(&self, name: &str) -> Result<ListedNetwork>;
    /// Removes a network; `Ok` too when it is gone.
    async fn remove_network(&self, name: &str) -> Result<()>;

    /// Creates a volume; `Ok` too when there is one of that name. What is in it lies in `directory` of the engine's host, if one is
    /// given, which must be there; it stays when the volume is removed.
    async fn create_volume(&self, name: &str, labels: &Labels, directory: Option<&Path>) -> Result<()>;
    /// Volumes that carry `label`, or all.
    async fn list_volumes(&self, label: Option<&str>) -> Result<Vec<ListedVolume>>;
    /// Where a volume's content lies on the engine's host.
    async fn volume_mountpoint(&self, name: &str) -> Result<PathBuf>;
    /// Removes a volume with what is in it; `Ok` too when it is gone, `Conflict` while a container has it.
    async fn remove_volume(&self, name: &str) -> Result<()>;
}
