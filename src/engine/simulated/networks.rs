//! Networks, addresses and published ports.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;

use super::labels::carries;
use crate::engine::{Endpoint, EngineError, Labels, ListedNetwork, Protocol, PublishedPort, Result};

/// From these the engine chooses ports of the host.
const CHOSEN: std::ops::RangeInclusive<u16> = 49_153..=65_535;

/// An IPv4 subnet in CIDR form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subnet {
    base: u32,
    prefix: u32,
}

impl Subnet {
    /// Reads `10.0.0.0/24`; bits beyond the prefix are dropped.
    fn parse(text: &str) -> Result<Self> {
        let parsed = text.split_once('/').and_then(|(address, prefix)| {
            let address: Ipv4Addr = address.parse().ok()?;
            let prefix: u32 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
            let base = u32::from(address) & Self::mask(prefix);
            Some(Self { base, prefix })
        });
        parsed.ok_or_else(|| EngineError::Refused(format!("invalid CIDR address: {text}")))
    }

    fn mask(prefix: u32) -> u32 {
        u32::MAX.checked_shl(32 - prefix).unwrap_or(0)
    }

    fn overlaps(self, other: Self) -> bool {
        let mask = Self::mask(self.prefix.min(other.prefix));
        self.base & mask == other.base & mask
    }

    fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & Self::mask(self.prefix) == self.base
    }

    pub(crate) fn prefix(self) -> u32 {
        self.prefix
    }

    /// The address that the engine keeps for itself.
    pub(crate) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base.saturating_add(1))
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

pub(super) struct Net {
    pub(crate) id: String,
    name: String,
    driver: &'static str,
    labels: Labels,
    /// Its addresses; the `host` and `none` networks have none.
    pub(crate) subnet: Option<Subnet>,
    /// The engine's own, which cannot be removed or pin an address.
    built_in: bool,
    used: BTreeSet<Ipv4Addr>,
    /// What the engine would choose addresses from.
    ranges: Vec<String>,
}

impl Net {
    /// As a listing shows it, with the addresses in use.
    pub(crate) fn listed(&self) -> ListedNetwork {
        ListedNetwork {
            id: self.id.clone(),
            name: self.name.clone(),
            driver: self.driver.to_owned(),
            labels: self.labels.clone(),
            subnets: self.subnet.iter().map(Subnet::to_string).collect(),
            isolated: false,
            used: self.used.iter().copied().collect(),
            ranges: self.ranges.clone(),
            names: Vec::new(),
        }
    }
}

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
}

impl Networks {
    /// Adds one of the engine's own.
    pub(crate) fn build_in(&mut self, id: String, name: &str, driver: &'static str, subnet: &str) {
        self.insert(Net {
            id,
            name: name.to_owned(),
            driver,
            labels: Labels::new(),
            subnet: Subnet::parse(subnet).ok(),
            built_in: true,
            used: BTreeSet::new(),
            ranges: Vec::new(),
        });
    }

    /// Creates a bridge network with the id given.
    pub(crate) fn create(&mut self, id: &str, name: &str, subnet: &str, labels: &Labels) -> Result<()> {
        let subnet = Subnet::parse(subnet)?;
        if self.names.contains_key(name) {
            let why = format!("network with name {name} already exists");
            return Err(EngineError::Conflict(why));
        }
        let mut taken = self.nets.values().filter_map(|net| net.subnet);
        if taken.any(|other| subnet.overlaps(other)) {
            let why = "Pool overlaps with other one on this address space".to_owned();
            return Err(EngineError::Conflict(why));
        }
        self.insert(Net {
            id: id.to_owned(),
            name: name.to_owned(),
            driver: "bridge",
            labels: labels.clone(),
            subnet: Some(subnet),
            built_in: false,
            used: BTreeSet::new(),
            ranges: Vec::new(),
        });
        Ok(())
    }

    fn insert(&mut self, net: Net) {
        self.names.insert(net.name.clone(), net.id.clone());
        self.nets.insert(net.id.clone(), net);
    }

    /// The network of that name or id.
    pub(crate) fn find(&self, key: &str) -> Result<&Net> {
        let id = self.names.get(key).map_or(key, String::as_str);
        let net = self.nets.get(id);
        net.ok_or_else(|| EngineError::NotFound(format!("network {key} not found")))
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
        if !net.used.is_empty() {
            return Err(EngineError::Refused(format!(
                "error while removing network: network {name} id {id} has active endpoints"
            )));
        }
        self.names.remove(&name);
        self.nets.remove(&id);
        Ok(())
    }

    /// Gives a container an address.
    pub(crate) fn claim(&mut self, endpoint: &Endpoint) -> Result<Held> {
        let net = self.find(&endpoint.network)?;
        let address = endpoint.address;
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
        if address == subnet.gateway() || net.used.contains(&address) {
            return refused("Address already in use".into());
        }
        let id = net.id.clone();
        if let Some(net) = self.nets.get_mut(&id) {
            net.used.insert(address);
        }
        Ok(Held { network: id, address })
    }

    /// Takes back what [`Self::claim`] gave.
    pub(crate) fn free(&mut self, held: &Held) {
        if let Some(net) = self.nets.get_mut(&held.network) {
            net.used.remove(&held.address);
        }
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
