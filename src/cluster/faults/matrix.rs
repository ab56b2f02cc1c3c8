//! What befalls each directed link, computed once when a setting changes.

use std::collections::HashMap;

use super::effects::Effects;
use super::links::Link;
use super::partition::Partition;

/// The effects of every pair of ends: the nodes, and last the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    ends: usize,
    /// The distinct effects; the first is none.
    distinct: Vec<Effects>,
    /// For each pair, at `from * ends + to`, which of them.
    pairs: Vec<u32>,
}

impl Matrix {
    /// Nothing befalls anybody, for so many nodes.
    pub fn new(nodes: usize) -> Self {
        let ends = nodes + 1;
        Self { ends, distinct: vec![Effects::default()], pairs: vec![0; ends * ends] }
    }

    /// What befalls a link.
    pub fn get(&self, from: usize, to: usize) -> Effects {
        self.distinct[self.pairs[from * self.ends + to] as usize]
    }

    /// The same; `None` if nothing does.
    pub fn some(&self, from: usize, to: usize) -> Option<Effects> {
        Some(self.get(from, to)).filter(|effects| !effects.is_none())
    }

    /// What follows from settings. The lines are those that [`in_force`] has left.
    pub fn of(nodes: usize, partition: &Partition, links: &[Link], net: &[Effects]) -> Self {
        let mut matrix = Self::new(nodes);
        let mut numbers: HashMap<Effects, u32> = HashMap::from([(Effects::default(), 0)]);
        let mut set = |matrix: &mut Self, from: usize, to: usize, effects: Effects| {
            let number = *numbers.entry(effects).or_insert_with(|| {
                matrix.distinct.push(effects);
                matrix.distinct.len() as u32 - 1
            });
            matrix.pairs[from * matrix.ends + to] = number;
        };
        for (from, effects) in net.iter().enumerate() {
            (0..nodes).filter(|to| *to != from).for_each(|to| set(&mut matrix, from, to, *effects));
        }
        for link in links {
            link.pairs(nodes).for_each(|(from, to)| set(&mut matrix, from, to, link.effects));
        }
        partition.each_cut(nodes, |from, to, cut| {
            set(&mut matrix, from, to, Effects { cut: Some(cut), ..Effects::default() });
        });
        matrix
    }
}

/// The lines that hold for a link at least, in their order: each is the last one about it, and one that was made by healing has something
/// to except it from.
pub fn in_force(nodes: usize, links: Vec<Link>, net: &[Effects]) -> Vec<Link> {
    let ends = nodes + 1;
    let last = |links: &[Link]| {
        let mut last = vec![usize::MAX; ends * ends];
        for (line, link) in links.iter().enumerate() {
            link.pairs(nodes).for_each(|(from, to)| last[from * ends + to] = line);
        }
        last
    };
    let all = last(&links);
    let about =
        |line: usize, link: &Link, last: &[usize]| link.pairs(nodes).any(|(from, to)| last[from * ends + to] == line);
    let links: Vec<Link> =
        links.iter().enumerate().filter(|(line, link)| about(*line, link, &all)).map(|(_, link)| *link).collect();
    let last = last(&links);
    // Whether a line before, or net, does something to a link. What is excepted from it by a line between may not be
    // excepted any more: that line may go.
    let mut befallen = vec![false; ends * ends];
    for (from, effects) in net.iter().enumerate() {
        (0..nodes).filter(|to| *to != from).for_each(|to| befallen[from * ends + to] = !effects.is_none());
    }
    let mut kept = vec![];
    for (line, link) in links.iter().enumerate() {
        let mut excepts = false;
        for (from, to) in link.pairs(nodes) {
            let pair = from * ends + to;
            excepts |= last[pair] == line && befallen[pair];
            befallen[pair] |= !link.effects.is_none();
        }
        if excepts || !link.healed {
            kept.push(*link);
        }
    }
    kept
}
