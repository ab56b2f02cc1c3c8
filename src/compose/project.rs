//! From the merged tree to a project: which services are active, and whether what they name is there.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use super::contents::{self, Contents};
use super::dependencies::DependencyWish;
use super::graph;
use super::model::{Dependency, MountKind, NetworkDef, Project, Service, ServiceNetwork};
use super::networks::{self, DEFAULT, cidr, is_within};
use super::reader::{Keys, Reader, Rule};
use super::request::Request;
use super::service::{self, Draft};
use super::tree::{Entry, Mark, Node, Value};
use super::values::is_name;
use crate::text::shown;

const TOP: &Keys<Option<String>> = &[
    ("name", Rule::Read(|reader, name, entry| *name = reader.text("name", &entry.node))),
    ("version", Rule::Ignore),
    // Read one by one, if a service needs them.
    ("services", Rule::Ignore),
    ("networks", Rule::Ignore),
    ("volumes", Rule::Ignore),
    ("configs", Rule::Ignore),
    ("secrets", Rule::Ignore),
    // Resolved already.
    ("include", Rule::Ignore),
    ("models", Rule::Refuse("no model is run here")),
];

/// Reads the tree.
pub(super) fn read(reader: &mut Reader, root: &Node, request: &Request, project: &mut Project) {
    let mut name = None;
    reader.map("a Compose file", root, TOP, &mut name);
    if let Some(name) = name {
        project.name = name;
    }
    let services = section(reader, root, "services");
    if services.is_empty() {
        reader.refuse(&root.mark, "there are no services");
    }
    let active = graph::active(reader, &root.mark, services, request);
    let mut drafts = vec![];
    for entry in services.iter().filter(|entry| active.contains(entry.key.as_str())) {
        reader.subject = format!("service '{}'", shown(&entry.key));
        if !is_name(&entry.key) {
            let text = "a name has letters, digits, '.', '_' and '-', and begins with a letter or digit";
            reader.refuse(&entry.mark, text);
            continue;
        }
        drafts.push((service::read(reader, entry), entry));
    }
    let names: HashSet<&str> = services.iter().map(|entry| entry.key.as_str()).collect();
    let [configs, secrets] = ["configs", "secrets"].map(|key| contents_of(reader, root, key, &drafts));
    let mut used =
        Used { networks: section(reader, root, "networks"), found: HashMap::new(), addresses: HashMap::new() };
    for (mut draft, entry) in drafts {
        reader.subject = format!("service '{}'", shown(&entry.key));
        replicas(reader, &mut draft, entry, request);
        image(reader, &mut draft.service, entry, request);
        limits(reader, &mut draft, entry);
        draft.service.files = contents::fill(reader, std::mem::take(&mut draft.files), &secrets, &configs);
        draft.service.depends_on = dependencies(reader, &draft.depends_on, &names, &active);
        members(reader, &mut draft, entry, &mut used);
        project.services.push(draft.service);
    }
    reader.subject.clear();
    graph::refuse_circles(reader, &project.services, services);
    project.networks = used.in_order(root);
    volumes(reader, root, services, project);
}

/// The entries of a map of the root.
fn section<'n>(reader: &mut Reader, root: &'n Node, key: &str) -> &'n [Entry] {
    let Some(entry) = root.get(key).filter(|entry| !entry.node.is_null()) else { return &[] };
    if !matches!(entry.node.value, Value::Map(_)) {
        reader.refuse(&entry.node.mark, format!("{key} is a map, not {}", entry.node.kind()));
    }
    entry.node.entries()
}

/// The configs or secrets that services name.
fn contents_of(reader: &mut Reader, root: &Node, key: &str, drafts: &[(Draft, &Entry)]) -> Contents {
    let files = drafts.iter().flat_map(|(draft, _)| &draft.files);
    let named: HashSet<&str> =
        files.filter(|wish| wish.file.is_secret == (key == "secrets")).map(|wish| wish.file.name.as_str()).collect();
    let mut all = Contents::new();
    for entry in section(reader, root, key).iter().filter(|entry| named.contains(entry.key.as_str())) {
        reader.subject = format!("{} '{}'", key.trim_end_matches('s'), shown(&entry.key));
        all.insert(entry.key.clone(), contents::read(reader, entry));
    }
    all
}

fn replicas(reader: &mut Reader, draft: &mut Draft, entry: &Entry, request: &Request) {
    if let (Some(scale), Some(replicas)) = (draft.scale, draft.deploy.replicas)
        && scale != replicas
    {
        reader.refuse(&entry.mark, format!("scale: {scale} and deploy: replicas: {replicas}: leave one of them out"));
    }
    let asked = request.scale.get(&entry.key).copied();
    draft.service.replicas = asked.or(draft.scale).or(draft.deploy.replicas).unwrap_or(1);
    if draft.service.replicas <= 1 {
        return;
    }
    let service = &draft.service;
    let mut each = |key: &str, what: &str| {
        let mark = entry.node.get(key).map_or(&entry.mark, |entry| &entry.mark);
        reader.refuse(mark, format!("{key}: {} nodes cannot all have {what}", service.replicas));
    };
    if service.container_name.is_some() {
        each("container_name", "one name: leave it out");
    }
    if service.network.mac_address.is_some() {
        each("mac_address", "one address: leave it out");
    }
    if service.network.ports.iter().any(|port| port.host_port.is_some()) {
        each("ports", "one port of the host: leave the host's port out, and the engine chooses");
    }
    if draft.networks.iter().any(|(member, _)| member.address.is_some()) {
        each("networks", "one ipv4_address: leave it out");
    }
}

fn image(reader: &mut Reader, service: &mut Service, entry: &Entry, request: &Request) {
    if let Some(image) = request.images.get(&service.name) {
        service.image = Some(image.clone());
    }
    if service.image.is_some() || entry.node.get("image").is_some_and(|image| !image.node.is_null()) {
        return;
    }
    let name = &service.name;
    let text = match &service.build {
        Some(context) => format!(
            "it is built (build: {}): run 'docker compose build' and give it 'image:', or pass --image {name}=NAME",
            shown(context)
        ),
        None => format!("it has no image: give it 'image:', or pass --image {name}=NAME"),
    };
    let mark = entry.node.get("build").map_or(&entry.mark, |build| &build.mark);
    reader.refuse(mark, text);
}

/// `deploy: resources: limits` says the same as `mem_limit`, `cpus` and `pids_limit`.
fn limits(reader: &mut Reader, draft: &mut Draft, entry: &Entry) {
    let (run, deploy) = (&mut draft.service.run, &draft.deploy);
    for (own, limit, key, word) in [
        (&mut run.memory, deploy.memory, "mem_limit", "memory"),
        (&mut run.nano_cpus, deploy.nano_cpus, "cpus", "cpus"),
        (&mut run.pids_limit, deploy.pids_limit, "pids_limit", "pids"),
    ] {
        if own.is_some() && limit.is_some() && *own != limit {
            let mark = entry.node.get(key).map_or(&entry.mark, |entry| &entry.mark);
            reader.refuse(mark, format!("{key} and deploy: resources: limits: {word} differ: leave one of them out"));
        }
        *own = own.or(limit);
    }
}

fn dependencies(
    reader: &mut Reader,
    wishes: &[DependencyWish],
    names: &HashSet<&str>,
    active: &HashSet<String>,
) -> Vec<Dependency> {
    let mut all = vec![];
    for wish in wishes {
        let name = shown(&wish.service);
        if !names.contains(wish.service.as_str()) {
            let hint = reader.hint(&wish.service, names.iter().copied());
            reader.refuse(&wish.mark, format!("depends_on: there is no service '{name}'{hint}"));
        } else if active.contains(&wish.service) {
            let (service, condition, required) = (wish.service.clone(), wish.condition, wish.required);
            all.push(Dependency { service, condition, required });
        } else if wish.required {
            let text =
                format!("depends_on: service '{name}' is off: turn it on with --profile, or say 'required: false'");
            reader.refuse(&wish.mark, text);
        }
    }
    all
}

/// The networks that services are in, read when the first one names them.
struct Used<'n> {
    networks: &'n [Entry],
    found: HashMap<String, Option<NetworkDef>>,
    /// Which service has an address in a network.
    addresses: HashMap<(String, Ipv4Addr), String>,
}

impl Used<'_> {
    fn get(&mut self, reader: &mut Reader, name: &str) -> Option<&NetworkDef> {
        if !self.found.contains_key(name) {
            let entry = self.networks.iter().find(|entry| entry.key == name);
            let def = entry.map(|entry| {
                let subject = std::mem::replace(&mut reader.subject, format!("network '{}'", shown(name)));
                let def = networks::read(reader, entry);
                reader.subject = subject;
                def
            });
            self.found.insert(name.to_owned(), def);
        }
        self.found.get(name)?.as_ref()
    }

    fn in_order(mut self, root: &Node) -> Vec<NetworkDef> {
        let mut all = vec![];
        if let Some(None) = self.found.get(DEFAULT) {
            all.push(NetworkDef {
                name: DEFAULT.into(),
                place: root.mark.source.whole().place(),
                external: None,
                internal: false,
                subnet: None,
                gateway: None,
                ip_range: None,
                labels: vec![],
            });
        }
        all.extend(self.networks.iter().filter_map(|entry| self.found.remove(&entry.key).flatten()));
        all
    }
}

fn members(reader: &mut Reader, draft: &mut Draft, entry: &Entry, used: &mut Used) {
    if draft.networks.is_empty() {
        let member = ServiceNetwork { network: DEFAULT.into(), aliases: vec![], address: None, priority: 0 };
        draft.networks.push((member, entry.mark.clone()));
    }
    for (member, mark) in std::mem::take(&mut draft.networks) {
        let name = shown(&member.network);
        let def = used.get(reader, &member.network);
        if def.is_none() && member.network != DEFAULT {
            let hint = reader.hint(&member.network, used.networks.iter().map(|entry| entry.key.as_str()));
            reader.refuse(&mark, format!("there is no network '{name}' in the project{hint}"));
            continue;
        }
        let (is_external, subnet) = def.map_or((false, None), |def| (def.external.is_some(), def.subnet.as_deref()));
        if let Some(address) = member.address
            && !is_external
        {
            match subnet.and_then(cidr) {
                None => reader.refuse(
                    &mark,
                    format!("ipv4_address: network '{name}' has no subnet: give it one (ipam: config: - subnet: ...)"),
                ),
                Some(subnet) if !is_within(subnet, address) => {
                    reader
                        .refuse(&mark, format!("ipv4_address: {address} is not within the subnet of network '{name}'"));
                }
                Some(_) => {}
            }
        }
        if let Some(address) = member.address {
            let taken = used.addresses.insert((member.network.clone(), address), draft.service.name.clone());
            if let Some(other) = taken {
                let text = format!("ipv4_address: service '{}' has {address} already: choose another", shown(&other));
                reader.refuse(&mark, text);
            }
        }
        draft.service.networks.push(member);
    }
}

/// The volumes that services name, in file order.
fn volumes(reader: &mut Reader, root: &Node, services: &[Entry], project: &mut Project) {
    let defined = section(reader, root, "volumes");
    let names: HashSet<&str> = defined.iter().map(|entry| entry.key.as_str()).collect();
    let mut named = HashSet::new();
    for service in &project.services {
        for mount in &service.mounts {
            let MountKind::Volume { volume: Some(volume), .. } = &mount.kind else { continue };
            if !names.contains(volume.as_str()) {
                reader.subject = format!("service '{}'", shown(&service.name));
                let mark = mark_of(services, service, volume).unwrap_or_else(|| root.mark.clone());
                let hint = reader.hint(volume, names.iter().copied());
                reader.refuse(&mark, format!("there is no volume '{}' in the project{hint}", shown(volume)));
            }
            named.insert(volume.clone());
        }
    }
    for entry in defined.iter().filter(|entry| named.contains(&entry.key)) {
        reader.subject = format!("volume '{}'", shown(&entry.key));
        project.volumes.push(networks::read_volume(reader, entry));
    }
    reader.subject.clear();
}

/// Where a service names a volume.
fn mark_of(services: &[Entry], service: &Service, volume: &str) -> Option<Mark> {
    let entry = services.iter().find(|entry| entry.key == service.name)?;
    let Value::List(items) = &entry.node.get("volumes")?.node.value else { return None };
    let names = |item: &&Node| match &item.value {
        Value::Map(_) => item.get("source").and_then(|source| source.node.scalar()).is_some_and(|name| name == volume),
        _ => item.scalar().is_some_and(|text| text.split(':').next() == Some(volume)),
    };
    items.iter().find(names).map(|item| item.mark.clone())
}
