//! What is wrong with the network: the settings that a user writes, what befalls each directed link by them, and what each
//! sandbox has to bring about. Pure, like all of the model.

mod desired;
mod dice;
mod effects;
mod error;
mod links;
mod matrix;
mod partition;
mod shapes;
mod words;

use std::net::Ipv4Addr;

pub use desired::{Desired, Peer};
pub use dice::Dice;
pub use effects::{Cut, Delay, Effects, Rate, Share};
pub use error::FaultError;
pub use links::MOST_LINES;

use error::{Result, invalid};
use links::{End as LinkEnd, Link};
use matrix::Matrix;
use partition::Partition;

use super::NodeName;

/// Up to so many nodes each link is told of by itself: of a thousand nodes there are a million.
const SPELLED_OUT: usize = 64;

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The node with this index.
    Node(usize),
    /// The machine outside.
    Host,
}

/// All faults of a cluster: what was written, and what follows from it.
///
/// What befalls a link is the partition's cut, if it cuts it; else what the last line of `links` says that is about it; else
/// what its sender's `net` says. A text that is wrong changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    nodes: usize,
    partition: Partition,
    links: Vec<Link>,
    net: Vec<Effects>,
    crashed: Vec<bool>,
    /// Follows from the others.
    matrix: Matrix,
}

impl Faults {
    /// None, for a cluster of so many nodes.
    pub fn new(nodes: usize) -> Self {
        Self {
            nodes,
            partition: Partition::default(),
            links: vec![],
            net: vec![Effects::default(); nodes],
            crashed: vec![false; nodes],
            matrix: Matrix::new(nodes),
        }
    }

    /// The partition is to be this: one line, or `heal`, or nothing but blanks for none.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn set_partition(&mut self, text: &str, dice: &mut Dice) -> Result<()> {
        self.partition = match one_line(text, "partition")? {
            "heal" => Partition::default(),
            line => Partition::parse(line, self.nodes, dice)?,
        };
        self.follow();
        Ok(())
    }

    /// The table of links is to be this.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn set_links(&mut self, text: &str) -> Result<()> {
        self.links = links::parse(text, self.nodes)?.unwrap_or_default();
        self.follow();
        Ok(())
    }

    /// The table of links gets these lines too; `heal` empties it.
    ///
    /// # Errors
    /// What is wrong with the text, or that the table would be too long.
    pub fn add_links(&mut self, text: &str) -> Result<()> {
        let Some(more) = links::parse(text, self.nodes)? else {
            return self.set_links("");
        };
        let mut longer = self.clone();
        longer.links.extend(more);
        longer.follow();
        if longer.links.len() > MOST_LINES {
            return invalid(format!("a table of links has at most {MOST_LINES} lines; * stands for all nodes"));
        }
        *self = longer;
        Ok(())
    }

    /// What befalls all that a node sends to other nodes is to be this; `heal`, or nothing but blanks, for nothing.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn set_net(&mut self, node: usize, text: &str) -> Result<()> {
        self.net[node] = match one_line(text, "net")? {
            "" | "heal" => Effects::default(),
            line if line.contains('>') => {
                return invalid("net is about all that the node sends: a single link is written to links, at the root");
            }
            line => Effects::parse(line)?,
        };
        self.follow();
        Ok(())
    }

    /// All is well again, but for crashed nodes.
    pub fn heal(&mut self) {
        *self = Self { crashed: std::mem::take(&mut self.crashed), ..Self::new(self.nodes) };
    }

    /// Nothing befalls what these nodes send or get: they join every group, their lines go, and those that mean all except them.
    pub fn heal_nodes(&mut self, nodes: &[usize]) {
        nodes.iter().for_each(|node| self.net[*node] = Effects::default());
        self.partition.heal(nodes, self.nodes);
        let is_healed = |end| matches!(end, LinkEnd::Node(node) if nodes.contains(&node));
        self.links.retain(|link| !is_healed(link.from) && !is_healed(link.to));
        for &node in nodes {
            let own = LinkEnd::Node(node);
            let effects = Effects::default();
            let ends = [(own, LinkEnd::All), (LinkEnd::All, own), (own, LinkEnd::Host), (LinkEnd::Host, own)];
            self.links.extend(ends.map(|(from, to)| Link { from, to, effects, healed: true }));
        }
        self.follow();
    }

    /// Whether a node is to be as if its power had failed.
    pub fn set_crashed(&mut self, node: usize, crashed: bool) {
        self.crashed[node] = crashed;
    }

    /// Whether it is.
    pub fn is_crashed(&self, node: usize) -> bool {
        self.crashed[node]
    }

    /// What `partition` says: a line, or nothing.
    pub fn partition(&self) -> String {
        line_or_nothing(self.partition.to_string())
    }

    /// What `links` says: the lines that are in force.
    pub fn links(&self) -> String {
        self.links.iter().map(|link| format!("{link}\n")).collect()
    }

    /// What a node's `net` says: a line, or nothing.
    pub fn net(&self, node: usize) -> String {
        let effects = self.net[node];
        if effects.is_none() { String::new() } else { format!("{effects}\n") }
    }

    /// What befalls a directed link.
    pub fn effects(&self, from: End, to: End) -> Effects {
        self.matrix.get(self.number(from), self.number(to))
    }

    fn number(&self, end: End) -> usize {
        match end {
            End::Node(node) => node,
            End::Host => self.nodes,
        }
    }

    /// What the sandbox of a node has to bring about; `addresses` are those of all nodes, in order.
    pub fn desired(&self, node: usize, addresses: &[Ipv4Addr]) -> Desired {
        let peers = || (0..=self.nodes).filter(|peer| *peer != node);
        let peer = |number: usize| addresses.get(number).map_or(Peer::Host, |address| Peer::Node(*address));
        let from: Vec<_> =
            peers().filter_map(|other| self.matrix.some(other, node).map(|effects| (peer(other), effects))).collect();
        // What only the receiver acts on need not be told to the sender.
        let is_senders =
            |effects: &Effects| effects.cut.is_none() && !(Effects { loss: Share::NONE, ..*effects }).is_none();
        let to: Vec<_> = peers()
            .filter_map(|other| self.matrix.some(node, other).map(|effects| (peer(other), effects)))
            .filter(|(peer, effects)| *peer == Peer::Host || is_senders(effects))
            .collect();
        let names_host = from.iter().chain(&to).any(|(peer, _)| *peer == Peer::Host);
        let others = || addresses.iter().enumerate().filter(|(other, _)| *other != node).map(|(_, address)| *address);
        Desired { silent: self.crashed[node], nodes: if names_host { others().collect() } else { vec![] }, from, to }
    }

    /// Every link that something befalls, as in `links`, and every crashed node. A node whose links to all others have the same has
    /// one text, with `*`, except for cuts. Of a large cluster it is the settings instead: each `net` as a link to `*`, the lines
    /// of `links`, which win over those, and the partition, which wins over all.
    pub fn in_force(&self) -> Vec<String> {
        let mut texts = if self.nodes > SPELLED_OUT { self.settings() } else { self.spelled_out() };
        let crashed = (0..self.nodes).filter(|node| self.crashed[*node]);
        texts.extend(crashed.map(|node| format!("{} crashed", NodeName::nth(node))));
        texts
    }

    fn settings(&self) -> Vec<String> {
        let net = self.net.iter().enumerate().filter(|(_, effects)| !effects.is_none());
        let net = net.map(|(node, effects)| format!("{}>* {effects}", NodeName::nth(node)));
        let partition =
            Some(format!("partition {}", self.partition)).filter(|_| self.partition != Partition::default());
        net.chain(self.links.iter().map(Link::to_string)).chain(partition).collect()
    }

    fn spelled_out(&self) -> Vec<String> {
        let mut texts = vec![];
        let name = |number: usize| if number == self.nodes { "host".into() } else { NodeName::nth(number).to_string() };
        for from in 0..=self.nodes {
            let same = self.same_to_all(from);
            if let Some(effects) = same {
                texts.push(format!("{}>* {effects}", name(from)));
            }
            let rest = (0..=self.nodes).filter(|to| *to != from && (same.is_none() || *to == self.nodes));
            texts.extend(
                rest.filter_map(|to| Some(format!("{}>{} {}", name(from), name(to), self.matrix.some(from, to)?))),
            );
        }
        texts
    }

    /// What befalls all that is sent to the other nodes, if that is the same, and more than one link.
    fn same_to_all(&self, from: usize) -> Option<Effects> {
        let mut others = (0..self.nodes).filter(|to| *to != from).map(|to| self.matrix.some(from, to));
        let first = others.next()??;
        let more = others.next()?;
        let same = more == Some(first) && others.all(|other| other == Some(first));
        (same && first.cut.is_none()).then_some(first)
    }

    /// Computes what follows from the settings, and forgets lines that hold for no link.
    fn follow(&mut self) {
        self.links = matrix::in_force(self.nodes, std::mem::take(&mut self.links), &self.net);
        self.matrix = Matrix::of(self.nodes, &self.partition, &self.links, &self.net);
    }
}

/// The one line that says something; empty if none does.
fn one_line<'a>(text: &'a str, file: &str) -> Result<&'a str> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines.next().unwrap_or_default();
    match lines.next() {
        Some(_) => invalid(format!("{file} takes one line: it is the whole new state, so two contradict each other")),
        None => Ok(line),
    }
}

fn line_or_nothing(line: String) -> String {
    if line.is_empty() { line } else { line + "\n" }
}

#[cfg(test)]
mod tests;
