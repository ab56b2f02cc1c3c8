//! What a template can name.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use minijinja::Value;

/// The names that a template can use, for a sentence.
pub(super) const NAMES: &str = "name, index, self, port, peers, nodes, master";
/// The same in a cluster of different nodes.
pub(super) const NAMES_OF_SERVICES: &str =
    "name, index, self, port, peers, nodes, master, service, group, replica, groups";

/// A node as templates see it.
#[derive(Clone, Debug)]
pub(crate) struct TemplateNode {
    pub(crate) name: String,
    pub(crate) ip: Ipv4Addr,
    /// In a cluster of different nodes: its service, and which of its nodes it is, counted from 1.
    pub(crate) service: Option<(String, usize)>,
}

/// The nodes of a cluster, as templates see them.
#[derive(Debug)]
pub struct Nodes {
    port: u16,
    /// Each, in order.
    each: Vec<TemplateNode>,
    /// The variable `nodes`: shared by all, as there may be a thousand.
    list: Value,
    /// The variable `groups`: the nodes of each service.
    groups: Value,
}

/// What a template can name when it is rendered for one node.
#[derive(Clone, Debug)]
pub struct Variables {
    pub(super) values: Value,
    /// The names among them, for a sentence.
    pub(super) names: &'static str,
}

impl Nodes {
    /// Nodes with these names and addresses, that listen on `port`.
    pub fn new(port: u16, nodes: impl IntoIterator<Item = (String, Ipv4Addr)>) -> Self {
        Self::of(port, nodes.into_iter().map(|(name, ip)| TemplateNode { name, ip, service: None }).collect())
    }

    pub(crate) fn of(port: u16, each: Vec<TemplateNode>) -> Self {
        let entry = |(at, node): (usize, &TemplateNode)| {
            let mut entry = BTreeMap::from([
                ("name", Value::from(&node.name)),
                ("ip", Value::from(node.ip.to_string())),
                ("index", Value::from(at + 1)),
            ]);
            if let Some((service, replica)) = &node.service {
                entry.extend([
                    ("service", Value::from(service)),
                    ("group", Value::from(service)),
                    ("replica", Value::from(*replica)),
                ]);
            }
            Value::from(entry)
        };
        let entries: Vec<_> = each.iter().enumerate().map(entry).collect();
        let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (node, entry) in each.iter().zip(&entries) {
            if let Some((service, _)) = &node.service {
                groups.entry(service.clone()).or_default().push(entry.clone());
            }
        }
        let groups: BTreeMap<_, _> = groups.into_iter().map(|(service, nodes)| (service, Value::from(nodes))).collect();
        Self { port, each, list: entries.into_iter().collect(), groups: Value::from(groups) }
    }

    pub(crate) fn len(&self) -> usize {
        self.each.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// What the node at `index`, which counts from 0, can name.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn variables(&self, index: usize) -> Variables {
        let TemplateNode { name, ip, service } = &self.each[index];
        let others = self.each.iter().enumerate().filter(|(at, _)| *at != index);
        let peers: Value = others.map(|(_, node)| node.ip.to_string()).collect();
        let mut values = BTreeMap::from([
            ("name", Value::from(name)),
            ("index", Value::from(index + 1)),
            ("self", Value::from(ip.to_string())),
            ("port", Value::from(self.port)),
            ("peers", peers),
            ("nodes", self.list.clone()),
            ("master", Value::from(index == 0)),
        ]);
        let Some((service, replica)) = service else {
            return Variables { values: Value::from(values), names: NAMES };
        };
        values.extend([
            ("service", Value::from(service)),
            ("group", Value::from(service)),
            ("replica", Value::from(*replica)),
            ("groups", self.groups.clone()),
        ]);
        Variables { values: Value::from(values), names: NAMES_OF_SERVICES }
    }
}
