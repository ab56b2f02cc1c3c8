//! What applies to each directed link, looked up in the settings. Memory does not grow with the square of the nodes,
//! except for a partition's one bit per pair.

use std::collections::HashMap;

use super::impairments::{Cut, Impairments};
use super::links::{Link, LinkPattern};
use super::partition::Partition;

/// Lines of `links` by their ends: finds the last line about a link in a few look-ups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Lines {
    nodes: usize,
    by_ends: HashMap<(LinkPattern, LinkPattern), usize>,
}

impl Lines {
    /// Of these lines, for each pair of ends the one that `choose` prefers.
    fn of(nodes: usize, lines: impl Iterator<Item = (usize, Link)>, choose: fn(usize, usize) -> usize) -> Self {
        let mut by_ends = HashMap::new();
        for (number, line) in lines {
            by_ends.entry((line.from, line.to)).and_modify(|known| *known = choose(*known, number)).or_insert(number);
        }
        Self { nodes, by_ends }
    }

    fn last(nodes: usize, links: &[Link]) -> Self {
        Self::of(nodes, links.iter().copied().enumerate(), usize::max)
    }

    fn first_harmful(nodes: usize, links: &[Link]) -> Self {
        let harmful = links.iter().copied().enumerate().filter(|(_, link)| !link.impairments.is_none());
        Self::of(nodes, harmful, usize::min)
    }

    /// The lines about a link, one for each way to name its ends.
    fn about(&self, from: usize, to: usize) -> impl Iterator<Item = usize> {
        let [froms, tos] = [from, to].map(|end| {
            if end < self.nodes {
                [Some(LinkPattern::Node(end)), Some(LinkPattern::All)]
            } else {
                [Some(LinkPattern::Host), None]
            }
        });
        let ends =
            froms.into_iter().flatten().flat_map(move |from| tos.into_iter().flatten().map(move |to| (from, to)));
        // Most often there are none at all.
        let ends = ends.filter(|_| !self.by_ends.is_empty());
        ends.filter_map(|ends| self.by_ends.get(&ends).copied())
    }
}

/// What follows from the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Effective {
    nodes: usize,
    last: Lines,
    cut: Option<Cut>,
    /// Which nodes hear each other, if there is a partition: a row of bits for each receiver.
    hears: Vec<Vec<u64>>,
}

impl Effective {
    /// No faults, for this number of nodes.
    pub(crate) fn new(nodes: usize) -> Self {
        Self { nodes, last: Lines { nodes, ..Lines::default() }, cut: None, hears: vec![] }
    }

    /// What follows from settings. The lines are those that [`in_force`] has left.
    pub(crate) fn of(nodes: usize, partition: &Partition, links: &[Link]) -> Self {
        let last = Lines::last(nodes, links);
        Self { nodes, last, cut: partition.cut(), hears: partition.hears(nodes) }
    }

    /// What applies to a link; the host has the number `nodes`. `links` and `net` are the settings that this follows from.
    pub(crate) fn get(&self, links: &[Link], net: &[Impairments], from: usize, to: usize) -> Impairments {
        if from == to {
            return Impairments::default();
        }
        let hears = |row: &Vec<u64>| from >= self.nodes || row[from / 64] >> (from % 64) & 1 == 1;
        if !self.hears.get(to).is_none_or(hears) {
            return Impairments { cut: self.cut, ..Impairments::default() };
        }
        match self.last.about(from, to).max() {
            Some(line) => links[line].impairments,
            None if to < self.nodes => net.get(from).copied().unwrap_or_default(),
            None => Impairments::default(),
        }
    }

    /// Which other nodes a node hears, as a key: nodes in the same part of a partition have equal keys.
    pub(crate) fn part(&self, node: usize) -> &[u64] {
        self.hears.get(node).map_or(&[], Vec::as_slice)
    }
}

/// The lines that apply to at least one link, in their order: each is the last one about that link, and a line added by
/// healing exempts it from something.
pub(crate) fn in_force(nodes: usize, mut links: Vec<Link>, net: &[Impairments]) -> Vec<Link> {
    let last = Lines::last(nodes, &links);
    let is_last = |last: &Lines, line: usize, from, to| last.about(from, to).max() == Some(line);
    let mut line = 0;
    links.retain(|link| {
        line += 1;
        link.pairs(nodes).any(|(from, to)| is_last(&last, line - 1, from, to))
    });
    let last = Lines::last(nodes, &links);
    // Whether a line before, or net, does something to a link. What is excepted from it by a line between may not be
    // excepted any more: that line may go.
    let harmful = Lines::first_harmful(nodes, &links);
    let is_harmed = |line: usize, from: usize, to: usize| {
        let by_net = to < nodes && net.get(from).is_some_and(|impairments| !impairments.is_none());
        by_net || harmful.about(from, to).any(|first| first < line)
    };
    let mut line = 0;
    links.retain(|link| {
        line += 1;
        let excepts = |(from, to)| is_last(&last, line - 1, from, to) && is_harmed(line - 1, from, to);
        !link.healed || link.pairs(nodes).any(excepts)
    });
    links
}
