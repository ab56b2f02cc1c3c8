//! Network faults: the settings that a user writes, what they mean for each directed link, and what each sandbox has to
//! apply. Pure, like all of the model.

mod effective;
mod error;
mod grammar;
mod impairments;
mod in_force;
mod links;
mod net_state;
mod partition;
mod rng;
mod shapes;
mod values;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

pub(crate) use error::FaultError;
pub use impairments::{Cut, Impairments};
pub(crate) use impairments::{Mechanism, WORDS};
pub use in_force::FaultInForce;
pub(crate) use links::MOST_LINES;
pub(crate) use net_state::ByPeer;
pub use net_state::{NetState, Peer};
pub use rng::SeededRng;
pub use values::{Delay, Rate, Share};

use effective::Effective;
use error::{Result, invalid};
use in_force::add_link;
use links::{Link, LinkPattern};
use partition::Partition;

use super::Names;

/// Up to this number of nodes, faults in force are listed link by link. A thousand nodes have a million links.
const SPELLED_OUT: usize = 64;

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEnd {
    /// The node with this index.
    Node(usize),
    /// The machine outside.
    Host,
}

/// All faults of a cluster: what was written, and what follows from it.
///
/// What applies to a link is the partition's cut, if there is one; else what the last line of `links` about it says;
/// else its sender's `net`. An invalid text changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    names: Arc<Names>,
    nodes: usize,
    partition: Partition,
    links: Vec<Link>,
    net: Vec<Impairments>,
    crashed: Vec<bool>,
    effective: Effective,
}

impl Faults {
    /// No faults, for a cluster of this number of nodes, `i001` and so on.
    pub fn new(nodes: usize) -> Self {
        Self::of(Arc::new(Names::numbered(nodes)))
    }

    /// No faults, for a cluster of nodes with these names.
    pub(crate) fn of(names: Arc<Names>) -> Self {
        let nodes = names.len();
        Self {
            names,
            nodes,
            partition: Partition::default(),
            links: vec![],
            net: vec![Impairments::default(); nodes],
            crashed: vec![false; nodes],
            effective: Effective::new(nodes),
        }
    }

    /// Makes a change whose words mean what they do in `names`: those for roles mean other nodes each time.
    pub(crate) fn change_as_named<T>(&mut self, names: Arc<Names>, change: impl FnOnce(&mut Self) -> T) -> T {
        let own = std::mem::replace(&mut self.names, names);
        let changed = change(self);
        self.names = own;
        changed
    }

    /// Sets the partition: one line; `heal` or only white space for none.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn set_partition(&mut self, text: &str, rng: &mut SeededRng) -> Result<()> {
        self.partition = match one_line(text, "partition")? {
            "heal" => Partition::default(),
            line => Partition::parse(line, &self.names, rng)?,
        };
        self.follow();
        Ok(())
    }

    /// Replaces the table of links.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn set_links(&mut self, text: &str) -> Result<()> {
        self.links = links::parse(text, &self.names)?.unwrap_or_default();
        self.follow();
        Ok(())
    }

    /// Adds lines to the table of links; `heal` empties it.
    ///
    /// # Errors
    /// What is wrong with the text, or that the table would be too long.
    pub fn add_links(&mut self, text: &str) -> Result<()> {
        let Some(more) = links::parse(text, &self.names)? else {
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

    /// Sets what applies to everything that a node sends to other nodes; `heal` or only white space for nothing.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn set_net(&mut self, node: usize, text: &str) -> Result<()> {
        self.net[node] = match one_line(text, "net")? {
            "" | "heal" => Impairments::default(),
            line if line.contains('>') => {
                return invalid("net is about all that the node sends: a single link is written to links, at the root");
            }
            line => Impairments::parse(line)?,
        };
        self.follow();
        Ok(())
    }

    /// Removes all faults, except crashes.
    pub(crate) fn heal(&mut self) {
        *self = Self { crashed: std::mem::take(&mut self.crashed), ..Self::of(self.names.clone()) };
    }

    /// Removes all faults from what these nodes send and receive: they join every group, their lines are removed, and
    /// lines about all nodes except them.
    pub fn heal_nodes(&mut self, nodes: &[usize]) {
        nodes.iter().for_each(|node| self.net[*node] = Impairments::default());
        self.partition.heal(nodes, self.nodes);
        let is_healed = |end| matches!(end, LinkPattern::Node(node) if nodes.contains(&node));
        self.links.retain(|link| !is_healed(link.from) && !is_healed(link.to));
        for &node in nodes {
            let own = LinkPattern::Node(node);
            let impairments = Impairments::default();
            let ends =
                [(own, LinkPattern::All), (LinkPattern::All, own), (own, LinkPattern::Host), (LinkPattern::Host, own)];
            self.links.extend(ends.map(|(from, to)| Link { from, to, impairments, healed: true }));
        }
        self.follow();
    }

    /// Sets whether a node behaves as if its power had failed.
    pub(crate) fn set_crashed(&mut self, node: usize, crashed: bool) {
        self.crashed[node] = crashed;
    }

    pub(crate) fn is_crashed(&self, node: usize) -> bool {
        self.crashed[node]
    }

    /// What `partition` says: a line, or nothing.
    pub fn partition(&self) -> String {
        line_or_nothing(self.partition.line(&self.names))
    }

    /// What `links` says: the lines that are in force.
    pub fn links(&self) -> String {
        self.links.iter().map(|link| link.line(&self.names) + "\n").collect()
    }

    /// What a node's `net` says: a line, or nothing.
    pub fn net(&self, node: usize) -> String {
        let impairments = self.net[node];
        if impairments.is_none() { String::new() } else { format!("{impairments}\n") }
    }

    /// What applies to a directed link.
    pub fn impairments(&self, from: LinkEnd, to: LinkEnd) -> Impairments {
        self.get(self.number(from), self.number(to))
    }

    fn number(&self, end: LinkEnd) -> usize {
        match end {
            LinkEnd::Node(node) => node,
            LinkEnd::Host => self.nodes,
        }
    }

    fn get(&self, from: usize, to: usize) -> Impairments {
        self.effective.get(&self.links, &self.net, from, to)
    }

    /// The same; `None` if nothing does.
    fn some(&self, from: usize, to: usize) -> Option<Impairments> {
        Some(self.get(from, to)).filter(|impairments| !impairments.is_none())
    }

    /// What each node's sandbox has to apply; `addresses` are those of all nodes, in order: one for each network that a node is in. Nodes to which the same applies share one
    /// state: in a partition those of one part, unless a line or a `net` names them.
    pub fn desired(&self, addresses: &[Vec<Ipv4Addr>]) -> Vec<Arc<NetState>> {
        let mut is_named: Vec<bool> = self.net.iter().map(|impairments| !impairments.is_none()).collect();
        for end in self.links.iter().flat_map(|link| [link.from, link.to]) {
            if let LinkPattern::Node(node) = end {
                is_named[node] = true;
            }
        }
        let class = |node: usize| (self.crashed[node], self.effective.part(node), is_named[node].then_some(node));
        let mut members: HashMap<_, Vec<usize>> = HashMap::new();
        (0..self.nodes).for_each(|node| members.entry(class(node)).or_default().push(node));
        let mut states = vec![Arc::default(); self.nodes];
        for members in members.values() {
            let state = Arc::new(self.desired_by(members, addresses));
            members.iter().for_each(|node| states[*node] = state.clone());
        }
        states
    }

    /// The state of all these nodes, to which the same applies.
    fn desired_by(&self, members: &[usize], addresses: &[Vec<Ipv4Addr>]) -> NetState {
        // What applies between the first and the others is what applies between any two of them.
        let peers =
            || (0..=self.nodes).filter_map(|peer| Some((*members.iter().find(|member| **member != peer)?, peer)));
        let named = |number: usize, impairments: Impairments| {
            let peers: Vec<_> = match addresses.get(number) {
                Some(addresses) => addresses.iter().copied().map(Peer::Node).collect(),
                None => vec![Peer::Host],
            };
            peers.into_iter().map(move |peer| (peer, impairments))
        };
        let ingress: ByPeer = peers()
            .filter_map(|(node, peer)| self.some(peer, node).map(|impairments| named(peer, impairments)))
            .flatten()
            .collect();
        // The sender does not need what only the receiver applies.
        let is_senders = |impairments: &Impairments| {
            impairments.cut.is_none() && !(Impairments { loss: Share::NONE, ..*impairments }).is_none()
        };
        let egress: ByPeer = peers()
            .filter_map(|(node, peer)| self.some(node, peer).map(|impairments| named(peer, impairments)))
            .flatten()
            .filter(|(peer, impairments)| *peer == Peer::Host || is_senders(impairments))
            .collect();
        let names_host = ingress.groups().chain(egress.groups()).any(|(_, has_host)| has_host);
        let nodes = if names_host { addresses.concat() } else { vec![] };
        NetState { blackholed: self.crashed[members[0]], nodes, ingress, egress }
    }

    /// Every impaired link and every crashed node. A node with the same impairments on its links to all others gets one
    /// link to `*`, except for cuts. For a large cluster it is the settings instead: each `net` as a link to `*`, the
    /// lines of `links`, which win over those, and the partition, which wins over all.
    pub fn in_force(&self) -> Vec<FaultInForce> {
        let mut faults = if self.nodes > SPELLED_OUT { self.settings() } else { self.spelled_out() };
        let crashed = (0..self.nodes).filter(|node| self.crashed[*node]);
        faults.extend(crashed.map(|node| FaultInForce::Crashed(self.names.name(node).to_string())));
        faults
    }

    fn settings(&self) -> Vec<FaultInForce> {
        let mut faults = vec![];
        for (node, impairments) in self.net.iter().enumerate().filter(|(_, impairments)| !impairments.is_none()) {
            add_link(&mut faults, self.names.name(node).to_string(), "*".into(), *impairments);
        }
        for link in &self.links {
            add_link(&mut faults, link.from.word(&self.names), link.to.word(&self.names), link.impairments);
        }
        let partition = |cut| FaultInForce::Partition { groups: self.partition.groups(&self.names), cut };
        faults.extend(self.partition.cut().map(partition));
        faults
    }

    fn spelled_out(&self) -> Vec<FaultInForce> {
        let mut faults = vec![];
        let name = |number: usize| match number == self.nodes {
            true => "host".into(),
            false => self.names.name(number).to_string(),
        };
        for from in 0..=self.nodes {
            let same = self.same_to_all(from);
            if let Some(impairments) = same {
                add_link(&mut faults, name(from), "*".into(), impairments);
            }
            for to in (0..=self.nodes).filter(|to| *to != from && (same.is_none() || *to == self.nodes)) {
                if let Some(impairments) = self.some(from, to) {
                    add_link(&mut faults, name(from), name(to), impairments);
                }
            }
        }
        faults
    }

    /// What applies to everything that is sent to the other nodes, if it is the same for all and there is more than one
    /// link.
    fn same_to_all(&self, from: usize) -> Option<Impairments> {
        let mut others = (0..self.nodes).filter(|to| *to != from).map(|to| self.some(from, to));
        let first = others.next()??;
        let more = others.next()?;
        let same = more == Some(first) && others.all(|other| other == Some(first));
        (same && first.cut.is_none()).then_some(first)
    }

    /// Computes what follows from the settings, and drops lines that apply to no link.
    fn follow(&mut self) {
        self.links = effective::in_force(self.nodes, std::mem::take(&mut self.links), &self.net);
        self.effective = Effective::of(self.nodes, &self.partition, &self.links);
    }
}

/// The one line that is not blank; empty if there is none.
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
