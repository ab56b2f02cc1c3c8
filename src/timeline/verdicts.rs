//! What checkers found, and which operations of the picture that is about.

use std::collections::HashMap;

use serde_json::Value;

use super::operations::Lane;
use crate::history::{VerdictEvent, VerdictResult, replace_verdict};

/// Most anomalies that are shown, of all verdicts together.
const MOST: usize = 6;
/// Most operations that one of them marks in the chart.
const MARKED: usize = 8;

/// The last verdict on one model.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) model: String,
    pub(crate) result: VerdictResult,
    /// A sentence.
    pub(crate) text: String,
    /// How many operations were looked at.
    pub(crate) operations: u64,
    /// Those that are shown.
    pub(crate) anomalies: Vec<Anomaly>,
    /// How many others were found.
    pub(crate) more: u64,
}

impl Verdict {
    /// Its result in a word.
    pub(crate) fn word(&self) -> &'static str {
        match self.result {
            VerdictResult::Good => "good",
            VerdictResult::Violated => "violated",
            VerdictResult::Unknown => "unknown",
        }
    }
}

/// Operations that do not fit a model.
#[derive(Debug)]
pub(crate) struct Anomaly {
    /// In a word or two.
    pub(crate) kind: String,
    /// A sentence.
    pub(crate) text: String,
    /// The key that it is about, as JSON.
    pub(crate) key: Option<Value>,
    /// The numbers (`seq`) of its lines.
    pub(crate) lines: Vec<u64>,
    /// What was in force meanwhile.
    pub(crate) faults: Vec<String>,
    /// Its operations: the lane, and the index there. The first ones, if there are many.
    pub(crate) operations: Vec<(usize, usize)>,
    /// When the first of them began and the last one ended, in ns since the mount; `None` if it names none.
    pub(crate) time: Option<(i64, i64)>,
}

/// Collects the verdicts of a history.
#[derive(Default)]
pub(crate) struct Gathering(Vec<VerdictEvent>);

impl Gathering {
    pub(crate) fn take(&mut self, event: &VerdictEvent) {
        replace_verdict(&mut self.0, event.clone());
    }

    /// The verdicts, with the operations of their anomalies.
    pub(crate) fn finish(mut self, lanes: &[Lane]) -> Vec<Verdict> {
        self.0.sort_by_key(|event| match event.result {
            VerdictResult::Violated => 0,
            VerdictResult::Unknown => 1,
            VerdictResult::Good => 2,
        });
        let mut room = MOST;
        let mut verdicts: Vec<Verdict> = self.0.into_iter().map(|event| verdict(event, &mut room)).collect();
        let mut anomalies: Vec<&mut Anomaly> = verdicts.iter_mut().flat_map(|verdict| &mut verdict.anomalies).collect();
        let mut by_line: HashMap<u64, Vec<usize>> = HashMap::new();
        for (index, anomaly) in anomalies.iter().enumerate() {
            for line in anomaly.lines.iter().filter(|line| **line > 0) {
                by_line.entry(*line).or_default().push(index);
            }
        }
        if by_line.is_empty() {
            return verdicts;
        }
        for (lane, operations) in lanes.iter().map(|lane| &lane.operations).enumerate() {
            for (index, operation) in operations.iter().enumerate() {
                let of = |line: u64| by_line.get(&line).into_iter().flatten();
                let mut those: Vec<usize> = of(operation.lines.0).chain(of(operation.lines.1)).copied().collect();
                those.dedup();
                for anomaly in those {
                    let anomaly = &mut *anomalies[anomaly];
                    let (from, to) = anomaly.time.unwrap_or((i64::MAX, 0));
                    anomaly.time = Some((from.min(operation.from), to.max(operation.counts_at())));
                    if anomaly.operations.len() < MARKED {
                        anomaly.operations.push((lane, index));
                    }
                }
            }
        }
        verdicts
    }
}

fn verdict(event: VerdictEvent, room: &mut usize) -> Verdict {
    let shown = event.anomalies.len().min(*room);
    *room -= shown;
    let left_out = event.anomalies.len() - shown;
    let anomalies = event.anomalies.into_iter().take(shown).map(|anomaly| Anomaly {
        kind: anomaly.kind,
        text: anomaly.text,
        key: anomaly.key,
        lines: anomaly.lines,
        faults: anomaly.faults,
        operations: vec![],
        time: None,
    });
    Verdict {
        model: event.model,
        result: event.result,
        text: event.text,
        operations: event.operations,
        anomalies: anomalies.collect(),
        more: event.more.saturating_add(left_out as u64),
    }
}
