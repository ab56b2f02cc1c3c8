//! How far a container's output has been taken.
//!
//! The engine gives output from a time on, and times can step back by a little: stdout and stderr are stamped before they
//! are merged. So the latest time alone does not say what was taken: the pieces of the last second are remembered.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::engine::{ContainerId, LogChunk};

/// For how long pieces are remembered, in ns on the engine's clock. Times step back by milliseconds at most, unless the
/// clock is set.
const REMEMBERED: i64 = 1_000_000_000;
/// Most pieces that are remembered.
const MOST: usize = 1 << 14;

/// A piece, by its time and a hash of its content.
type Piece = (i64, u64);

pub(super) struct Position {
    container: ContainerId,
    /// Everything up to this time was taken, except output after the clock was set back.
    floor: i64,
    latest: i64,
    /// The latest time before the clock was set back.
    before_step: i64,
    /// The last pieces taken, in the order of the log.
    recent: VecDeque<Piece>,
    /// State of a repeated request, until it yields something new.
    replay: Option<Replay>,
    /// The repeated output began after everything remembered: the engine has lost what came in between, if anything
    /// did.
    torn: bool,
}

/// A repeat of the output, up to the end of what is remembered.
struct Replay {
    /// The remembered pieces that have not come again yet, and how often each.
    left: HashMap<Piece, u32>,
    /// How many these are, and how many were at first.
    count: usize,
    of: usize,
    /// The position's value when it was requested.
    floor: i64,
}

fn piece(chunk: &LogChunk) -> Piece {
    let mut hasher = DefaultHasher::new();
    chunk.bytes.hash(&mut hasher);
    (chunk.time, hasher.finish())
}

impl Position {
    pub(crate) fn new(container: ContainerId) -> Self {
        let never = i64::MIN;
        Self {
            container,
            floor: never,
            latest: never,
            before_step: never,
            recent: VecDeque::new(),
            replay: None,
            torn: false,
        }
    }

    pub(crate) fn is_in(&self, container: &ContainerId) -> bool {
        self.container == *container
    }

    /// The output is requested again. Returns from which time on.
    pub(crate) fn begin_again(&mut self) -> i64 {
        let mut left = HashMap::new();
        for piece in &self.recent {
            *left.entry(*piece).or_default() += 1;
        }
        self.replay = Some(Replay { left, count: self.recent.len(), of: self.recent.len(), floor: self.floor });
        self.floor.max(0)
    }

    /// Whether a piece was taken before the output was requested again. Pieces without a time cannot be recognised.
    pub(crate) fn has(&mut self, chunk: &LogChunk) -> bool {
        let Some(replay) = self.replay.as_mut().filter(|_| chunk.time != 0) else { return false };
        if let Some(left) = replay.left.get_mut(&piece(chunk)).filter(|left| **left > 0) {
            *left -= 1;
            replay.count -= 1;
            if replay.count == 0 {
                self.replay = None;
            }
            return true;
        }
        // What came before the clock was set back comes before all that is remembered.
        let stepped = replay.count == replay.of && replay.floor < self.before_step;
        if chunk.time <= replay.floor || stepped && chunk.time <= self.before_step {
            return true;
        }
        // Everything that follows is new, whatever its time.
        self.torn = replay.of > 0 && replay.count == replay.of;
        self.replay = None;
        false
    }

    /// Whether the piece that [`Self::has`] has just called new may follow others that the engine no longer has.
    pub(crate) fn is_torn(&mut self) -> bool {
        std::mem::take(&mut self.torn)
    }

    /// A piece was taken.
    pub(crate) fn took(&mut self, chunk: &LogChunk) {
        if chunk.time == 0 {
            return;
        }
        if chunk.time < self.latest.saturating_sub(REMEMBERED) {
            self.before_step = self.before_step.max(self.latest);
            (self.latest, self.floor) = (chunk.time, chunk.time - REMEMBERED);
            self.recent.clear();
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
    fn a_clock_that_is_set_back_drops_nothing_and_doubles_nothing() {
        let second = 1_000_000_000;
        let at = |seconds: i64, text: &str| chunk(seconds * second, text);
        // An hour back; and a piece that comes late by more than is remembered.
        let back =
            [at(5000, "a"), at(5002, "b"), at(1400, "c"), at(1401, "d"), at(1404, "e"), at(1407, "f"), at(5003, "g")];
        let late = [at(10, "a"), at(12, "b"), at(15, "c"), at(11, "d"), at(16, "e"), at(18, "f"), at(19, "g")];
        for (log, step) in [(back, 2), (late, 3)] {
            for cut in 0..log.len() {
                let mut position = Position::new(ContainerId("x".into()));
                let mut taken = take(&mut position, &log[..cut]);
                taken.extend(take(&mut position, &log));
                assert!(taken.is_sorted(), "cut after {cut}: {taken:?}");
                // An engine gives nothing that seems older than what is asked for: so a step during the break loses.
                let whole = taken.concat() == "abcdefg";
                assert!(whole || (2..=step).contains(&cut), "cut after {cut}: {taken:?}");
                assert!(take(&mut position, &log).is_empty(), "cut after {cut}");
            }
        }
    }

    #[test]
    fn a_hole_is_known_by_what_does_not_come_again() {
        let second = 1_000_000_000;
        let log: Vec<_> = (1..100).map(|nth| chunk(nth * second / 10, &nth.to_string())).collect();
        let all_of = |position: &mut Position, log: &[LogChunk]| {
            position.begin_again();
            let mut torn = vec![];
            for chunk in log {
                if !position.has(chunk) {
                    if position.is_torn() {
                        torn.push(chunk.time);
                    }
                    position.took(chunk);
                }
            }
            torn
        };
        for kept in 41..log.len() {
            let mut position = Position::new(ContainerId("x".into()));
            assert!(all_of(&mut position, &log[..40]).is_empty(), "the beginning is no hole");
            assert!(all_of(&mut position, &log[..40]).is_empty(), "nothing new is none");
            assert!(all_of(&mut position, &log[39..60.min(kept + 1)]).is_empty(), "the last piece comes again");
            assert!(all_of(&mut position, &log[..60.min(kept + 1)]).is_empty());
            if kept >= 60 {
                assert_eq!(all_of(&mut position, &log[kept..]), [log[kept].time], "from {kept} on");
            }
        }
    }

    #[test]
    fn what_is_live_is_taken_whatever_its_time() {
        let mut position = Position::new(ContainerId("x".into()));
        assert_eq!(take(&mut position, &[chunk(1, "a")]), ["a"]);
        let mut taken = 0;
        position.begin_again();
        for nth in 0..20_000 {
            let chunk = chunk(1_000_000 + nth, "same");
            assert!(!position.has(&chunk));
            position.took(&chunk);
            taken += 1;
        }
        assert_eq!(taken, 20_000);
        // More pieces than are remembered have overtaken it.
        assert!(!position.has(&chunk(1_000_001, "late")));
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
