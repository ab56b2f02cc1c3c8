//! The tree over the simulated engine, without a mount.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Fixture, done, eventually};
use cthulhu::cluster::State;
use cthulhu::engine::EngineError;
use cthulhu::engine::simulated::Op;
use cthulhu::tree::{Ino, Kernel, Wake};
use futures_util::future::BoxFuture;
use proptest::prelude::*;
use rustix::io::Errno;

const TIMEOUT: Duration = Duration::from_secs(30);

/// What the kernel was told.
#[derive(Default)]
struct Told {
    invalidated: Mutex<Vec<Ino>>,
    flushes: AtomicUsize,
}

struct Recorder(Arc<Told>);

impl Kernel for Recorder {
    fn invalidate(&self, inos: Vec<Ino>) {
        self.0.invalidated.lock().unwrap().extend(inos);
    }

    fn wake(&self, wake: Wake) {
        wake();
    }

    fn flushed(&self) -> BoxFuture<'static, ()> {
        self.0.flushes.fetch_add(1, Ordering::SeqCst);
        Box::pin(async {})
    }
}

#[tokio::test]
async fn commands_take_effect_before_they_are_answered() {
    let f = Fixture::new(3, TIMEOUT).await;
    assert_eq!(f.read("i001/state").unwrap(), "created\n");
    assert_eq!(f.read("i001/pid.txt").unwrap(), "");
    f.write("control", &[b"start\n"]).await.unwrap();
    for node in ["i001", "i002", "i003"] {
        assert_eq!(f.read(&format!("{node}/state")).unwrap(), "running\n");
        assert!(f.read(&format!("{node}/pid.txt")).unwrap().trim().parse::<u32>().unwrap() > 0);
    }
    let pid = f.read("i002/pid.txt").unwrap();
    f.write("i002/control", &[b"pause\n"]).await.unwrap();
    assert_eq!(f.read("i002/state").unwrap(), "paused\n");
    assert_eq!(f.read("i002/pid.txt").unwrap(), pid, "its process exists");
    assert!(f.read("status").unwrap().lines().any(|line| line.ends_with(pid.trim())));
    f.write("control", &[b"kill i001 i003\nresume i002\n"]).await.unwrap();
    let status = f.read("status").unwrap();
    let states: Vec<_> = status.lines().skip(1).map(|line| line.split_whitespace().nth(2).unwrap()).collect();
    assert_eq!(states, ["exited", "running", "exited"]);
    assert_eq!(f.read("i001/exit_code").unwrap(), "137\n");
}

#[tokio::test]
async fn pieces_of_lines_are_one_command_run_once() {
    let f = Fixture::new(1, TIMEOUT).await;
    let before = f.engine.calls(Op::Start);
    f.write("i001/control", &[b"sta", b"rt\n"]).await.unwrap();
    assert_eq!(f.engine.calls(Op::Start), before + 1);
    f.write("i001/control", &[b"stop"]).await.unwrap();
    assert_eq!(f.read("i001/state").unwrap(), "exited\n");
    f.write("i001/control", &[b"\n", b"  \n", b""]).await.unwrap();
}

#[tokio::test]
async fn errors_have_a_number_and_a_sentence_and_change_nothing() {
    let f = Fixture::new(2, TIMEOUT).await;
    let long = vec![b'x'; 3 << 20];
    let cases: [(&str, &[u8], Errno, &str); 12] = [
        ("i001/control", b"frobnicate\n", Errno::INVAL, "frobnicate"),
        ("i001/control", b"stop i002\n", Errno::INVAL, "i002"),
        ("i001/control", b"kill -s NOPE\n", Errno::INVAL, "NOPE"),
        ("i001/control", b"st\0op\n", Errno::INVAL, "NUL"),
        ("i001/control", &long, Errno::INVAL, "longer"),
        ("i001/control", b"kill\n", Errno::SRCH, "not running"),
        ("i001/net", b"loss 101%\n", Errno::INVAL, "101%"),
        ("links", b"i001>i002 drop\ni001>i003 drop\n", Errno::NOENT, "i003"),
        ("partition", b"i001 | i002\n\xff\n", Errno::INVAL, "UTF-8"),
        ("links", &long, Errno::INVAL, "longer"),
        ("control", b"stop i001 ../i002\n", Errno::NOENT, "../i002"),
        ("control", b"stop i003\n", Errno::NOENT, "i003"),
    ];
    for (path, line, errno, word) in cases {
        assert_eq!(f.write(path, &[line]).await, Err(errno), "{word}");
        let directory = if path.starts_with("i001/") { "i001/" } else { "" };
        let error = f.read(&format!("{directory}error")).unwrap();
        assert!(error.contains(word) && error.ends_with('\n') && error.lines().count() == 1, "{error}");
    }
    assert!(f.cluster.snapshot().iter().all(|node| node.state == State::Created));
    for path in ["partition", "links", "i001/net"] {
        assert_eq!(f.read(path).unwrap(), "", "{path}");
    }
}

#[tokio::test]
async fn one_failing_node_holds_back_no_other() {
    let f = Fixture::new(3, TIMEOUT).await;
    f.write("control", &[b"start i001 i003\n"]).await.unwrap();
    assert_eq!(f.write("control", &[b"kill -s KILL\n"]).await, Err(Errno::SRCH));
    assert_eq!(f.read("i001/state").unwrap(), "exited\n");
    assert_eq!(f.read("i003/state").unwrap(), "exited\n");
    assert!(f.read("error").unwrap().contains("i002"));
}

#[tokio::test]
async fn news_from_outside_is_seen_without_asking() {
    let f = Fixture::new(2, TIMEOUT).await;
    f.write("control", &[b"start\n"]).await.unwrap();
    f.engine.die("i001", 3).unwrap();
    eventually("exited", || f.read("i001/exit_code").unwrap() == "3\n").await;
    f.engine.remove_outside("i002").unwrap();
    eventually("missing", || f.read("i002/state").unwrap() == "missing\n").await;
    assert_eq!(f.read("i002/id").unwrap(), "");
    f.write("i002/control", &[b"start\n"]).await.unwrap();
    assert_eq!(f.read("i002/state").unwrap(), "running\n");
}

#[tokio::test]
async fn a_lost_sandbox_is_made_anew_with_its_node() {
    let f = Fixture::new(1, TIMEOUT).await;
    f.write("control", &[b"start\n"]).await.unwrap();
    let first = f.read("i001/id").unwrap();
    f.engine.kill_outside("i001").unwrap();
    f.engine.remove_outside("i001-sandbox").unwrap();
    f.write("control", &[b"start\n"]).await.unwrap();
    assert_eq!(f.read("i001/state").unwrap(), "running\n");
    assert_ne!(f.read("i001/id").unwrap(), first);
}

#[tokio::test]
async fn live_values_are_not_guessed_while_the_engine_is_away() {
    let f = Fixture::new(1, TIMEOUT).await;
    f.write("control", &[b"start\n"]).await.unwrap();
    f.engine.disconnect();
    eventually("unknown", || f.read("i001/state") == Err(Errno::HOSTDOWN)).await;
    assert_eq!(f.read("status"), Err(Errno::HOSTDOWN));
    assert_eq!(f.read("i001/name").unwrap(), "i001\n");
    assert_eq!(f.write("i001/control", &[b"stop\n"]).await, Err(Errno::HOSTDOWN));
    // What happens meanwhile is told by nobody.
    f.engine.reconnect();
    eventually("back", || f.read("i001/state").as_deref() == Ok("running\n")).await;
    f.write("i001/control", &[b"stop\n"]).await.unwrap();
}

#[tokio::test]
async fn lost_events_do_not_outlive_a_command() {
    let f = Fixture::new(1, TIMEOUT).await;
    f.write("control", &[b"start\n"]).await.unwrap();
    f.engine.lose_events(100);
    f.engine.die("i001", 1).unwrap();
    f.write("control", &[b"start\n"]).await.unwrap();
    assert_eq!(f.read("i001/state").unwrap(), "running\n");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_does_not_answer_costs_the_deadline_once() {
    let f = Fixture::new(20, Duration::from_millis(200)).await;
    f.engine.hang(Op::Start);
    let began = tokio::time::Instant::now();
    assert_eq!(f.write("control", &[b"start\n"]).await, Err(Errno::TIMEDOUT));
    // Not one deadline for each batch of eight.
    assert!(began.elapsed() < Duration::from_millis(400), "{:?}", began.elapsed());
    f.engine.release(Op::Start);
}

#[tokio::test]
async fn the_engine_is_heard() {
    let f = Fixture::new(1, TIMEOUT).await;
    f.engine.fail_next(Op::Start, 1, EngineError::Refused("exec: no such file".into()));
    assert_eq!(f.write("i001/control", &[b"start\n"]).await, Err(Errno::IO));
    assert_eq!(f.read("i001/error").unwrap(), "i001: the engine refused: exec: no such file\n");
}

#[tokio::test]
async fn idle_asks_the_engine_nothing() {
    let f = Fixture::new(3, TIMEOUT).await;
    f.write("control", &[b"start\n"]).await.unwrap();
    let calls = || [Op::Inspect, Op::List].map(|op| f.engine.calls(op));
    // Let what the start stirred up settle.
    let mut before = calls();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = calls();
        if now == before {
            break;
        }
        before = now;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(calls(), before);
}

#[tokio::test]
async fn poll_tells_a_change_once() {
    let f = Fixture::new(1, TIMEOUT).await;
    let (state, pid) = (f.find("i001/state"), f.find("i001/pid.txt"));
    let told = Arc::new(Told::default());
    f.tree.connect(Box::new(Recorder(told.clone())));
    let fh = f.tree.open(state, false).unwrap();
    let woken = Arc::new(AtomicUsize::new(0));
    let count = woken.clone();
    let wake = Box::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    assert!(!f.tree.poll(fh, Some(wake)).unwrap());
    f.write("i001/control", &[b"start\n"]).await.unwrap();
    assert_eq!(woken.load(Ordering::SeqCst), 1);
    let invalidated = told.invalidated.lock().unwrap().clone();
    assert!(invalidated.contains(&state) && invalidated.contains(&pid));
    assert!(told.flushes.load(Ordering::SeqCst) > 0, "told before the write was answered");
    assert!(f.tree.poll(fh, None).unwrap());
    assert_eq!(f.tree.read(fh, 0, 100).unwrap(), b"running\n");
    assert!(!f.tree.poll(fh, None).unwrap());
    f.tree.release(fh);
    assert_eq!(f.tree.poll(fh, None), Err(Errno::BADF));
}

#[tokio::test]
async fn an_open_handle_reads_one_version() {
    let f = Fixture::new(1, TIMEOUT).await;
    let fh = f.tree.open(f.find("i001/state"), false).unwrap();
    assert_eq!(f.tree.read(fh, 0, 3).unwrap(), b"cre");
    f.write("i001/control", &[b"start\n"]).await.unwrap();
    assert_eq!(f.tree.read(fh, 3, 100).unwrap(), b"ated\n");
    assert_eq!(f.tree.read(fh, 0, 100).unwrap(), b"running\n");
    let ino = f.find("i001/state");
    assert_eq!(f.tree.attr(ino).unwrap().size, 8);
}

#[tokio::test]
async fn a_cancelled_write_skips_what_has_not_begun() {
    let f = Fixture::new(1, TIMEOUT).await;
    let fh = f.tree.open(f.find("i001/control"), true).unwrap();
    let cthulhu::tree::Written::Later(pending) = f.tree.write(fh, cthulhu::tree::Position::default(), b"start\nstop\n")
    else {
        panic!("at once")
    };
    pending.cancelled.store(true, Ordering::Release);
    assert_eq!(pending.done.await, Err(Errno::INTR));
    assert_eq!(f.read("i001/state").unwrap(), "created\n");
    assert_eq!(done(f.tree.flush(fh)).await, Ok(0));
}

#[derive(Clone, Debug)]
enum Step {
    Command(&'static str, usize),
    Outside(&'static str, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let verbs = prop::sample::select(vec!["start", "stop", "restart -t 0", "kill", "pause", "resume", "kill -s USR1"]);
    let outside = prop::sample::select(vec!["die", "kill", "start", "pause", "unpause", "remove"]);
    prop_oneof![
        3 => (verbs, 0..3usize).prop_map(|(verb, node)| Step::Command(verb, node)),
        1 => (outside, 0..3usize).prop_map(|(what, node)| Step::Outside(what, node)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// After every command that succeeded, what is read is what the engine has; and once all news is in, everywhere.
    #[test]
    fn what_is_read_is_what_the_engine_has(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let f = Fixture::new(3, TIMEOUT).await;
            f.engine.duplicate_events(true);
            for step in &steps {
                match step {
                    Step::Command(verb, node) => {
                        let path = format!("i{:03}/control", node + 1);
                        let line = format!("{verb}\n");
                        if f.write(&path, &[line.as_bytes()]).await.is_ok() {
                            agree(&f, *node);
                        }
                    }
                    Step::Outside(what, node) => {
                        let name = format!("i{:03}", node + 1);
                        let _ = match *what {
                            "die" => f.engine.die(&name, 7),
                            "kill" => f.engine.kill_outside(&name),
                            "start" => f.engine.start_outside(&name),
                            "pause" => f.engine.pause_outside(&name),
                            "unpause" => f.engine.unpause_outside(&name),
                            _ => f.engine.remove_outside(&name),
                        };
                    }
                }
            }
            for node in 0..3 {
                eventually("all agree", || truth(&f, node) == said(&f, node)).await;
            }
        });
    }
}

fn truth(f: &Fixture, node: usize) -> String {
    let name = format!("i{:03}", node + 1);
    match f.engine.containers().into_iter().find(|container| container.name == name) {
        Some(container) => format!("{:?}\n", container.status).to_lowercase(),
        None => "missing\n".into(),
    }
}

fn said(f: &Fixture, node: usize) -> String {
    f.read(&format!("i{:03}/state", node + 1)).unwrap()
}

fn agree(f: &Fixture, node: usize) {
    assert_eq!(said(f, node), truth(f, node));
}
