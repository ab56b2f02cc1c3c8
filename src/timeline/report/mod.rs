//! The report of a run: the verdict, the operations that do not fit with what happened around them, the timeline, and
//! the lines of the nodes' logs of that moment. A page that needs no script and fetches nothing.

mod around;
mod logs;
mod operations;
#[cfg(test)]
mod tests;

pub(crate) use logs::{Excerpt, Moments, excerpt};

use around::Circumstance;
use operations::Operation;

use super::draw::{Above, head_subtitle, head_title, picture};
use super::model::{Timeline, Weight};
use super::verdicts::{Anomaly, Verdict};
use super::xml::Xml;
use super::{count, moment, rough};
use crate::history::HistoryLine;

/// Most episodes that are listed if there is no file with the schedule.
const EPISODES: usize = 200;

/// What a report is made of.
pub(crate) struct Evidence<'a> {
    pub(crate) timeline: &'a Timeline,
    /// The lines of that mount.
    pub(crate) lines: &'a [HistoryLine],
    /// What is shown of the nodes' logs.
    pub(crate) logs: Vec<Excerpt>,
    /// How many other nodes have a log.
    pub(crate) more_logs: usize,
    /// The schedule of faults as text.
    pub(crate) schedule: Option<&'a str>,
}

/// The page as one self-contained document.
pub(crate) fn document(evidence: &Evidence) -> String {
    let timeline = evidence.timeline;
    let mut xml = Xml::default();
    xml.own("<!DOCTYPE html>\n");
    xml.within("html", &[("lang", &"en")], |xml| {
        xml.within("head", &[], |xml| {
            xml.own("<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n");
            xml.own("<meta name=\"color-scheme\" content=\"light dark\"/>\n");
            xml.own("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n");
            xml.element("title", &[], &format!("report: {}", head_title(timeline)));
            xml.own("<style>\n");
            xml.own(include_str!("report.css"));
            xml.own("</style>\n");
        });
        xml.within("body", &[], |xml| {
            verdicts(xml, timeline);
            xml.element("p", &[("class", &"facts")], &format!("{} · {}", head_title(timeline), head_subtitle(timeline)));
            let all = if timeline.anomalies().next().is_some() { operations::all(evidence.lines) } else { vec![] };
            let mut around = vec![];
            for (number, one) in timeline.anomalies() {
                xml.within("section", &[], |xml| {
                    if anomaly(xml, timeline, &all, number, one) {
                        circumstances(xml, timeline, &mut around, number, one);
                    }
                });
            }
            incidents(xml, timeline);
            xml.element("h2", &[], "Timeline");
            let mut inner = std::mem::take(xml);
            inner.within("div", &[("class", &"wide")], |xml| *xml = picture(timeline, std::mem::take(xml), Above::Legend));
            *xml = inner;
            logs(xml, evidence);
            schedule(xml, evidence);
        });
    });
    xml.finish()
}

fn verdicts(xml: &mut Xml, timeline: &Timeline) {
    if timeline.verdicts.is_empty() {
        xml.element("h1", &[], "No verdict");
        xml.element("p", &[], "Nothing has checked the operations against a model: cthulhu check does.");
    }
    for (nth, Verdict { model, text, operations, more, .. }) in timeline.verdicts.iter().enumerate() {
        let verdict = &timeline.verdicts[nth];
        xml.within(if nth == 0 { "h1" } else { "h2" }, &[("class", &"verdict")], |xml| {
            xml.element("span", &[("class", &format!("result {}", verdict.word()))], verdict.word());
            xml.element("span", &[], model);
        });
        xml.element("p", &[("class", &"sentence")], text);
        let mut facts = format!("{} looked at", number_of(*operations, "operation"));
        match verdict.anomalies.len() as u64 {
            _ if *more == 0 => {}
            0 => facts.push_str(&format!("; {} found, not shown here", number_of(*more, "anomaly"))),
            shown => {
                facts.push_str(&format!("; {} below, {} more found", number_of(shown, "anomaly"), thousands(*more)));
            }
        }
        xml.element("p", &[("class", &"facts")], &facts);
    }
}

fn thousands(number: u64) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX))
}

fn number_of(number: u64, unit: &str) -> String {
    match (number, unit.strip_suffix('y')) {
        (1, _) => format!("1 {unit}"),
        (many, Some(stem)) => format!("{} {stem}ies", thousands(many)),
        (many, None) => format!("{} {unit}s", thousands(many)),
    }
}

/// An anomaly with its operations. Returns whether these are in the history.
fn anomaly(xml: &mut Xml, timeline: &Timeline, all: &[Operation], number: usize, anomaly: &Anomaly) -> bool {
    xml.within("h2", &[], |xml| {
        xml.element("span", &[("class", &"count")], &number.to_string());
        xml.element("span", &[], &anomaly.kind);
    });
    xml.element("p", &[("class", &"sentence")], &anomaly.text);
    if !anomaly.faults.is_empty() {
        xml.within("p", &[], |xml| {
            xml.element("b", &[], "In force meanwhile: ");
            xml.element("span", &[], &anomaly.faults.join(", "));
        });
    }
    let table = operations::around(all, anomaly);
    if table.rows.is_empty() {
        xml.element("p", &[("class", &"facts")], "None of its operations is in this mount of the history.");
        return false;
    }
    let columns = ["time", "took", "process", "f", "key", "value", "type", "error"];
    self::table(
        xml,
        &columns,
        table.rows.iter().map(|(operation, named)| {
            let key = operation.key.as_ref().map(super::operations::plain).unwrap_or_default();
            let cells = [
                moment(operation.at, timeline.duration),
                operation.took.map(rough).unwrap_or_default(),
                operation.process.clone(),
                operation.f.clone(),
                key,
                operation.value.clone(),
                operation.kind.clone(),
                operation.error.clone(),
            ];
            (if *named { "named" } else { "near" }, cells)
        }),
    );
    let others = if table.has_key { "on the same key, just before and after" } else { "just before and after" };
    let mut legend = format!("Bold: the operations that it names. The others are {others}.");
    if table.left_out > 0 {
        legend.push_str(&format!(" {} more are named.", thousands(table.left_out as u64)));
    }
    xml.element("p", &[("class", &"facts")], &legend);
    true
}

/// What is known of the time around an anomaly: its number, and how many rows are left out.
type Around = (usize, Vec<Circumstance>, usize);

/// What held around an anomaly, unless it is the same as around one that was `shown` before.
fn circumstances(xml: &mut Xml, timeline: &Timeline, shown: &mut Vec<Around>, number: usize, anomaly: &Anomaly) {
    let (rows, more) = around::around(timeline, anomaly);
    if rows.is_empty() {
        xml.element("p", &[], "No fault was in force and no node was down in the 5 s before, or meanwhile.");
        return;
    }
    xml.element("h3", &[], "Around it");
    if let Some((before, ..)) = shown.iter().find(|(_, others, others_more)| (others, *others_more) == (&rows, more)) {
        xml.element("p", &[], &format!("The same as around anomaly {before}, above."));
        return;
    }
    let clock = |at| moment(at, timeline.duration);
    table(
        xml,
        &["from", "to", "what"],
        rows.iter().map(|one| {
            let end = if one.to == timeline.duration { "the end".into() } else { clock(one.to) };
            ("near", [clock(one.from), end, one.what.clone()])
        }),
    );
    and_more(xml, more, "in the timeline");
    shown.push((number, rows, more));
}

/// How many rows a table leaves out.
fn and_more(xml: &mut Xml, more: usize, place: &str) {
    if more > 0 {
        xml.element("p", &[("class", &"facts")], &format!("{} more are {place}.", count(more)));
    }
}

fn table<const N: usize>(xml: &mut Xml, columns: &[&str; N], rows: impl Iterator<Item = (&'static str, [String; N])>) {
    xml.within("div", &[("class", &"wide")], |xml| {
        xml.within("table", &[], |xml| {
            xml.within("thead", &[], |xml| {
                xml.within("tr", &[], |xml| columns.iter().for_each(|column| xml.element("th", &[], column)));
            });
            xml.within("tbody", &[], |xml| {
                for (class, cells) in rows {
                    xml.within("tr", &[("class", &class)], |xml| {
                        cells.iter().for_each(|cell| xml.element("td", &[], cell));
                    });
                }
            });
        });
    });
}

fn incidents(xml: &mut Xml, timeline: &Timeline) {
    xml.element("h2", &[], "What happened");
    if timeline.incidents.is_empty() {
        xml.element("p", &[], "No node went down, no command failed.");
    } else {
        table(
            xml,
            &["", "time", "what"],
            timeline.incidents().map(|(number, incident)| {
                let class = if incident.weight >= Weight::Failure { "named" } else { "near" };
                (class, [number.to_string(), moment(incident.at, timeline.duration), incident.text.clone()])
            }),
        );
        and_more(xml, timeline.more_incidents, "in the history and matter less");
    }
    for note in &timeline.notes {
        xml.element("p", &[("class", &"facts")], note);
    }
}

fn logs(xml: &mut Xml, evidence: &Evidence) {
    if evidence.logs.is_empty() {
        return;
    }
    xml.element("h2", &[], "What the nodes logged");
    if evidence.logs.iter().any(|log| log.is_moment) {
        let what =
            "Lines whose time is within 2 s of an operation that an anomaly names. Times without a zone count as UTC.";
        xml.element("p", &[("class", &"facts")], what);
    }
    for log in &evidence.logs {
        xml.within("section", &[], |xml| {
            xml.within("h3", &[], |xml| {
                xml.element("span", &[], &log.node);
                xml.element("small", &[], &log.what);
            });
            if !log.lines.is_empty() {
                xml.element("pre", &[], &log.lines.join("\n"));
            }
        });
    }
    if evidence.more_logs > 0 {
        let more = number_of(evidence.more_logs as u64, "other node");
        xml.element("p", &[("class", &"facts")], &format!("The logs of {more} are not shown."));
    }
}

fn schedule(xml: &mut Xml, evidence: &Evidence) {
    let timeline = evidence.timeline;
    if let Some(text) = evidence.schedule {
        xml.element("h2", &[], "Schedule");
        xml.element("pre", &[], text);
    } else if let Some(nemesis) = &timeline.nemesis {
        xml.element("h2", &[], "Schedule");
        xml.element("p", &[("class", &"facts")], &nemesis.head);
        table(
            xml,
            &["from", "for", "what"],
            nemesis.episodes.iter().take(EPISODES).map(|episode| {
                let lasted = if episode.to > episode.from { rough(episode.to - episode.from) } else { String::new() };
                ("near", [moment(episode.from, timeline.duration), lasted, episode.text.clone()])
            }),
        );
        and_more(xml, nemesis.episodes.len().saturating_sub(EPISODES), "in the timeline");
    }
}
