//! The file `partition`: groups of nodes that hear each other, `i001 | i002 i003`.

use std::fmt;

use super::dice::Dice;
use super::effects::Cut;
use super::error::{FaultError, Result, invalid};
use super::shapes::{Groups, Shape};
use crate::cluster::{NodeName, shown};

const HOW: &str =
    "write groups of nodes split by |, as in i001 | i002 i003, or halves, majority, isolate NODE..., bridge NODE, ring";

/// Which nodes hear each other. The default: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// Every node is in one at least, if there are any: those it shares one with it hears. Nodes ascend in each.
    groups: Groups,
    /// What happens to the rest.
    rejects: bool,
}

impl Partition {
    /// Reads a line. `None` and the empty one are no partition.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &str, nodes: usize, dice: &mut Dice) -> Result<Self> {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        let rejects = words.first() == Some(&"reject");
        if matches!(words.first(), Some(&"drop" | &"reject")) {
            words.remove(0);
            if words.is_empty() {
                return invalid(format!("a partition of whom? {HOW}"));
            }
        }
        let Some((first, rest)) = words.split_first() else {
            return Ok(Self::default());
        };
        let groups = match shape(first, rest, nodes)? {
            Some(shape) => shape.groups(nodes, dice)?,
            None => groups(&words.join(" "), nodes)?,
        };
        Ok(Self::of(groups, rejects, nodes))
    }

    fn of(mut groups: Groups, rejects: bool, nodes: usize) -> Self {
        for group in &mut groups {
            group.sort_unstable();
            group.dedup();
        }
        let mut named = vec![false; nodes];
        groups.iter().flatten().for_each(|&node| named[node] = true);
        let rest: Vec<usize> = (0..nodes).filter(|&node| !named[node]).collect();
        if !rest.is_empty() {
            groups.push(rest);
        }
        let mut distinct: Groups = vec![];
        for group in groups {
            if !distinct.contains(&group) {
                distinct.push(group);
            }
        }
        let partition = Self { groups: distinct, rejects };
        if partition.cuts_nothing(nodes) { Self::default() } else { partition }
    }

    fn cuts_nothing(&self, nodes: usize) -> bool {
        self.groups.iter().any(|group| group.len() == nodes) || self.hears(nodes).iter().all(|hears| *hears)
    }

    /// For each pair, the receiver's row first, whether they share a group: at `to * nodes + from`.
    fn hears(&self, nodes: usize) -> Vec<bool> {
        let mut hears = vec![false; nodes * nodes];
        for group in &self.groups {
            for to in group {
                group.iter().for_each(|from| hears[to * nodes + from] = true);
            }
        }
        hears
    }

    /// Calls `cut` with every pair `(from, to)` that is cut.
    pub fn each_cut(&self, nodes: usize, mut cut: impl FnMut(usize, usize, Cut)) {
        if self.groups.is_empty() {
            return;
        }
        let how = if self.rejects { Cut::Reject } else { Cut::Drop };
        let hears = self.hears(nodes);
        for (at, _) in hears.iter().enumerate().filter(|(_, hears)| !**hears) {
            // Nobody is cut off from itself.
            if at % nodes != at / nodes {
                cut(at % nodes, at / nodes, how);
            }
        }
    }

    /// These nodes hear everybody and are heard by everybody: they join every group.
    pub fn heal(&mut self, healed: &[usize], nodes: usize) {
        if self.groups.is_empty() {
            return;
        }
        let mut groups = std::mem::take(&mut self.groups);
        groups.retain(|group| group.iter().any(|node| !healed.contains(node)));
        groups.iter_mut().for_each(|group| group.extend(healed));
        *self = Self::of(groups, self.rejects, nodes);
    }
}

/// Groups spelled out, with those that nobody has named; nothing for none.
impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rejects {
            f.write_str("reject ")?;
        }
        let name = |node: &usize| NodeName::nth(*node).to_string();
        let groups: Vec<String> =
            self.groups.iter().map(|group| group.iter().map(name).collect::<Vec<_>>().join(" ")).collect();
        f.write_str(&groups.join(" | "))
    }
}

/// The index of the node that a word names.
pub(super) fn node(word: &str, nodes: usize) -> Result<usize> {
    match NodeName::parse_index(word) {
        Some(index) if index < nodes => Ok(index),
        Some(_) => Err(FaultError::NoSuchNode(shown(word))),
        None => invalid(format!("'{}' is no node: they are named i001, i002, …", shown(word))),
    }
}

fn shape(first: &str, rest: &[&str], nodes: usize) -> Result<Option<Shape>> {
    let shape = match first {
        "halves" => Shape::Halves,
        "majority" => Shape::Majority,
        "ring" => Shape::Ring,
        "isolate" if rest.is_empty() => return invalid("isolate whom? Name nodes, as in isolate i001 i002"),
        "isolate" => {
            let alone: Result<Vec<usize>> = rest.iter().map(|word| node(word, nodes)).collect();
            return Ok(Some(Shape::Isolate(alone?)));
        }
        "bridge" => {
            let [bridge] = rest else {
                return invalid("bridge takes one node, as in bridge i003: the one that both halves hear");
            };
            return Ok(Some(Shape::Bridge(node(bridge, nodes)?)));
        }
        _ => return Ok(None),
    };
    match rest.first() {
        Some(extra) => invalid(format!("{first}: '{}' is one word too many", shown(extra))),
        None => Ok(Some(shape)),
    }
}

fn groups(text: &str, nodes: usize) -> Result<Groups> {
    text.split('|')
        .map(|group| {
            let members: Vec<usize> =
                group.split_whitespace().map(|word| member(word, nodes)).collect::<Result<_>>()?;
            if members.is_empty() { invalid(format!("a group is empty: {HOW}")) } else { Ok(members) }
        })
        .collect()
}

fn member(word: &str, nodes: usize) -> Result<usize> {
    match word {
        "host" => {
            invalid("a partition is between nodes: what befalls the host is written to links, as in i001>host drop")
        }
        "*" => invalid(format!("'*' is no node: {HOW}")),
        _ if NodeName::parse_index(word).is_none() => {
            invalid(format!("'{}' is neither node nor shape: {HOW}", shown(word)))
        }
        _ => node(word, nodes),
    }
}
