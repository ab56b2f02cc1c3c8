//! What one sandbox has to apply.

use std::collections::HashMap;
use std::fmt;
use std::net::{AddrParseError, Ipv4Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Impairments;

/// One end of a link, on the wire the node's address or `host`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Peer {
    /// Another node, by its address.
    Node(Ipv4Addr),
    /// The machine outside: every address that is not a node's.
    Host,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(address) => address.fmt(f),
            Self::Host => f.write_str("host"),
        }
    }
}

impl From<Peer> for String {
    fn from(peer: Peer) -> Self {
        peer.to_string()
    }
}

impl TryFrom<String> for Peer {
    type Error = AddrParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "host" { Ok(Self::Host) } else { Ipv4Addr::from_str(&text).map(Self::Node) }
    }
}

/// Impairments by peer. Peers with the same impairments form one group, so each costs no more than its address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByPeer(Vec<Group>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Group {
    peers: Vec<Peer>,
    impairments: Impairments,
}

impl ByPeer {
    /// Whether no peer has any.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each peer with its impairments, group by group.
    pub fn iter(&self) -> impl Iterator<Item = (Peer, Impairments)> {
        self.0.iter().flat_map(|group| group.peers.iter().map(|peer| (*peer, group.impairments)))
    }

    /// The impairments of each group, and whether the host is in it.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (Impairments, bool)> {
        self.0.iter().map(|group| (group.impairments, group.peers.contains(&Peer::Host)))
    }

    fn without(&self, addresses: &[Ipv4Addr]) -> Self {
        let is_other = |peer: &Peer| !matches!(peer, Peer::Node(address) if addresses.contains(address));
        self.iter().filter(|(peer, _)| is_other(peer)).collect()
    }
}

impl FromIterator<(Peer, Impairments)> for ByPeer {
    fn from_iter<T: IntoIterator<Item = (Peer, Impairments)>>(pairs: T) -> Self {
        let mut groups: Vec<Group> = vec![];
        let mut numbers = HashMap::new();
        for (peer, impairments) in pairs {
            let number = *numbers.entry(impairments).or_insert(groups.len());
            match groups.get_mut(number) {
                Some(group) => group.peers.push(peer),
                None => groups.push(Group { peers: vec![peer], impairments }),
            }
        }
        Self(groups)
    }
}

/// Everything that the sandbox of one node applies in its network namespace. It undoes whatever is not in here.
///
/// Nodes of the same part of a cluster share one state. It may hold a node's own address, which has no meaning there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetState {
    /// As if the node's power had failed: no packet enters or leaves, whatever the peer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) blackholed: bool,
    /// What applies to traffic to this node, by its sender. Nothing applies to what other senders send.
    #[serde(default, skip_serializing_if = "ByPeer::is_empty")]
    pub ingress: ByPeer,
    /// What applies to traffic from this node, by its receiver.
    #[serde(default, skip_serializing_if = "ByPeer::is_empty")]
    pub egress: ByPeer,
    /// The addresses of all nodes if [`Peer::Host`] is named: any other address counts as the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) nodes: Vec<Ipv4Addr>,
}

impl NetState {
    /// The same for a node with these addresses, which are left out.
    pub fn of_node_with(&self, own: &[Ipv4Addr]) -> Self {
        let mut nodes = self.nodes.clone();
        nodes.retain(|node| !own.contains(node));
        Self { ingress: self.ingress.without(own), egress: self.egress.without(own), nodes, ..*self }
    }
}
