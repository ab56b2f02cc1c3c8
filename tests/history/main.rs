//! The history over the simulated engine, without a mount.

#[path = "../common/mod.rs"]
mod common;
mod edn;
mod schema;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{Fixture, done, eventually};
use cthulhu::engine::Health;
use cthulhu::engine::simulated::Op;
use cthulhu::history::{Batch, CommandEvent, CommandPhase, History, HistoryEvent, HistoryLine, edn as to_edn};
use cthulhu::tree::{KernelNotifier, Wake, Written};
use futures_util::future::BoxFuture;
use proptest::prelude::*;
use rustix::io::Errno;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A line in brief: who, what, why.
fn brief(entry: &HistoryLine) -> String {
    match &entry.event {
        HistoryEvent::Cluster(cluster) => serde_json::to_value(cluster).unwrap()["phase"].as_str().unwrap().to_owned(),
        HistoryEvent::Command(CommandEvent { id, phase: CommandPhase::Invoke, line, nodes, .. }) => {
            format!("{id} {:?} {}", line.as_deref().unwrap(), nodes.join("+"))
        }
        HistoryEvent::Command(CommandEvent { id, phase: CommandPhase::Ok, .. }) => format!("{id} ok"),
        HistoryEvent::Command(CommandEvent { id, errno, .. }) => format!("{id} {}", errno.as_deref().unwrap()),
        HistoryEvent::State(state) => {
            let mut text = format!("{} {} {} {:?}", state.node, state.from, state.to, state.cause).to_lowercase();
            text.extend(state.command.map(|id| format!(" {id}")));
            text.extend(state.exit_code.map(|code| format!(" code {code}")));
            text.extend(state.signal.as_ref().map(|signal| format!(" {signal}")));
            text
        }
        HistoryEvent::Ready(ready) => format!("{} {}", ready.node, if ready.ready { "ready" } else { "unready" }),
        HistoryEvent::Health(health) => format!("{} {:?}", health.node, health.health).to_lowercase(),
        HistoryEvent::Fault(fault) => format!("{:?}", fault.links),
        HistoryEvent::Role(role) => format!("{} {:?}", role.name, role.nodes),
        HistoryEvent::Nemesis(nemesis) => format!("{nemesis:?}"),
        HistoryEvent::Verdict(verdict) => verdict.text.clone(),
        HistoryEvent::Sandbox(sandbox) => format!("{} sandbox {:?}", sandbox.node, sandbox.phase).to_lowercase(),
        HistoryEvent::Test(object) => object.as_str().to_owned(),
    }
}

fn briefs(f: &Fixture) -> Vec<String> {
    f.history().iter().map(brief).collect()
}

/// Waits for a line that is the effect of something from outside.
async fn line(f: &Fixture, wanted: &str) {
    eventually(wanted, || briefs(f).iter().any(|line| line == wanted)).await;
}

/// What every history is, whatever happened.
fn sound(entries: &[HistoryLine]) {
    for (nth, pair) in entries.windows(2).enumerate() {
        assert_eq!(pair[1].seq, nth as u64 + 2);
        assert!(pair[0].mono_ns <= pair[1].mono_ns && pair[0].time <= pair[1].time, "{pair:?}");
    }
    let mut writer = to_edn::Writer::default();
    for (index, entry) in entries.iter().enumerate() {
        let text = printed(entry);
        assert_eq!(HistoryLine::parse(&text).unwrap(), *entry);
        schema::assert_valid(&text);
        let map = edn::map(&writer.line(&text).unwrap()).unwrap_or_else(|why| panic!("{text}: {why}"));
        assert_eq!(map[0], (":index".to_owned(), index.to_string()));
        for key in [":time", ":type", ":process", ":f", ":value"] {
            assert!(map.iter().any(|(name, _)| name == key), "{text}: {key}");
        }
    }
}

/// An entry as a line; the history writes the same.
fn printed(entry: &HistoryLine) -> String {
    let event = serde_json::to_string(&entry.event).unwrap();
    format!(r#"{{"seq":{},"time":"{}","mono_ns":{},{}"#, entry.seq, entry.time, entry.mono_ns, &event[1..])
}

#[tokio::test]
async fn commands_and_what_they_change() {
    let f = Fixture::new(2, TIMEOUT).await;
    f.write("control", &[b"start i001\n"]).await.unwrap();
    f.write("i001/control", &[b"pause\nresume\nstop -t 3\n"]).await.unwrap();
    f.write("i001/control", &[b" restart "]).await.unwrap();
    assert_eq!(f.write("control", &[b"kill\n"]).await, Err(Errno::SRCH));
    assert_eq!(f.write("control", &[b"start\nfly away\n"]).await, Err(Errno::INVAL));
    assert_eq!(f.write("control", &[b"stop i001 i007\n"]).await, Err(Errno::NOENT));
    let told = briefs(&f);
    let wanted = [
        "mounted",
        "1 \"start i001\" i001",
        "i001 created running command 1",
        "i001 ready",
        "1 ok",
        "2 \"pause\" i001",
        "i001 running paused command 2",
        "i001 unready",
        "2 ok",
        "3 \"resume\" i001",
        "i001 paused running command 3",
        "i001 ready",
        "3 ok",
        "4 \"stop -t 3\" i001",
        "i001 running exited command 4 code 143 SIGTERM",
        "i001 unready",
        "4 ok",
        "5 \" restart \" i001",
        "i001 exited running command 5",
        "i001 ready",
        "5 ok",
        "6 \"kill\" i001+i002",
        "i001 running exited command 6 code 137 SIGKILL",
        "i001 unready",
        "6 ESRCH",
        "7 \"fly away\" ",
        "7 EINVAL",
        "8 \"stop i001 i007\" ",
        "8 ENOENT",
    ];
    assert_eq!(told, wanted);
    let entries = f.history();
    sound(&entries);
    let fail = entries.iter().find_map(|entry| match &entry.event {
        HistoryEvent::Command(command) if command.id == 6 && command.phase == CommandPhase::Fail => {
            Some(command.clone())
        }
        _ => None,
    });
    let fail = fail.unwrap();
    assert_eq!(fail.failed.into_iter().collect::<Vec<_>>(), [("i002".to_owned(), "ESRCH".to_owned())]);
    assert!(fail.error.unwrap().contains("i002 is not running"));
}

#[tokio::test(start_paused = true)]
async fn a_stop_whose_grace_ran_out_says_so() {
    let f = Fixture::new(3, TIMEOUT).await;
    f.write("control", &[b"start\n"]).await.unwrap();
    f.engine.ignore_stop("i001").unwrap();
    // Longer than the deadline of other commands; and the usual grace.
    let grace = format!("stop -t {} i001 i002\n", 2 * TIMEOUT.as_secs());
    f.write("control", &[grace.as_bytes()]).await.unwrap();
    f.write("control", &[b"start\n", b"restart\n"]).await.unwrap();
    // SIGKILL that comes from elsewhere, and before.
    f.write("i003/control", &[b"kill\n"]).await.unwrap();
    let entries = f.history();
    sound(&entries);
    let ends = entries.iter().filter_map(|entry| match &entry.event {
        HistoryEvent::State(state) if state.to == cthulhu::cluster::State::Exited => {
            Some((state.node.as_str(), state.exit_code, state.grace_expired))
        }
        _ => None,
    });
    let mut ends: Vec<_> = ends.collect();
    ends.sort_unstable();
    let (term, kill) = (Some(143), Some(137));
    let wanted = [
        ("i001", kill, true),
        ("i001", kill, true),
        ("i002", term, false),
        ("i002", term, false),
        ("i003", kill, false),
        ("i003", term, false),
    ];
    assert_eq!(ends, wanted);
}

#[tokio::test]
async fn why_a_state_changed() {
    let f = Fixture::new(3, TIMEOUT).await;
    f.write("control", &[b"start\n"]).await.unwrap();
    f.engine.die("i001", 3).unwrap();
    line(&f, "i001 running exited exit code 3").await;
    f.engine.kill_outside("i002").unwrap();
    line(&f, "i002 running exited signal code 137 SIGKILL").await;
    f.engine.exhaust_memory("i003").unwrap();
    line(&f, "i003 running exited oom code 137 SIGKILL").await;
    f.engine.start_outside("i001").unwrap();
    line(&f, "i001 exited running engine").await;
    f.engine.pause_outside("i001").unwrap();
    line(&f, "i001 running paused engine").await;
    f.engine.unpause_outside("i001").unwrap();
    line(&f, "i001 paused running engine").await;
    f.engine.remove_outside("i003").unwrap();
    line(&f, "i003 exited missing engine").await;
    f.write("i003/control", &[b"start\n"]).await.unwrap();
    line(&f, "i003 missing created command 2").await;
    line(&f, "i003 created running command 2").await;
    f.engine.set_health("i001", Health::Unhealthy).unwrap();
    line(&f, "i001 unhealthy").await;
    f.engine.set_health("i001", Health::Healthy).unwrap();
    line(&f, "i001 healthy").await;
    // A second life after a death as memory ran out is another one.
    f.write("i003/control", &[b"kill\nstart\n"]).await.unwrap();
    f.engine.die("i003", 137).unwrap();
    line(&f, "i003 running exited signal code 137 SIGKILL").await;
    sound(&f.history());
}

#[tokio::test]
async fn a_run_that_nobody_saw_is_told() {
    let f = Fixture::new(1, TIMEOUT).await;
    f.engine.lose_events(1000);
    f.engine.start_outside("i001").unwrap();
    f.engine.die("i001", 4).unwrap();
    f.watch.refresh(0).await.unwrap();
    let wanted = ["mounted", "i001 created running engine", "i001 running exited exit code 4"];
    assert_eq!(briefs(&f), wanted);
    f.engine.start_outside("i001").unwrap();
    f.watch.refresh(0).await.unwrap();
    f.engine.die("i001", 5).unwrap();
    f.engine.start_outside("i001").unwrap();
    f.watch.refresh(0).await.unwrap();
    let told = briefs(&f);
    assert_eq!(
        told[3..],
        ["i001 exited running engine", "i001 ready", "i001 running exited exit", "i001 exited running engine"]
    );
    sound(&f.history());
}

#[tokio::test]
async fn an_engine_that_is_lost_and_back() {
    let f = Fixture::new(1, TIMEOUT).await;
    f.write("control", &[b"start\n"]).await.unwrap();
    f.engine.disconnect();
    line(&f, "engine lost").await;
    f.engine.die("i001", 1).unwrap();
    assert_eq!(f.write("i001/control", &[b"stop\n"]).await, Err(Errno::HOSTDOWN));
    f.engine.reconnect();
    line(&f, "engine back").await;
    let told = briefs(&f);
    let at =
        |wanted: &str| told.iter().position(|line| line == wanted).unwrap_or_else(|| panic!("{wanted}: {told:#?}"));
    assert!(at("engine lost") < at("2 EHOSTDOWN"));
    assert!(at("i001 running exited exit code 1") < at("engine back"));
    sound(&f.history());
}

#[tokio::test]
async fn a_command_whose_writer_is_gone_and_one_that_is_cut_off() {
    let f = Fixture::new(1, TIMEOUT).await;
    f.engine.delay(Op::Start, Duration::from_millis(300));
    let fh = f.tree.open(f.find("i001/control"), true).unwrap();
    let Written::Later(pending) = f.tree.write(fh, cthulhu::tree::Position::default(), b"start\nstop\n") else {
        panic!("at once")
    };
    let running = tokio::spawn(pending.done);
    line(&f, "1 \"start\" i001").await;
    pending.cancelled.store(true, Ordering::Release);
    assert_eq!((pending.interrupted)(), Errno::INTR);
    assert_eq!(running.await.unwrap(), Err(Errno::INTR));
    // It was begun, and it is still what happens. The second was not.
    let wanted = ["mounted", "1 \"start\" i001", "1 EINTR", "i001 created running command 1", "i001 ready"];
    assert_eq!(briefs(&f), wanted);

    f.engine.delay(Op::Stop, Duration::from_secs(20));
    let Written::Later(pending) = f.tree.write(fh, cthulhu::tree::Position::default(), b"stop\n") else {
        panic!("at once")
    };
    let running = tokio::spawn(pending.done);
    line(&f, "2 \"stop\" i001").await;
    f.recorder.finish();
    assert_eq!(briefs(&f)[6..], ["2 EINTR", "unmounting"]);
    // Nothing comes after the last line.
    f.engine.die("i001", 1).unwrap();
    eventually("exited", || f.read("i001/exit_code").unwrap() == "1\n").await;
    assert_eq!(f.write("history", &[b"{}\n"]).await, Err(Errno::BUSY));
    assert!(f.read("error").unwrap().contains("taken down"));
    running.abort();
    assert_eq!(f.history().len(), 8);
    sound(&f.history());
}

#[tokio::test]
async fn what_a_test_appends_is_kept_as_it_was() {
    let f = Fixture::new(1, TIMEOUT).await;
    let big = r#"{"op":"write","big":123456789012345678901234567890,"f":0.30000000000000000001,"a":1,"a":2}"#;
    f.write("history", &[format!("{big}\n").as_bytes()]).await.unwrap();
    f.write("history", &[b"\n{\"n\":1}\r\n  {\"n\":2}\n\n", b"{\"n\"", b":3", b"}\n{\"n\":4", b"}"]).await.unwrap();
    f.write("history", &[b"{\"n\":5}"]).await.unwrap();
    let told = briefs(&f);
    assert_eq!(told[1..], [big, r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#, r#"{"n":4}"#, r#"{"n":5}"#]);
    let entries = f.history();
    assert_eq!(entries[2].mono_ns, entries[3].mono_ns, "one write is one moment");
    sound(&entries);
    let text = f.read("history").unwrap();
    assert_eq!(f.tree.attr(f.find("history")).unwrap().size, text.len() as u64);
    assert_eq!(f.tree.attr(f.find("history")).unwrap().perm, 0o644);
    assert!(!f.tree.is_cacheable(f.find("history")));
}

#[tokio::test]
async fn a_write_with_a_wrong_line_takes_nothing() {
    let f = Fixture::new(1, TIMEOUT).await;
    let long = format!("{{\"a\":\"{}\"}}\n", "x".repeat(1 << 16));
    let cases: [(&[&[u8]], &str); 7] = [
        (&[b"{\"good\":1}\nbad\n"], "'bad' is no JSON object"),
        (&[b"{\"good\":1}\n[1]\n{\"unfinished\":"], "'[1]' is no JSON object"),
        (&[b"{\"good\":1}\n\xff\n"], "UTF-8"),
        (&[b"{\"half\":", b"1\n"], "EOF"),
        (&[long.as_bytes()], "longer than 65536"),
        (&[b"{\"good\":1}\n{\"a\":1}{\"b\":2}\n"], "trailing"),
        (&[b"{\"unfinished\":"], "EOF"),
    ];
    for (pieces, word) in cases {
        assert_eq!(f.write("history", pieces).await, Err(Errno::INVAL), "{word}");
        let error = f.read("error").unwrap();
        assert!(error.contains(word) && error.starts_with("history: ") && error.lines().count() == 1, "{error}");
        assert_eq!(f.history().len(), 1, "{word}");
    }
    // What stands in the way is gone, for one who goes on too.
    let fh = f.tree.open(f.find("history"), true).unwrap();
    assert_eq!(
        done(f.tree.write(fh, cthulhu::tree::Position::default(), b"{}\nbad\n{\"rest\":")).await,
        Err(Errno::INVAL)
    );
    assert_eq!(done(f.tree.write(fh, cthulhu::tree::Position::default(), b"{\"next\":1}\n")).await, Ok(11));
    // The end of a line that another process begins: a copy that is closed in between spoils nothing.
    assert_eq!(done(f.tree.write(fh, cthulhu::tree::Position::default(), b"{\"last\":")).await, Ok(8));
    assert_eq!(done(f.tree.flush(fh)).await, Err(Errno::INVAL));
    assert_eq!(done(f.tree.write(fh, cthulhu::tree::Position::default(), b"2}\n")).await, Ok(3));
    assert_eq!(briefs(&f)[1..], [r#"{"next":1}"#, r#"{"last":2}"#]);
}

struct Waker;

impl KernelNotifier for Waker {
    fn invalidate(&self, _: Vec<cthulhu::tree::Ino>) {}

    fn wake(&self, wake: Wake) {
        wake();
    }

    fn flushed(&self) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

#[tokio::test]
async fn poll_tells_that_there_is_more_to_read() {
    let f = Fixture::new(1, TIMEOUT).await;
    f.tree.connect(Box::new(Waker));
    let ino = f.find("history");
    assert!(f.tree.is_stream(ino) && !f.tree.is_stream(f.find("i001/log")) && !f.tree.is_stream(f.find("status")));
    let fh = f.tree.open(ino, false).unwrap();
    let woken = Arc::new(AtomicUsize::new(0));
    let wake = || {
        let woken = woken.clone();
        let wake: Wake = Box::new(move || {
            woken.fetch_add(1, Ordering::SeqCst);
        });
        Some(wake)
    };
    assert!(f.tree.poll(fh, wake()).unwrap());
    let size = f.tree.attr(ino).unwrap().size;
    assert_eq!(f.tree.read(fh, 0, 10).unwrap().len(), 10);
    assert!(f.tree.poll(fh, None).unwrap());
    assert_eq!(f.tree.read(fh, 10, 1 << 20).unwrap().len() as u64, size - 10);
    assert!(!f.tree.poll(fh, wake()).unwrap());
    assert_eq!(woken.load(Ordering::SeqCst), 0);
    f.write("history", &[b"{}\n"]).await.unwrap();
    assert_eq!(woken.load(Ordering::SeqCst), 1);
    assert!(f.tree.poll(fh, None).unwrap());
    assert!(f.tree.read(fh, size, 1 << 20).unwrap().ends_with(b"{}}\n"));
    assert!(!f.tree.poll(fh, wake()).unwrap());
    f.write("control", &[b"start\n"]).await.unwrap();
    assert_eq!(woken.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn it_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history");
    let append = |text: &str| {
        let history = History::open(&path).unwrap();
        let mut batch = Batch::default();
        batch.push(text.as_bytes()).unwrap();
        batch.push(text.as_bytes()).unwrap();
        history.append_test(&batch).unwrap();
    };
    append("{\"n\":1}");
    let whole = std::fs::read(&path).unwrap();
    // As a daemon leaves it that is killed in the middle of a write.
    std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    append("{\"n\":2}");
    let text = std::fs::read_to_string(&path).unwrap();
    let entries: Vec<_> = text.lines().map(|line| HistoryLine::parse(line).unwrap()).collect();
    assert_eq!(entries.iter().map(brief).collect::<Vec<_>>(), [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":2}"#]);
    sound(&entries);
    std::fs::write(&path, "something else\n").unwrap();
    assert!(History::open(&path).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "something else\n");
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(History::open(&link).is_err(), "no link is followed");
}

/// Any JSON value, as text.
fn json() -> impl Strategy<Value = String> {
    let text = any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap());
    let number = prop::sample::select(vec!["0", "-1", "-0.0", "1.5E-7", "123456789012345678901234567890"]);
    let leaf = prop_oneof![
        text,
        number.prop_map(str::to_owned),
        any::<f64>().prop_filter("JSON has none", |n| n.is_finite()).prop_map(|n| serde_json::to_string(&n).unwrap()),
        any::<i64>().prop_map(|n| n.to_string()),
        prop::sample::select(vec!["null", "true", "false", "{}", "[]"]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|items| format!("[{}]", items.join(", "))),
            members(inner),
        ]
    })
}

fn members(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec!["type", "process", "f", "value", "index", "time", "seq", "a b"]);
    let key = prop_oneof![names.prop_map(str::to_owned), any::<String>()];
    let member = (key, value).prop_map(|(key, value)| format!("{} : {value}", serde_json::to_string(&key).unwrap()));
    prop::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(",")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Whatever objects are appended, however they are cut: they are there as they were, and can be read in every format.
    #[test]
    fn any_object_survives(objects in prop::collection::vec(members(json()), 1..8), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let f = Fixture::new(1, TIMEOUT).await;
            let text = objects.iter().map(|object| format!("{object}\n")).collect::<String>();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
            f.write("history", &pieces).await.unwrap();
            let entries = f.history();
            assert_eq!(briefs(&f)[1..], objects[..]);
            sound(&entries);
            assert_eq!(entries.iter().map(|entry| printed(entry) + "\n").collect::<String>(), f.read("history").unwrap());
        });
    }

    /// Anything written is answered, and only whole lines are ever there.
    #[test]
    fn anything_is_answered(pieces in prop::collection::vec(prop::collection::vec(prop::sample::select(b"{}\":1a,\n[]\\ \r\xff".to_vec()), 0..40), 0..8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let f = Fixture::new(1, TIMEOUT).await;
            let fh = f.tree.open(f.find("history"), true).unwrap();
            for piece in &pieces {
                let answer = done(f.tree.write(fh, cthulhu::tree::Position::default(), piece)).await;
                assert!(answer == Ok(piece.len() as u32) || answer == Err(Errno::INVAL));
            }
            let _ = done(f.tree.flush(fh)).await;
            sound(&f.history());
        });
    }
}
