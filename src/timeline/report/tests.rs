//! The page about a verdict.

use std::collections::BTreeSet;

use roxmltree::{Document, ParsingOptions};
use serde_json::{Value, json};

use super::{Evidence, Moments, document, excerpt};
use crate::history::RecordedHistory;
use crate::timeline::Timeline;

const HOSTILE: &str = "</script></pre><img src=x onerror=alert(1)>\u{1b}[2J\u{202e}";

/// Twelve operations on two keys, a second each; the verdict names the fifth, which is on the first key.
fn history(verdict: Option<&str>) -> RecordedHistory {
    let mut events =
        vec![json!({"cluster": {"phase": "mounted", "image": "kv", "nodes": [{"name": "i001"}, {"name": "i002"}]}})];
    for n in 0..12 {
        let operation = |kind: &str, value: Value| {
            let error = (kind == "fail").then_some("no leader");
            json!({"test": {"process": n % 2, "type": kind, "f": "read", "key": if n % 2 == 0 { "x" } else { "y" },
                "value": value, "error": error}})
        };
        events.push(operation("invoke", Value::Null));
        events.push(operation(if n == 6 { "fail" } else { "ok" }, if n == 8 { Value::Null } else { json!(100 + n) }));
    }
    let crash = [
        json!({"state": {"node": "i002", "from": "running", "to": "exited", "cause": "exit", "exit_code": 3}}),
        json!({"fault": {"links": ["a>b drop"]}}),
        json!({"fault": {"links": []}}),
    ];
    events.splice(8..8, crash);
    events.extend(verdict.map(|text| {
        let anomalies = [json!({"kind": "stale read", "text": text, "lines": [13, 14], "faults": ["i002 crashed"]})];
        json!({"verdict": {"model": "register", "result": "violated", "text": text, "operations": 12, "anomalies": anomalies}})
    }));
    let lines = events.into_iter().zip(1_u64..).map(|(mut event, seq)| {
        event["seq"] = json!(seq);
        event["mono_ns"] = json!(seq * 500_000_000);
        event["time"] = json!("2026-11-30T08:00:00.500Z");
        format!("{event}\n")
    });
    RecordedHistory::read(lines.collect::<String>().as_bytes()).unwrap()
}

fn page(history: &RecordedHistory, logs: &[(&str, &str)], schedule: Option<&str>) -> String {
    let timeline = Timeline::of(history, None, None).unwrap();
    let moments = Moments::of(&timeline);
    let of = |(node, log): &(&str, &str)| excerpt(node, log.lines().map(|line| line.as_bytes().to_vec()), &moments);
    let logs = logs.iter().map(of).collect();
    document(&Evidence { timeline: &timeline, lines: &history.mounts[0], logs, more_logs: 0, schedule })
}

/// A history of these events, a second each after the line `mounted`.
fn history_of(events: &[Value]) -> RecordedHistory {
    let mounted = json!({"cluster": {"phase": "mounted", "image": "kv", "nodes": [{"name": "i001"}]}});
    let lines = std::iter::once(&mounted).chain(events).zip(1_u64..).map(|(event, seq)| {
        let mut line = event.clone();
        (line["seq"], line["mono_ns"], line["time"]) =
            (json!(seq), json!(seq * 1_000_000_000), json!("2026-11-30T08:00:00Z"));
        format!("{line}\n")
    });
    RecordedHistory::read(lines.collect::<String>().as_bytes()).unwrap()
}

fn operation(kind: &str) -> Value {
    json!({"test": {"process": 0, "type": kind, "f": "add", "value": 7}})
}

/// A verdict with an anomaly for each of these sets of lines.
fn verdict(model: &str, anomalies: &[&[u64]]) -> Value {
    let anomalies: Vec<_> =
        anomalies.iter().map(|lines| json!({"kind": "lost", "text": "it is not there", "lines": lines})).collect();
    json!({"verdict": {"model": model, "result": "violated", "text": "x", "operations": 2, "anomalies": anomalies}})
}

fn parsed(page: &str) -> Document<'_> {
    Document::parse_with_options(page, ParsingOptions { allow_dtd: true, ..ParsingOptions::default() }).unwrap()
}

/// The rows of a table in the page, by their class and cells.
fn rows(page: &str, table: usize) -> Vec<(String, Vec<String>)> {
    let document = parsed(page);
    let table = document.descendants().filter(|node| node.has_tag_name("tbody")).nth(table).unwrap();
    let cells = |row: roxmltree::Node| {
        row.children()
            .filter(|cell| cell.has_tag_name("td"))
            .map(|cell| cell.text().unwrap_or_default().to_owned())
            .collect()
    };
    let rows = table.children().filter(|row| row.has_tag_name("tr"));
    rows.map(|row| (row.attribute("class").unwrap_or_default().to_owned(), cells(row))).collect()
}

#[test]
fn the_verdict_comes_first_then_its_operations_among_their_neighbours() {
    let page = page(&history(Some("it read 104 after 106")), &[], None);
    let heading = parsed(&page)
        .descendants()
        .find(|node| node.has_tag_name("h1"))
        .unwrap()
        .descendants()
        .filter(|node| node.is_text())
        .filter_map(|node| node.text())
        .collect::<String>();
    assert_eq!(heading.split_whitespace().collect::<Vec<_>>(), ["violated", "register"]);
    let rows = rows(&page, 0);
    let values: Vec<(&str, &str)> = rows.iter().map(|(class, cells)| (class.as_str(), cells[5].as_str())).collect();
    // Two before and two after, all on its key.
    assert_eq!(values, [("near", "100"), ("near", "102"), ("named", "104"), ("near", "106"), ("near", "null")]);
    assert_eq!(rows[2].1, ["6.000 s", "500 ms", "0", "read", "x", "104", "ok", ""]);
    assert_eq!(rows[3].1[6..], ["fail", "no leader"]);
    let around = self::rows(&page, 1);
    let what: Vec<&str> = around.iter().map(|(_, cells)| cells[2].as_str()).collect();
    assert_eq!(what, ["i002 died by itself (exit code 3)", "network: a>b drop"]);
    assert!(page.contains("In force meanwhile: ") && page.contains("i002 crashed") && page.contains("<svg"));
}

#[test]
fn logs_of_the_moment_and_the_schedule_are_there() {
    let log = "2026-11-30T08:00:00Z early\n2026-11-30T08:00:06Z stepping down\n2026-11-30T08:00:20Z late";
    let page = page(&history(Some("x")), &[("i001", log), ("i002", "no times")], Some("at 1s crash @leader\n"));
    for (there, text) in [
        (true, "stepping down"),
        (false, "early"),
        (false, "late\n"),
        (true, "no times"),
        (true, "at 1s crash @leader"),
    ] {
        assert_eq!(page.contains(text), there, "{text}");
    }
    assert!(page.contains("Its lines have no times"));
}

#[test]
fn without_a_verdict_it_says_so_and_shows_the_ends_of_the_logs() {
    let page = page(&history(None), &[("i001", "2026-11-30T08:00:06Z the end")], None);
    for text in ["No verdict", "i002 died by itself", "the end", "The end of it:"] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn what_is_said_by_nodes_and_tests_is_never_markup_and_nothing_is_fetched() {
    let log = format!("2026-11-30T08:00:06Z {HOSTILE}");
    let page = page(&history(Some(HOSTILE)), &[(HOSTILE, &log)], Some(HOSTILE));
    let document = parsed(&page);
    let names: BTreeSet<&str> = document.descendants().map(|node| node.tag_name().name()).collect();
    assert!(!names.contains("img") && !names.contains("script"), "{names:?}");
    assert!(document.descendants().all(|node| node.attributes().all(|attribute| !attribute.name().starts_with("on"))));
    assert!(!page.contains('\u{1b}') && !page.contains('\u{202e}'));
    let page = page.replace("http://www.w3.org/2000/svg", "");
    for word in ["http:", "https:", "href=", "@import", "url(h", "<link"] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn what_is_the_same_around_several_anomalies_is_shown_once() {
    let fault = |links: &[&str]| json!({"fault": {"links": links}});
    let page = page(
        &history_of(&[
            fault(&["i001>host drop"]),
            operation("invoke"),
            operation("ok"),
            operation("invoke"),
            operation("ok"),
            fault(&[]),
            verdict("set", &[&[3, 4], &[5, 6], &[999]]),
        ]),
        &[],
        None,
    );
    assert_eq!(page.matches("Around it").count(), 2);
    assert_eq!(page.matches("<td>network: i001&gt;host drop</td>").count(), 1);
    assert!(page.contains("The same as around anomaly 1, above."));
    assert!(page.contains("None of its operations is in this mount of the history."));
}

#[test]
fn more_circumstances_and_anomalies_than_are_shown_are_counted() {
    let mut events = vec![operation("invoke")];
    events.extend((0..20).map(|n| json!({"fault": {"links": [format!("i001>host delay {n}ms")]}})));
    events.push(operation("ok"));
    // Only six anomalies are shown of all verdicts together.
    events.push(verdict("set", &[&[2, 23][..]; 6]));
    events.push(verdict("list", &[&[2, 23][..]; 2]));
    let page = page(&history_of(&events), &[], None);
    let of = |text: &str| assert!(page.contains(text), "{text}");
    of("2 operations looked at; 2 anomalies found, not shown here");
    of(" more are in the timeline.");
    of("The others are just before and after.");
}

#[test]
fn an_operation_ends_with_its_own_end_whatever_its_process_says_meanwhile() {
    let note = json!({"test": {"process": 0, "event": "retry"}});
    let page = page(&history_of(&[operation("invoke"), note, operation("ok"), verdict("set", &[&[2, 4]])]), &[], None);
    let rows = rows(&page, 0);
    let named = &rows.iter().find(|(class, _)| class == "named").unwrap().1;
    assert_eq!(named[..], ["1.000 s", "2.00 s", "0", "add", "", "7", "ok", ""]);
}

#[test]
fn a_time_that_is_missing_is_that_of_the_line_before_as_in_the_picture() {
    let text = concat!(
        r#"{"seq":1,"mono_ns":1000000000,"cluster":{"phase":"mounted","nodes":[]}}"#,
        "\n",
        r#"{"seq":2,"mono_ns":6000000000,"test":{"process":0,"type":"invoke","f":"add"}}"#,
        "\n",
        r#"{"seq":3,"test":{"process":0,"type":"ok","f":"add"}}"#,
        "\n",
        r#"{"seq":4,"verdict":{"model":"set","result":"violated","text":"x","operations":1,"#,
        r#""anomalies":[{"kind":"lost","text":"x","lines":[2,3]}]}}"#,
        "\n",
    );
    let page = page(&RecordedHistory::read(text.as_bytes()).unwrap(), &[], None);
    assert_eq!(rows(&page, 0)[0].1[..2], ["5.000 s", "0 µs"]);
}

#[test]
fn what_is_wrong_with_the_history_is_told_also_where_nothing_happened() {
    let page = page(&history_of(&[json!({"weather": 1})]), &[], None);
    for text in ["No node went down, no command failed.", "1 line of kinds unknown to this version are not shown."] {
        assert!(page.contains(text), "{text}");
    }
}
