//! The state of a simulated engine and its transitions. Each is one step under the engine's lock, events included.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::container::{Container, RETRIES};
use super::images::Images;
use super::labels::carries;
use super::networks::Networks;
use super::sandbox::Sandbox;
use super::streams::{Bus, Journal};
use super::swarm::Member;
use crate::engine::{
    Check, ContainerId, ContainerSpec, Endpoint, EngineError, Event, EventKind, Health, Inspection, Labels, Listed,
    ListedNetwork, ListedVolume, Network, NewNetwork, Result, Signal, Status, clock,
};
use crate::sync::AsyncMutex;

/// Pids begin above every real one, so that nothing real can be hit by mistake.
const FIRST_PID: i32 = 1_000_000_000;
/// Exit code of a process that SIGTERM ended.
const TERMINATED: i64 = 143;
/// Signals that end no simulated process: handled, ignored by default, or stopping it.
const HARMLESS: [&str; 11] = [
    "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGCONT", "SIGURG", "SIGWINCH", "SIGSTOP", "SIGTSTP", "SIGTTIN",
    "SIGTTOU",
];
/// Exit code of a process that SIGKILL ended.
pub(super) const KILLED: i64 = 137;

/// The engine's clock: real time, but no instant twice.
#[derive(Default)]
pub(super) struct Clock {
    /// The latest instant given out, by our clock.
    latest: i64,
    /// How far ahead of ours it is, in ns.
    pub(crate) offset: i64,
}

impl Clock {
    pub(crate) fn tick(&mut self) -> i64 {
        self.latest = clock::now().max(self.latest + 1);
        self.latest.saturating_add(self.offset)
    }
}

pub(super) struct World {
    pub(crate) containers: HashMap<String, Container>,
    names: HashMap<String, String>,
    pub(crate) networks: Networks,
    pub(crate) images: Images,
    /// Volumes by name, with their labels. What is in them is not simulated.
    pub(crate) volumes: BTreeMap<String, Labels>,
    pub(crate) bus: Bus,
    /// Gives the time of everything that happens.
    pub(crate) clock: Clock,
    /// Goes into ids, which no two engines of a swarm share.
    machine: String,
    /// How many ids were given out.
    ids: u64,
    next_pid: i32,
    /// How many attachments there were.
    pub(crate) attachments: u64,
}

impl World {
    /// The engine on that machine, with nothing but its own networks.
    pub(crate) fn new(machine: &str, swarm: Option<Member>) -> Self {
        let mut world = Self {
            containers: HashMap::new(),
            names: HashMap::new(),
            networks: Networks::of(swarm),
            images: Images::default(),
            volumes: BTreeMap::new(),
            bus: Bus::default(),
            clock: Clock::default(),
            machine: machine.to_owned(),
            ids: 0,
            next_pid: FIRST_PID,
            attachments: 0,
        };
        let own = [("bridge", "bridge", "172.17.0.0/16"), ("host", "host", ""), ("none", "null", "")];
        for (name, driver, subnet) in own {
            let id = world.new_id();
            world.networks.build_in(id, name, driver, subnet);
        }
        world
    }

    fn new_id(&mut self) -> String {
        self.ids += 1;
        let digest = Sha256::digest(format!("{} {}", self.machine, self.ids));
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The container of that id or name.
    pub(crate) fn get(&self, key: &str) -> Result<&Container> {
        let id = self.names.get(key).map_or(key, String::as_str);
        let container = self.containers.get(id);
        container.ok_or_else(|| no_container(key))
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Result<&mut Container> {
        let id = self.names.get(key).map_or(key, String::as_str);
        let container = self.containers.get_mut(id);
        container.ok_or_else(|| no_container(key))
    }

    /// All containers, the newest first.
    pub(crate) fn containers(&self) -> Vec<&Container> {
        let mut all: Vec<&Container> = self.containers.values().collect();
        all.sort_unstable_by_key(|container| std::cmp::Reverse(container.order));
        all
    }

    /// Sends an event of a container with the present time, and returns that time.
    fn emit(&mut self, id: &str, kind: EventKind) -> i64 {
        let time = self.clock.tick();
        if let Some(container) = self.containers.get(id) {
            let event = Event { container: ContainerId(id.to_owned()), kind, time };
            self.bus.publish(&container.spec.labels, &event);
        }
        time
    }

    pub(crate) fn remove_image(&mut self, reference: &str) -> Result<()> {
        if let Some(user) = self.containers.values().find(|user| Images::same(&user.spec.image, reference)) {
            let name = &user.spec.name;
            return Err(EngineError::Conflict(format!(
                "conflict: unable to remove repository reference \"{reference}\" - container {name} is using it"
            )));
        }
        self.images.remove(reference);
        Ok(())
    }

    pub(crate) fn create(&mut self, spec: &ContainerSpec) -> Result<ContainerId> {
        let name = &spec.name;
        if !valid_name(name) {
            return Err(EngineError::Refused(format!(
                "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            )));
        }
        if !self.images.has(&spec.image) {
            let why = format!("No such image: {}", spec.image);
            return Err(EngineError::NotFound(why));
        }
        if let Some(holder) = self.names.get(name) {
            return Err(EngineError::Conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or rename) that container to be able to reuse that name."
            )));
        }
        // As Docker: whether they exist is seen when it starts.
        if spec.network.endpoints().iter().skip(1).any(|endpoint| endpoint.network == "host") {
            let why = "user specified IP address is supported on user defined networks only";
            return Err(EngineError::Refused(why.to_owned()));
        }
        for volume in &spec.volumes {
            self.volumes.entry(volume.name.clone()).or_default();
        }
        let id = self.new_id();
        let now = self.clock.tick();
        let spec = ContainerSpec { labels: spec.all_labels(), ..spec.clone() };
        let container = Container::new(id.clone(), self.ids, spec, now);
        self.containers.insert(id.clone(), container);
        self.names.insert(name.clone(), id.clone());
        self.emit(&id, EventKind::Created);
        Ok(ContainerId(id))
    }

    pub(crate) fn start(&mut self, key: &str) -> Result<()> {
        let container = self.get(key)?;
        let id = container.id.clone();
        match container.status {
            Status::Paused => {
                let why = "cannot start a paused container, try unpause instead";
                return Err(EngineError::Conflict(why.to_owned()));
            }
            Status::Running => return Ok(()),
            Status::Created | Status::Exited => {}
        }
        if let Err(error) = self.connect(&id) {
            if self.get(&id)?.spec.auto_remove {
                self.forget(&id);
            }
            return Err(error);
        }
        let pid = self.next_pid;
        self.next_pid += 1;
        let container = self.get_mut(&id)?;
        container.status = Status::Running;
        container.sandbox = Sandbox::default();
        container.pid = Some(pid);
        container.starts += 1;
        if container.health != Health::None {
            container.health = Health::Starting;
            container.failing = 0;
        }
        let time = self.emit(&id, EventKind::Started);
        let container = self.get_mut(&id)?;
        container.started_at = time;
        container.out_of_memory = false;
        container.journal.open(time);
        self.run(&id);
        Ok(())
    }

    /// Gives a container its network.
    fn connect(&mut self, id: &str) -> Result<()> {
        let network = self.get(id)?.spec.network.clone();
        let (endpoints, ports) = match &network {
            Network::Of(other) => {
                let other = self.get(&other.0)?;
                if other.id == id {
                    let why = "cannot join own network".to_owned();
                    return Err(EngineError::Conflict(why));
                }
                if !other.alive() {
                    let why = format!("cannot join network of a non running container: {}", other.id);
                    return Err(EngineError::Conflict(why));
                }
                return Ok(());
            }
            Network::None => return Ok(()),
            Network::Attached { endpoints, options, .. } => (endpoints, &options.ports),
        };
        let mut held = vec![];
        let claimed = endpoints.iter().try_for_each(|endpoint| {
            held.push(self.networks.claim(endpoint)?);
            Ok(())
        });
        match claimed.and_then(|()| self.networks.publish(ports)) {
            Ok(ports) => {
                let container = self.get_mut(id)?;
                (container.held, container.ports) = (held, ports);
                Ok(())
            }
            Err(error) => {
                held.iter().for_each(|held| self.networks.free(held));
                Err(error)
            }
        }
    }

    /// Takes a container's network from it.
    fn disconnect(&mut self, id: &str) {
        if let Ok(container) = self.get_mut(id) {
            let (held, ports) = (std::mem::take(&mut container.held), std::mem::take(&mut container.ports));
            held.iter().for_each(|held| self.networks.free(held));
            self.networks.withdraw(&ports);
        }
    }

    /// Ends a container's run, if it has one.
    pub(crate) fn end(&mut self, id: &str, code: i64) {
        let Ok(container) = self.get_mut(id) else {
            return;
        };
        if !container.alive() {
            return;
        }
        container.status = Status::Exited;
        container.pid = None;
        container.exit_code = Some(code);
        container.attached.clear();
        container.input.clear();
        container.input_ended = false;
        self.disconnect(id);
        let time = self.emit(id, EventKind::Died(Some(code)));
        let Ok(container) = self.get_mut(id) else {
            return;
        };
        container.finished_at = time;
        container.journal.close(time, code);
        if container.spec.auto_remove {
            self.forget(id);
        }
    }

    /// Ends a container's process as the OOM killer does.
    pub(crate) fn exhaust_memory(&mut self, id: &str) {
        self.emit(id, EventKind::OutOfMemory);
        if let Ok(container) = self.get_mut(id) {
            container.out_of_memory = true;
        }
        self.end(id, KILLED);
    }

    /// Removes a container that does not run.
    fn forget(&mut self, id: &str) {
        self.emit(id, EventKind::Removed);
        if let Some(container) = self.containers.remove(id) {
            self.names.remove(&container.spec.name);
        }
    }

    pub(crate) fn stop(&mut self, key: &str, grace: Duration) -> Result<()> {
        let id = self.get(key)?.id.clone();
        self.thaw(&id);
        let code = if grace.is_zero() { KILLED } else { TERMINATED };
        self.end(&id, code);
        Ok(())
    }

    pub(crate) fn kill(&mut self, key: &str, signal: &str) -> Result<()> {
        let invalid = || EngineError::Refused(format!("Invalid signal: {signal}"));
        let signal = Signal::parse_exact(signal).ok_or_else(invalid)?;
        let container = self.get_mut(key)?;
        let id = container.id.clone();
        if !container.alive() {
            return Err(EngineError::Conflict(format!("Cannot kill container: {key}: Container {id} is not running")));
        }
        let name = signal.to_string();
        let harmless = HARMLESS.contains(&name.as_str());
        container.signals.push(name);
        self.thaw(&id);
        if harmless {
            self.run(&id)
        } else {
            self.end(&id, signal.exit_code())
        }
        Ok(())
    }

    pub(crate) fn pause(&mut self, key: &str) -> Result<()> {
        let container = self.get_mut(key)?;
        let id = container.id.clone();
        let conflict = match container.status {
            Status::Running => {
                container.status = Status::Paused;
                // As Docker: its health is not checked any more.
                if container.health != Health::None {
                    container.health = Health::Unhealthy;
                }
                self.emit(&id, EventKind::Paused);
                return Ok(());
            }
            Status::Paused => "already paused",
            Status::Created | Status::Exited => "not running",
        };
        let why = format!("Container {id} is {conflict}");
        Err(EngineError::Conflict(why))
    }

    pub(crate) fn unpause(&mut self, key: &str) -> Result<()> {
        let id = self.get(key)?.id.clone();
        if !self.thaw(&id) {
            let why = format!("Container {id} is not paused");
            return Err(EngineError::Conflict(why));
        }
        self.run(&id);
        Ok(())
    }

    /// Resumes a container; false if it was not paused.
    fn thaw(&mut self, id: &str) -> bool {
        match self.get_mut(id) {
            Ok(container) if container.status == Status::Paused => {
                container.status = Status::Running;
                self.emit(id, EventKind::Unpaused);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn remove(&mut self, key: &str) {
        let Ok(container) = self.get(key) else {
            return;
        };
        let id = container.id.clone();
        self.end(&id, KILLED);
        // The end of its run may have removed it.
        if self.containers.contains_key(&id) {
            self.forget(&id);
        }
    }

    pub(crate) fn restart(&mut self, key: &str) -> Result<()> {
        let container = self.get_mut(key)?;
        let id = container.id.clone();
        let removes_itself = std::mem::replace(&mut container.spec.auto_remove, false);
        self.end(&id, KILLED);
        self.get_mut(&id)?.spec.auto_remove = removes_itself;
        self.start(&id)
    }

    pub(crate) fn rename(&mut self, key: &str, new: &str) -> Result<()> {
        if self.names.contains_key(new) {
            return Err(EngineError::Conflict(format!("the name {new} is already in use")));
        }
        let container = self.get_mut(key)?;
        let id = container.id.clone();
        let old = std::mem::replace(&mut container.spec.name, new.to_owned());
        self.names.remove(&old);
        self.names.insert(new.to_owned(), id.clone());
        self.emit(&id, EventKind::Other);
        Ok(())
    }

    pub(crate) fn disconnect_network(&mut self, key: &str) -> Result<()> {
        let container = self.get(key)?;
        let id = container.id.clone();
        if container.held.is_empty() {
            return Err(EngineError::Refused(format!("container {id} is not connected to the network")));
        }
        self.disconnect(&id);
        self.emit(&id, EventKind::Disconnected);
        Ok(())
    }

    pub(crate) fn connect_network(&mut self, key: &str) -> Result<()> {
        let id = self.get(key)?.id.clone();
        self.connect(&id)?;
        self.get_mut(&id)?.sandbox = Sandbox::default();
        self.emit(&id, EventKind::Connected);
        Ok(())
    }

    pub(crate) fn set_health(&mut self, key: &str, health: Health) -> Result<()> {
        let began = self.clock.tick();
        let container = self.get_mut(key)?;
        container.health = health;
        let passed = health == Health::Healthy;
        container.failing = if health == Health::Unhealthy { RETRIES } else { 0 };
        if matches!(health, Health::Healthy | Health::Unhealthy) {
            container.check = Some(Check { began, exit_code: i64::from(!passed), output: String::new() });
        }
        let id = container.id.clone();
        self.emit(&id, EventKind::Health);
        Ok(())
    }

    pub(crate) fn inspect(&self, key: &str) -> Result<Inspection> {
        let container = self.get(key)?;
        let owner = match &container.spec.network {
            Network::Of(other) => self.get(&other.0).ok(),
            Network::Attached { .. } | Network::None => Some(container),
        };
        let hostname = owner.and_then(|owner| owner.spec.network.hostname());
        Ok(container.inspect(&self.networks, hostname.unwrap_or_default()))
    }

    pub(crate) fn list(&self, label: Option<&str>) -> Vec<Listed> {
        let wanted = |container: &&Container| label.is_none_or(|label| carries(&container.spec.labels, label));
        let all = self.containers();
        all.into_iter().filter(wanted).map(Container::listed).collect()
    }

    /// What containers are called in a network: by their names and aliases.
    pub(crate) fn names_in(&self, network: &ListedNetwork) -> Vec<(String, String)> {
        let mut names = Vec::new();
        for container in self.containers.values() {
            let own = &container.spec.name;
            let is_here = |at: &&Endpoint| at.network == network.name || at.network == network.id;
            for endpoint in container.spec.network.endpoints().iter().filter(is_here) {
                names.extend(endpoint.aliases.iter().chain([own]).map(|name| (name.clone(), own.clone())));
            }
        }
        names.sort();
        names.dedup();
        names
    }

    pub(crate) fn create_network(&mut self, name: &str, network: &NewNetwork, labels: &Labels) -> Result<String> {
        let id = self.new_id();
        self.networks.create(&id, name, network, labels)?;
        Ok(id)
    }

    pub(crate) fn list_volumes(&self, label: Option<&str>) -> Vec<ListedVolume> {
        let wanted = |(_, labels): &(&String, &Labels)| label.is_none_or(|label| carries(labels, label));
        let listed = |(name, labels): (&String, &Labels)| ListedVolume { name: name.clone(), labels: labels.clone() };
        self.volumes.iter().filter(wanted).map(listed).collect()
    }

    pub(crate) fn remove_volume(&mut self, name: &str) -> Result<()> {
        let has_it = |user: &&Container| user.spec.volumes.iter().any(|volume| volume.name == name);
        if let Some(user) = self.containers.values().find(has_it) {
            let why = format!("remove {name}: volume is in use - [{}]", user.id);
            return Err(EngineError::Conflict(why));
        }
        self.volumes.remove(name);
        Ok(())
    }

    pub(crate) fn journal(&self, key: &str) -> Result<Arc<Journal>> {
        Ok(Arc::clone(&self.get(key)?.journal))
    }

    /// The container's lock; `None` when there is no such container.
    pub(crate) fn busy(&self, key: &str) -> Option<Arc<AsyncMutex<()>>> {
        Some(Arc::clone(&self.get(key).ok()?.busy))
    }
}

fn no_container(key: &str) -> EngineError {
    EngineError::NotFound(format!("No such container: {key}"))
}

/// Whether Docker takes it as a container's name.
fn valid_name(name: &str) -> bool {
    let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    name.len() > 1 && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(rest)
}
