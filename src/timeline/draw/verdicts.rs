//! Verdicts: above the incidents in words, and in the lanes of operations as numbers.

use super::badges;
use super::canvas::{Canvas, GUTTER, LEFT, LINE, PAD, WIDTH, bold_width, fitting};
use super::operations::LANE;
use crate::history::VerdictResult;
use crate::timeline::count;
use crate::timeline::model::Timeline;
use crate::timeline::moment;
use crate::timeline::verdicts::{Anomaly, Verdict};

/// The height of all of it.
pub(crate) fn height(timeline: &Timeline) -> f64 {
    let lines = timeline.verdicts.iter().map(|verdict| 1 + verdict.anomalies.len() + usize::from(verdict.more > 0));
    let lines: usize = lines.sum();
    if lines == 0 { 0.0 } else { LINE * lines as f64 + 8.0 }
}

/// The verdicts in words, from `y` on. Returns the y after them.
pub(crate) fn draw(canvas: &mut Canvas, timeline: &Timeline, y: f64) -> f64 {
    let top = y;
    let (mut y, mut number) = (y, 0);
    for verdict in &timeline.verdicts {
        sentence(canvas, verdict, y);
        y += LINE;
        for anomaly in &verdict.anomalies {
            number += 1;
            badges::anomaly(canvas, (LEFT + 8.0, y - 4.0), number);
            let at = anomaly.time.map(|(from, _)| moment(from, timeline.duration)).unwrap_or_default();
            canvas.text("muted end", (LEFT + 96.0, y), &at);
            let room = WIDTH - 2.0 * LEFT - 110.0;
            canvas.text("plain", (LEFT + 106.0, y), &fitting(&in_words(anomaly), room).unwrap_or_default());
            y += LINE;
        }
        if verdict.more > 0 {
            let more = count(usize::try_from(verdict.more).unwrap_or(usize::MAX));
            canvas.text("muted", (LEFT + 106.0, y), &format!("and {more} more"));
            y += LINE;
        }
    }
    if y > top { y + 8.0 } else { y }
}

fn sentence(canvas: &mut Canvas, verdict: &Verdict, y: f64) {
    let (word, class) = match verdict.result {
        VerdictResult::Good => ("GOOD", "verdict-good"),
        VerdictResult::Violated => ("VIOLATED", "verdict-violated"),
        VerdictResult::Unknown => ("UNKNOWN", "verdict-unknown"),
    };
    let wide = bold_width(word) + 14.0;
    canvas.rect(class, (LEFT, wide), (y - 12.5, 16.0), "");
    canvas.text("number", (LEFT + wide / 2.0, y - 0.5), word);
    let operations = match verdict.operations {
        1 => "1 operation".into(),
        many => format!("{} operations", count(usize::try_from(many).unwrap_or(usize::MAX))),
    };
    let text = format!("{}: {} ({operations})", verdict.model, verdict.text);
    let room = WIDTH - 2.0 * LEFT - wide - 12.0;
    canvas.text("strong", (LEFT + wide + 8.0, y), &fitting(&text, room / 1.1).unwrap_or_default());
}

/// `lost: 417 was acknowledged …; in force: i002 crashed`.
fn in_words(anomaly: &Anomaly) -> String {
    let faults =
        if anomaly.faults.is_empty() { String::new() } else { format!("; in force: {}", anomaly.faults.join(", ")) };
    format!("{}: {}{faults}", anomaly.kind, anomaly.text)
}

/// The numbers of the anomalies at their operations in the lane that stands at `y`.
pub(crate) fn marks(canvas: &mut Canvas, timeline: &Timeline, lane: usize, y: f64) {
    let mut marks = vec![];
    for (number, anomaly) in timeline.anomalies() {
        let here = anomaly.operations.iter().filter(|(of, _)| *of == lane);
        marks.extend(here.map(|(_, index)| (&timeline.lanes[lane].operations[*index], number, anomaly)));
    }
    marks.sort_by_key(|(operation, number, _)| (operation.from, *number));
    let mut free = f64::MIN;
    for (operation, number, anomaly) in marks {
        let tip = format!("{number}. {}: {}\n{}", anomaly.kind, anomaly.text, operation.label);
        canvas.bar("mark", (operation.from, operation.counts_at()), (y + 1.0, LANE - 3.0), 4.0, &tip);
        let true_x = canvas.x(operation.from);
        // Before the operation, so that it stays to be seen.
        let x = (true_x - 9.0).clamp(8.0, WIDTH - GUTTER - PAD).max(free);
        free = x + 15.0;
        canvas.at((true_x, y + LANE / 2.0 - 0.5), &tip, |canvas| badges::anomaly(canvas, (x - true_x, 0.0), number));
    }
}
