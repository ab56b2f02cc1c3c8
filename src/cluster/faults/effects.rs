//! What can befall the traffic of one directed link.

use std::num::NonZeroU64;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Nothing passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cut {
    /// Silently.
    Drop,
    /// And the sender is told: a reset, or that the port cannot be reached.
    Reject,
}

/// How long packets wait. Their order is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Delay {
    /// In whole microseconds; not zero.
    pub time: Duration,
    /// Each packet waits `time` give or take up to this, evenly distributed. At most `time`; whole microseconds.
    pub jitter: Duration,
}

/// A share of all packets, in millionths: 1 % is 10,000. Which packets is left to chance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Share(u32);

impl Share {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self(1_000_000);

    /// That many millionths; `None` if it is more than all.
    pub fn millionths(count: u32) -> Option<Self> {
        (count <= Self::ALL.0).then_some(Self(count))
    }

    /// In millionths.
    pub fn in_millionths(self) -> u32 {
        self.0
    }

    /// Whether it is none.
    pub fn is_none(&self) -> bool {
        self.0 == 0
    }
}

/// The most that passes, in bits a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rate(pub NonZeroU64);

/// What befalls the traffic of one link. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Effects {
    /// Nothing passes. Excludes all the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<Cut>,
    /// Packets wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// Packets are lost.
    #[serde(default, skip_serializing_if = "Share::is_none")]
    pub loss: Share,
    /// Packets come twice.
    #[serde(default, skip_serializing_if = "Share::is_none")]
    pub duplicate: Share,
    /// A bit of a packet is not what it was.
    #[serde(default, skip_serializing_if = "Share::is_none")]
    pub corrupt: Share,
    /// Packets do not wait, and so overtake those before them. Needs a delay.
    #[serde(default, skip_serializing_if = "Share::is_none")]
    pub reorder: Share,
    /// No more than that passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}

impl Effects {
    /// Whether nothing befalls it.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}
