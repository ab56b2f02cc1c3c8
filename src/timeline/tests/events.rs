//! Pauses, lost readiness, crashes, schedules, roles, verdicts, and a picture that ends now.

use serde_json::{Value, json};

use super::{lanes, readable, texts};
use crate::history::RecordedHistory;
use crate::timeline::model::{End, Timeline};
use crate::timeline::{Now, html, svg};

const SECOND: u64 = 1_000_000_000;

/// A history of these events, each with its second, after the line `mounted`.
pub(super) fn history(events: &[(f64, Value)]) -> RecordedHistory {
    let nodes: Vec<Value> = ["i001", "i002", "i003"].map(|name| json!({"name": name, "ip": ""})).into();
    let mounted = json!({"cluster": {"phase": "mounted", "id": "c", "image": "kv", "boot_id": "b", "nodes": nodes}});
    let mounted = (0.0, mounted);
    let lines = std::iter::once(&mounted).chain(events).zip(1..).map(|((at, event), seq)| {
        let mut line = event.clone();
        line["seq"] = json!(seq);
        line["mono_ns"] = json!(SECOND + (at * 1e9) as u64);
        line["time"] = json!("2026-11-30T08:00:00.000000000Z");
        format!("{line}\n")
    });
    RecordedHistory::read(lines.collect::<String>().as_bytes()).unwrap()
}

pub(super) fn timeline(events: &[(f64, Value)]) -> Timeline {
    Timeline::of(&history(events), None, None).unwrap()
}

fn told(timeline: &Timeline) -> Vec<&str> {
    timeline.incidents.iter().map(|incident| incident.text.as_str()).collect()
}

fn state(node: &str, from: &str, to: &str, command: Option<u64>) -> Value {
    json!({"state": {"node": node, "from": from, "to": to, "cause": if command.is_some() { "command" } else { "engine" },
        "command": command}})
}

fn ready(node: &str, ready: bool) -> Value {
    json!({"ready": {"node": node, "ready": ready}})
}

fn command(id: u64, line: &str, nodes: &[&str]) -> Value {
    json!({"command": {"id": id, "phase": "invoke", "line": line, "verb": "x", "nodes": nodes}})
}

fn over() -> Value {
    json!({"cluster": {"phase": "unmounting"}})
}

#[test]
fn a_pause_is_an_incident_with_who_and_how_long() {
    let both = timeline(&[
        (1.0, command(1, "pause", &["i001", "i002"])),
        (1.0, state("i001", "running", "paused", Some(1))),
        (1.1, state("i002", "running", "paused", Some(1))),
        (3.0, state("i001", "paused", "running", None)),
        (4.0, state("i002", "paused", "running", None)),
        (5.0, state("i003", "running", "paused", None)),
        (7.0, over()),
    ]);
    let expected =
        ["2 nodes were paused for 3.00 s by “pause”", "i003 was paused for 2.00 s, to the end, not by a command"];
    assert_eq!(told(&both), expected);
}

#[test]
fn lost_readiness_is_an_incident_while_the_node_runs() {
    let run = |at, from| (at, state("i001", from, "running", None));
    let lost = [
        run(1.0, "created"),
        (2.0, ready("i001", true)),
        (5.0, ready("i001", false)),
        (8.0, ready("i001", true)),
        (9.0, over()),
    ];
    assert_eq!(told(&timeline(&lost)), ["i001 ran and was not ready for 3.00 s"]);
    // The time a start takes is none, nor the moment before a death, nor a pause.
    let ordinary = [
        run(1.0, "created"),
        (3.0, ready("i001", true)),
        (5.0, ready("i001", false)),
        (5.2, state("i001", "running", "paused", None)),
        (6.0, state("i001", "paused", "running", None)),
        (6.5, ready("i001", true)),
        (7.0, ready("i001", false)),
        (7.0, state("i001", "running", "exited", None)),
        run(8.0, "exited"),
        (11.0, ready("i001", true)),
        (12.0, over()),
    ];
    let told_of = timeline(&ordinary);
    assert!(!told(&told_of).join("\n").contains("ready"), "{:?}", told(&told_of));
    let in_vain = [
        run(1.0, "created"),
        (2.0, ready("i001", true)),
        (3.0, ready("i001", false)),
        (3.0, state("i001", "running", "exited", None)),
        run(4.0, "exited"),
        (9.0, over()),
    ];
    assert!(told(&timeline(&in_vain)).contains(&"i001 ran again and did not get ready for 5.00 s, to the end"));
}

#[test]
fn a_crash_is_one_incident_and_splits_no_partition() {
    let partition = json!({"partition": {"groups": [["i001"], ["i002", "i003"]], "cut": "drop"}});
    let crashed = json!({"crashed": "i003"});
    let fault = |in_force: &[&Value]| json!({"fault": {"links": in_force.iter().map(|_| "text").collect::<Vec<_>>(), "in_force": in_force}});
    let timeline = timeline(&[
        (1.0, fault(&[&partition])),
        (2.0, command(1, "crash i003", &["i003"])),
        (2.0, fault(&[&partition, &crashed])),
        (2.1, state("i003", "running", "exited", Some(1))),
        (4.0, command(2, "start i003", &["i003"])),
        (4.0, fault(&[&partition])),
        (4.1, state("i003", "exited", "running", Some(2))),
        (6.0, fault(&[])),
        (7.0, over()),
    ]);
    let expected = ["network: partition i001 | i002 i003 for 5.00 s", "i003 down by “crash i003”; back after 2.00 s"];
    assert_eq!(told(&timeline), expected);
    // Its lane has it all the same.
    assert!(timeline.nodes[2].faults.iter().any(|span| span.text.contains("crashed")));
}

#[test]
fn a_mounted_cluster_is_drawn_to_now() {
    let events = [
        (1.0, state("i001", "created", "running", None)),
        (2.0, state("i001", "running", "exited", None)),
        (2.5, state("i002", "running", "paused", None)),
    ];
    let of = |boot: &str, events: &[(f64, Value)], number| {
        let now = Now { boot_id: boot.into(), mono_ns: 11 * SECOND };
        Timeline::of(&history(events), number, Some(&now)).unwrap()
    };
    let live = of("b", &events, None);
    assert_eq!((live.end, live.duration), (End::Now, 10_000_000_000));
    assert_eq!(live.nodes[0].stays.last().unwrap().to, live.duration);
    assert_eq!(told(&live)[0], "i001 was ended through the engine, not by a command; still down after 8.00 s");
    assert_eq!(told(&live)[1], "i002 was paused for 7.50 s so far, not by a command");
    assert!(texts(&svg(&live)).contains("10.0 s so far"));
    // Of another boot, or over.
    let other = of("c", &events, None);
    assert_eq!((other.end, other.duration), (End::Unrecorded, 2_500_000_000));
    let ended = [&events[..], &[(3.0, over())]].concat();
    assert_eq!((of("b", &ended, None).end, of("b", &ended, None).duration), (End::Unmounted, 3_000_000_000));
}

#[test]
fn a_schedule_has_a_row_with_its_episodes() {
    let begin = |episode: u64, words: &str| json!({"nemesis": {"phase": "begin", "episode": episode, "words": words, "resolved": "crash i002", "late_ms": 7}});
    let timeline = timeline(&[
        (1.0, json!({"nemesis": {"phase": "started", "seed": 7, "episodes": 2}})),
        (2.0, begin(1, "crash @leader")),
        (3.0, begin(2, "crash @other1")),
        (
            4.0,
            json!({"nemesis": {"phase": "end", "episode": 1, "words": "start i002", "late_ms": 0, "error": "ESRCH: gone"}}),
        ),
        (5.0, json!({"nemesis": {"phase": "healed"}})),
        (7.0, json!({"nemesis": {"phase": "over"}})),
        (8.0, over()),
    ]);
    let nemesis = timeline.nemesis.as_ref().unwrap();
    let episodes: Vec<_> =
        nemesis.episodes.iter().map(|span| (span.from / 1_000_000_000, span.to / 1_000_000_000)).collect();
    assert_eq!((nemesis.head.as_str(), episodes, nemesis.quiet.len()), ("seed 7, 2 episodes", vec![(2, 4), (3, 5)], 1));
    for word in ["episode 1: crash @leader", "begun 7 ms late", "ended by start i002, in time", "ESRCH: gone"] {
        assert!(nemesis.episodes[0].detail.contains(word), "{word} in {}", nemesis.episodes[0].detail);
    }
    assert_eq!(told(&timeline), ["nemesis: start i002: ESRCH: gone"]);
    let texts = texts(&svg(&timeline));
    assert!(texts.contains("nemesis: seed 7, 2 episodes") && texts.contains("\ncrash i002"), "{texts}");
}

/// The start of an episode.
fn begin(episode: u64, words: &str, error: Option<&str>) -> Value {
    json!({"nemesis": {"phase": "begin", "episode": episode, "words": words, "late_ms": 0, "error": error}})
}

#[test]
fn an_episode_without_an_end_lasts_only_if_something_was_in_force() {
    let spans = |events: &[(f64, Value)]| {
        let timeline = timeline(events);
        let spans = timeline.nemesis.unwrap().episodes;
        spans.iter().map(|span| (span.from / 1_000_000_000, span.to / 1_000_000_000)).collect::<Vec<_>>()
    };
    let events = [
        (1.0, begin(1, "restart i002", None)),
        (2.0, begin(2, "kill -s HUP i002", None)),
        (3.0, begin(3, "kill i002", Some("i002 is not running (exited)"))),
        (4.0, begin(4, "i002/net delay 50ms", None)),
        (5.0, begin(5, "partition isolate i001", None)),
        (6.0, begin(6, "pause @leader", None)),
        (9.0, over()),
    ];
    assert_eq!(spans(&events), [(1, 1), (2, 2), (3, 3), (4, 9), (5, 9), (6, 9)]);
    // Healing ends them, also those of a performance that was killed.
    let healed = [&events[..6], &[(7.0, json!({"nemesis": {"phase": "healed"}})), (9.0, over())]].concat();
    assert_eq!(spans(&healed)[3..], [(4, 7), (5, 7), (6, 7)]);
    let in_vain =
        [&events[..6], &[(7.0, json!({"nemesis": {"phase": "healed", "error": "x"}})), (9.0, over())]].concat();
    assert_eq!(spans(&in_vain)[3..], [(4, 9), (5, 9), (6, 9)]);
}

#[test]
fn a_command_of_a_schedule_that_fails_is_told_once() {
    let failed = json!({"command": {"id": 1, "phase": "fail", "verb": "kill", "nodes": ["i002"], "errno": "ESRCH",
        "error": "i002 is not running (exited)"}});
    let timeline = timeline(&[
        (1.0, command(1, "kill i002", &["i002"])),
        (1.1, failed),
        (1.2, begin(1, "kill i002", Some("i002 is not running (exited)"))),
        (5.0, begin(2, "kill i003", Some("i003 is not running (exited)"))),
        (9.0, over()),
    ]);
    let expected = [
        "command “kill i002” failed: ESRCH: i002 is not running (exited)",
        "nemesis: kill i003: i003 is not running (exited)",
    ];
    assert_eq!(told(&timeline), expected);
}

#[test]
fn who_leads_has_a_row_and_a_mark_in_the_lane() {
    let role =
        |nodes: &[&str], error: Option<&str>| json!({"role": {"name": "leader", "nodes": nodes, "error": error}});
    let timeline = timeline(&[
        (1.0, role(&["i002"], None)),
        (3.0, role(&["i002"], Some("exit status 1"))),
        (4.0, role(&[], None)),
        (5.0, role(&["i001"], None)),
        (9.0, over()),
    ]);
    let held: Vec<_> = timeline.roles[0].held.iter().map(|held| held.span().text).collect();
    assert_eq!(held, ["i002", "i002 ?", "i001"]);
    assert_eq!(timeline.nodes.iter().map(|node| node.roles.len()).collect::<Vec<_>>(), [1, 2, 0]);
    let picture = svg(&timeline);
    assert!(texts(&picture).contains("\nleader\n") && picture.contains("class=\"role-unsure\""));
}

/// One operation of each of two processes, and a verdict that names the first.
fn violated(text: &str) -> Vec<(f64, Value)> {
    let test = |process: u64, kind: &str| json!({"test": {"process": process, "type": kind, "f": "add", "value": 7, "key": "x"}});
    let verdict = |model: &str, result: &str, anomalies: Value| json!({"verdict": {"model": model, "result": result, "text": text, "operations": 2, "anomalies": anomalies, "more": 5}});
    vec![
        (1.0, test(0, "invoke")),
        (1.5, test(1, "invoke")),
        (2.0, test(0, "ok")),
        (2.5, test(1, "ok")),
        (3.0, verdict("set", "good", json!([]))),
        (4.0, verdict("list", "good", json!([]))),
        (
            5.0,
            verdict(
                "set",
                "violated",
                json!([{"kind": "lost", "text": text, "lines": [2, 4, 999], "faults": ["i002 crashed"]}]),
            ),
        ),
        (6.0, command(1, "kill i002", &["i002"])),
        (6.1, state("i002", "running", "exited", Some(1))),
        (7.0, over()),
    ]
}

#[test]
fn a_verdict_stands_at_the_head_and_its_numbers_in_the_chart() {
    let timeline = timeline(&violated("7 is not in the last read"));
    let told: Vec<_> = timeline.verdicts.iter().map(|verdict| (verdict.model.as_str(), verdict.word())).collect();
    // The last of each model, the worst first.
    assert_eq!(told, [("set", "violated"), ("list", "good")]);
    let (number, anomaly) = timeline.anomalies().next().unwrap();
    assert_eq!((number, anomaly.operations.as_slice()), (1, &[(0, 0)][..]));
    assert_eq!(anomaly.time, Some((1_000_000_000, 2_000_000_000)));
    // Incidents are counted on.
    assert_eq!(timeline.incidents().next().map(|(number, _)| number), Some(2));
    let picture = svg(&timeline);
    let texts = texts(&picture);
    let head: Vec<&str> = texts.lines().filter(|line| ["VIOLATED", "1", "GOOD", "2"].contains(line)).take(4).collect();
    assert_eq!(head, ["VIOLATED", "1", "GOOD", "2"]);
    assert!(texts.contains("lost: 7 is not in the last read; in force: i002 crashed") && texts.contains("and 5 more"));
    assert_eq!(picture.matches("class=\"mark\"").count(), 1);
    assert!(html(&timeline).contains("<td>anomaly</td>"));
}

#[test]
fn many_anomalies_roles_and_episodes_are_few_in_the_picture() {
    let mut events = vec![(0.1, json!({"nemesis": {"phase": "started", "episodes": 20_000}}))];
    let lines: Vec<u64> = (2..9_000).collect();
    for n in 0..20_000_u64 {
        let at = 1.0 + n as f64 / 1000.0;
        events.push((at, json!({"role": {"name": format!("r{}", n % 9), "nodes": [format!("i00{}", n / 9 % 3 + 1)]}})));
        events.push((at, json!({"nemesis": {"phase": "begin", "episode": n % 5, "words": "kill", "late_ms": 0}})));
        events.push((at, json!({"fault": {"links": [format!("a>b {n}")]}})));
        events.push((at, json!({"test": {"process": n % 3, "type": if n / 3 % 2 == 0 { "invoke" } else { "ok" }}})));
    }
    let anomaly = json!({"kind": "lost", "text": "x".repeat(5_000), "lines": lines});
    let verdict =
        json!({"model": "set", "result": "violated", "text": "", "operations": 9, "anomalies": vec![anomaly; 50]});
    events.push((30.0, json!({"verdict": verdict})));
    let timeline = timeline(&events);
    assert_eq!((timeline.anomalies().count(), timeline.verdicts[0].more, timeline.roles.len()), (6, 44, 4));
    let picture = svg(&timeline);
    assert!(picture.len() < 1_500_000, "{} bytes", picture.len());
    assert!(texts(&picture).contains("Only 4 roles are shown."));
}

#[test]
fn hostile_words_of_nodes_and_checkers_are_text() {
    let hostile = "</script><img src=x onerror=alert(1)>\u{1b}[31m\u{202e}";
    let mut events = violated(hostile);
    events.push((6.5, json!({"role": {"name": hostile, "nodes": [hostile], "error": hostile}})));
    events.push((
        6.5,
        json!({"nemesis": {"phase": "begin", "episode": 1, "words": hostile, "late_ms": 0, "error": hostile}}),
    ));
    let timeline = timeline(&events);
    let picture = svg(&timeline);
    assert_eq!(lanes(&picture).len(), 6);
    assert!(!picture.contains("<img") && !html(&timeline).contains("<img") && !picture.contains('\u{1b}'));
    assert!(texts(&picture).contains(&readable(hostile)[..20]));
}
