//! How far a container's output has been taken.
//!
//! The engine gives output from a time on, and times can step back by a little: stdout and stderr are stamped before they
//! are merged. So the latest time alone does not say what was taken: the pieces of the last second are remembered.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::engine::{ContainerId, LogChunk};

/// For how long pieces are remembered, in ns on the engine's clock. Times step back by milliseconds at most.
const REMEMBERED: i64 = 1_000_000_000;
/// How many at most, whatever their times.
const MOST: usize = 1 << 14;

/// A piece, by its time and a hash of what it says.
type Piece = (i64, u64);

pub(super) struct Position {
    container: ContainerId,
    /// All up to this time is taken.
    floor: i64,
    latest: i64,
    /// What was taken last, in the order of the log.
    recent: VecDeque<Piece>,
    /// Those of them that may come again, and how often.
    again: HashMap<Piece, u32>,
}

fn piece(chunk: &LogChunk) -> Piece {
    let mut hasher = DefaultHasher::new();
    chunk.bytes.hash(&mut hasher);
    (chunk.time, hasher.finish())
}

impl Position {
    pub fn new(container: ContainerId) -> Self {
        Self { container, floor: i64::MIN, latest: i64::MIN, recent: VecDeque::new(), again: HashMap::new() }
    }

    pub fn is_in(&self, container: &ContainerId) -> bool {
        self.container == *container
    }

    /// The output is asked for anew: from when on.
    pub fn begin_again(&mut self) -> i64 {
        self.again.clear();
        for piece in &self.recent {
            *self.again.entry(*piece).or_default() += 1;
        }
        self.floor.max(0)
    }

    /// Whether a piece has been taken before it was asked for anew. Without a time there is nothing to tell it by.
    pub fn has(&mut self, chunk: &LogChunk) -> bool {
        if chunk.time == 0 {
            return false;
        }
        if chunk.time <= self.floor {
            return true;
        }
        match self.again.get_mut(&piece(chunk)).filter(|left| **left > 0) {
            Some(left) => {
                *left -= 1;
                true
            }
            None => false,
        }
    }

    /// A piece was taken.
    pub fn took(&mut self, chunk: &LogChunk) {
        if chunk.time == 0 {
            return;
        }
        self.latest = self.latest.max(chunk.time);
        self.recent.push_back(piece(chunk));
        while let Some(&(time, _)) = self.recent.front()
            && (self.recent.len() > MOST || time < self.latest - REMEMBERED)
        {
            self.floor = self.floor.max(time);
            self.recent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(time: i64, text: &str) -> LogChunk {
        LogChunk { time, bytes: text.into() }
    }

    /// Takes what is new of these.
    fn take(position: &mut Position, chunks: &[LogChunk]) -> Vec<String> {
        let since = position.begin_again();
        let mut taken = vec![];
        for chunk in chunks.iter().filter(|chunk| chunk.time >= since || chunk.time == 0) {
            if !position.has(chunk) {
                position.took(chunk);
                taken.push(String::from_utf8(chunk.bytes.clone()).unwrap());
            }
        }
        taken
    }

    #[test]
    fn a_piece_whose_time_steps_back_is_not_missed_after_a_break() {
        let second = 1_000_000_000;
        let at = |ms: i64, text: &str| chunk(100 * second + ms * 1_000_000, text);
        let log = [at(0, "a"), at(5, "out"), at(3, "err"), at(5, "out"), at(4, "late"), at(2500, "b"), at(2499, "c")];
        for cut in 0..log.len() {
            let mut position = Position::new(ContainerId("x".into()));
            let mut taken = take(&mut position, &log[..cut]);
            taken.extend(take(&mut position, &log));
            assert_eq!(taken, ["a", "out", "err", "out", "late", "b", "c"], "cut after {cut}");
            assert!(take(&mut position, &log).is_empty());
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut position = Position::new(ContainerId("x".into()));
        let log: Vec<_> = (1..50_000).map(|nth| chunk(nth, "same")).collect();
        assert_eq!(take(&mut position, &log).len(), log.len());
        assert_eq!(position.recent.len(), MOST);
        assert!(take(&mut position, &log).is_empty());
        assert_eq!(take(&mut position, &[chunk(0, "no time")]), ["no time"]);
    }
}
