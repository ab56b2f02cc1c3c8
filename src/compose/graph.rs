//! Which services are active, and whether they depend on each other in circles.

use std::collections::{HashMap, HashSet};

use super::model::Service;
use super::reader::Reader;
use super::request::Request;
use super::tree::{Entry, Mark, Node, Value};
use crate::text::shown;

/// The names of the services that are to run.
pub(super) fn active(reader: &mut Reader, root: &Mark, services: &[Entry], request: &Request) -> HashSet<String> {
    let at: HashMap<&str, &Entry> = services.iter().map(|entry| (entry.key.as_str(), entry)).collect();
    let named = request.scale.keys().map(|name| ("--scale", name));
    let named = named.chain(request.images.keys().map(|name| ("--image", name)));
    for (option, name) in named.chain(request.services.iter().map(|name| ("--service", name))) {
        if !at.contains_key(name.as_str()) {
            let hint = reader.hint(name, services.iter().map(|entry| entry.key.as_str()));
            reader.refuse(&root.source.whole(), format!("{option}: there is no service '{}'{hint}", shown(name)));
        }
    }
    let is_on = |entry: &&Entry| {
        let profiles = profiles(reader, entry);
        let on = |profile: &String| request.profiles.iter().any(|on| on == profile || on == "*");
        profiles.is_empty() || profiles.iter().any(on)
    };
    let on: HashSet<String> = services.iter().filter(is_on).map(|entry| entry.key.clone()).collect();
    if request.services.is_empty() {
        return on;
    }
    let (mut wanted, mut next) = (HashSet::new(), request.services.clone());
    while let Some(name) = next.pop() {
        if let Some(entry) = at.get(name.as_str())
            && wanted.insert(name)
        {
            next.extend(needs(&entry.node));
        }
    }
    wanted
}

/// The profiles of a service.
fn profiles(reader: &mut Reader, entry: &Entry) -> Vec<String> {
    let Some(profiles) = entry.node.get("profiles").filter(|profiles| !profiles.node.is_null()) else { return vec![] };
    reader.items("profiles", &profiles.node).iter().filter_map(Node::scalar).collect()
}

/// The services that one depends on.
fn needs(service: &Node) -> Vec<String> {
    let names = |key: &str| match service.get(key).map(|entry| &entry.node.value) {
        Some(Value::Map(entries)) => entries.iter().map(|entry| entry.key.clone()).collect(),
        Some(Value::List(items)) => items.iter().filter_map(Node::scalar).collect(),
        _ => vec![],
    };
    let links = names("links").into_iter().map(|link| link.split(':').next().unwrap_or_default().to_owned());
    names("depends_on").into_iter().chain(links).collect()
}

/// Refuses services that wait for each other.
pub(super) fn refuse_circles(reader: &mut Reader, services: &[Service], entries: &[Entry]) {
    let at: HashMap<&str, usize> = services.iter().enumerate().map(|(at, one)| (one.name.as_str(), at)).collect();
    let (mut done, mut on_way) = (vec![false; services.len()], vec![false; services.len()]);
    for start in 0..services.len() {
        // The way from `start`: services, and which of their dependencies is next.
        let mut way = vec![(start, 0)];
        on_way[start] = true;
        while let Some((service, next)) = way.last_mut() {
            let Some(dependency) = services[*service].depends_on.get(*next).filter(|_| !done[*service]) else {
                (done[*service], on_way[*service]) = (true, false);
                way.pop();
                continue;
            };
            *next += 1;
            let Some(to) = at.get(dependency.service.as_str()).copied() else { continue };
            if !on_way[to] {
                on_way[to] = true;
                way.push((to, 0));
                continue;
            }
            let begin = way.iter().position(|(service, _)| *service == to).unwrap_or_default();
            let circle = way[begin..].iter().map(|(service, _)| *service).chain([to]);
            let names: Vec<_> = circle.map(|service| services[service].name.as_str()).collect();
            let text = format!("services depend on each other in a circle: {}", names.join(" -> "));
            let entry = entries.iter().find(|entry| entry.key == names[0]);
            if let Some(entry) = entry {
                let mark = entry.node.get("depends_on").map_or(&entry.mark, |depends| &depends.mark);
                reader.refuse(mark, text);
            }
            return;
        }
    }
}
