//! Times in which something held, as bars in a row.

use super::canvas::{Canvas, fitting};
use crate::timeline::model::Span;
use crate::timeline::{count, time};

/// Height of one of several rows for spans that overlap.
pub(crate) const ROW: f64 = 18.0;
/// Most such rows. More spans at once cover each other.
const ROWS: usize = 3;
/// Below this width (px), neighbours are drawn as one bar.
const NARROW: f64 = 3.0;

/// How long words beyond a bar may be, in px.
const LONGEST: f64 = 220.0;

/// How a row of bars looks.
pub(crate) struct Look {
    /// Class of the bars.
    pub(crate) class: &'static str,
    /// Class of the words on them; empty for no words.
    pub(crate) text: &'static str,
    pub(crate) y: f64,
    pub(crate) height: f64,
}

/// Bars with words on them, where these fit. Words of faults and episodes may go on beyond the bar, up to the next one.
pub(crate) fn row(canvas: &mut Canvas, spans: &[Span], look: &Look) {
    bars(canvas, spans, look);
    if look.text.is_empty() {
        return;
    }
    let small = look.text.starts_with("small");
    for (nth, span) in spans.iter().enumerate() {
        let x = canvas.x(span.from);
        let next = spans.get(nth + 1).map_or(canvas.duration, |next| next.from);
        let end = if look.text == "on-role" { span.to } else { next.max(span.to) };
        let room = (canvas.x(end) - x).min(LONGEST.max(canvas.x(span.to) - x)) - if small { 6.0 } else { 8.0 };
        if let Some(text) = fitting(&span.text, if small { room * 1.15 } else { room }) {
            let (inset, size) = if small { (3.0, 9.5) } else { (4.0, 11.0) };
            let base = look.y + (look.height + size * 0.7) / 2.0;
            canvas.at((x, base), "", |canvas| canvas.text(look.text, (inset, 0.0), &text));
        }
    }
}

/// The bars alone. What is too close to tell apart is one bar, so that there are not more than have room.
pub(crate) fn bars(canvas: &mut Canvas, spans: &[Span], look: &Look) {
    let mut rest = spans;
    while let Some(first) = rest.first() {
        let edge = canvas.x(first.from) + NARROW;
        let merged = rest.iter().take_while(|span| canvas.x(span.to) < edge).count().max(1);
        let those = &rest[..merged];
        let to = those.iter().map(|span| span.to).max().unwrap_or(first.to);
        let tip = match merged {
            1 => format!("{}\n{} – {}\n{}", first.text, time(first.from), time(to), shortened(&first.detail)),
            many => format!("{} times\n{} – {}\nfirst {}", count(many), time(first.from), time(to), first.text),
        };
        canvas.bar(look.class, (first.from, to), (look.y, look.height), NARROW, tip.trim_end());
        rest = &rest[merged..];
    }
}

/// How many rows spans that may overlap take.
pub(crate) fn rows(spans: &[Span]) -> usize {
    stack(spans).len().max(1)
}

/// Spans that may overlap, in as many rows as they need.
pub(crate) fn stacked(canvas: &mut Canvas, spans: &[Span], y: f64) {
    for (nth, spans) in stack(spans).iter().enumerate() {
        let y = y + ROW * nth as f64;
        row(canvas, spans, &Look { class: "episode", text: "on-episode", y, height: ROW - 2.0 });
    }
}

fn stack(spans: &[Span]) -> Vec<Vec<Span>> {
    let mut rows: Vec<Vec<Span>> = vec![];
    for span in spans {
        let free = rows.iter().position(|row| row.last().is_none_or(|last| last.to <= span.from));
        match free {
            Some(row) => rows[row].push(span.clone()),
            None if rows.len() < ROWS => rows.push(vec![span.clone()]),
            None => rows[ROWS - 1].push(span.clone()),
        }
    }
    rows
}

/// A list, cut to 30 lines.
fn shortened(detail: &str) -> String {
    let lines: Vec<&str> = detail.lines().collect();
    match lines.len() {
        ..=30 => detail.to_owned(),
        many => format!("{}\nand {} more", lines[..30].join("\n"), many - 30),
    }
}
