//! A fault in force as a type. The history records it beside its text.

use serde::{Deserialize, Serialize};

use super::impairments::{Cut, Impairments};
use super::partition;

/// One fault, or several links of one sender that have the same.
///
/// Nodes have their names here: a history is read where there is no cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultInForce {
    /// Impairments of links.
    Link {
        /// The sender: a node, `host`, or `*` for all nodes.
        from: String,
        /// The receivers, named likewise.
        to: Vec<String>,
        /// What applies to each of these links separately.
        impairments: Impairments,
    },
    /// The nodes hear only those with which they share a group.
    Partition {
        /// Each node is in one at least.
        groups: Vec<Vec<String>>,
        /// What happens to all other traffic.
        cut: Cut,
    },
    /// The node with this name is as if its power had failed.
    Crashed(String),
}

impl FaultInForce {
    /// As the user would write it: `i001>i002 drop` for each link, `partition i001 | i002 i003`, `i003 crashed`.
    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::Link { from, to, impairments } => to.iter().map(|to| format!("{from}>{to} {impairments}")).collect(),
            Self::Partition { groups, cut } => vec![format!("partition {}", partition::line(groups, *cut))],
            Self::Crashed(node) => vec![format!("{node} crashed")],
        }
    }

    /// How many faults of a node this is: each link that begins or ends there is one.
    pub(crate) fn count_at(&self, node: &str) -> usize {
        match self {
            Self::Link { from, to, .. } if from == node => to.len(),
            Self::Link { from, to, .. } => to.iter().filter(|to| *to == node || from == "*" && *to == "*").count(),
            // A node in every group hears all nodes.
            Self::Partition { groups, .. } => {
                usize::from(!groups.iter().all(|group| group.iter().any(|member| member == node)))
            }
            Self::Crashed(crashed) => usize::from(crashed == node),
        }
    }
}

/// Adds a link, to the last fault if that is about the same sender and impairments.
pub(super) fn add_link(faults: &mut Vec<FaultInForce>, from: String, to: String, impairments: Impairments) {
    match faults.last_mut() {
        Some(FaultInForce::Link { from: sender, to: receivers, impairments: same })
            if *sender == from && *same == impairments =>
        {
            receivers.push(to);
        }
        _ => faults.push(FaultInForce::Link { from, to: vec![to], impairments }),
    }
}
