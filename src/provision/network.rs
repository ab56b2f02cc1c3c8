//! Chooses addresses: a subnet that nobody uses, or free places in a network that the user named.

use std::net::Ipv4Addr;

use crate::engine::{Engine, EngineError, Labels, Result};

/// Ports that one Linux bridge holds (BR_MAX_PORTS, net/bridge/br_private.h: 1 << 10, port 0 unused).
const BRIDGE_PORTS: usize = 1023;

/// What the user asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkWish {
    /// A network of our own on any free subnet.
    Any,
    /// A network of our own on this subnet (CIDR).
    Subnet(String),
    /// This existing network.
    Existing(String),
}

/// A network to use, with an address for every node.
#[derive(Clone, Debug)]
pub struct NetworkPlan {
    /// Name or id for the engine.
    pub network: String,
    /// The nodes' addresses, in order.
    pub addresses: Vec<Ipv4Addr>,
}

/// An IPv4 subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Subnet {
    base: u32,
    bits: u32,
}

impl Subnet {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let (address, bits) = (address.parse::<Ipv4Addr>().ok()?, bits.parse::<u32>().ok()?);
        (bits <= 32).then(|| Self { base: u32::from(address) & Self::mask(bits), bits })
    }

    fn mask(bits: u32) -> u32 {
        u32::MAX.checked_shl(32 - bits).unwrap_or(0)
    }

    fn overlaps(self, other: Self) -> bool {
        let mask = Self::mask(self.bits.min(other.bits));
        self.base & mask == other.base & mask
    }

    /// Addresses for nodes: all but the network's own, the gateway (the first) and the broadcast address.
    fn hosts(self) -> impl Iterator<Item = Ipv4Addr> {
        let size = 1u64 << (32 - self.bits);
        (2..size.saturating_sub(1)).map(move |host| Ipv4Addr::from(self.base + host as u32))
    }
}

/// Finds, or makes, the network and gives every node its address.
///
/// # Errors
/// The engine's; [`EngineError::Refused`] with a sentence for a wish that cannot be granted.
pub async fn plan(
    engine: &dyn Engine,
    wish: &NetworkWish,
    nodes: usize,
    name: &str,
    labels: &Labels,
) -> Result<NetworkPlan> {
    if nodes > BRIDGE_PORTS {
        return Err(EngineError::Refused(format!(
            "{nodes} nodes do not fit: a Linux bridge holds at most {BRIDGE_PORTS} ports"
        )));
    }
    match wish {
        NetworkWish::Existing(network) => existing(engine, network, nodes).await,
        NetworkWish::Subnet(text) => {
            let subnet = Subnet::parse(text)
                .ok_or_else(|| EngineError::Refused(format!("'{text}' is no IPv4 subnet such as 172.30.0.0/24")))?;
            let addresses = take(subnet.hosts(), nodes, text)?;
            match engine.create_network(name, text, labels).await {
                Ok(network) => Ok(NetworkPlan { network, addresses }),
                Err(EngineError::Conflict(why)) => {
                    Err(EngineError::Conflict(format!("the subnet {text} is in use: {why}")))
                }
                Err(error) => Err(error),
            }
        }
        NetworkWish::Any => any_free(engine, nodes, name, labels).await,
    }
}

/// How many subnets for so many nodes are free, and of how many.
///
/// # Errors
/// The engine's.
pub async fn free_subnets(engine: &dyn Engine, nodes: usize) -> Result<(usize, usize)> {
    let taken = taken(engine).await?;
    let free = candidates(nodes).filter(|subnet| !taken.iter().any(|other| subnet.overlaps(*other)));
    Ok((free.count(), candidates(nodes).count()))
}

/// Subnets that the engine's networks have, or the machine's routes.
async fn taken(engine: &dyn Engine) -> Result<Vec<Subnet>> {
    let networks = engine.list_networks(None).await?;
    let subnets = networks.iter().flat_map(|network| network.subnets.iter().filter_map(|text| Subnet::parse(text)));
    let mut taken: Vec<Subnet> = subnets.collect();
    if engine.info().local {
        taken.extend(host_routes());
    }
    Ok(taken)
}

async fn any_free(engine: &dyn Engine, nodes: usize, name: &str, labels: &Labels) -> Result<NetworkPlan> {
    let taken = taken(engine).await?;
    for subnet in candidates(nodes).filter(|subnet| !taken.iter().any(|other| subnet.overlaps(*other))) {
        let text = format!("{}/{}", Ipv4Addr::from(subnet.base), subnet.bits);
        match engine.create_network(name, &text, labels).await {
            Ok(network) => {
                return Ok(NetworkPlan { network, addresses: subnet.hosts().take(nodes).collect() });
            }
            // Another cluster was quicker.
            Err(EngineError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Err(EngineError::Refused("no private subnet is free on this machine; name one with --subnet CIDR".into()))
}

async fn existing(engine: &dyn Engine, name: &str, nodes: usize) -> Result<NetworkPlan> {
    let network = engine.network(name).await.map_err(|error| match error {
        EngineError::NotFound(_) => EngineError::NotFound(format!("there is no network '{name}'")),
        other => other,
    })?;
    let subnet = network.subnets.iter().find_map(|text| Subnet::parse(text));
    let Some(subnet) = subnet.filter(|_| !matches!(network.driver.as_str(), "host" | "null")) else {
        return Err(EngineError::Refused(format!("the network '{name}' has no IPv4 subnet to give addresses from")));
    };
    let free = subnet.hosts().filter(|address| !network.used.contains(address));
    Ok(NetworkPlan { network: network.name.clone(), addresses: take(free, nodes, name)? })
}

fn take(free: impl Iterator<Item = Ipv4Addr>, nodes: usize, whence: &str) -> Result<Vec<Ipv4Addr>> {
    let addresses: Vec<_> = free.take(nodes).collect();
    if addresses.len() < nodes {
        return Err(EngineError::Refused(format!(
            "{whence} has {} free addresses, {nodes} are needed",
            addresses.len()
        )));
    }
    Ok(addresses)
}

/// Subnets to try, as small as the nodes allow: 172.30 and 172.31 first, where few others are, then 10.213.
fn candidates(nodes: usize) -> impl Iterator<Item = Subnet> {
    let bits = (20..=24).rev().find(|bits| (1usize << (32 - bits)) >= nodes + 3).unwrap_or(20);
    [[172, 30, 0, 0], [172, 31, 0, 0], [10, 213, 0, 0]].into_iter().flat_map(move |range| {
        let start = u32::from(Ipv4Addr::from(range));
        (0..1u32 << (bits - 16)).map(move |nth| Subnet { base: start + (nth << (32 - bits)), bits })
    })
}

/// Subnets that this machine reaches by a route of its own (a VPN, say); the default route is none.
fn host_routes() -> Vec<Subnet> {
    let parse = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let base = u32::from_str_radix(fields.next()?, 16).ok()?.swap_bytes();
        let mask = u32::from_str_radix(fields.nth(5)?, 16).ok()?.swap_bytes();
        (mask != 0).then_some(Subnet { base, bits: mask.count_ones() })
    };
    std::fs::read_to_string("/proc/net/route").unwrap_or_default().lines().skip(1).filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets() {
        let a = Subnet::parse("172.30.0.0/24").unwrap();
        assert_eq!(a.hosts().next(), Some([172, 30, 0, 2].into()));
        assert_eq!(a.hosts().count(), 253);
        assert!(a.overlaps(Subnet::parse("172.16.0.0/12").unwrap()));
        assert!(!a.overlaps(Subnet::parse("172.30.1.0/24").unwrap()));
        for wrong in ["", "172.30.0.0", "172.30.0/24", "172.30.0.0/33", "x/8"] {
            assert_eq!(Subnet::parse(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn free_subnets_are_those_that_no_network_has() {
        let engine = crate::engine::simulated::SimulatedEngine::new();
        let (before, all) = free_subnets(&engine, 253).await.unwrap();
        engine.create_network("x", "172.30.4.0/23", &vec![]).await.unwrap();
        assert_eq!(free_subnets(&engine, 253).await.unwrap(), (before - 2, all));
        assert_eq!(all, 3 * 256);
    }

    #[test]
    fn candidates_hold_all_nodes() {
        for nodes in [1, 253, 254, 500, BRIDGE_PORTS] {
            assert!(candidates(nodes).all(|subnet| subnet.hosts().count() >= nodes), "{nodes}");
        }
        assert_eq!(candidates(3).next(), Subnet::parse("172.30.0.0/24"));
    }
}
