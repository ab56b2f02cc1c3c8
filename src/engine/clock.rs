//! How an engine's clock differs from ours.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// An engine's clock beside ours, measured once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The engine's time minus ours, in ns.
    pub offset: i64,
    /// How far `offset` may be off in either direction, in ns: half the round trip of the question.
    pub error: u64,
}

/// A question for an engine's time, under way.
pub(super) struct Question {
    since: Instant,
    /// Ns since the Unix epoch, our clock.
    asked: i64,
}

impl Question {
    /// The question goes out now.
    pub(super) fn ask() -> Self {
        // In this order: the round trip must not seem shorter than it is.
        Self { since: Instant::now(), asked: now() }
    }

    /// The answer has come now: the engine's time, in ns since the Unix epoch.
    pub(super) fn answered(self, theirs: i64) -> Clock {
        Clock::measured(self.asked, self.since.elapsed(), theirs)
    }
}

/// As in `+0.2ms±0.3ms`: how far it is ahead, and how exactly that is known.
impl std::fmt::Display for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:+.1}ms±{:.1}ms", self.offset as f64 / 1e6, self.error as f64 / 1e6)
    }
}

impl Clock {
    /// From an answer to a question that was asked at `asked` (ns since the Unix epoch, our clock) and took `round_trip`.
    /// `theirs` is the engine's time in it, read at some moment in between.
    fn measured(asked: i64, round_trip: Duration, theirs: i64) -> Self {
        let half = u64::try_from(round_trip.as_nanos().div_ceil(2)).unwrap_or(u64::MAX);
        let midpoint = asked.saturating_add_unsigned(half);
        Self { offset: theirs.saturating_sub(midpoint), error: half }
    }
}

impl Clock {
    /// Whether both can be true at once.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        self.offset.abs_diff(other.offset) <= self.error + other.error
    }
}

/// Our clock, in ns since the Unix epoch.
pub(super) fn now() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_counts_as_given_half_way() {
        let clock = |theirs| Clock::measured(1_000, Duration::from_nanos(200), theirs);
        assert_eq!(clock(1_100), Clock { offset: 0, error: 100 });
        assert_eq!(clock(3_100), Clock { offset: 2_000, error: 100 });
        assert_eq!(clock(600), Clock { offset: -500, error: 100 });
        assert_eq!(clock(3_100).to_string(), "+0.0ms±0.0ms");
        let slow = Clock { offset: -1_250_000, error: 340_000 };
        assert_eq!(slow.to_string(), "-1.2ms±0.3ms");
        assert!(slow.agrees(&Clock { offset: -900_000, error: 20_000 }) && !slow.agrees(&clock(600)));
    }
}
