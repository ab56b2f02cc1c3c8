//! The HTML page around a picture.
//!
//! It is well-formed XML too, so that a test can read it.

use std::fmt::Display;

use super::draw::{Above, head_title, picture};
use super::incidents::{reason, short};
use super::model::Timeline;
use super::operations::OperationOutcome;
use super::xml::Xml;
use super::{count, moment, rough};

/// Most rows of the table: with more, browsers get slow.
const ROWS: usize = 3000;

/// A row of the table.
struct Row {
    at: i64,
    kind: &'static str,
    who: String,
    what: String,
    alarm: bool,
}

/// The page as one self-contained document.
pub(crate) fn document(timeline: &Timeline) -> String {
    let mut xml = Xml::default();
    xml.own("<!DOCTYPE html>\n");
    xml.within("html", &[("lang", &"en")], |xml| {
        xml.within("head", &[], |xml| {
            xml.own("<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" content=\"width=device-width\"/>\n");
            xml.own("<meta name=\"color-scheme\" content=\"light dark\"/>\n");
            xml.own("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\"/>\n");
            xml.element("title", &[], &format!("timeline: {}", head_title(timeline)));
            xml.own("<style>\n");
            xml.own(include_str!("page.css"));
            xml.own("</style>\n");
        });
        xml.within("body", &[], |xml| {
            xml.own("<p id=\"help\">Wheel or + and − zoom, drag or ← and → move, double click or 0 shows all.</p>\n");
            let duration: &dyn Display = &timeline.duration.max(1);
            let mut inner = std::mem::take(xml);
            inner.within("div", &[("id", &"view"), ("data-duration", duration)], |xml| {
                *xml = picture(timeline, std::mem::take(xml), Above::All);
            });
            *xml = inner;
            xml.own("<pre id=\"detail\" aria-live=\"polite\"></pre>\n");
            table(xml, timeline);
        });
        xml.own("<script>\n");
        xml.own(include_str!("page.js"));
        xml.own("</script>\n");
    });
    xml.finish()
}

fn table(xml: &mut Xml, timeline: &Timeline) {
    let (rows, left_out) = rows(timeline);
    xml.within("table", &[], |xml| {
        xml.own("<thead><tr><th>time</th><th>kind</th><th>who</th><th>what</th></tr></thead>\n");
        xml.within("tbody", &[], |xml| {
            for row in &rows {
                let class = if row.alarm { "alarm" } else { "plain" };
                xml.within("tr", &[("class", &class), ("data-at", &row.at)], |xml| {
                    xml.element("td", &[], &moment(row.at, timeline.duration));
                    xml.element("td", &[], row.kind);
                    xml.element("td", &[], &row.who);
                    xml.element("td", &[], &row.what);
                });
            }
        });
    });
    if left_out > 0 {
        xml.element("p", &[], &format!("{} more events are in the history.", count(left_out)));
    }
}

/// Everything but the operations that succeeded, by time; and how many rows were left out.
fn rows(timeline: &Timeline) -> (Vec<Row>, usize) {
    let mut rows = vec![];
    let plain = |at, kind, who: &str, what: String| Row { at, kind, who: who.to_owned(), what, alarm: false };
    for node in &timeline.nodes {
        for stay in node.stays.iter().filter(|stay| stay.from > 0) {
            let what = if stay.is_down() {
                format!("{} ({})", short(timeline, stay), reason(timeline, stay))
            } else {
                stay.state.to_string()
            };
            let alarm = stay.is_down() && stay.why.command.is_none();
            rows.push(Row { alarm, ..plain(stay.from, "state", &node.name, what) });
        }
        for (name, spans) in [("ready", &node.ready), ("unhealthy", &node.unhealthy)] {
            for span in spans {
                let what = format!("{name} for {}", rough(span.to - span.from));
                rows.push(Row { alarm: name == "unhealthy", ..plain(span.from, "readiness", &node.name, what) });
            }
        }
    }
    for command in &timeline.commands {
        let names: Vec<&str> = command.nodes.iter().map(|node| timeline.nodes[*node].name.as_str()).collect();
        let end = match (&command.failure, command.to) {
            (Some(failure), _) => format!(" failed: {failure}"),
            (None, Some(to)) => format!(" (took {})", rough(to - command.from)),
            (None, None) => " (never answered)".into(),
        };
        let what = format!("{}{end}", command.line);
        rows.push(Row { alarm: command.failure.is_some(), ..plain(command.from, "command", &names.join(" "), what) });
    }
    for span in &timeline.faults {
        rows.push(plain(span.from, "network", "", format!("{} for {}", span.text, rough(span.to - span.from))));
    }
    if let Some(nemesis) = &timeline.nemesis {
        for span in &nemesis.episodes {
            let lasted =
                if span.to > span.from { format!(" for {}", rough(span.to - span.from)) } else { String::new() };
            rows.push(plain(span.from, "nemesis", "", format!("{}{lasted}", span.text)));
        }
        for (at, text) in &nemesis.errors {
            rows.push(Row { alarm: true, ..plain(*at, "nemesis", "", text.clone()) });
        }
    }
    for role in &timeline.roles {
        rows.extend(role.held.iter().map(|held| plain(held.from, "role", &role.name, held.sentence())));
    }
    for (_, anomaly) in timeline.anomalies() {
        let what = format!("{}: {}", anomaly.kind, anomaly.text);
        let at = anomaly.time.map_or(timeline.duration, |(from, _)| from);
        rows.push(Row { alarm: true, ..plain(at, "anomaly", "", what) });
    }
    for span in &timeline.outages {
        let what = format!("{} for {}", span.detail, rough(span.to - span.from));
        rows.push(Row { alarm: true, ..plain(span.from, "engine", "", what) });
    }
    for lane in &timeline.lanes {
        for one in lane.operations.iter().filter(|one| one.outcome != OperationOutcome::Ok) {
            let how = match one.outcome {
                OperationOutcome::Failed => "failed",
                _ if one.open => "no answer",
                _ => "uncertain",
            };
            let failed = one.outcome == OperationOutcome::Failed;
            let what = format!("{}: {how}", one.label);
            rows.push(Row { alarm: failed, ..plain(one.counts_at(), "operation", &lane.name, what) });
        }
    }
    // If there are too many, those without alarm are left out first.
    rows.sort_by_key(|row| !row.alarm);
    let left_out = rows.len().saturating_sub(ROWS);
    rows.truncate(ROWS);
    rows.sort_by_key(|row| row.at);
    (rows, left_out)
}
