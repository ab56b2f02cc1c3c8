//! One network.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::engine::{EngineError, Labels, ListedNetwork, Result};
use crate::sync::Mutex;

/// An IPv4 subnet in CIDR form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subnet {
    base: u32,
    prefix: u32,
}

impl Subnet {
    /// Reads `10.0.0.0/24`; bits beyond the prefix are dropped.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let parsed = text.split_once('/').and_then(|(address, prefix)| {
            let address: Ipv4Addr = address.parse().ok()?;
            let prefix: u32 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
            let base = u32::from(address) & Self::mask(prefix);
            Some(Self { base, prefix })
        });
        parsed.ok_or_else(|| EngineError::Refused(format!("invalid CIDR address: {text}")))
    }

    fn mask(prefix: u32) -> u32 {
        u32::MAX.checked_shl(32 - prefix).unwrap_or(0)
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        let mask = Self::mask(self.prefix.min(other.prefix));
        self.base & mask == other.base & mask
    }

    pub(crate) fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & Self::mask(self.prefix) == self.base
    }

    pub(crate) fn prefix(self) -> u32 {
        self.prefix
    }

    /// The address that the engine keeps for itself.
    pub(crate) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base.saturating_add(1))
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

/// A network; a copy in the swarm and on each engine that knows it, if it is an overlay.
#[derive(Clone)]
pub(super) struct Net {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) driver: &'static str,
    pub(crate) labels: Labels,
    /// Its addresses; the `host` and `none` networks have none.
    pub(crate) subnet: Option<Subnet>,
    /// The engine's own, which cannot be removed or pin an address.
    pub(crate) built_in: bool,
    /// The addresses that containers have, on whichever engine.
    pub(crate) used: Arc<Mutex<BTreeSet<Ipv4Addr>>>,
    /// How many of them containers of this engine have.
    pub(crate) used_here: usize,
    /// What the engine would choose addresses from.
    pub(crate) ranges: Vec<String>,
}

impl Net {
    /// As a listing shows it, with the addresses in use.
    pub(crate) fn listed(&self) -> ListedNetwork {
        ListedNetwork {
            id: self.id.clone(),
            name: self.name.clone(),
            driver: self.driver.to_owned(),
            labels: self.labels.clone(),
            subnets: self.subnet.iter().map(Subnet::to_string).collect(),
            isolated: false,
            used: self.used.lock().iter().copied().collect(),
            ranges: self.ranges.clone(),
            names: Vec::new(),
        }
    }
}
