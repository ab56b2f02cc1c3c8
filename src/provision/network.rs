//! Chooses addresses: an unused subnet, or free addresses in a network that the user named.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use futures_util::future::join_all;

use crate::engine::{BRIDGE_PORTS, Engine, EngineError, Labels, ListedNetwork, NetworkDriver, NewNetwork, Result};
use crate::fleet::Fleet;

/// What the user asked for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum NetworkRequest {
    /// A network of our own on any free subnet.
    Any,
    /// A network of our own on this subnet (CIDR).
    Subnet(String),
    /// This existing network.
    Existing(String),
}

/// A network to find or to make.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct RequestedNetwork {
    /// What the user calls it; empty for the only one of equal nodes.
    pub(crate) called: String,
    pub(crate) request: NetworkRequest,
    /// Without a way out of the engine's host.
    pub(crate) internal: bool,
    /// The address of the bridge itself, if the user chose one.
    pub(crate) gateway: Option<Ipv4Addr>,
    /// Where nodes without a chosen address get theirs from, within the subnet; `ADDRESS/BITS`.
    pub(crate) ip_range: Option<String>,
    /// The user's labels.
    pub(crate) labels: Labels,
}

impl From<NetworkRequest> for RequestedNetwork {
    /// The only one of equal nodes.
    fn from(request: NetworkRequest) -> Self {
        Self { called: String::new(), request, internal: false, gateway: None, ip_range: None, labels: vec![] }
    }
}

impl RequestedNetwork {
    /// On this subnet. An overlay's range is that of the engines, which take an address each.
    fn new_on(&self, subnet: String, of_engines: Option<Subnet>) -> NewNetwork {
        NewNetwork {
            driver: if of_engines.is_some() { NetworkDriver::Overlay } else { NetworkDriver::Bridge },
            subnet,
            gateway: self.gateway,
            ip_range: of_engines.map(|range| range.to_string()).or_else(|| self.ip_range.clone()),
            internal: self.internal,
        }
    }
}

/// A network to use, with an address for every node.
#[derive(Clone, Debug)]
pub struct NetworkPlan {
    /// Name or id for the engine.
    pub(crate) network: String,
    /// The nodes' addresses, in order.
    pub addresses: Vec<Ipv4Addr>,
    /// DNS names that containers have in it already, each with the container's own name.
    pub(crate) names: Vec<(String, String)>,
}

/// The first of `wanted` that is the name of a container in a network, and that container. DNS knows no upper and lower case.
pub(crate) fn taken_name<'a>(names: &'a [(String, String)], wanted: &[String]) -> Option<(&'a str, &'a str)> {
    let holder = |wanted: &String| names.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
    wanted.iter().find_map(holder).map(|(name, container)| (name.as_str(), container.as_str()))
}

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

    fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & Self::mask(self.bits) == self.base
    }

    /// The part at its end from which the engines of an overlay take their addresses: one each, and some to spare. None
    /// for one engine, whose bridge has the gateway's.
    fn of_engines(self, engines: usize) -> Option<Self> {
        let size = room_for_engines(engines)?;
        let bits = 32 - size.ilog2();
        (bits > self.bits).then(|| Self { base: self.base + (!Self::mask(self.bits)) - (size - 1), bits })
    }

    /// Addresses for nodes: all but the network's own, the gateway (the first unless it is given) and the broadcast
    /// address.
    fn hosts(self, gateway: Option<Ipv4Addr>) -> impl Iterator<Item = Ipv4Addr> {
        let size = 1u64 << (32 - self.bits);
        let all = (1..size.saturating_sub(1)).map(move |host| Ipv4Addr::from(self.base + host as u32));
        let gateway = gateway.unwrap_or(Ipv4Addr::from(self.base.wrapping_add(1)));
        all.filter(move |address| *address != gateway)
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.bits)
    }
}

/// How many addresses of an overlay are kept for so many engines, a power of two; `None` for one.
fn room_for_engines(engines: usize) -> Option<u32> {
    (engines > 1).then(|| (engines as u32 + 2).next_power_of_two().max(16))
}

/// Finds, or makes, the network and gives every node its address: the one that it asks for, or a free one.
///
/// One that is made for several engines, whose machines are called `hosts`, is an overlay over all of them.
///
/// # Errors
/// An engine's; [`EngineError::Refused`] with a sentence if the request cannot be met.
pub async fn plan(
    fleet: &Fleet,
    hosts: &[String],
    wish: &RequestedNetwork,
    nodes: &[Option<Ipv4Addr>],
    name: &str,
    labels: &Labels,
) -> Result<NetworkPlan> {
    if nodes.len() > BRIDGE_PORTS * fleet.len() {
        return Err(EngineError::Refused(format!(
            "{} nodes do not fit: a Linux bridge holds at most {BRIDGE_PORTS} ports",
            nodes.len()
        )));
    }
    let labels = &[labels.as_slice(), wish.labels.as_slice()].concat();
    match &wish.request {
        NetworkRequest::Existing(network) => existing(fleet, hosts, network, nodes).await,
        NetworkRequest::Subnet(text) => {
            let subnet = Subnet::parse(text)
                .ok_or_else(|| EngineError::Refused(format!("'{text}' is no IPv4 subnet such as 172.30.0.0/24")))?;
            let range = wish.ip_range.as_deref().and_then(Subnet::parse).unwrap_or(subnet);
            let of_engines = subnet.of_engines(fleet.len());
            if fleet.len() > 1 && of_engines.is_none() {
                return Err(EngineError::Refused(format!(
                    "the subnet {text} is too small for {} engines",
                    fleet.len()
                )));
            }
            let is_engines = |address: &Ipv4Addr| of_engines.is_some_and(|range| range.contains(*address));
            let free = || subnet.hosts(wish.gateway).filter(|address| !is_engines(address));
            let addresses = take(free(), free().filter(|address| range.contains(*address)), nodes, text)?;
            let engine = fleet.manager(hosts).await?;
            match engine.create_network(name, &wish.new_on(text.clone(), of_engines), labels).await {
                Ok(network) => Ok(NetworkPlan { network, addresses, names: vec![] }),
                Err(EngineError::Conflict(why)) => {
                    Err(EngineError::Conflict(format!("the subnet {text} is in use: {why}")))
                }
                Err(error) => Err(error),
            }
        }
        NetworkRequest::Any => any_free(fleet, hosts, wish, nodes.len(), name, labels).await,
    }
}

/// How many subnets for this number of nodes are free, and of how many.
///
/// # Errors
/// The engine's.
pub(crate) async fn free_subnets(engine: &dyn Engine, nodes: usize) -> Result<(usize, usize)> {
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

async fn any_free(
    fleet: &Fleet,
    hosts: &[String],
    wish: &RequestedNetwork,
    nodes: usize,
    name: &str,
    labels: &Labels,
) -> Result<NetworkPlan> {
    let engine = fleet.manager(hosts).await?;
    let mut taken = vec![];
    for engine in fleet.engines() {
        taken.extend(self::taken(engine.as_ref()).await?);
    }
    let of_engines = room_for_engines(fleet.len()).unwrap_or_default() as usize;
    let free = candidates(nodes + of_engines).filter(|subnet| !taken.iter().any(|other| subnet.overlaps(*other)));
    let mut free: Vec<_> = free.collect();
    if fleet.len() > 1 {
        // A swarm takes two networks on one subnet, and only one of them works: another mount chooses from the same.
        fastrand::shuffle(&mut free);
    }
    for subnet in free {
        let new = wish.new_on(subnet.to_string(), subnet.of_engines(fleet.len()));
        match engine.create_network(name, &new, labels).await {
            Ok(network) => {
                return Ok(NetworkPlan { network, addresses: subnet.hosts(None).take(nodes).collect(), names: vec![] });
            }
            // Another cluster was faster.
            Err(EngineError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Err(EngineError::Refused("no private subnet is free on this machine; name one with --subnet CIDR".into()))
}

/// The network of this name, which reaches all engines.
async fn find(fleet: &Fleet, hosts: &[String], name: &str) -> Result<ListedNetwork> {
    let not_found = || EngineError::NotFound(format!("there is no network '{name}'"));
    let (mut found, mut missing): (Option<ListedNetwork>, _) = (None, None);
    let asked = join_all(fleet.engines().iter().map(|engine| engine.network(name))).await;
    for (network, host) in asked.into_iter().zip(hosts) {
        match (network, &mut found) {
            (Err(EngineError::NotFound(_)), _) => drop(missing.get_or_insert(host)),
            (Err(error), _) => return Err(error),
            (Ok(network), None) => found = Some(network),
            (Ok(network), Some(found)) => {
                found.used.extend(network.used);
                found.names.extend(network.names);
                if found.subnets != network.subnets {
                    return Err(EngineError::Refused(format!(
                        "the network '{name}' has not the same subnet on all machines: create it with the same --subnet"
                    )));
                }
            }
        }
    }
    let network = found.ok_or_else(not_found)?;
    match (network.driver.as_str(), missing) {
        _ if fleet.len() == 1 => Ok(network),
        // A worker knows it once it has a container there.
        ("overlay", _) => fleet.manager(hosts).await.map(|_| network),
        ("bridge", _) => Err(EngineError::Refused(format!(
            "the network '{name}' is a bridge, which connects the containers of one engine only: name an overlay network, or \
             leave --network out"
        ))),
        (_, Some(host)) => Err(EngineError::NotFound(format!("there is no network '{name}' on {host}"))),
        (_, None) => Ok(network),
    }
}

async fn existing(fleet: &Fleet, hosts: &[String], name: &str, nodes: &[Option<Ipv4Addr>]) -> Result<NetworkPlan> {
    let network = find(fleet, hosts, name).await?;
    let subnet = network.subnets.iter().find_map(|text| Subnet::parse(text));
    let Some(subnet) = subnet.filter(|_| !matches!(network.driver.as_str(), "host" | "null")) else {
        return Err(EngineError::Refused(format!("the network '{name}' has no IPv4 subnet to give addresses from")));
    };
    let ranges: Vec<Subnet> = network.ranges.iter().filter_map(|text| Subnet::parse(text)).collect();
    let is_swarms = network.driver == "overlay";
    if is_swarms && ranges.is_empty() {
        return Err(EngineError::Refused(format!(
            "the swarm chooses addresses for itself from all of the network '{name}', and does not say which: create the network with a \
             range for them, which nodes then keep out of, as in \
             docker network create -d overlay --attachable --subnet 10.218.0.0/22 --ip-range 10.218.3.240/28 {name}"
        )));
    }
    let is_chosen_from = |address: &Ipv4Addr| ranges.iter().any(|range| range.contains(*address));
    let free = || subnet.hosts(None).filter(|address| !network.used.contains(address));
    let outside = free().filter(|address| !is_chosen_from(address));
    // A bridge never gives out an address twice, so using its range is better than nothing.
    let inside = free().filter(|address| !is_swarms && is_chosen_from(address));
    let whence = if is_swarms { format!("{name}, outside of its --ip-range,") } else { name.to_owned() };
    let addresses = take(free(), outside.chain(inside), nodes, &whence)?;
    Ok(NetworkPlan { network: network.name.clone(), addresses, names: network.names })
}

/// A part of [`address_taken`]'s sentence.
pub(super) const NOT_FREE: &str = "is not free in the network";

/// A sentence in place of what the engine says when another container has an address: a bridge at once, a Swarm overlay
/// after trying for 20 s.
pub(super) fn address_taken(error: EngineError, address: Ipv4Addr, network: &str) -> EngineError {
    let text = error.to_string();
    // Of a published port it says "address already in use".
    if !text.contains("Address already in use") && !text.contains("attaching to network failed") {
        return error;
    }
    EngineError::Refused(format!("its address {address} {NOT_FREE} {network} any more: {text}"))
}

/// An address for each node: the one that it asks for, if that is among `possible`, else the first of `free` that nobody
/// asks for.
fn take(
    mut possible: impl Iterator<Item = Ipv4Addr>,
    free: impl Iterator<Item = Ipv4Addr>,
    nodes: &[Option<Ipv4Addr>],
    whence: &str,
) -> Result<Vec<Ipv4Addr>> {
    let asked: HashSet<_> = nodes.iter().flatten().copied().collect();
    if !asked.is_empty() {
        let found: HashSet<_> = possible.by_ref().filter(|address| asked.contains(address)).collect();
        if let Some(address) = nodes.iter().flatten().find(|address| !found.contains(address)) {
            return Err(EngineError::Refused(format!("the address {address} is not among the free ones of {whence}")));
        }
    }
    let mut free = free.filter(|address| !asked.contains(address));
    let addresses: Vec<_> = nodes.iter().map_while(|address| address.or_else(|| free.next())).collect();
    if addresses.len() < nodes.len() {
        return Err(EngineError::Refused(format!(
            "{whence} has {} free addresses, {} are needed",
            addresses.len(),
            nodes.len()
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

/// Subnets that this machine reaches by a route of its own (a VPN, say); the default route does not count.
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
    use std::sync::Arc;

    use super::*;
    use crate::engine::simulated::SimulatedEngine;

    #[test]
    fn subnets() {
        let a = Subnet::parse("172.30.0.0/24").unwrap();
        assert_eq!(a.hosts(None).next(), Some([172, 30, 0, 2].into()));
        assert_eq!(a.hosts(None).count(), 253);
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
        engine.create_network("x", &"172.30.4.0/23".into(), &vec![]).await.unwrap();
        assert_eq!(free_subnets(&engine, 253).await.unwrap(), (before - 2, all));
        assert_eq!(all, 3 * 256);
    }

    async fn with_range(
        driver: &'static str,
        subnet: &str,
        ranges: &[&str],
    ) -> crate::engine::simulated::SimulatedEngine {
        let engine = crate::engine::simulated::SimulatedEngine::new();
        engine.create_network("net", &subnet.into(), &vec![]).await.unwrap();
        engine.reshape_network("net", driver, ranges).unwrap();
        engine
    }

    async fn addresses(engine: &SimulatedEngine, nodes: usize) -> Result<Vec<u8>> {
        let wish = NetworkRequest::Existing("net".into()).into();
        let fleet = Fleet::from(Arc::new(engine.clone()) as Arc<dyn Engine>);
        let planned = plan(&fleet, &["".into()], &wish, &vec![None; nodes], "", &vec![]).await?;
        Ok(planned.addresses.iter().map(|address| address.octets()[3]).collect())
    }

    #[tokio::test]
    async fn addresses_that_the_engine_chooses_from_come_last() {
        let engine = with_range("bridge", "10.0.0.0/28", &["10.0.0.0/29"]).await;
        assert_eq!(addresses(&engine, 7).await.unwrap(), [8, 9, 10, 11, 12, 13, 14]);
        assert_eq!(addresses(&engine, 9).await.unwrap(), [8, 9, 10, 11, 12, 13, 14, 2, 3]);
        assert!(addresses(&engine, 14).await.unwrap_err().to_string().contains("has 13 free addresses, 14 are needed"));
    }

    #[tokio::test]
    async fn of_an_overlay_only_what_the_swarm_does_not_choose_from_is_taken() {
        let engine = with_range("overlay", "10.0.0.0/28", &["10.0.0.8/29"]).await;
        assert_eq!(addresses(&engine, 6).await.unwrap(), [2, 3, 4, 5, 6, 7]);
        let why = addresses(&engine, 7).await.unwrap_err().to_string();
        assert_eq!(why, "net, outside of its --ip-range, has 6 free addresses, 7 are needed");
        let engine = with_range("overlay", "10.0.0.0/28", &[]).await;
        let why = addresses(&engine, 1).await.unwrap_err().to_string();
        assert!(why.contains("docker network create -d overlay --attachable --subnet"), "{why}");
        let engine = with_range("bridge", "10.0.0.0/28", &[]).await;
        assert_eq!(addresses(&engine, 2).await.unwrap(), [2, 3], "as ever");
    }

    #[test]
    fn a_node_gets_the_address_that_it_asks_for() {
        let subnet = Subnet::parse("10.0.0.0/29").unwrap();
        let hosts = || subnet.hosts(Some([10, 0, 0, 6].into()));
        let of = |last: &[u8]| -> Vec<_> {
            last.iter().map(|last| (*last > 0).then(|| Ipv4Addr::from([10, 0, 0, *last]))).collect()
        };
        let last = |nodes: &[u8]| -> Result<Vec<u8>> {
            Ok(take(hosts(), hosts(), &of(nodes), "net")?.iter().map(|address| address.octets()[3]).collect())
        };
        assert_eq!(last(&[0, 1, 0, 5]).unwrap(), [2, 1, 3, 5]);
        for (nodes, why) in [
            (&[6][..], "the address 10.0.0.6 is not among the free ones of net"),
            (&[9], "the address 10.0.0.9 is not"),
            (&[0, 0, 0, 0, 0, 0], "net has 5 free addresses, 6 are needed"),
        ] {
            assert!(last(nodes).unwrap_err().to_string().starts_with(why), "{nodes:?}");
        }
    }

    #[test]
    fn a_taken_address_is_told_from_a_taken_port() {
        let told =
            |text: &str| address_taken(EngineError::Refused(text.into()), [10, 0, 0, 2].into(), "net").to_string();
        assert_eq!(
            told("Address already in use"),
            "its address 10.0.0.2 is not free in the network net any more: Address already in use"
        );
        assert!(
            told("attaching to network failed, make sure your network options are correct").starts_with("its address")
        );
        for other in ["failed to bind host port 0.0.0.0:80/tcp: address already in use", "port is already allocated"] {
            assert_eq!(told(other), other);
        }
    }

    #[test]
    fn names_are_compared_as_dns_does() {
        let names = [("I002".to_owned(), "web".to_owned()), ("i002x".to_owned(), "other".to_owned())];
        assert_eq!(taken_name(&names, &["i001".into(), "i002".into()]), Some(("I002", "web")));
        assert_eq!(taken_name(&names, &["i001".into(), "web".into()]), None);
    }

    #[test]
    fn candidates_hold_all_nodes() {
        for nodes in [1, 253, 254, 500, BRIDGE_PORTS] {
            assert!(candidates(nodes).all(|subnet| subnet.hosts(None).count() >= nodes), "{nodes}");
        }
        assert_eq!(candidates(3).next(), Subnet::parse("172.30.0.0/24"));
    }
}
