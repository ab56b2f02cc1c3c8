//! What can be wrong with one directed link, and the words for it.

use serde::{Deserialize, Serialize};

use super::error::Result;
use super::values::{Delay, Rate, Share, Values};

/// Nothing passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cut {
    /// Silently.
    Drop,
    /// The sender gets a TCP reset, or an ICMP "port unreachable".
    Reject,
}

/// What is wrong with one link. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Impairments {
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
    /// One bit of a packet is flipped.
    #[serde(default, skip_serializing_if = "Share::is_none")]
    pub corrupt: Share,
    /// Packets skip the delay, and so overtake those before them. Needs a delay.
    #[serde(default, skip_serializing_if = "Share::is_none")]
    pub reorder: Share,
    /// The most that passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}

impl Impairments {
    /// Whether nothing is wrong.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The words for what is wrong, in the order of [`WORDS`].
    pub(crate) fn words(&self) -> impl Iterator<Item = &'static Word> {
        WORDS.iter().filter(|word| (word.write)(self).is_some())
    }
}

/// How a fault is applied. This decides what it needs from the kernel, and whose traffic it can apply to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    /// A rule drops packets where they arrive.
    Drop,
    /// A rule rejects packets where they arrive.
    Reject,
    /// A rule drops packets by chance where they arrive.
    Loss,
    /// Packets are held: by netem where they leave, else by the sandbox where they arrive.
    Hold,
    /// Packets are sent twice where they leave.
    Duplicate,
    /// Packets queue for a rate where they leave.
    Rate,
}

/// A word of the grammar.
pub(crate) struct Word {
    pub(crate) name: &'static str,
    /// How it is applied.
    pub(crate) mechanism: Mechanism,
    /// Whether it excludes all other words.
    pub(super) is_alone: bool,
    /// A value that it takes, for error sentences; empty if it takes none.
    pub(super) example: &'static str,
    pub(super) read: fn(&mut Impairments, &mut Values<'_, '_>) -> Result<()>,
    /// Its values as text that parses to the same, empty if it takes none; `None` if it does not apply.
    pub(super) write: fn(&Impairments) -> Option<String>,
}

macro_rules! cut {
    ($name:literal, $cut:ident) => {
        Word {
            name: $name,
            mechanism: Mechanism::$cut,
            is_alone: true,
            example: "",
            read: |to, _| {
                to.cut = Some(Cut::$cut);
                Ok(())
            },
            write: |of| (of.cut == Some(Cut::$cut)).then(String::new),
        }
    };
}

macro_rules! share {
    ($field:ident, $mechanism:ident) => {
        Word {
            name: stringify!($field),
            mechanism: Mechanism::$mechanism,
            is_alone: false,
            example: "5%",
            read: |to, values| {
                to.$field = values.share()?;
                Ok(())
            },
            write: |of| (!of.$field.is_none()).then(|| of.$field.to_string()),
        }
    };
}

macro_rules! optional {
    ($field:ident, $example:literal, $mechanism:ident) => {
        Word {
            name: stringify!($field),
            mechanism: Mechanism::$mechanism,
            is_alone: false,
            example: $example,
            read: |to, values| {
                to.$field = Some(values.$field()?);
                Ok(())
            },
            write: |of| of.$field.map(|value| value.to_string()),
        }
    };
}

/// All words, in the order in which they are written.
pub(crate) static WORDS: [Word; 8] = [
    cut!("drop", Drop),
    cut!("reject", Reject),
    optional!(delay, "100ms", Hold),
    share!(loss, Loss),
    share!(duplicate, Duplicate),
    share!(corrupt, Hold),
    share!(reorder, Hold),
    optional!(rate, "1mbit", Rate),
];
