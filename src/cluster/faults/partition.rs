//! The file `partition`: groups of nodes that hear each other, `i001 | i002 i003`.

use std::fmt;

use super::error::{FaultError, Result, invalid};
use super::impairments::Cut;
use super::rng::SeededRng;
use super::shapes::{Groups, Shape};
use crate::cluster::NodeName;
use crate::text::shown;

const HOW: &str =
    "write groups of nodes split by |, as in i001 | i002 i003, or halves, majority, isolate NODE..., bridge NODE, ring";

/// Which nodes hear each other. The default: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Partition {
    /// If there are any, every node is in at least one, and hears the nodes that it shares one with. Sorted by node.
    groups: Groups,
    /// What happens to the rest.
    rejects: bool,
}

impl Partition {
    /// Reads a line. `None` and the empty one are no partition.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(line: &str, nodes: usize, rng: &mut SeededRng) -> Result<Self> {
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
            Some(shape) => shape.groups(nodes, rng)?,
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
        let heard = |row: &Vec<u64>| row.iter().map(|word| word.count_ones() as usize).sum::<usize>();
        self.groups.iter().any(|group| group.len() == nodes) || self.hears(nodes).iter().all(|row| heard(row) == nodes)
    }

    /// What happens between nodes that share no group, if there are groups.
    pub(crate) fn cut(&self) -> Option<Cut> {
        let how = if self.rejects { Cut::Reject } else { Cut::Drop };
        (!self.groups.is_empty()).then_some(how)
    }

    /// The groups by the names of their nodes.
    pub(crate) fn names(&self) -> Vec<Vec<String>> {
        let name = |node: &usize| NodeName::nth(*node).to_string();
        self.groups.iter().map(|group| group.iter().map(name).collect()).collect()
    }

    /// For each receiver, a row of bits: which nodes share a group with it, itself too. Nothing if there are no groups.
    pub(crate) fn hears(&self, nodes: usize) -> Vec<Vec<u64>> {
        if self.groups.is_empty() {
            return vec![];
        }
        let mut hears = vec![vec![0; nodes.div_ceil(64)]; nodes];
        for group in &self.groups {
            let mut members = vec![0; nodes.div_ceil(64)];
            group.iter().for_each(|node| members[node / 64] |= 1 << (node % 64));
            for node in group {
                hears[*node].iter_mut().zip(&members).for_each(|(row, members): (&mut u64, &u64)| *row |= members);
            }
        }
        hears
    }

    /// These nodes hear all others and are heard by all: they join every group.
    pub(crate) fn heal(&mut self, healed: &[usize], nodes: usize) {
        if self.groups.is_empty() {
            return;
        }
        let mut groups = std::mem::take(&mut self.groups);
        groups.retain(|group| group.iter().any(|node| !healed.contains(node)));
        groups.iter_mut().for_each(|group| group.extend(healed));
        *self = Self::of(groups, self.rejects, nodes);
    }
}

/// Every group written out, with the nodes that the text did not name; empty if there are no groups.
impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cut().map(|cut| line(&self.names(), cut)).unwrap_or_default())
    }
}

/// A partition as it is written.
pub(super) fn line(groups: &[Vec<String>], cut: Cut) -> String {
    let groups: Vec<String> = groups.iter().map(|group| group.join(" ")).collect();
    let how = if cut == Cut::Reject { "reject " } else { "" };
    format!("{how}{}", groups.join(" | "))
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
        "host" => invalid(
            "a partition is between nodes: effects on the way to the host are written to links, as in i001>host drop",
        ),
        "*" => invalid(format!("'*' is no node: {HOW}")),
        _ if NodeName::parse_index(word).is_none() => {
            invalid(format!("'{}' is neither node nor shape: {HOW}", shown(word)))
        }
        _ => node(word, nodes),
    }
}
