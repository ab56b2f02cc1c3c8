//! What daemon and sandbox say to each other: one JSON object a line, one answer a request, in order.
//!
//! A request is `{"op":"hello"}`, its answer `{"ok":true,…}` or `{"ok":false,"error":"…"}`. A request may carry a
//! number `"id"`, which its answer repeats: so a client that gave up waiting can distinguish a late answer from the
//! next one.
//!
//! A new operation is a variant of [`Request`], a variant of [`Reply`] if it answers more than `ok`, and an arm in `server`.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::cluster::faults::NetState;

/// The longest line either side takes, in bytes, its newline not counted.
pub(crate) const MAX_LINE: usize = 1 << 20;

/// What the daemon asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum Request<'a> {
    /// Who are you, and is your network up?
    Hello,
    /// Does this port accept connections?
    Connect {
        /// One of the sandbox's own addresses, or another node's.
        address: Ipv4Addr,
        /// TCP.
        port: u16,
    },
    /// What can your kernel do? Answered with [`Capabilities`].
    Probe,
    /// Bring this about, all of it or nothing; answered when it is in force and has been read back. What was before is undone.
    Apply {
        /// What a sandbox of this machine has found.
        kernel: Capabilities,
        /// The whole state.
        desired: Cow<'a, NetState>,
    },
    /// Destroy the TCP sockets that the node's dead run has left, so that none of them sends anything any more. Loopback ones stay.
    Abort,
}

/// What a successful operation answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Reply {
    Hello(Hello),
    Connected(Connected),
    Capabilities(Capabilities),
    Applied(Applied),
    Aborted(Aborted),
}

/// A sandbox introduces itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the binary inside.
    pub(crate) version: String,
    /// Its IPv4 addresses, loopback ones left out, ascending.
    pub(crate) addresses: Vec<Ipv4Addr>,
}

/// What was asked for is in force, in a network with these addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied {
    /// The sandbox's IPv4 addresses, as in [`Hello`].
    pub(crate) addresses: Vec<Ipv4Addr>,
}

/// Whether a connection was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Connected {
    /// If it was not, nothing listens, or too many connections wait already.
    pub(crate) connected: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// How a packet can be handed to us by a rule of nftables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum QueueBy {
    /// The expression `queue`.
    Native,
    /// The xtables target NFQUEUE, through the expression `target`.
    Target,
}

/// What the kernel can do in a sandbox, found by trying.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Tables, chains, sets and rules that drop.
    pub(crate) nftables: bool,
    pub(crate) reject: bool,
    /// Rules that hit at random.
    pub(crate) numgen: bool,
    /// Rules that send a packet twice.
    pub(crate) dup: bool,
    /// Rules that hand packets to us, and that we can hand them back.
    pub(crate) queue: Option<QueueBy>,
    pub(crate) netem: bool,
    pub(crate) htb: bool,
    /// Sockets can be destroyed.
    pub(crate) sock_destroy: bool,
    /// The network has IPv6 too, by which nodes reach each other past all rules about IPv4.
    pub(crate) ipv6: bool,
}

impl Capabilities {
    /// What both can do.
    pub(crate) fn common(&self, other: &Self) -> Self {
        Self {
            nftables: self.nftables && other.nftables,
            reject: self.reject && other.reject,
            numgen: self.numgen && other.numgen,
            dup: self.dup && other.dup,
            queue: self.queue.and(other.queue),
            netem: self.netem && other.netem,
            htb: self.htb && other.htb,
            sock_destroy: self.sock_destroy && other.sock_destroy,
            ipv6: self.ipv6 || other.ipv6,
        }
    }

    /// One that can do all of it.
    pub(crate) fn everything() -> Self {
        Self {
            nftables: true,
            reject: true,
            numgen: true,
            dup: true,
            queue: Some(QueueBy::Native),
            netem: true,
            htb: true,
            sock_destroy: true,
            ipv6: false,
        }
    }
}

/// How many sockets were destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Aborted {
    /// TCP ones.
    pub(crate) sockets: u64,
}

/// A request on the wire.
#[derive(Serialize)]
pub(super) struct Numbered<'a> {
    pub(super) id: u64,
    #[serde(flatten)]
    pub(super) request: &'a Request<'a>,
}

/// An answer on the wire.
#[derive(Serialize)]
pub(super) struct Answer {
    pub(super) ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    #[serde(flatten)]
    pub(super) reply: Option<Reply>,
}
