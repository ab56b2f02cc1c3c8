//! Partitions by their shapes, computed over all nodes; what is random in them is drawn.

use super::error::{Result, invalid};
use super::rng::SeededRng;

/// Groups of node indices.
pub(crate) type Groups = Vec<Vec<usize>>;

/// A way to cut a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Two halves; the first has one node more if their number is odd.
    Halves,
    /// A random majority, and the rest.
    Majority,
    /// Each of these is alone.
    Isolate(Vec<usize>),
    /// Two halves that only this node joins.
    Bridge(usize),
    /// Each node hears a majority, no two the same one.
    Ring,
    /// These, the nodes of one machine each.
    Hosts(Groups),
}

impl Shape {
    fn name(&self) -> &'static str {
        match self {
            Self::Halves => "halves",
            Self::Majority => "majority",
            Self::Isolate(_) => "isolate",
            Self::Bridge(_) => "bridge",
            Self::Ring => "ring",
            Self::Hosts(_) => "hosts",
        }
    }

    /// How many nodes it takes at least.
    fn least(&self) -> usize {
        match self {
            Self::Halves | Self::Isolate(_) | Self::Hosts(_) => 2,
            Self::Majority | Self::Bridge(_) | Self::Ring => 3,
        }
    }

    /// The groups of a cluster of `nodes` nodes. Nodes in no group are one more, which the caller adds.
    ///
    /// # Errors
    /// A sentence, when the nodes are too few.
    pub(crate) fn groups(&self, nodes: usize, rng: &mut SeededRng) -> Result<Groups> {
        if nodes < self.least() {
            let (name, least) = (self.name(), self.least());
            return invalid(format!("{name} takes at least {least} nodes, and there {}", count(nodes)));
        }
        let mut order: Vec<usize> = (0..nodes).collect();
        Ok(match self {
            Self::Halves => {
                rng.shuffle(&mut order);
                split(&order, nodes.div_ceil(2))
            }
            Self::Majority => {
                rng.shuffle(&mut order);
                split(&order, nodes / 2 + 1)
            }
            Self::Isolate(alone) => alone.iter().map(|&node| vec![node]).collect(),
            Self::Bridge(bridge) => {
                order.remove(*bridge);
                rng.shuffle(&mut order);
                let mut halves = split(&order, order.len().div_ceil(2));
                halves.iter_mut().for_each(|half| half.push(*bridge));
                halves
            }
            Self::Ring => {
                rng.shuffle(&mut order);
                ring(&order)
            }
            Self::Hosts(groups) => groups.clone(),
        })
    }
}

fn count(nodes: usize) -> String {
    if nodes == 1 { "is 1".into() } else { format!("are {nodes}") }
}

fn split(order: &[usize], first: usize) -> Groups {
    vec![order[..first].to_vec(), order[first..].to_vec()]
}

/// The nodes stand on a circle, and each hears as many to its left as to its right: with itself a majority, and as few as that
/// allows. Neighbours within a window hear each other, so windows are the groups.
fn ring(order: &[usize]) -> Groups {
    let nodes = order.len();
    // On a circle of three, all nodes are neighbours, so the link between its ends is cut.
    if nodes == 3 {
        return vec![order[..2].to_vec(), order[1..].to_vec()];
    }
    let majority = nodes / 2 + 1;
    let reach = (majority - 1).div_ceil(2);
    (0..nodes).map(|first| (0..=reach).map(|step| order[(first + step) % nodes]).collect()).collect()
}
