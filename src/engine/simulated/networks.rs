//! The networks of an engine, addresses and published ports.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::labels::carries;
use super::net::{Net, Subnet};
use super::swarm::{Member, no_manager};
use crate::engine::{
    Endpoint, EngineError, Labels, ListedNetwork, NetworkDriver, NewNetwork, Protocol, PublishedPort, Result,
};

/// From these the engine chooses ports of the host.
const CHOSEN: std::ops::RangeInclusive<u16> = 49_153..=65_535;

/// What a running container holds of a network.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(crate) network: String,
    pub(crate) address: Ipv4Addr,
}

/// All networks, in the order of their ids.
#[derive(Default)]
pub(super) struct Networks {
    nets: BTreeMap<String, Net>,
    names: HashMap<String, String>,
    /// Ports published on the host.
    ports: HashSet<(Protocol, u16)>,
    /// The engine's membership of a swarm.
    swarm: Option<Member>,
}

impl Networks {
    /// No networks, on an engine of that swarm.
    pub(crate) fn of(swarm: Option<Member>) -> Self {
        Self { swarm, ..Self::default() }
    }

    /// Adds one of the engine's own.
    pub(crate) fn build_in(&mut self, id: String, name: &str, driver: &'static str, subnet: &str) {
        self.insert(Net {
            id,
            name: name.to_owned(),
            driver,
            labels: Labels::new(),
            subnet: Subnet::parse(subnet).ok(),
            built_in: true,
            used: Arc::default(),
            used_here: 0,
            ranges: Vec::new(),
        });
    }

    /// Creates a network with the id given.
    pub(crate) fn create(&mut self, id: &str, name: &str, new: &NewNetwork, labels: &Labels) -> Result<()> {
        let managed = self.managed();
        if new.driver == NetworkDriver::Overlay && managed.is_none() {
            return Err(match self.swarm {
                Some(_) => EngineError::Refused(
                    "Cannot create a multi-host network from a worker node. Please create the network from a manager node."
                        .into(),
                ),
                None => no_manager(),
            });
        }
        let subnet = Subnet::parse(&new.subnet)?;
        if self.names.contains_key(name) {
            let why = format!("network with name {name} already exists");
            return Err(EngineError::Conflict(why));
        }
        let mut taken = self.nets.values().filter_map(|net| net.subnet);
        if taken.any(|other| subnet.overlaps(other)) {
            let why = "Pool overlaps with other one on this address space".to_owned();
            return Err(EngineError::Conflict(why));
        }
        let net = Net {
            id: id.to_owned(),
            name: name.to_owned(),
            driver: new.driver.name(),
            labels: labels.clone(),
            subnet: Some(subnet),
            built_in: false,
            used: Arc::default(),
            used_here: 0,
            ranges: new.ip_range.iter().cloned().collect(),
        };
        if let Some(swarm) = managed.filter(|_| new.driver == NetworkDriver::Overlay) {
            swarm.swarm.overlays.lock().insert(net.id.clone(), net.clone());
        }
        self.insert(net);
        Ok(())
    }

    /// The swarm of which this engine is a manager.
    fn managed(&self) -> Option<Member> {
        self.swarm.clone().filter(|swarm| swarm.is_manager)
    }

    /// Makes an overlay of the swarm known that this engine has not used yet; nothing happens if there is none.
    fn discover(&mut self, key: &str) {
        let found = self.swarm.as_ref().and_then(|member| {
            let overlays = member.swarm.overlays.lock();
            overlays.values().find(|net| net.id == key || net.name == key).cloned()
        });
        if let Some(net) = found.filter(|net| !self.nets.contains_key(&net.id)) {
            self.insert(net);
        }
    }

    /// Forgets an overlay that no container of this worker is attached to any more.
    fn undiscover(&mut self, id: &str) {
        let is_worker = self.swarm.as_ref().is_some_and(|swarm| !swarm.is_manager);
        if is_worker && let Some(net) = self.nets.get(id).filter(|net| net.driver == "overlay" && net.used_here == 0) {
            self.names.remove(&net.name);
            self.nets.remove(id);
        }
    }

    fn insert(&mut self, net: Net) {
        self.names.insert(net.name.clone(), net.id.clone());
        self.nets.insert(net.id.clone(), net);
    }

    /// The network of that name or id.
    pub(crate) fn find(&self, key: &str) -> Result<&Net> {
        let id = self.names.get(key).map_or(key, String::as_str);
        let net = self.nets.get(id);
        net.ok_or_else(|| not_found(key))
    }

    /// Makes one of that driver, whose addresses the engine chooses from these ranges.
    pub(crate) fn reshape(&mut self, key: &str, driver: &'static str, ranges: &[&str]) -> Result<()> {
        let id = self.find(key)?.id.clone();
        if let Some(net) = self.nets.get_mut(&id) {
            net.driver = driver;
            net.ranges = ranges.iter().map(|range| (*range).to_owned()).collect();
        }
        Ok(())
    }

    /// Those that carry `label`, or all.
    pub(crate) fn list(&self, label: Option<&str>) -> Vec<ListedNetwork> {
        let wanted = |net: &&Net| label.is_none_or(|label| carries(&net.labels, label));
        self.nets.values().filter(wanted).map(Net::listed).collect()
    }

    /// Those that were created, without the engine's own.
    pub(crate) fn created(&self) -> Vec<ListedNetwork> {
        let own = self.nets.values().filter(|net| !net.built_in);
        own.map(Net::listed).collect()
    }

    /// Removes one; nothing happens if there is none.
    pub(crate) fn remove(&mut self, key: &str) -> Result<()> {
        let Ok(net) = self.find(key) else {
            return Ok(());
        };
        let (id, name) = (net.id.clone(), net.name.clone());
        if net.built_in {
            let why = format!("{name} is a pre-defined network and cannot be removed");
            return Err(EngineError::Refused(why));
        }
        if !net.used.lock().is_empty() {
            return Err(EngineError::Refused(format!(
                "error while removing network: network {name} id {id} has active endpoints"
            )));
        }
        self.names.remove(&name);
        self.nets.remove(&id);
        if let Some(member) = self.managed() {
            member.swarm.overlays.lock().remove(&id);
        }
        Ok(())
    }

    /// Gives a container an address.
    pub(crate) fn claim(&mut self, endpoint: &Endpoint) -> Result<Held> {
        self.discover(&endpoint.network);
        let id = self.find(&endpoint.network)?.id.clone();
        let claimed = self.claim_in(&id, endpoint.address);
        self.undiscover(&id);
        claimed
    }

    fn claim_in(&mut self, id: &str, address: Ipv4Addr) -> Result<Held> {
        let net = self.nets.get_mut(id).ok_or_else(|| not_found(id))?;
        let refused = |why: String| Err(EngineError::Refused(why));
        let subnet = match net.subnet {
            Some(subnet) if !net.built_in => subnet,
            _ => {
                return refused("user specified IP address is supported on user defined networks only".into());
            }
        };
        if !subnet.contains(address) {
            return refused(format!("Invalid address {address}: It does not belong to any of this network's subnets"));
        }
        if address == subnet.gateway() || !net.used.lock().insert(address) {
            return refused("Address already in use".into());
        }
        net.used_here += 1;
        Ok(Held { network: id.to_owned(), address })
    }

    /// Takes back what [`Self::claim`] gave.
    pub(crate) fn free(&mut self, held: &Held) {
        if let Some(net) = self.nets.get_mut(&held.network) {
            net.used.lock().remove(&held.address);
            net.used_here -= 1;
        }
        self.undiscover(&held.network);
    }

    /// Publishes a container's ports, all or none, and returns them with the host's port each.
    pub(crate) fn publish(&mut self, ports: &[PublishedPort]) -> Result<Vec<PublishedPort>> {
        let mut published = vec![];
        for port in ports {
            let is_free = |host: &u16| !self.ports.contains(&(port.protocol, *host));
            let Some(host) =
                port.host_port.map_or_else(|| CHOSEN.into_iter().find(is_free), |host| Some(host).filter(is_free))
            else {
                self.withdraw(&published);
                let host = port.host_port.map_or("an ephemeral port".into(), |host| host.to_string());
                return Err(EngineError::Refused(format!(
                    "driver failed programming external connectivity: Bind for 0.0.0.0:{host} failed: port is already allocated"
                )));
            };
            self.ports.insert((port.protocol, host));
            published.push(PublishedPort { host_port: Some(host), ..port.clone() });
        }
        Ok(published)
    }

    /// Takes back what [`Self::publish`] gave.
    pub(crate) fn withdraw(&mut self, published: &[PublishedPort]) {
        for port in published {
            if let Some(host) = port.host_port {
                self.ports.remove(&(port.protocol, host));
            }
        }
    }
}

fn not_found(key: &str) -> EngineError {
    EngineError::NotFound(format!("network {key} not found"))
}
