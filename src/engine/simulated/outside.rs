//! Changes that do not come through the engine's API, and the state that tests look at.
//!
//! These actions are not calls: scripted delays, failures and lost connections do not affect them, and they are not
//! counted.

use super::SimulatedEngine;
use super::world::{KILLED, World};
use crate::engine::{ContainerId, ContainerSpec, EngineError, Health, ListedNetwork, Result, Status};

/// One container as it is at this moment.
#[derive(Clone, Debug)]
pub struct ContainerSnapshot {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// Its state.
    pub status: Status,
    /// Pid of its process while there is one.
    pub pid: Option<i32>,
    /// How often it was started.
    pub starts: u64,
    /// The signals that [`kill`](crate::engine::Engine::kill) sent to it, for example `SIGUSR1`.
    pub signals: Vec<String>,
    /// What it was created from.
    pub spec: ContainerSpec,
}

impl SimulatedEngine {
    /// Makes the image exist.
    pub fn add_image(&self, reference: &str) {
        self.shared.world.lock().images.add(reference);
    }

    /// Makes the image exist, with these paths as volumes.
    pub fn add_image_with_volumes(&self, reference: &str, paths: &[&str]) {
        let mut world = self.shared.world.lock();
        world.images.add(reference);
        world.images.declare(reference, paths);
    }

    /// Makes pulling that image fail, as if no registry had it.
    pub fn miss_image(&self, reference: &str) {
        self.shared.world.lock().images.miss(reference);
    }

    /// Ends the container's process with that exit code, as if by itself.
    pub fn die(&self, name: &str, exit_code: i64) -> Result<()> {
        let mut world = self.shared.world.lock();
        let id = living(&world, name)?;
        world.end(&id, exit_code);
        Ok(())
    }

    /// Someone else kills it (SIGKILL).
    pub fn kill_outside(&self, name: &str) -> Result<()> {
        self.die(name, KILLED)
    }

    /// The kernel's OOM killer ends it.
    pub fn exhaust_memory(&self, name: &str) -> Result<()> {
        let mut world = self.shared.world.lock();
        let id = living(&world, name)?;
        world.exhaust_memory(&id);
        Ok(())
    }

    /// Someone else starts it.
    pub fn start_outside(&self, name: &str) -> Result<()> {
        self.shared.world.lock().start(name)
    }

    /// Someone else pauses it.
    pub fn pause_outside(&self, name: &str) -> Result<()> {
        self.shared.world.lock().pause(name)
    }

    /// Someone else resumes it.
    pub fn unpause_outside(&self, name: &str) -> Result<()> {
        self.shared.world.lock().unpause(name)
    }

    /// Someone else restarts it: the same container, also one that removes itself when it ends, in another run.
    pub fn restart_outside(&self, name: &str) -> Result<()> {
        self.shared.world.lock().restart(name)
    }

    /// Someone else gives it another name.
    pub fn rename_outside(&self, name: &str, new: &str) -> Result<()> {
        self.shared.world.lock().rename(name, new)
    }

    /// Someone else disconnects it from its network.
    pub fn disconnect_network(&self, name: &str) -> Result<()> {
        self.shared.world.lock().disconnect_network(name)
    }

    /// Someone else connects it to its network again: with the address that it had, and without anything that was done to
    /// its interface.
    pub fn connect_network(&self, name: &str) -> Result<()> {
        self.shared.world.lock().connect_network(name)
    }

    /// Someone else removes it, killing it first.
    pub fn remove_outside(&self, name: &str) -> Result<()> {
        let mut world = self.shared.world.lock();
        world.get(name)?;
        world.remove(name);
        Ok(())
    }

    /// Its HEALTHCHECK comes to another result. Each start resets it to [`Health::Starting`].
    pub fn set_health(&self, name: &str, health: Health) -> Result<()> {
        self.shared.world.lock().set_health(name, health)
    }

    /// It does not end for its stop signal any more, only for the SIGKILL after the grace.
    pub fn ignore_stop(&self, name: &str) -> Result<()> {
        self.shared.world.lock().get_mut(name)?.ignores_stop = true;
        Ok(())
    }

    /// Makes a network that was created one of that driver, whose addresses the engine chooses from these ranges.
    pub fn reshape_network(&self, name: &str, driver: &'static str, ranges: &[&str]) -> Result<()> {
        self.shared.world.lock().networks.reshape(name, driver, ranges)
    }

    /// Its process writes to stdout.
    pub fn print(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut world = self.shared.world.lock();
        living(&world, name)?;
        world.print(name, bytes)
    }

    /// All containers, the newest first.
    pub fn containers(&self) -> Vec<ContainerSnapshot> {
        let world = self.shared.world.lock();
        let all = world.containers().into_iter();
        all.map(|container| ContainerSnapshot {
            id: ContainerId(container.id.clone()),
            name: container.spec.name.clone(),
            status: container.status,
            pid: container.pid,
            starts: container.starts,
            signals: container.signals.clone(),
            spec: container.spec.clone(),
        })
        .collect()
    }

    /// The networks that were created, without the engine's own, with the addresses in use.
    pub fn networks(&self) -> Vec<ListedNetwork> {
        self.shared.world.lock().networks.created()
    }
}

/// The id of a container that has a process.
fn living(world: &World, name: &str) -> Result<String> {
    let container = world.get(name)?;
    if container.alive() {
        return Ok(container.id.clone());
    }
    let why = format!("Container {} is not running", container.id);
    Err(EngineError::Conflict(why))
}
