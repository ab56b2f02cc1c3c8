//! Networks, and what of them a service is in.

use std::net::Ipv4Addr;

use super::model::{NetworkDef, ServiceNetwork, VolumeDef};
use super::reader::{Keys, Reader, Rule, unique};
use super::tree::{Entry, Mark, Node, Value};

/// The network of services that name none.
pub(super) const DEFAULT: &str = "default";

/// The name under which something is known to the engine, if it is not of this project.
#[derive(Default)]
struct Outside {
    name: Option<(String, Mark)>,
    is_external: bool,
}

impl Outside {
    /// Warns that a name is not used; the key is the name of what is external.
    fn finish(self, reader: &mut Reader, key: &str) -> Option<String> {
        match self.name {
            Some((name, _)) if self.is_external => Some(name),
            None if self.is_external => Some(key.to_owned()),
            Some((_, mark)) => {
                reader.warn(&mark, "name is ignored: what belongs to a cluster has a name of its own in the engine");
                None
            }
            None => None,
        }
    }
}

fn external(reader: &mut Reader, outside: &mut Outside, entry: &Entry) {
    if let Some(name) = entry.node.get("name") {
        // As old files have it.
        outside.name = reader.text("external: name", &name.node).map(|text| (text, name.mark.clone()));
        outside.is_external = true;
    } else {
        outside.is_external = reader.truth("external", &entry.node).unwrap_or_default();
    }
}

fn named(reader: &mut Reader, outside: &mut Outside, entry: &Entry) {
    outside.name = reader.text("name", &entry.node).map(|text| (text, entry.mark.clone()));
}

/// A network while it is read.
struct NetworkDraft {
    def: NetworkDef,
    outside: Outside,
}

const NETWORK: &Keys<NetworkDraft> = &[
    ("name", Rule::Read(|reader, draft, entry| named(reader, &mut draft.outside, entry))),
    ("external", Rule::Read(|reader, draft, entry| external(reader, &mut draft.outside, entry))),
    ("driver", Rule::Read(|reader, _, entry| only(reader, entry, &["bridge", "default"]))),
    ("driver_opts", Rule::Refuse("the network is made by cthulhu; make it yourself, and say 'external: true'")),
    ("attachable", Rule::Ignore),
    (
        "enable_ipv4",
        Rule::Read(|reader, _, entry| {
            if reader.truth("enable_ipv4", &entry.node) == Some(false) {
                reader.refuse(&entry.mark, "enable_ipv4: false is refused: nodes have IPv4 addresses");
            }
        }),
    ),
    ("enable_ipv6", Rule::Warn("nodes have IPv4 addresses only")),
    (
        "internal",
        Rule::Read(|reader, draft, entry| {
            draft.def.internal = reader.truth("internal", &entry.node).unwrap_or_default();
        }),
    ),
    ("ipam", Rule::Read(|reader, draft, entry| reader.map("ipam", &entry.node, IPAM, &mut draft.def))),
    ("labels", Rule::Read(|reader, draft, entry| draft.def.labels = labels(reader, entry))),
];

const IPAM: &Keys<NetworkDef> = &[
    ("driver", Rule::Read(|reader, _, entry| only(reader, entry, &["default"]))),
    ("options", Rule::Refuse("addresses are chosen by cthulhu")),
    ("config", Rule::Read(subnets)),
];

/// A pool of addresses.
#[derive(Default)]
struct Pool {
    subnet: Option<String>,
    gateway: Option<Ipv4Addr>,
    ip_range: Option<String>,
    is_ipv6: bool,
}

const POOL: &Keys<Pool> = &[
    (
        "subnet",
        Rule::Read(|reader, pool, entry| {
            if let Some(text) = reader.text("ipam: subnet", &entry.node) {
                pool.is_ipv6 = text.contains("::");
                pool.subnet = Some(text);
            }
        }),
    ),
    (
        "gateway",
        Rule::Read(|reader, pool, entry| {
            let gateway = reader.text("ipam: gateway", &entry.node);
            if gateway.as_ref().is_some_and(|gateway| !gateway.contains(':')) {
                pool.gateway = address(reader, "ipam: gateway", &entry.node);
            }
        }),
    ),
    ("ip_range", Rule::Read(|reader, pool, entry| pool.ip_range = reader.text("ipam: ip_range", &entry.node))),
    ("aux_addresses", Rule::Warn("a node may get one of these addresses; choose an ip_range without them")),
];

fn subnets(reader: &mut Reader, def: &mut NetworkDef, entry: &Entry) {
    for item in reader.items("ipam: config", &entry.node) {
        let mut pool = Pool::default();
        reader.map("an ipam config", item, POOL, &mut pool);
        if pool.is_ipv6 {
            reader.warn(&item.mark, "ipam: an IPv6 subnet is ignored: nodes have IPv4 addresses only");
            continue;
        }
        if def.subnet.is_some() {
            reader.refuse(&item.mark, "ipam: a network has one IPv4 subnet here: leave the others out");
            continue;
        }
        for text in [&pool.subnet, &pool.ip_range].into_iter().flatten() {
            if cidr(text).is_none() {
                let text = crate::text::shown(text);
                reader.refuse(&item.mark, format!("ipam: '{text}' is no subnet, such as 172.20.0.0/16"));
                return;
            }
        }
        let (subnet, gateway, ip_range) = (pool.subnet, pool.gateway, pool.ip_range);
        let bounds = subnet.as_deref().and_then(cidr);
        let inner = gateway.into_iter().chain(ip_range.as_deref().and_then(cidr).map(|(address, _)| address));
        for address in inner.filter(|address| !bounds.is_some_and(|bounds| is_within(bounds, *address))) {
            reader.refuse(&item.mark, format!("ipam: {address} is not within the subnet"));
        }
        (def.subnet, def.gateway, def.ip_range) = (subnet, gateway, ip_range);
    }
}

/// Address and bits of an IPv4 subnet.
pub(super) fn cidr(text: &str) -> Option<(Ipv4Addr, u32)> {
    let (address, bits) = text.split_once('/')?;
    Some((address.parse().ok()?, bits.parse().ok().filter(|bits| *bits <= 32)?))
}

/// Whether a subnet has an address.
pub(super) fn is_within((subnet, bits): (Ipv4Addr, u32), address: Ipv4Addr) -> bool {
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    u32::from(subnet) & mask == u32::from(address) & mask
}

fn address(reader: &mut Reader, what: &str, node: &Node) -> Option<Ipv4Addr> {
    reader.parsed(what, node, "an IPv4 address", |text| text.parse().ok())
}

fn only(reader: &mut Reader, entry: &Entry, drivers: &[&str]) {
    if let Some(driver) = reader.text("driver", &entry.node).filter(|driver| !drivers.contains(&driver.as_str())) {
        let driver = crate::text::shown(&driver);
        reader.refuse(&entry.node.mark, format!("driver {driver} is refused: there is only {}", drivers[0]));
    }
}

/// Reads labels, which must not be ours or those of compose.
pub(super) fn labels(reader: &mut Reader, entry: &Entry) -> Vec<(String, String)> {
    let labels = reader.full_pairs("labels", &entry.node, &['=']);
    for (name, _) in &labels {
        if name.starts_with("io.cthulhu.") || name.starts_with("com.docker.compose.") {
            let text = format!(
                "the label {} is refused: labels of that kind say who made a container",
                crate::text::shown(name)
            );
            reader.refuse(&entry.mark, text);
        }
    }
    labels
}

/// Reads a network of the project.
pub(super) fn read(reader: &mut Reader, entry: &Entry) -> NetworkDef {
    let def = NetworkDef {
        name: entry.key.clone(),
        place: entry.mark.place(),
        external: None,
        internal: false,
        subnet: None,
        gateway: None,
        ip_range: None,
        labels: vec![],
    };
    let mut draft = NetworkDraft { def, outside: Outside::default() };
    if !entry.node.is_null() {
        reader.map("a network", &entry.node, NETWORK, &mut draft);
    }
    draft.def.external = draft.outside.finish(reader, &entry.key);
    draft.def
}

/// A volume while it is read.
struct VolumeDraft {
    labels: Vec<(String, String)>,
    outside: Outside,
}

const VOLUME: &Keys<VolumeDraft> = &[
    ("name", Rule::Read(|reader, draft, entry| named(reader, &mut draft.outside, entry))),
    ("external", Rule::Read(|reader, draft, entry| external(reader, &mut draft.outside, entry))),
    ("driver", Rule::Read(|reader, _, entry| only(reader, entry, &["local"]))),
    ("driver_opts", Rule::Refuse("a volume is a directory here; make it yourself, and say 'external: true'")),
    ("labels", Rule::Read(|reader, draft, entry| draft.labels = labels(reader, entry))),
];

/// Reads a volume of the project.
pub(super) fn read_volume(reader: &mut Reader, entry: &Entry) -> VolumeDef {
    let mut draft = VolumeDraft { labels: vec![], outside: Outside::default() };
    if !entry.node.is_null() {
        reader.map("a volume", &entry.node, VOLUME, &mut draft);
    }
    let external = draft.outside.finish(reader, &entry.key);
    VolumeDef { name: entry.key.clone(), place: entry.mark.place(), external, labels: draft.labels }
}

const MEMBER: &Keys<ServiceNetwork> = &[
    ("aliases", Rule::Read(|reader, member, entry| member.aliases = reader.texts("aliases", &entry.node))),
    ("ipv4_address", Rule::Read(|reader, member, entry| member.address = address(reader, "ipv4_address", &entry.node))),
    (
        "priority",
        Rule::Read(|reader, member, entry| {
            member.priority = reader.number("priority", &entry.node, "a whole number").unwrap_or_default();
        }),
    ),
    ("gw_priority", Rule::Warn("the way out is through the first network")),
    ("driver_opts", Rule::Warn("they are the engine's own")),
    ("interface_name", Rule::Warn("interfaces are eth0, eth1 and so on")),
    ("ipv6_address", Rule::Refuse("nodes have IPv4 addresses only")),
    ("link_local_ips", Rule::Refuse("a node has one address in a network")),
    ("mac_address", Rule::Refuse("say mac_address at the service: it is for the first network")),
];

/// Reads `networks` of a service, each with the place of its name.
pub(super) fn read_members(reader: &mut Reader, entry: &Entry) -> Vec<(ServiceNetwork, Mark)> {
    let member = |name: &str| ServiceNetwork { network: name.to_owned(), aliases: vec![], address: None, priority: 0 };
    let mut members = vec![];
    match &entry.node.value {
        Value::Map(entries) => {
            for entry in entries {
                let mut member = member(&entry.key);
                if !entry.node.is_null() {
                    reader.map("a network of a service", &entry.node, MEMBER, &mut member);
                }
                members.push((member, entry.mark.clone()));
            }
        }
        _ => {
            for item in reader.items("networks", &entry.node) {
                members.extend(reader.text("a network", item).map(|name| (member(&name), item.mark.clone())));
            }
        }
    }
    let named = members.into_iter().map(|member: (ServiceNetwork, Mark)| (member.0.network.clone(), member)).collect();
    let mut members: Vec<_> = unique(named).into_iter().map(|(_, member)| member).collect();
    members.sort_by_key(|(member, _)| std::cmp::Reverse(member.priority));
    members
}
