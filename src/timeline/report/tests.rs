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
    document(&Evidence { timeline: &timeline, lines: &history.mounts[0], logs, schedule })
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
