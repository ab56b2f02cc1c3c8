//! The file `partition`: groups of nodes that hear each other, `i001 | i002 i003`.

use super::error::{FaultError, Result, invalid};
use super::impairments::Cut;
use super::rng::SeededRng;
use super::shapes::{Groups, Shape};
use crate::cluster::{Names, NodeName};
use crate::text::shown;

const HOW: &str = "write groups of nodes split by |, as in i001 | i002 i003, or halves, majority, isolate NODE..., bridge NODE, ring, hosts";

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
    pub(crate) fn parse(line: &str, names: &Names, rng: &mut SeededRng) -> Result<Self> {
        let nodes = names.len();
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
        let groups = match shape(first, rest, names)? {
            Some(shape) => shape.groups(nodes, rng)?,
            None => groups(&words.join(" "), names)?,
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
    pub(crate) fn groups(&self, names: &Names) -> Vec<Vec<String>> {
        let name = |node: &usize| names.name(*node).to_string();
        self.groups.iter().map(|group| group.iter().map(name).collect()).collect()
    }

    /// Every group written out, with the nodes that the text did not name; empty if there are no groups.
    pub(crate) fn line(&self, names: &Names) -> String {
        self.cut().map(|cut| line(&self.groups(names), cut)).unwrap_or_default()
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

/// A partition as it is written.
pub(super) fn line(groups: &[Vec<String>], cut: Cut) -> String {
    let groups: Vec<String> = groups.iter().map(|group| group.join(" ")).collect();
    let how = if cut == Cut::Reject { "reject " } else { "" };
    format!("{how}{}", groups.join(" | "))
}

/// The nodes that a word stands for: at least one.
pub(super) fn nodes(word: &str, names: &Names) -> Result<Vec<usize>> {
    match names.find(word) {
        nodes if !nodes.is_empty() => Ok(nodes),
        _ if names.are_own() || is_meant_for_a_node(word) => Err(FaultError::NoSuchNode(shown(word))),
        _ => invalid(format!("'{}' is no node: they are named i001, i002, …", shown(word))),
    }
}

/// Whether a word can mean nothing but nodes.
fn is_meant_for_a_node(word: &str) -> bool {
    word.starts_with('@') || NodeName::parse_index(word).is_some()
}

fn shape(first: &str, rest: &[&str], names: &Names) -> Result<Option<Shape>> {
    let shape = match first {
        "halves" => Shape::Halves,
        "majority" => Shape::Majority,
        "ring" => Shape::Ring,
        "hosts" => match names.by_host().filter(|nodes| !nodes.is_empty()).map(<[usize]>::to_vec).collect() {
            groups if Groups::len(&groups) > 1 => Shape::Hosts(groups),
            _ => {
                return invalid("hosts cuts the machines of a cluster from each other, and this one is on one machine");
            }
        },
        "isolate" if rest.is_empty() => return invalid("isolate whom? Name nodes, as in isolate i001 i002"),
        "isolate" => return Ok(Some(Shape::Isolate(members(rest.iter().copied(), |word| nodes(word, names))?))),
        "bridge" => {
            let how = "bridge takes one node, as in bridge i003: the one that both halves hear";
            let [bridge] = rest else { return invalid(how) };
            return match nodes(bridge, names)?[..] {
                [bridge] => Ok(Some(Shape::Bridge(bridge))),
                ref several => invalid(format!("'{}' stands for {} nodes: {how}", shown(bridge), several.len())),
            };
        }
        _ => return Ok(None),
    };
    match rest.first() {
        Some(extra) => invalid(format!("{first}: '{}' is one word too many", shown(extra))),
        None => Ok(Some(shape)),
    }
}

fn members<'a>(words: impl Iterator<Item = &'a str>, find: impl Fn(&str) -> Result<Vec<usize>>) -> Result<Vec<usize>> {
    let found: Vec<_> = words.map(find).collect::<Result<_>>()?;
    Ok(found.concat())
}

fn groups(text: &str, names: &Names) -> Result<Groups> {
    text.split('|')
        .map(|group| {
            let members = members(group.split_whitespace(), |word| member(word, names))?;
            if members.is_empty() { invalid(format!("a group is empty: {HOW}")) } else { Ok(members) }
        })
        .collect()
}

fn member(word: &str, names: &Names) -> Result<Vec<usize>> {
    match word {
        "host" => invalid(
            "a partition is between nodes: effects on the way to the host are written to links, as in i001>host drop",
        ),
        "*" => invalid(format!("'*' is no node: {HOW}")),
        _ if names.find(word).is_empty() && !is_meant_for_a_node(word) => {
            invalid(format!("'{}' is neither node nor shape: {HOW}", shown(word)))
        }
        _ => nodes(word, names),
    }
}
