//! The simulated engine: the [`Engine`] trait in memory, as Docker behaves.
//!
//! For tests, benchmarks and clusters of thousands of nodes, and for users as `--host simulated:`. It touches nothing
//! outside this process and never starts a task: whatever waits, waits in the caller's future or stream.
//!
//! Where Docker leaves a choice, this one is made:
//! - An operation takes effect at the end of its scripted delay, together with its events. A call dropped before that
//!   has no effect; [`SimulatedEngine::hang`] with an outside action stands for one that does have an effect.
//! - `start`, `pause`, `unpause` and `remove` lock their container and `inspect` waits for that lock; `stop`, `kill` and
//!   `list` do not.
//! - Which signals end a container: see [`SimulatedEngine::kill`](Engine::kill).
//! - The lines `started` and `exited CODE` go to stderr: logs have them, attachments do not.
//! - A sandbox ends with its stdin, never by its lease: no time passes in a process that is not there.
//! - Events are those that change a state; there are none for a signal that changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};

use super::{
    Attachment, BoxStream, Clock, ContainerId, ContainerSpec, Engine, EngineError, EngineInfo, Event, Exit, Inspection,
    Labels, Listed, ListedImage, ListedNetwork, ListedVolume, LogChunk, NewNetwork, PullProgress, Result, Setup, Usage,
    clock,
};
use crate::sync::{Mutex, OwnedMutexGuard, mpsc, select, time, watch};

mod container;
mod hang;
mod images;
mod labels;
mod net;
mod networks;
mod outside;
mod process;
mod sandbox;
mod script;
mod streams;
mod swarm;
#[cfg(test)]
mod tests;
mod url;
mod world;

pub use outside::ContainerSnapshot;
pub use script::Op;
pub use swarm::engines;

use hang::Hang;
use script::{Gate, Script};
use swarm::Member;
use url::Address;
use world::World;

/// A container engine in memory. Clones are handles on the same engine.
#[derive(Clone)]
pub struct SimulatedEngine {
    shared: Arc<Shared>,
}

/// What all handles on one engine share.
struct Shared {
    info: EngineInfo,
    /// Containers, networks, images and event streams.
    world: Mutex<World>,
    /// Delays and failures to come, and the calls counted.
    script: Mutex<Script>,
    /// What holds calls back; waiting ones watch it.
    gate: watch::Sender<Gate>,
    /// What holds everything back.
    hang: Hang,
    /// Its membership of a swarm.
    swarm: Option<Member>,
}

impl Default for SimulatedEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl SimulatedEngine {
    /// An engine without containers or images, which answers at once.
    pub fn new() -> Self {
        Self::made("simulated".into(), &Address { url: "simulated:".into(), ..Address::default() }, None)
    }

    /// The engine on a machine of that name, as `address` says.
    fn made(machine: String, address: &Address, swarm: Option<Member>) -> Self {
        let mut world = World::new(&machine, swarm.clone());
        world.clock.offset = address.clock;
        let info = EngineInfo {
            description: format!("Simulated engine {}", env!("CARGO_PKG_VERSION")),
            address: address.url.clone(),
            id: format!("engine-{machine}"),
            labels: address.labels.clone(),
            swarm: swarm.as_ref().map(|member| member.describe(&machine)),
            name: machine,
            is_here: true,
            over_ssh: false,
            local: false,
            setup: Setup::default(),
        };
        let engine = Self {
            shared: Arc::new(Shared {
                info,
                world: Mutex::new(world),
                script: Mutex::new(Script::default()),
                gate: watch::channel(Gate::default()).0,
                hang: address.hang.clone(),
                swarm,
            }),
        };
        address.delays.iter().for_each(|(op, delay)| engine.delay(*op, *delay));
        engine
    }

    fn count(&self, op: Op) {
        self.shared.script.lock().count(op);
    }

    /// Waits until `op` no longer hangs; the answer is its delay, or its scripted failure once the delay has passed.
    async fn pass(&self, op: Op) -> Result<Duration> {
        self.shared.hang.over().await;
        let mut gate = self.shared.gate.subscribe();
        let connected =
            gate.wait_for(|gate| !gate.connected || !gate.hung.contains(&op)).await.is_ok_and(|gate| gate.connected);
        if !connected {
            return Err(streams::unreachable());
        }
        let (delay, failure) = self.shared.script.lock().next(op);
        match failure {
            None => Ok(delay),
            Some(error) => {
                self.wait(delay).await?;
                Err(error)
            }
        }
    }

    /// Lets `delay` pass, unless the engine becomes unreachable first.
    async fn wait(&self, delay: Duration) -> Result<()> {
        if delay.is_zero() {
            return Ok(());
        }
        let mut gate = self.shared.gate.subscribe();
        select! {
            () = time::sleep(delay) => Ok(()),
            _ = gate.wait_for(|gate| !gate.connected) => Err(streams::unreachable()),
        }
    }

    /// Counts a call and holds it back as scripted.
    async fn admit(&self, op: Op) -> Result<()> {
        self.count(op);
        let delay = self.pass(op).await?;
        self.wait(delay).await
    }

    /// As [`Self::admit`], with the container's lock held meanwhile, and on as long as the answer is kept.
    async fn admit_alone(&self, op: Op, id: &ContainerId) -> Result<Option<OwnedMutexGuard<()>>> {
        self.count(op);
        let guard = self.lock(id).await;
        let delay = self.pass(op).await?;
        self.wait(delay).await?;
        Ok(guard)
    }

    /// The container's lock; `None` when there is no such container.
    async fn lock(&self, id: &ContainerId) -> Option<OwnedMutexGuard<()>> {
        let busy = self.shared.world.lock().busy(&id.0)?;
        Some(busy.lock_owned().await)
    }
}

#[async_trait]
impl Engine for SimulatedEngine {
    fn info(&self) -> &EngineInfo {
        &self.shared.info
    }

    async fn ping(&self) -> Result<()> {
        self.admit(Op::Ping).await
    }

    async fn clock(&self) -> Result<Clock> {
        let question = clock::Question::ask();
        self.admit(Op::Clock).await?;
        let theirs = self.shared.world.lock().clock.tick();
        Ok(question.answered(theirs))
    }

    async fn swarm_nodes(&self) -> Result<Vec<String>> {
        self.admit(Op::SwarmNodes).await?;
        let managed = self.shared.swarm.as_ref().filter(|member| member.is_manager);
        managed.map(|member| member.swarm.nodes.clone()).ok_or_else(swarm::no_manager)
    }

    async fn create_with_warnings(&self, spec: &ContainerSpec) -> Result<(ContainerId, Vec<String>)> {
        self.admit(Op::Create).await?;
        let mut world = self.shared.world.lock();
        Ok((world.create(spec)?, Vec::new()))
    }

    async fn start(&self, id: &ContainerId) -> Result<()> {
        let _alone = self.admit_alone(Op::Start, id).await?;
        self.shared.world.lock().start(&id.0)
    }

    /// Its process dies of SIGTERM (143), or of SIGKILL (137) when `grace` is zero or over.
    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        self.admit(Op::Stop).await?;
        let outlives = self.shared.world.lock().get(&id.0).is_ok_and(|container| container.ignores_stop);
        if outlives && !grace.is_zero() {
            time::sleep(grace).await;
            return self.shared.world.lock().stop(&id.0, Duration::ZERO);
        }
        self.shared.world.lock().stop(&id.0, grace)
    }

    /// Its process is taken for a usual server. HUP, USR1 and USR2 have handlers (reload, reopen logs, …); CHLD, CONT,
    /// URG and WINCH are ignored, as is the kernel's default; STOP, TSTP, TTIN and TTOU end nothing. Every other signal
    /// ends it with 128 + its number. Any signal resumes a paused container.
    async fn kill(&self, id: &ContainerId, signal: &str) -> Result<()> {
        self.admit(Op::Kill).await?;
        self.shared.world.lock().kill(&id.0, signal)
    }

    async fn pause(&self, id: &ContainerId) -> Result<()> {
        let _alone = self.admit_alone(Op::Pause, id).await?;
        self.shared.world.lock().pause(&id.0)
    }

    async fn unpause(&self, id: &ContainerId) -> Result<()> {
        let _alone = self.admit_alone(Op::Unpause, id).await?;
        self.shared.world.lock().unpause(&id.0)
    }

    async fn remove(&self, id: &ContainerId) -> Result<()> {
        let _alone = self.admit_alone(Op::Remove, id).await?;
        self.shared.world.lock().remove(&id.0);
        Ok(())
    }

    async fn inspect(&self, id: &ContainerId) -> Result<Inspection> {
        self.count(Op::Inspect);
        drop(self.lock(id).await);
        let delay = self.pass(Op::Inspect).await?;
        self.wait(delay).await?;
        self.shared.world.lock().inspect(&id.0)
    }

    async fn list(&self, label: Option<&str>) -> Result<Vec<Listed>> {
        self.admit(Op::List).await?;
        Ok(self.shared.world.lock().list(label))
    }

    async fn events(&self, label: &str) -> Result<BoxStream<Result<Event>>> {
        self.admit(Op::Events).await?;
        let receiver: mpsc::UnboundedReceiver<Result<Event>> = {
            let mut world = self.shared.world.lock();
            // `disconnect` closes the gate first and ends the streams then, under this lock: none slips through.
            if !self.shared.gate.borrow().connected {
                return Err(streams::unreachable());
            }
            world.bus.subscribe(label)
        };
        Ok(self.shared.hang.stream(streams::received(receiver)))
    }

    async fn logs(&self, id: &ContainerId, since: i64, follow: bool) -> Result<BoxStream<Result<LogChunk>>> {
        self.admit(Op::Logs).await?;
        let journal = self.shared.world.lock().journal(&id.0)?;
        Ok(self.shared.hang.stream(if follow {
            streams::follow(journal, since, self.shared.gate.subscribe())
        } else {
            stream::iter(journal.since(since).into_iter().map(Ok)).boxed()
        }))
    }

    /// Every process takes a fiftieth of a CPU and 4 MiB.
    async fn stats(&self, id: &ContainerId) -> Result<Usage> {
        self.admit(Op::Stats).await?;
        self.shared.world.lock().stats(&id.0)
    }

    /// Every program exists and ends with status 0.
    async fn exec(&self, id: &ContainerId, _argv: &[String]) -> Result<Exit> {
        self.admit(Op::Exec).await?;
        self.shared.world.lock().exec(&id.0)
    }

    async fn attach(&self, id: &ContainerId) -> Result<Attachment> {
        self.admit(Op::Attach).await?;
        let attached = self.shared.world.lock().attach(&id.0)?;
        Ok(self.shared.hang.attachment(streams::attachment(Arc::downgrade(&self.shared), attached)))
    }

    async fn has_image(&self, reference: &str) -> Result<bool> {
        self.admit(Op::HasImage).await?;
        Ok(self.shared.world.lock().images.has(reference))
    }

    async fn image_volumes(&self, reference: &str) -> Result<Vec<String>> {
        self.admit(Op::ImageVolumes).await?;
        self.shared.world.lock().images.volumes(reference)
    }

    /// The scripted delay is spread over the steps.
    async fn pull(&self, reference: &str) -> Result<BoxStream<Result<PullProgress>>> {
        self.count(Op::Pull);
        let delay = self.pass(Op::Pull).await?;
        Ok(self.pulled(reference, delay))
    }

    async fn import(&self, reference: &str, _archive: Vec<u8>) -> Result<()> {
        self.admit(Op::Import).await?;
        self.shared.world.lock().images.add(reference);
        Ok(())
    }

    async fn list_images(&self, name: &str) -> Result<Vec<ListedImage>> {
        self.admit(Op::ListImages).await?;
        Ok(self.shared.world.lock().images.list(name))
    }

    async fn remove_image(&self, reference: &str) -> Result<()> {
        self.admit(Op::RemoveImage).await?;
        self.shared.world.lock().remove_image(reference)
    }

    async fn create_network(&self, name: &str, network: &NewNetwork, labels: &Labels) -> Result<String> {
        self.admit(Op::CreateNetwork).await?;
        self.shared.world.lock().create_network(name, network, labels)
    }

    async fn list_networks(&self, label: Option<&str>) -> Result<Vec<ListedNetwork>> {
        self.admit(Op::ListNetworks).await?;
        let mut listed = self.shared.world.lock().networks.list(label);
        for network in &mut listed {
            network.used.clear();
        }
        Ok(listed)
    }

    async fn network(&self, name: &str) -> Result<ListedNetwork> {
        self.admit(Op::Network).await?;
        let world = self.shared.world.lock();
        let network = world.networks.find(name)?.listed();
        Ok(ListedNetwork { names: world.names_in(&network), ..network })
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        self.admit(Op::RemoveNetwork).await?;
        self.shared.world.lock().networks.remove(name)
    }

    async fn create_volume(&self, name: &str, labels: &Labels, _directory: Option<&Path>) -> Result<()> {
        self.admit(Op::CreateVolume).await?;
        self.shared.world.lock().volumes.entry(name.to_owned()).or_insert_with(|| labels.clone());
        Ok(())
    }

    async fn list_volumes(&self, label: Option<&str>) -> Result<Vec<ListedVolume>> {
        self.admit(Op::ListVolumes).await?;
        Ok(self.shared.world.lock().list_volumes(label))
    }

    async fn volume_mountpoint(&self, name: &str) -> Result<PathBuf> {
        self.admit(Op::VolumeMountpoint).await?;
        match self.shared.world.lock().volumes.contains_key(name) {
            true => Ok(Path::new("/simulated/volumes").join(name)),
            false => Err(EngineError::NotFound(format!("no such volume: {name}"))),
        }
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        self.admit(Op::RemoveVolume).await?;
        self.shared.world.lock().remove_volume(name)
    }
}

impl SimulatedEngine {
    /// The steps of a pull, `delay` in all; the image is there with the last one.
    fn pulled(&self, reference: &str, delay: Duration) -> BoxStream<Result<PullProgress>> {
        const TOTAL: u64 = 12_000_000;
        const STEPS: [(&str, u64); 5] = [
            ("Pulling fs layer", 0),
            ("Downloading", TOTAL / 3),
            ("Downloading", TOTAL),
            ("Extracting", TOTAL),
            ("Pull complete", TOTAL),
        ];
        let (engine, reference) = (self.clone(), reference.to_owned());
        stream::unfold(Some(0), move |step| {
            let (engine, reference) = (engine.clone(), reference.clone());
            async move {
                let step = step?;
                let &(name, done) = STEPS.get(step)?;
                if let Err(error) = engine.wait(delay / STEPS.len() as u32).await {
                    return Some((Err(error), None));
                }
                let mut world = engine.shared.world.lock();
                if world.images.missing(&reference) {
                    let error =
                        EngineError::NotFound(format!("pull access denied for {reference}, repository does not exist"));
                    return Some((Err(error), None));
                }
                if step + 1 == STEPS.len() {
                    world.images.add(&reference);
                }
                let progress = PullProgress { step: name.to_owned(), done, total: TOTAL };
                Some((Ok(progress), Some(step + 1)))
            }
        })
        .boxed()
    }
}
