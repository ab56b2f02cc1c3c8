//! A byte for the model, then lines of a history, held against it: never a panic, and what is told fits into a line.

use cthulhu::check::fuzzed::check;
use cthulhu::history::HistoryLine;

pub fn takes(data: &[u8]) -> bool {
    let Some((model, text)) = data.split_first() else { return false };
    let lines: Vec<_> = super::utf8(text).lines().filter_map(|line| HistoryLine::parse(line).ok()).collect();
    check(*model, &lines)
}
