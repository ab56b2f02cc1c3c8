//! What a template can name.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use minijinja::Value;

/// The names that a template can use, for a sentence.
pub(super) const NAMES: &str = "name, index, self, port, peers, nodes, master";

/// The nodes of a cluster, as templates see them.
#[derive(Debug)]
pub struct Nodes {
    port: u16,
    /// Name and address of each, in order.
    each: Vec<(String, Value)>,
    /// The variable `nodes`: shared by all, as there may be a thousand.
    list: Value,
}

/// What a template can name when it is rendered for one node.
#[derive(Clone, Debug)]
pub struct Variables(Value);

impl Nodes {
    /// Nodes with these names and addresses, that listen on `port`.
    pub fn new(port: u16, nodes: impl IntoIterator<Item = (String, Ipv4Addr)>) -> Self {
        let each: Vec<_> = nodes.into_iter().map(|(name, ip)| (name, Value::from(ip.to_string()))).collect();
        let entry = |(at, (name, ip)): (usize, &(String, Value))| {
            map([("name", Value::from(name)), ("ip", ip.clone()), ("index", Value::from(at + 1))])
        };
        let list = each.iter().enumerate().map(entry).collect();
        Self { port, each, list }
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
        let (name, ip) = &self.each[index];
        let others = self.each.iter().enumerate().filter(|(at, _)| *at != index);
        let peers: Value = others.map(|(_, (_, ip))| ip.clone()).collect();
        Variables(map([
            ("name", Value::from(name)),
            ("index", Value::from(index + 1)),
            ("self", ip.clone()),
            ("port", Value::from(self.port)),
            ("peers", peers),
            ("nodes", self.list.clone()),
            ("master", Value::from(index == 0)),
        ]))
    }
}

fn map<const N: usize>(entries: [(&'static str, Value); N]) -> Value {
    Value::from(BTreeMap::from(entries))
}

impl Variables {
    pub(super) fn values(&self) -> Value {
        self.0.clone()
    }
}
