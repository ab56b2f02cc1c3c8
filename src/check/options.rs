//! What a check depends on.

use super::search::Bounds;

/// What a check depends on beside the model.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Which mount of the history, counted from 1; `None` for the last.
    pub(crate) mount: Option<usize>,
    /// The number (`seq`) of a line: the test's lines up to it do not count.
    pub(crate) after: u64,
    /// Of a bank: the total of all accounts; `None` for that of the first read.
    pub(crate) total: Option<i64>,
    /// Of a bank: whether no account may be below 0.
    pub(crate) no_negative: bool,
    /// How much the search for an order may take.
    pub(crate) bounds: Bounds,
}
