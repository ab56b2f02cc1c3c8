//! docs/history.schema.json, as a reader of the history would use it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::sync::LazyLock;
use std::time::Duration;

use cthulhu::cluster::State;
use cthulhu::cluster::faults::{Cut, Delay, FaultInForce, Impairments, Rate, Share};
use cthulhu::control::{Setting, verbs};
use cthulhu::history::{
    AnomalyEvent, Cause, ClockReading, ClusterEvent, CommandEvent, CommandPhase, EngineOf, FaultEvent, HealthEvent,
    HistoryEvent, HistoryLine, HostAddress, NemesisEvent, NodeAddress, ReadyEvent, RoleEvent, SandboxEvent,
    SandboxPhase, StateEvent, VerdictEvent, VerdictResult,
};
use jsonschema::Validator;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

static TEXT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../docs/history.schema.json")).unwrap());

static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    jsonschema::meta::validate(&TEXT).unwrap();
    jsonschema::validator_for(&TEXT).unwrap()
});

/// Every line must be one that the schema allows.
pub fn assert_valid(line: &str) {
    let value: Value = serde_json::from_str(line).unwrap();
    if let Err(error) = SCHEMA.validate(&value) {
        panic!("{line}: {error}");
    }
}

fn is_valid(kind: &str) -> bool {
    let line = format!(r#"{{"seq":1,"time":"2026-11-25T07:00:31.123456789Z","mono_ns":5,{kind}}}"#);
    SCHEMA.is_valid(&serde_json::from_str(&line).unwrap())
}

#[test]
fn wrong_lines_are_refused() {
    for good in [
        r#""test":{}"#,
        r#""cluster":{"phase":"engine lost"}"#,
        r#""fault":{"links":["i001>i002 drop"]}"#,
        r#""state":{"node":"i001","from":"running","to":"exited","cause":"exit"}"#,
        r#""command":{"id":1,"phase":"invoke","line":"x","nodes":[]}"#,
    ] {
        assert!(is_valid(good), "{good}");
    }
    for bad in [
        r#""test":[]"#,
        r#""test":{},"ready":{"node":"i001","ready":true}"#,
        r#""testt":{}"#,
        r#""cluster":{"phase":"gone"}"#,
        r#""cluster":{"phase":"mounted"}"#,
        r#""cluster":{"phase":"unmounting","lost":1}"#,
        r#""state":{"node":"i001","from":"running","to":"dead","cause":"exit"}"#,
        r#""state":{"node":"i001","from":"running","to":"exited","cause":"command"}"#,
        r#""state":{"node":"i001","from":"running","to":"exited","cause":"exit","command":1}"#,
        r#""state":{"node":"i001","from":"running","to":"exited","cause":"exit","signal":"SIGKILL"}"#,
        r#""state":{"node":"-x","from":"running","to":"exited","cause":"exit"}"#,
        r#""command":{"id":1,"phase":"invoke","nodes":[]}"#,
        r#""command":{"id":1,"phase":"fail","nodes":[]}"#,
        r#""command":{"id":1,"phase":"ok","verb":"stop","nodes":[],"errno":"EIO"}"#,
        r#""command":{"id":0,"phase":"ok","verb":"stop","nodes":[]}"#,
        r#""health":{"node":"i001","health":"ill"}"#,
    ] {
        assert!(!is_valid(bad), "{bad}");
    }
    for bad in [
        r#"{"seq":0,"time":"2026-11-25T07:00:31.123456789Z","mono_ns":5,"test":{}}"#,
        r#"{"seq":1,"time":"2026-11-25T07:00:31Z","mono_ns":5,"test":{}}"#,
        r#"{"seq":1,"time":"2026-11-25T07:00:31.123456789Z","test":{}}"#,
        r#"{"seq":1,"time":"2026-11-25T07:00:31.123456789Z","mono_ns":5}"#,
    ] {
        assert!(!SCHEMA.is_valid(&serde_json::from_str(bad).unwrap()), "{bad}");
    }
}

/// Events of one kind: each as small as it can be, then some in which every member and every value occurs.
struct Samples {
    smallest: Vec<HistoryEvent>,
    others: Vec<HistoryEvent>,
}

/// Of all kinds: one that is missing here does not compile. No struct is filled up with defaults, for the same reason.
fn samples() -> Vec<Samples> {
    let mut all = vec![cluster()];
    loop {
        all.push(match all.last().unwrap().smallest[0] {
            HistoryEvent::Cluster(_) => command(),
            HistoryEvent::Command(_) => state(),
            HistoryEvent::State(_) => ready(),
            HistoryEvent::Ready(_) => health(),
            HistoryEvent::Health(_) => fault(),
            HistoryEvent::Fault(_) => sandbox(),
            HistoryEvent::Sandbox(_) => role(),
            HistoryEvent::Role(_) => nemesis(),
            HistoryEvent::Nemesis(_) => verdict(),
            HistoryEvent::Verdict(_) => test(),
            HistoryEvent::Test(_) => return all,
        });
    }
}

/// The names that a type knows, as serde lists them when it meets another one.
fn names<T: DeserializeOwned>(unknown: Value) -> BTreeSet<String> {
    let why = serde_json::from_value::<T>(unknown).err().unwrap().to_string();
    let names: BTreeSet<_> = why.split('`').skip(3).step_by(2).map(str::to_owned).collect();
    assert!(names.len() > 1, "{why}");
    names
}

/// All values of an enum.
fn all<T: DeserializeOwned>() -> impl Iterator<Item = T> {
    names::<T>(json!("?")).into_iter().map(|name| serde_json::from_value(json!(name)).unwrap())
}

const CLOCK: ClockReading = ClockReading { offset_ns: -1_250_000, error_ns: 340_000 };

fn node() -> String {
    "i001".into()
}

fn cluster() -> Samples {
    let host = || Some("a".to_owned());
    let mounted = |seed, host: Option<String>| ClusterEvent::Mounted {
        id: "2db20dac0c44".into(),
        version: "0.1.0".into(),
        boot_id: "d49d7dd6".into(),
        image: "my-kv".into(),
        nodes: vec![NodeAddress { name: node(), ip: "172.30.2.2".into(), host: host.clone() }],
        seed,
        hosts: host
            .into_iter()
            .map(|name| HostAddress { name, address: "tcp://a:2376".into(), clock: Some(CLOCK) })
            .collect(),
    };
    let smallest = vec![
        mounted(None, None),
        ClusterEvent::Unmounting,
        ClusterEvent::EngineLost(EngineOf::default()),
        ClusterEvent::EngineBack(EngineOf::default()),
        ClusterEvent::Clock { host: "a".into(), clock: CLOCK },
        ClusterEvent::LinesLost { lost: 3 },
    ];
    let phase = |event: &ClusterEvent| serde_json::to_value(event).unwrap()["phase"].as_str().unwrap().to_owned();
    assert_eq!(smallest.iter().map(phase).collect::<BTreeSet<_>>(), names::<ClusterEvent>(json!({"phase": "?"})));
    let smallest = smallest.into_iter().map(HistoryEvent::Cluster).collect();
    let others = vec![mounted(Some(7), host()), ClusterEvent::EngineLost(EngineOf { host: host() })];
    Samples { smallest, others: others.into_iter().map(HistoryEvent::Cluster).collect() }
}

fn command() -> Samples {
    let event = |phase, verb: Option<&str>, failed: &[&str]| {
        let when = |wanted: CommandPhase, text: &str| (phase == wanted).then(|| text.to_owned());
        HistoryEvent::Command(CommandEvent {
            id: 1,
            phase,
            line: when(CommandPhase::Invoke, "stop"),
            verb: verb.map(str::to_owned).or_else(|| when(CommandPhase::Ok, "stop")),
            nodes: vec![node()],
            roles: BTreeMap::new(),
            appended: false,
            errno: when(CommandPhase::Fail, "ESRCH"),
            error: when(CommandPhase::Fail, "i001 is not running"),
            failed: failed.iter().map(|node| ((*node).to_owned(), "ESRCH".to_owned())).collect::<BTreeMap<_, _>>(),
        })
    };
    let settings = [Setting::Partition, Setting::Links, Setting::Net(0)].map(Setting::name);
    let mut others: Vec<_> = verbs().chain(settings).map(|verb| event(CommandPhase::Invoke, Some(verb), &[])).collect();
    others.push(event(CommandPhase::Fail, Some("stop"), &["i001"]));
    let mut with_role = event(CommandPhase::Invoke, Some("stop"), &[]);
    if let HistoryEvent::Command(command) = &mut with_role {
        command.roles.insert("leader".into(), vec![node()]);
    }
    others.push(with_role);
    let mut appended = event(CommandPhase::Invoke, Some("links"), &[]);
    if let HistoryEvent::Command(command) = &mut appended {
        command.appended = true;
    }
    others.push(appended);
    Samples { smallest: all().map(|phase| event(phase, None, &[])).collect(), others }
}

fn state() -> Samples {
    let event = |from, to, cause| StateEvent {
        node: node(),
        from,
        to,
        cause,
        command: (cause == Cause::Command).then_some(1),
        exit_code: None,
        signal: None,
        grace_expired: false,
        pid: None,
    };
    let mut others = vec![StateEvent {
        exit_code: Some(137),
        signal: Some("SIGKILL".into()),
        grace_expired: true,
        pid: Some(1),
        ..event(State::Running, State::Exited, Cause::Command)
    }];
    others.extend(all().map(|state| event(state, State::Exited, Cause::Exit)));
    others.extend(all().map(|state| event(State::Exited, state, Cause::Exit)));
    let smallest = all().map(|cause| event(State::Running, State::Exited, cause));
    Samples {
        smallest: smallest.map(HistoryEvent::State).collect(),
        others: others.into_iter().map(HistoryEvent::State).collect(),
    }
}

fn ready() -> Samples {
    let event = |ready| HistoryEvent::Ready(ReadyEvent { node: node(), ready });
    Samples { smallest: vec![event(false), event(true)], others: vec![] }
}

fn health() -> Samples {
    let event = |health| HistoryEvent::Health(HealthEvent { node: node(), health });
    Samples { smallest: all().map(event).collect(), others: vec![] }
}

fn fault() -> Samples {
    let event = |in_force: Vec<FaultInForce>| {
        let links = in_force.iter().flat_map(FaultInForce::texts).collect();
        HistoryEvent::Fault(FaultEvent { links, in_force })
    };
    let link = |impairments| FaultInForce::Link { from: "host".into(), to: vec!["*".into(), node()], impairments };
    let delay = Delay { time: Duration::from_millis(5), jitter: Duration::ZERO };
    let share = Share::millionths(50_000).unwrap();
    let soft = Impairments {
        cut: None,
        delay: Some(delay),
        loss: share,
        duplicate: share,
        corrupt: share,
        reorder: share,
        rate: Some(Rate(NonZeroU64::MIN)),
    };
    let cut = |cut| Impairments { cut: Some(cut), ..Impairments::default() };
    let partition = |cut| FaultInForce::Partition { groups: vec![vec![node()], vec!["i002".into()]], cut };
    let mut all_faults = vec![link(soft), FaultInForce::Crashed(node()), link(Impairments::default())];
    all_faults.extend(all::<Cut>().flat_map(|how| [link(cut(how)), partition(how)]));
    let kind = |fault: &FaultInForce| serde_json::to_value(fault).unwrap().as_object().unwrap().keys().next().cloned();
    assert_eq!(all_faults.iter().filter_map(kind).collect::<BTreeSet<_>>(), names::<FaultInForce>(json!("?")));
    Samples { smallest: vec![event(vec![])], others: all_faults.into_iter().map(|fault| event(vec![fault])).collect() }
}

fn sandbox() -> Samples {
    let event = |phase, why| HistoryEvent::Sandbox(SandboxEvent { node: node(), phase, why });
    let lost = event(SandboxPhase::Lost, Some("it was removed".into()));
    Samples { smallest: all().map(|phase| event(phase, None)).collect(), others: vec![lost] }
}

fn role() -> Samples {
    let event = |error| HistoryEvent::Role(RoleEvent { name: "leader".into(), nodes: vec![node()], error });
    Samples { smallest: vec![event(None)], others: vec![event(Some("exit status 1".into()))] }
}

fn nemesis() -> Samples {
    let text = || Some("i002".to_owned());
    let (episode, late_ms) = (3, 4);
    let smallest = vec![
        NemesisEvent::Started { seed: None, episodes: 5, by: None },
        NemesisEvent::Begin { episode, words: "crash @leader".into(), resolved: None, late_ms, error: None },
        NemesisEvent::End { episode, words: "start i002".into(), late_ms, error: None },
        NemesisEvent::Healed { error: None },
        NemesisEvent::Over,
    ];
    let phase = |event: &NemesisEvent| serde_json::to_value(event).unwrap()["phase"].as_str().unwrap().to_owned();
    assert_eq!(smallest.iter().map(phase).collect::<BTreeSet<_>>(), names::<NemesisEvent>(json!({"phase": "?"})));
    let others = vec![
        NemesisEvent::Started { seed: Some(7), episodes: 5, by: text() },
        NemesisEvent::Begin { episode, words: "crash @leader".into(), resolved: text(), late_ms, error: text() },
        NemesisEvent::End { episode, words: "start i002".into(), late_ms, error: text() },
        NemesisEvent::Healed { error: text() },
    ];
    let events = |events: Vec<NemesisEvent>| events.into_iter().map(HistoryEvent::Nemesis).collect();
    Samples { smallest: events(smallest), others: events(others) }
}

fn verdict() -> Samples {
    let event = |result| VerdictEvent {
        model: "set".into(),
        result,
        text: "all is there".into(),
        operations: 3,
        after: 0,
        anomalies: vec![],
        more: 0,
    };
    let lost =
        || AnomalyEvent { kind: "lost".into(), text: "7 is lost".into(), key: None, lines: vec![], faults: vec![] };
    let whole =
        AnomalyEvent { key: Some(json!("x")), lines: vec![4, 9], faults: vec!["i002 crashed".into()], ..lost() };
    let violated =
        VerdictEvent { after: 17, anomalies: vec![lost(), whole], more: 2, ..event(VerdictResult::Violated) };
    Samples {
        smallest: all().map(event).map(HistoryEvent::Verdict).collect(),
        others: vec![HistoryEvent::Verdict(violated)],
    }
}

fn test() -> Samples {
    let line = HistoryLine::parse(r#"{"test":{"op":"read"}}"#).unwrap();
    Samples { smallest: vec![line.event], others: vec![] }
}

fn line(event: &HistoryEvent) -> Value {
    let mut line = serde_json::to_value(event).unwrap();
    let head = json!({"seq": 1, "time": "2026-11-25T07:00:31.123456789Z", "mono_ns": 5});
    line.as_object_mut().unwrap().extend(head.as_object().unwrap().clone());
    line
}

/// The pointers to all members of objects, however deep.
fn members(value: &Value) -> Vec<String> {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(object) => object.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(nth, item)| (nth.to_string(), item)).collect(),
        _ => vec![],
    };
    let mut found = vec![];
    for (name, child) in children {
        found.push(format!("/{name}"));
        found.extend(members(child).iter().map(|below| format!("/{name}{below}")));
    }
    found
}

/// Without what the pointer leads to.
fn without(value: &Value, pointer: &str) -> Value {
    let mut value = value.clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match value.pointer_mut(parent).unwrap() {
        Value::Object(object) => drop(object.remove(name).unwrap()),
        Value::Array(items) => drop(items.remove(name.parse().unwrap())),
        other => panic!("{other}"),
    }
    value
}

#[test]
fn the_schema_says_what_the_types_say() {
    let samples = samples();
    let smallest: Vec<Value> = samples.iter().flat_map(|samples| &samples.smallest).map(line).collect();
    let mut lines = vec![];
    for event in samples.iter().flat_map(|samples| samples.smallest.iter().chain(&samples.others)) {
        let line = line(event);
        assert_valid(&line.to_string());
        assert_eq!(HistoryLine::parse(&line.to_string()).unwrap().event, *event);
        lines.push(line);
    }
    // What is always written is required.
    for line in &smallest {
        for pointer in members(line) {
            let is_item = pointer.ends_with(|c: char| c.is_ascii_digit()) || pointer.starts_with("/test/");
            assert!(is_item || !SCHEMA.is_valid(&without(line, &pointer)), "{pointer} can be missing in {line}");
        }
    }
    // There is nothing in the schema that no line has or needs: whatever is left out of it, some line is judged otherwise.
    let broken = lines.iter().flat_map(|line| {
        let null = |pointer: &String| {
            let mut line = line.clone();
            *line.pointer_mut(pointer).unwrap() = Value::Null;
            line
        };
        members(line).into_iter().flat_map(move |pointer| [null(&pointer), without(line, &pointer)])
    });
    let all: Vec<Value> = lines.iter().cloned().chain(broken).collect();
    let verdicts = |schema: &Validator| all.iter().map(|line| schema.is_valid(line)).collect::<Vec<_>>();
    let wanted = verdicts(&SCHEMA);
    let mut useless = vec![];
    for pointer in members(&TEXT) {
        let parent = pointer.rsplit('/').nth(1).unwrap();
        if matches!(parent, "properties" | "enum" | "required") {
            let other = jsonschema::validator_for(&without(&TEXT, &pointer)).unwrap();
            if verdicts(&other) == wanted {
                useless.push(pointer);
            }
        }
    }
    assert_eq!(useless, Vec::<String>::new());
}
