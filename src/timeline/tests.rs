//! From lines to pictures.

mod events;

use proptest::prelude::*;
use roxmltree::{Document, ParsingOptions};

use super::model::Timeline;
use super::{Evidence, html, report, svg};
use crate::cluster::State;
use crate::history::{Cause, ReadError, RecordedHistory};

const KILL: &str = include_str!("../../tests/histories/kill.jsonl");
const PARTITIONS: &str = include_str!("../../tests/histories/partitions.jsonl");

fn timeline(text: &str) -> Timeline {
    Timeline::of(&RecordedHistory::read(text.as_bytes()).unwrap(), None, None).unwrap()
}

/// All nodes that have a name and a lane in the picture.
fn lanes(picture: &str) -> Vec<String> {
    let document = Document::parse(picture).unwrap();
    let named = document.descendants().filter_map(|node| node.attribute("data-node"));
    named.map(String::from).collect()
}

/// The texts that are shown, without tooltips and styles.
fn texts(picture: &str) -> String {
    let document = Document::parse(picture).unwrap();
    let shown = document.descendants().filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "text")));
    shown.filter_map(|node| node.text()).collect::<Vec<_>>().join("\n")
}

fn parse_page(page: &str) -> Document<'_> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    Document::parse_with_options(page, options).unwrap()
}

#[test]
fn a_killed_node_and_one_that_died_by_itself_are_told_with_cause_and_code() {
    let timeline = timeline(KILL);
    let states: Vec<State> = timeline.nodes[1].stays.iter().map(|stay| stay.state).collect();
    assert_eq!(states, [State::Created, State::Running, State::Exited, State::Running, State::Exited]);
    // The exit code of the third came in a line of its own.
    let died = timeline.nodes[2].stays.last().unwrap();
    assert_eq!((died.state, died.why.exit_code, died.why.cause), (State::Exited, Some(1), Some(Cause::Exit)));
    assert_eq!((timeline.nodes[1].ready.len(), timeline.operations()), (2, 24));
    let told: Vec<&str> = timeline.incidents.iter().map(|incident| incident.text.as_str()).collect();
    assert_eq!(
        told,
        [
            "i002 down by “kill” (SIGKILL, exit code 137); back after 2.87 s",
            "2 of 24 operations failed: first write x=7 error: i002: connection refused",
            "i003 died by itself (exit code 1); never came back",
            "command “kill -s TERM i003” failed: ESRCH: i003 is not running: start it first",
            "2 nodes went down by “stop”",
        ]
    );
    let texts = texts(&svg(&timeline));
    for part in
        ["exited 137 SIGKILL · kill", "exited 1 · by itself", "kill i002", "kill -s TERM i003 ✕ ESRCH", "172.30.0.4"]
    {
        assert!(texts.contains(part), "{part} in\n{texts}");
    }
}

#[test]
fn a_stop_whose_grace_ran_out_is_no_harmless_one() {
    let history = |nodes: &[&str], expired: &[&str]| {
        let state = |node: &&str| {
            let expired = if expired.contains(node) { r#","grace_expired":true"# } else { "" };
            let end = r#""cause":"command","command":1"#;
            format!(
                "\n{{\"mono_ns\":3000000000,\"state\":{{\"node\":\"{node}\",\"from\":\"running\",\"to\":\"exited\",{end}}}}}\
                \n{{\"mono_ns\":3000000001,\"state\":{{\"node\":\"{node}\",\"from\":\"exited\",\"to\":\"exited\",{end},\
                \"exit_code\":137,\"signal\":\"SIGKILL\"{expired}}}}}"
            )
        };
        let ends: String = nodes.iter().map(state).collect();
        let command =
            r#"{"mono_ns":2000000000,"command":{"id":1,"phase":"invoke","line":"stop","verb":"stop","nodes":[]}}"#;
        let mounted = r#"{"mono_ns":1000000000,"cluster":{"phase":"mounted","id":"x","image":"x","nodes":[]}}"#;
        let timeline = timeline(&format!("{mounted}\n{command}{ends}\n"));
        timeline.incidents.into_iter().map(|incident| incident.text).collect::<Vec<_>>()
    };
    assert_eq!(
        history(&["i001"], &["i001"]),
        ["i001 down by “stop”: its grace ran out (SIGKILL, exit code 137); never came back"]
    );
    assert_eq!(
        history(&["i001", "i002"], &["i002"]),
        ["2 nodes went down by “stop”, 1 of them by SIGKILL: the grace ran out"]
    );
    assert_eq!(history(&["i001", "i002"], &[]), ["2 nodes went down by “stop”"]);
}

#[test]
fn faults_and_a_lost_engine_are_spans() {
    let timeline = timeline(PARTITIONS);
    let faults: Vec<(i64, i64, &str)> = timeline
        .faults
        .iter()
        .map(|span| (span.from / 1_000_000_000, span.to / 1_000_000_000, span.text.as_str()))
        .collect();
    assert_eq!(
        faults,
        [
            (8, 18, "i001 i002 | i003 i004 i005"),
            (24, 33, "i003>* delay 100ms 20ms loss 5%"),
            (33, 38, "i003>* delay 100ms 20ms loss 5%, i001>i002 drop"),
            (45, 52, "i001 | i002 i003 i004 i005"),
        ]
    );
    // What stays in force over a change of the set is one span in the lane.
    let third: Vec<&str> = timeline.nodes[2].faults.iter().map(|span| span.text.as_str()).collect();
    assert_eq!(third, ["drop ↔ i001 i002", "delay 100ms 20ms loss 5% → *", "drop ↔ i001"]);
    assert_eq!((timeline.outages.len(), timeline.outages[0].to - timeline.outages[0].from), (1, 3_000_000_000));
    assert_eq!(timeline.lanes.iter().map(|lane| lane.name.as_str()).collect::<Vec<_>>(), ["process 0", "process 1"]);
    let told = timeline.incidents.iter().map(|incident| incident.text.as_str()).collect::<Vec<_>>().join("\n");
    assert!(told.contains("i001 was killed as memory ran out (SIGKILL, exit code 137); back after 6.66 s"), "{told}");
    assert!(told.contains("the engine could not be reached for 3.00 s"), "{told}");
    let picture = svg(&timeline);
    let texts = texts(&picture);
    for part in ["i001 i002 | i003 i004 i005", "engine lost", "kill i005 ✕ EHOSTDOWN", "1:00", "drop ↔ i003 i004 i005"]
    {
        assert!(texts.contains(part), "{part} in\n{texts}");
    }
    for class in ["class=\"paused\"", "class=\"outage\"", "class=\"fault\"", "class=\"unsure\"", "class=\"ready\""] {
        assert!(picture.contains(class), "{class}");
    }
}

#[test]
fn a_command_failed_where_it_failed() {
    let lines = [
        r#""command":{"id":1,"phase":"invoke","line":"pause","verb":"pause","nodes":["i001","i002"]}"#,
        r#""command":{"id":1,"phase":"fail","verb":"pause","nodes":["i001","i002"],"errno":"ESRCH","error":"i002 is not running","failed":{"i002":"ESRCH"}}"#,
    ];
    let line = |(nth, rest)| {
        format!("{{\"seq\":{nth},\"time\":\"2026-11-25T07:00:00.{nth}00000000Z\",\"mono_ns\":{nth},{rest}}}\n")
    };
    let timeline = timeline(&lines.iter().enumerate().map(line).collect::<String>());
    assert_eq!(timeline.commands[0].went_well, [0]);
    assert!(timeline.commands[0].failure.is_some());
}

#[test]
fn time_counts_from_the_first_line_of_a_mount_and_never_steps_back() {
    let mounted = r#""cluster":{"phase":"mounted"}"#;
    let lines = [(1000, mounted), (1500, r#""test":{}"#), (1400, r#""test":{}"#), (5, mounted), (25, r#""test":{}"#)];
    let text: String = lines.iter().map(|(mono, event)| format!("{{\"mono_ns\":{mono},{event}}}\n")).collect();
    let history = RecordedHistory::read(text.as_bytes()).unwrap();
    let marks = |number| {
        let timeline = Timeline::of(&history, Some(number), None).unwrap();
        let marks = timeline.lanes[0].operations.iter().map(|operation| operation.from).collect::<Vec<_>>();
        (marks, timeline.duration)
    };
    assert_eq!(marks(1), (vec![500, 500], 500));
    assert_eq!(marks(2), (vec![20], 20));
}

#[test]
fn each_mount_is_a_picture_of_its_own() {
    let twice = format!("{KILL}{PARTITIONS}");
    let history = RecordedHistory::read(twice.as_bytes()).unwrap();
    let of = |number| Timeline::of(&history, number, None).map(|timeline| (timeline.nodes.len(), timeline.mount));
    assert_eq!(of(None), Ok((5, (2, 2))));
    assert_eq!(of(Some(1)), Ok((3, (1, 2))));
    for wrong in [0, 3] {
        let error = of(Some(wrong)).unwrap_err();
        assert_eq!(error, format!("there is no mount {wrong} in this history: it has 2, counted from 1"));
    }
}

#[test]
fn many_operations_are_counted_not_drawn_one_by_one() {
    let mut text = KILL.lines().next().unwrap().to_owned();
    for n in 0..50_000_u64 {
        let (process, kind) = (
            n % 40,
            if n / 40 % 2 == 0 {
                "invoke"
            } else if n == 30_041 {
                "fail"
            } else {
                "ok"
            },
        );
        let mono = 8_123_456_789_012 + n * 1_000_000;
        text.push_str(&format!(
            "\n{{\"mono_ns\":{mono},\"test\":{{\"process\":{process},\"type\":\"{kind}\",\"f\":\"w\"}}}}"
        ));
    }
    text.push('\n');
    let timeline = timeline(&text);
    assert_eq!((timeline.operations(), timeline.lanes.len()), (25_000, 16));
    let picture = svg(&timeline);
    assert!(picture.len() < 2_000_000, "{} bytes", picture.len());
    assert!(picture.contains("25,000 operations of the test"));
    assert!(picture.contains("1 of 25,000 operations failed: w"));
    assert!(html(&timeline).len() < 2_500_000);
}

#[test]
fn a_thousand_changes_of_one_node_stay_visible_and_few() {
    let mut text = KILL.lines().next().unwrap().to_owned();
    for n in 0..20_000_u64 {
        let (from, to) = if n % 2 == 0 { ("created", "running") } else { ("running", "exited") };
        let mono = 8_123_456_789_012 + n * 1_000_000;
        text.push_str(&format!(
            "\n{{\"mono_ns\":{mono},\"state\":{{\"node\":\"i001\",\"from\":\"{from}\",\"to\":\"{to}\",\"cause\":\"exit\"}}}}"
        ));
    }
    let timeline = timeline(&text);
    let picture = svg(&timeline);
    assert!(picture.len() < 500_000, "{} bytes", picture.len());
    assert!(picture.contains("changes of state"));
    assert!(html(&timeline).contains("more events are in the history"));
}

#[test]
fn text_of_a_test_is_never_markup() {
    let hostile = "</title></text><script>alert(1)</script><img src=x onerror=alert(2)>\\u0000\\u001b\\\" onload=\\\"x";
    let mut text = KILL.lines().next().unwrap().replace("i001", "</text><script>x</script>");
    for n in 0..3 {
        text.push_str(&format!(
            "\n{{\"mono_ns\":{n},\"test\":{{\"process\":\"{hostile}\",\"f\":\"{hostile}\",\"value\":\"{hostile}\",\"ok\":false}}}}"
        ));
    }
    text.push_str(&format!(
        "\n{{\"mono_ns\":9,\"command\":{{\"id\":1,\"phase\":\"invoke\",\"line\":\"{hostile}\",\"nodes\":[]}}}}\n"
    ));
    let link =
        format!("{{\"link\":{{\"from\":\"{hostile}\",\"to\":[\"i002\"],\"impairments\":{{\"cut\":\"drop\"}}}}}}");
    text.push_str(&format!("{{\"mono_ns\":9,\"fault\":{{\"links\":[\"{hostile}>b drop\"],\"in_force\":[{link}]}}}}\n"));
    text.push_str(&format!("{{\"mono_ns\":9,\"fault\":{{\"links\":[\"{hostile}>b drop\"]}}}}\n"));
    text.push_str("{\"mono_ns\":10,\"fault\":{\"links\":[]}}\n");
    let timeline = timeline(&text);
    let picture = svg(&timeline);
    let document = Document::parse(&picture).unwrap();
    let page = html(&timeline);
    let parsed = parse_page(&page);
    let scripts = parsed.descendants().filter(|node| node.tag_name().name() == "script");
    assert_eq!(scripts.count(), 1);
    for node in document.descendants().chain(parsed.descendants()) {
        assert_ne!(node.tag_name().name(), "img");
        assert!(node.attributes().all(|attribute| !attribute.name().starts_with("on")));
    }
    assert!(!page.contains("<script>alert") && !page.contains("<img"));
    assert!(!document.descendants().any(|node| node.tag_name().name() == "script"));
}

#[test]
fn nothing_is_fetched_from_anywhere() {
    for text in [KILL, PARTITIONS] {
        let page = html(&timeline(text)).replace("http://www.w3.org/2000/svg", "");
        for word in ["http:", "https:", "src=", "href=", "@import", "//cdn"] {
            assert!(!page.contains(word), "{word}");
        }
        assert!(!page.contains("setTimeout") && !page.contains("setInterval"));
    }
}

/// As it comes out: without what XML cannot hold, or what turns text around.
fn readable(name: &str) -> String {
    let turning = ['\u{202a}'..='\u{202e}', '\u{2066}'..='\u{2069}', '\u{fffe}'..='\u{ffff}'];
    let bad = |c: char| c.is_control() || turning.iter().any(|range| range.contains(&c));
    name.chars().map(|c| if bad(c) { '\u{fffd}' } else { c }).collect()
}

fn fault() -> impl Strategy<Value = serde_json::Value> {
    let end = || prop_oneof!["i00[1-4]", "\\*|host", ".{0,6}"];
    let impairments = prop_oneof![
        "drop|reject".prop_map(|cut| serde_json::json!({"cut": cut})),
        any::<u64>().prop_map(|time| serde_json::json!({"delay": {"time_us": time, "jitter_us": 0}})),
    ];
    prop_oneof![
        (end(), proptest::collection::vec(end(), 0..4), impairments).prop_map(|(from, to, impairments)| {
            serde_json::json!({"link": {"from": from, "to": to, "impairments": impairments}})
        }),
        proptest::collection::vec(proptest::collection::vec(end(), 0..4), 0..4)
            .prop_map(|groups| serde_json::json!({"partition": {"groups": groups, "cut": "drop"}})),
        end().prop_map(|node| serde_json::json!({"crashed": node})),
    ]
}

fn line() -> impl Strategy<Value = String> {
    let node = prop_oneof!["i00[1-4]", "[<>&\"'a ]{0,4}", ".{0,6}"];
    let state = prop_oneof!["created|running|paused|exited|missing", "[a-z<]{0,5}"];
    let words = ".{0,30}";
    prop_oneof![
        (node.clone(), state, "command|exit|signal|oom|engine|[a-z]{0,3}", proptest::option::of(0_u64..5), any::<Option<i64>>()).prop_map(
            |(node, to, cause, command, code)| {
                serde_json::json!({"state": {"node": node, "from": "running", "to": to, "cause": cause, "command": command,
                    "exit_code": code}})
            }
        ),
        (0_u64..5, "invoke|ok|fail", words, proptest::collection::vec(node.clone(), 0..3)).prop_map(
            |(id, phase, line, nodes)| {
                serde_json::json!({"command": {"id": id, "phase": phase, "line": line, "nodes": nodes, "errno": "EIO"}})
            }
        ),
        (node.clone(), any::<bool>()).prop_map(|(node, ready)| serde_json::json!({"ready": {"node": node, "ready": ready}})),
        (node.clone(), "healthy|unhealthy").prop_map(|(node, health)| serde_json::json!({"health": {"node": node, "health": health}})),
        (proptest::collection::vec(".{0,8}", 0..4), proptest::collection::vec(fault(), 0..4))
            .prop_map(|(links, in_force)| serde_json::json!({"fault": {"links": links, "in_force": in_force}})),
        ("mounted|unmounting|engine lost|engine back", words, proptest::collection::vec(node, 0..4)).prop_map(
            |(phase, image, nodes)| {
                let nodes: Vec<_> = nodes.iter().map(|name| serde_json::json!({"name": name, "ip": "<ip>"})).collect();
                serde_json::json!({"cluster": {"phase": phase, "id": "x", "image": image, "nodes": nodes}})
            }
        ),
        (words, proptest::collection::vec("i00[1-4]|.{0,6}", 0..3), proptest::option::of(words)).prop_map(
            |(name, nodes, error)| serde_json::json!({"role": {"name": name, "nodes": nodes, "error": error}})
        ),
        ("started|begin|end|healed|over", 0_u64..4, words, any::<u64>(), proptest::option::of(words)).prop_map(
            |(phase, episode, words, number, error)| {
                serde_json::json!({"nemesis": {"phase": phase, "episode": episode, "words": words, "late_ms": number,
                    "seed": number, "episodes": number, "error": error}})
            }
        ),
        ("good|violated|unknown", words, words, proptest::collection::vec(0_u64..70, 0..5), any::<u64>()).prop_map(
            |(result, model, text, lines, more)| {
                let anomaly = serde_json::json!({"kind": text, "text": text, "key": text, "lines": lines, "faults": [text]});
                serde_json::json!({"verdict": {"model": model, "result": result, "text": text, "operations": more,
                    "anomalies": [anomaly, anomaly], "more": more}})
            }
        ),
        (0_i64..30, "invoke|ok|fail|info|other", words, words).prop_map(|(process, kind, f, value)| {
            serde_json::json!({"test": {"process": process, "type": kind, "f": f, "value": value}})
        }),
        words.prop_map(|value| serde_json::json!({"test": {"msg": value, "error": value}})),
    ]
    .prop_map(|value| value.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn any_history_makes_well_formed_pictures_in_which_every_node_has_its_lane(
        lines in proptest::collection::vec((line(), prop_oneof![0_u64..2_000, 0_u64..20_000_000_000, any::<u64>()]), 1..60),
        torn in any::<bool>(),
    ) {
        let mut text = String::new();
        let mut mono = 0_u64;
        for ((line, pause), seq) in lines.iter().zip(1..) {
            mono = mono.saturating_add(*pause);
            text.push_str(&format!("{{\"seq\":{seq},\"time\":\"2026-11-25T07:00:31.1Z\",\"mono_ns\":{mono},{}\n", &line[1..]));
        }
        if torn {
            text.push_str("{\"seq\":");
        }
        let history = match RecordedHistory::read(text.as_bytes()) {
            Err(ReadError::NoHistory) => return Ok(()),
            history => history.unwrap(),
        };
        for number in 1..=history.mounts.len() {
            let timeline = Timeline::of(&history, Some(number), None).unwrap();
            let mut expected: Vec<String> = vec![];
            for node in &timeline.nodes {
                let name = readable(&node.name);
                expected.extend([name.clone(), name]);
                prop_assert_eq!(node.stays.first().map(|stay| stay.from), Some(0));
                prop_assert!(node.stays.windows(2).all(|pair| pair[0].to == pair[1].from && pair[0].state != pair[1].state));
                prop_assert_eq!(node.stays.last().map(|stay| stay.to), Some(timeline.duration));
            }
            // White space of an attribute is a parser's to change.
            let sorted = |names: Vec<String>| {
                let mut names: Vec<_> = names.iter().map(|name| name.replace(['\t', '\n', ' '], "\u{fffd}")).collect();
                names.sort();
                names
            };
            prop_assert_eq!(sorted(lanes(&svg(&timeline))), sorted(expected));
            let page = html(&timeline);
            let parsed = parse_page(&page);
            prop_assert!(parsed.descendants().any(|node| node.has_tag_name("table")));
            let lines = &history.mounts[number - 1];
            let evidence = Evidence { timeline: &timeline, lines, logs: vec![], more_logs: 0, schedule: None };
            parse_page(&report(&evidence));
        }
    }
}
