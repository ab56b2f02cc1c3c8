//! What fuzzing reaches of this module: any lines, held against any model.

use super::{Bounds, Model, Options, Quotes, text, verdict};
use crate::history::{HistoryLine, LONGEST_LINE};

/// Whether the lines can be checked against the model of that number.
pub fn check(model: u8, lines: &[HistoryLine]) -> bool {
    let model = Model::ALL[usize::from(model) % Model::ALL.len()];
    let options = Options { bounds: Bounds { steps: 20_000, memory: 1 << 20 }, ..Options::default() };
    let lines = || lines.iter().cloned().map(Ok::<_, String>);
    let Ok(verdict) = verdict(lines(), model, &options) else { return false };
    assert!(serde_json::to_string(&verdict).unwrap().len() < LONGEST_LINE);
    let mut quotes = Quotes::of(&verdict);
    lines().flatten().for_each(|line| _ = quotes.take(&line));
    assert!(text(&verdict, &quotes).ends_with('\n'));
    true
}
