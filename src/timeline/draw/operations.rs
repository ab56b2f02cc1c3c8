//! The test's operations: drawn one by one where there is room, else as counts.

use super::canvas::{Canvas, PAD, SPAN, fitting};
use crate::timeline::model::Timeline;
use crate::timeline::operations::{Lane, Operation, OperationOutcome};
use crate::timeline::{count, rough, time};

/// Height of a lane.
pub(crate) const LANE: f64 = 20.0;
/// Height of the sum of all lanes.
pub(crate) const SUM: f64 = 46.0;
/// From this number of operations on, a row counts all of them.
pub(crate) const MANY: usize = 40;
/// A lane with more operations is drawn as counts.
const EACH: usize = 220;
/// Width of a bin of counts, in px.
const BIN: f64 = 4.0;

/// Operations of one bin, by outcome.
#[derive(Clone, Copy, Default)]
struct Bin {
    ok: usize,
    unsure: usize,
    failed: usize,
}

impl Bin {
    fn total(self) -> usize {
        self.ok + self.unsure + self.failed
    }

    fn tip(self) -> String {
        let mut text = match self.total() {
            1 => "1 operation".into(),
            many => format!("{} operations", count(many)),
        };
        if self.failed > 0 {
            text.push_str(&format!(", {} failed", count(self.failed)));
        }
        if self.unsure > 0 {
            text.push_str(&format!(", {} uncertain", count(self.unsure)));
        }
        text
    }
}

fn bins<'a>(canvas: &Canvas, operations: impl Iterator<Item = &'a Operation>, size: f64) -> Vec<Bin> {
    let number = (SPAN / size).ceil() as usize;
    let mut bins = vec![Bin::default(); number];
    for operation in operations {
        let index = ((canvas.x(operation.counts_at()) - PAD) / size) as usize;
        let bin = &mut bins[index.min(number - 1)];
        match operation.outcome {
            OperationOutcome::Ok => bin.ok += 1,
            OperationOutcome::Unknown => bin.unsure += 1,
            OperationOutcome::Failed => bin.failed += 1,
        }
    }
    bins
}

fn draw_bins(canvas: &mut Canvas, bins: &[Bin], size: f64, (y, height): (f64, f64)) {
    let most = bins.iter().map(|bin| bin.total()).max().unwrap_or(0).max(1) as f64;
    let span = canvas.duration as f64 * size / SPAN;
    for (index, bin) in bins.iter().enumerate().filter(|(_, bin)| bin.total() > 0) {
        let x = PAD + size * index as f64;
        let from = (span * index as f64) as i64;
        let tip = format!("{}\n{} – {}", bin.tip(), time(from), time((from as f64 + span) as i64));
        let mut bottom = y + height;
        // Failures are always big enough to be seen.
        for (class, number, least) in [("ok", bin.ok, 1.0), ("unsure", bin.unsure, 3.0), ("failed", bin.failed, 5.0)] {
            if number > 0 {
                let tall = (height * number as f64 / most).max(least).min(height);
                bottom = (bottom - tall).max(y);
                canvas.rect(class, (x, size - 0.4), (bottom, tall), &tip);
            }
        }
    }
}

/// All lanes together, as counts over time.
pub(crate) fn sum(canvas: &mut Canvas, timeline: &Timeline, y: f64) {
    let size = BIN * 2.0;
    let bins = bins(canvas, timeline.lanes.iter().flat_map(|lane| &lane.operations), size);
    canvas.rect("stripe still", (PAD, SPAN), (y, SUM), "");
    draw_bins(canvas, &bins, size, (y + 2.0, SUM - 2.0));
}

/// What the height of that row means.
pub(crate) fn scale(canvas: &Canvas, timeline: &Timeline) -> String {
    let size = BIN * 2.0;
    let bins = bins(canvas, timeline.lanes.iter().flat_map(|lane| &lane.operations), size);
    let most = bins.iter().map(|bin| bin.total()).max().unwrap_or(0);
    format!("≤ {} in {}", count(most), rough((canvas.duration as f64 * size / SPAN) as i64))
}

/// The operations of one lane.
pub(crate) fn lane(canvas: &mut Canvas, lane: &Lane, y: f64) {
    canvas.group(&[("data-operations", &lane.operations.len())], |canvas| {
        canvas.rect("line still", (PAD, SPAN), (y + LANE - 2.5, 0.6), "");
        if lane.operations.len() > EACH {
            let bins = bins(canvas, lane.operations.iter(), BIN);
            return draw_bins(canvas, &bins, BIN, (y + 2.0, LANE - 5.0));
        }
        for (index, operation) in lane.operations.iter().enumerate() {
            let next = lane.operations.get(index + 1).map(|next| next.from);
            each(canvas, operation, next, y);
        }
    });
}

fn each(canvas: &mut Canvas, operation: &Operation, next: Option<i64>, y: f64) {
    let class = match operation.outcome {
        OperationOutcome::Ok => "ok",
        OperationOutcome::Unknown => "unsure",
        OperationOutcome::Failed => "failed",
    };
    let word = match operation.outcome {
        OperationOutcome::Ok => "",
        OperationOutcome::Unknown if operation.open => " (no answer)",
        OperationOutcome::Unknown => " (uncertain)",
        OperationOutcome::Failed => " (failed)",
    };
    let took = operation.to.map(|to| format!("\ntook {}", rough(to - operation.from))).unwrap_or_default();
    let tip = format!("{}{word}\n{}{took}", operation.label, time(operation.from));
    let from = canvas.x(operation.from);
    let mut end = from + 4.0;
    // A failure is taller too, for readers who cannot distinguish the colours.
    let (top, height) = if operation.outcome == OperationOutcome::Ok { (y + 5.0, 11.0) } else { (y + 2.0, 15.0) };
    match (operation.to, operation.open) {
        (Some(to), _) => {
            canvas.bar(class, (operation.from, to), (top, height), 2.5, &tip);
            end = canvas.x(to).max(end);
        }
        (None, true) => {
            let to = next.unwrap_or(canvas.duration);
            canvas.bar("unsure", (operation.from, to), (y + 9.0, 2.0), 2.5, &tip);
            canvas.rect("unsure", (from, 2.5), (top, height), &tip);
        }
        (None, false) => {
            let middle = y + 10.0;
            canvas.at((from, middle), &tip, |canvas| {
                let shape = if operation.outcome == OperationOutcome::Failed {
                    "M-5.5-4-4-5.5 0-1.5 4-5.5 5.5-4 1.5 0 5.5 4 4 5.5 0 1.5-4 5.5-5.5 4-1.5 0z"
                } else {
                    "M0-5 4 0 0 5-4 0z"
                };
                canvas.xml.empty("path", &[("class", &class), ("d", &shape)]);
            });
        }
    }
    let room = next.map_or(canvas.x(canvas.duration) + PAD, |next| canvas.x(next)) - end - 8.0;
    let inside = canvas.x(operation.to.unwrap_or(operation.from)) - from - 6.0;
    let class = if operation.outcome == OperationOutcome::Failed { "alarm halo" } else { "halo" };
    let (x, text) = match fitting(&operation.label, inside) {
        Some(text) if operation.to.is_some() && !text.ends_with('…') => (from + 3.0, text),
        _ => match fitting(&operation.label, room.min(260.0)) {
            Some(text) => (end + 3.0, text),
            None => return,
        },
    };
    canvas.at((from, y + 14.0), "", |canvas| canvas.text(class, (x - from, 0.0), &text));
}
