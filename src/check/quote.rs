//! A verdict as text: with the lines of the operations that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::findings::number_of;
use super::value::cut;
use crate::history::{HistoryEvent, HistoryLine, VerdictEvent, VerdictResult};
use crate::text::harmless;

/// Most characters of a line that is quoted.
const WIDTH: usize = 90;

/// Lines that a verdict names: their time and what the test has appended.
#[derive(Debug, Default)]
pub(crate) struct Quotes {
    wanted: BTreeSet<u64>,
    found: BTreeMap<u64, (String, String)>,
}

impl Quotes {
    /// Of those lines that the verdict names, none of which is found yet.
    pub(crate) fn of(verdict: &VerdictEvent) -> Self {
        let wanted = verdict.anomalies.iter().flat_map(|anomaly| anomaly.lines.iter().copied()).collect();
        Self { wanted, found: BTreeMap::new() }
    }

    /// Takes a line of the history, if it is named. Returns whether any named line may still follow.
    pub(crate) fn take(&mut self, line: &HistoryLine) -> bool {
        if self.wanted.contains(&line.seq)
            && let HistoryEvent::Test(object) = &line.event
        {
            // The date is of no interest here.
            let time = line.time.split('T').next_back().unwrap_or_default().to_owned();
            self.found.insert(line.seq, (time, cut(object.as_str(), WIDTH)));
        }
        self.wanted.last().is_some_and(|last| line.seq < *last)
    }
}

/// The verdict, then each anomaly with its lines and the faults in force: lines of plain text.
pub(crate) fn text(verdict: &VerdictEvent, quotes: &Quotes) -> String {
    let result = match verdict.result {
        VerdictResult::Good => "good",
        VerdictResult::Violated => "violated",
        VerdictResult::Unknown => "unknown",
    };
    let mut out = String::new();
    let mut say = |line: String| {
        // A String takes everything.
        let _ = writeln!(out, "{}", harmless(&line));
    };
    say(format!("{result}: {} ({}, {})", verdict.text, verdict.model, number_of(verdict.operations, "operation")));
    for (nth, anomaly) in verdict.anomalies.iter().enumerate() {
        say(String::new());
        say(format!("{}. {}: {}", nth + 1, anomaly.kind, anomaly.text));
        for line in &anomaly.lines {
            match quotes.found.get(line) {
                Some((time, object)) => say(format!("   {line:>7}  {time}  {object}")),
                None => say(format!("   {line:>7}")),
            }
        }
        if !anomaly.faults.is_empty() {
            say(format!("   faults meanwhile: {}", anomaly.faults.join(", ")));
        }
    }
    if verdict.more > 0 {
        say(String::new());
        say(format!("and {} more", verdict.more));
    }
    out
}
