//! What a checker has found: a result, sentences, and the first anomalies.

use std::collections::BTreeMap;

use super::value::{Value, Values, cut};

/// Most anomalies that are told in full.
const MOST_TOLD: usize = 10;
/// Most characters of a sentence about one.
const LONGEST_TEXT: usize = 600;
/// Where an operation ends that never did, as far as anybody knows.
pub(super) const NEVER: u32 = u32::MAX;

/// The lines of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Span {
    /// Of its invoke; [`NEVER`] if there is no such operation.
    pub(super) begin: u32,
    /// Of its completion; [`NEVER`] if it has none.
    pub(super) end: u32,
}

impl Span {
    pub(super) const NONE: Self = Self { begin: NEVER, end: NEVER };

    /// Whether there is such an operation.
    pub(super) fn is_some(self) -> bool {
        self.begin != NEVER
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.end {
            NEVER => write!(f, "line {}", self.begin),
            end => write!(f, "lines {}-{end}", self.begin),
        }
    }
}

/// Operations that do not fit.
#[derive(Debug)]
pub(super) struct Anomaly {
    pub(super) kind: &'static str,
    pub(super) key: Value,
    pub(super) text: String,
    pub(super) operations: Vec<Span>,
}

/// All that was found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// The first of them.
    pub(super) anomalies: Vec<Anomaly>,
    counts: BTreeMap<&'static str, u64>,
    /// What is wrong, in parts of a sentence.
    pub(super) wrong: Vec<String>,
    /// Why it is not known whether all is well, if nothing is wrong.
    pub(super) unknown: Vec<String>,
    /// What was found to be true.
    pub(super) good: Vec<String>,
}

impl Findings {
    /// Adds an anomaly. Its text is made only if it is among the first.
    pub(super) fn add(
        &mut self,
        kind: &'static str,
        key: Value,
        values: &Values,
        text: impl FnOnce() -> String,
        operations: &[Span],
    ) {
        *self.counts.entry(kind).or_default() += 1;
        if self.anomalies.len() < MOST_TOLD {
            let mut operations: Vec<Span> = operations.iter().copied().filter(|span| span.is_some()).collect();
            operations.sort_unstable();
            operations.dedup();
            let text = cut(&(values.of_key(key) + &text()), LONGEST_TEXT);
            self.anomalies.push(Anomaly { kind, key, text, operations });
        }
    }

    /// Counts anomalies of which nothing more is known.
    pub(super) fn add_untold(&mut self, kind: &'static str, count: u64) {
        *self.counts.entry(kind).or_default() += count;
    }

    /// How many there are of a kind.
    pub(super) fn count(&self, kind: &str) -> u64 {
        self.counts.get(kind).copied().unwrap_or_default()
    }

    /// How many there are.
    pub(super) fn all(&self) -> u64 {
        self.counts.values().sum()
    }
}

/// `1 element`, `2 elements`.
pub(super) fn number_of(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// `is` or `are`, `was` or `were`: the verb after a count.
pub(super) fn verb<'a>(count: u64, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}
