//! Looks for the line that says a node is ready.

use regex::bytes::Regex;

use crate::engine::LogChunk;

/// How much of a line is looked at, in bytes.
const LONGEST: usize = 64 << 10;

pub(super) struct Matcher {
    regex: Regex,
    /// The line that has begun.
    line: Vec<u8>,
    /// The time of its first piece.
    begun: i64,
    /// Output before this time belongs to an earlier run.
    from: i64,
    /// The time of the latest line that matched, ns on the engine's clock.
    matched: Option<i64>,
    /// How many complete lines of this run were seen.
    lines: u64,
}

impl Matcher {
    pub(crate) fn new(regex: Regex) -> Self {
        Self { regex, line: vec![], begun: 0, from: i64::MIN, matched: None, lines: 0 }
    }

    /// Whether a line of this run has matched.
    pub(crate) fn has_matched(&self) -> bool {
        self.matched.is_some()
    }

    /// Why the node is not ready, if no line has matched.
    pub(crate) fn unmatched(&self) -> String {
        let lines = if self.lines == 1 { "1 line".to_owned() } else { format!("{} lines", self.lines) };
        format!("{lines} seen, none matches {}", crate::text::plain(self.regex.as_str()))
    }

    /// Output so far belongs to an earlier run.
    pub(crate) fn forget_before(&mut self, time: i64) {
        self.matched = self.matched.filter(|matched| *matched >= time);
        self.lines = 0;
        if self.begun < time {
            self.line.clear();
        }
        self.from = time;
    }

    /// Takes a piece: a line, or a part of one. Returns whether it ends a line that matches.
    pub(crate) fn feed(&mut self, chunk: &LogChunk) -> bool {
        let mut found = false;
        // A run may end within a line. The next run does not continue it.
        if self.begun < self.from && self.from <= chunk.time {
            self.line.clear();
        }
        for part in chunk.bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.is_empty() {
                self.begun = chunk.time;
            }
            let room = LONGEST.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if part.last() == Some(&b'\n') {
                self.lines += 1;
                let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                if self.regex.is_match(line) {
                    self.matched = Some(chunk.time);
                    found = true;
                }
                self.line.clear();
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_match_and_old_ones_are_forgotten() {
        let mut matcher = Matcher::new(Regex::new("^ready [0-9]+$").unwrap());
        let mut feed = |time, text: &str| matcher.feed(&LogChunk { time, bytes: text.into() });
        assert!(!feed(1, "not ready 1\nrea"));
        assert!(!feed(2, "dy "));
        assert!(feed(3, "17\r\n"));
        assert!(!feed(4, "something else\n"));
        assert!(matcher.has_matched());
        assert_eq!(matcher.unmatched(), "3 lines seen, none matches ^ready [0-9]+$");
        matcher.forget_before(3);
        assert!(matcher.has_matched());
        matcher.forget_before(4);
        assert!(!matcher.has_matched());
        matcher.feed(&LogChunk { time: 5, bytes: "rea".into() });
        matcher.forget_before(i64::MAX);
        assert!(!matcher.feed(&LogChunk { time: 6, bytes: "dy 1\n".into() }), "a line of another run");
    }

    #[test]
    fn a_line_that_a_run_has_left_unfinished_is_not_gone_on_with() {
        let chunk = |time, text: &str| LogChunk { time, bytes: text.into() };
        let matcher = || Matcher::new(Regex::new("^listening").unwrap());
        // The time of death is known before or after the rest is read.
        let mut before = matcher();
        before.feed(&chunk(5, "up\nbye"));
        before.forget_before(7);
        assert!(before.feed(&chunk(8, "listening\n")));
        let mut after = matcher();
        after.forget_before(7);
        after.feed(&chunk(5, "bye"));
        assert!(after.feed(&chunk(8, "listening\n")));
        // A line that the present run has begun is continued.
        let mut present = matcher();
        present.feed(&chunk(8, "liste"));
        present.forget_before(7);
        assert!(present.feed(&chunk(9, "ning\n")));
    }
}
