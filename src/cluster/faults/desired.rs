//! What one sandbox has to bring about.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::Effects;

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Peer {
    /// Another node, by its address.
    Node(Ipv4Addr),
    /// The machine outside: whatever is no node.
    Host,
}

/// All that the sandbox of one node has to bring about in its network namespace. What is not in here is to be undone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// As if its power had failed: nothing comes in or goes out, whoever the peer is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub silent: bool,
    /// What befalls traffic to this node, by its sender. Whoever is not here is heard as ever.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<(Peer, Effects)>,
    /// What befalls traffic from this node, by its receiver.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<(Peer, Effects)>,
    /// The addresses of all other nodes, if [`Peer::Host`] is named: the host is whoever is none of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<Ipv4Addr>,
}
