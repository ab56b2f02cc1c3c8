//! The tree over the simulated engine, without a mount.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Fixture, done, eventually};
use cthulhu::cluster::State;
use cthulhu::engine::EngineError;
use cthulhu::engine::simulated::Op;
use cthulhu::tree::{Ino, KernelNotifier, LONGEST_WRITE, Wake};
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

impl KernelNotifier for Recorder {
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
async fn a_write_that_the_kernel_may_have_split_is_refused_whole() {
    let f = Fixture::new(2, TIMEOUT).await;
    let lines = |size: usize| [&b"\n".repeat(size - 5)[..], b"stop\n"].concat();
    f.write("control", &[b"start\n"]).await.unwrap();
    for path in ["control", "history", "links", "i001/net", "i001/control"] {
        assert_eq!(f.write(path, &[&lines(LONGEST_WRITE + 1)]).await, Err(Errno::FBIG), "{path}");
        let error = if path.starts_with("i001") { "i001/error" } else { "error" };
        assert!(f.read(error).unwrap().contains("at most 1044480 bytes"), "{path}");
    }
    assert_eq!(f.read("i001/state").unwrap(), "running\n");
    f.write("i001/control", &[&lines(LONGEST_WRITE)]).await.unwrap();
    assert_eq!(f.read("i001/state").unwrap(), "exited\n");
    // One long line takes effect at its end alone, however it comes.
    let partition = format!("{}i001 |", " ".repeat(LONGEST_WRITE));
    let fh = f.tree.open(f.find("partition"), true).unwrap();
    for (offset, piece) in [(0, partition.as_bytes()), (partition.len() as u64, b" i002\n")] {
        let at = cthulhu::tree::Position { offset, appends: false };
        done(f.tree.write(fh, at, piece)).await.unwrap();
    }
    f.tree.release(fh);
    assert_eq!(f.read("partition").unwrap(), "i001 | i002\n");
}

#[tokio::test]
async fn a_command_that_was_begun_outlives_a_write_that_is_refused() {
    let f = Fixture::new(1, TIMEOUT).await;
    let fh = f.tree.open(f.find("control"), true).unwrap();
    let write = |text: &'static [u8]| done(f.tree.write(fh, cthulhu::tree::Position::default(), text));
    write(b"sta").await.unwrap();
    assert_eq!(write(b"rt\nnonsense\n").await, Err(Errno::INVAL));
    assert_eq!(f.read("i001/state").unwrap(), "created\n", "nothing of it is run");
    write(b"rt\n").await.unwrap();
    assert_eq!(f.read("i001/state").unwrap(), "running\n");
    write(b"non").await.unwrap();
    assert_eq!(write(b"sense\n").await, Err(Errno::INVAL));
    write(b"stop\n").await.unwrap();
    assert_eq!(f.read("i001/state").unwrap(), "exited\n");
    f.tree.release(fh);
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

#[tokio::test(start_paused = true)]
async fn a_commands_time_runs_from_its_write_also_while_another_has_the_node() {
    let f = Fixture::new(1, Duration::from_secs(10)).await;
    f.write("control", &[b"start\n"]).await.unwrap();
    f.engine.delay(Op::Pause, Duration::from_secs(8));
    f.engine.hang(Op::Kill);
    let began = tokio::time::Instant::now();
    let done = tokio::join!(f.write("i001/control", &[b"pause\n"]), f.write("i001/control", &[b"kill\n"]));
    assert_eq!(done, (Ok(()), Err(Errno::BUSY)));
    assert!(began.elapsed() < Duration::from_secs(11), "{:?}", began.elapsed());
    f.engine.delay(Op::Pause, Duration::from_secs(5));
    f.write("i001/control", &[b"resume\n"]).await.unwrap();
    let began = tokio::time::Instant::now();
    let done = tokio::join!(f.write("i001/control", &[b"pause\n"]), f.write("i001/control", &[b"kill\n"]));
    assert_eq!(done, (Ok(()), Err(Errno::TIMEDOUT)));
    assert!(began.elapsed() < Duration::from_secs(11), "{:?}", began.elapsed());
    f.engine.release(Op::Kill);
}

#[tokio::test(start_paused = true)]
async fn a_grace_that_a_node_does_not_need_is_no_time_for_its_start() {
    let f = Fixture::new(1, Duration::from_secs(10)).await;
    f.write("control", &[b"start\n"]).await.unwrap();
    f.engine.hang(Op::Start);
    let began = tokio::time::Instant::now();
    assert_eq!(f.write("i001/control", &[b"restart -t 600\n"]).await, Err(Errno::TIMEDOUT));
    assert!(began.elapsed() < Duration::from_secs(11), "{:?}", began.elapsed());
    f.engine.release(Op::Start);
}

#[tokio::test]
async fn each_thread_has_a_number_of_its_own_for_what_makes_writers_wait() {
    let f = Fixture::new(1, TIMEOUT).await;
    let seen = |name: &str, thread| f.tree.lookup(Ino::ROOT, name.as_ref(), thread).unwrap();
    for name in ["control", "partition", "links"] {
        let (one, other) = (seen(name, 4711), seen(name, u32::MAX >> 10));
        assert_ne!(one, other, "{name}");
        assert_eq!(f.tree.attr(one).unwrap().ino, one);
        let fh = f.tree.open(one, true).unwrap();
        assert_eq!(f.tree.read(fh, 0, 4096).unwrap(), f.read(name).unwrap().into_bytes());
        assert!(!f.tree.is_cacheable(other), "nobody is told when this number changes");
    }
    assert_eq!(seen("status", 1), seen("status", 2));
    let listed = |entry: cthulhu::tree::DirEntry<'_>| {
        assert!(entry.name.starts_with('.') || entry.ino == seen(entry.name, 4711), "{entry:?}");
        false
    };
    f.tree.readdir(Ino::ROOT, 4711, 0, listed).unwrap();
}

#[tokio::test]
async fn access_is_what_the_modes_say() {
    let f = Fixture::new(1, TIMEOUT).await;
    for (path, owner, root) in [("status", 0o4, 0o6), ("history", 0o6, 0o6), ("control", 0o7, 0o7), ("i001", 0o7, 0o7)]
    {
        for wanted in 0..=0o7 {
            let expected = |granted: u32| if wanted & !granted == 0 { Ok(()) } else { Err(Errno::ACCESS) };
            let ino = f.find(path);
            assert_eq!(f.tree.access(ino, wanted, false), expected(owner), "{path} {wanted:o}");
            assert_eq!(f.tree.access(ino, wanted, true), expected(root), "{path} {wanted:o}, root");
        }
    }
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

#[tokio::test]
async fn what_nobody_has_asked_for_again_is_told_to_the_kernel_once() {
    let f = Fixture::new(2, TIMEOUT).await;
    let told = Arc::new(Told::default());
    f.tree.connect(Box::new(Recorder(told.clone())));
    let (status, inspect) = (f.find("status"), f.find("i002/inspect.json"));
    let times = |ino| told.invalidated.lock().unwrap().iter().filter(|told| **told == ino).count();
    for ino in [status, inspect] {
        f.tree.attr(ino).unwrap();
    }
    let before = f.tree.attr(status).unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    f.write("control", &[b"start i002\n"]).await.unwrap();
    let after = std::time::SystemTime::now();
    tokio::time::sleep(Duration::from_millis(5)).await;
    // Several things have changed since, and nobody has looked: the kernel remembers nothing that it could be told to forget.
    assert_eq!((times(status), times(inspect)), (1, 1));
    let attr = f.tree.attr(status).unwrap();
    assert!(
        attr.mtime > before.mtime && attr.mtime < after,
        "it has changed when the node did, not when somebody looked"
    );
    assert_eq!(attr.size, f.read("status").unwrap().len() as u64);
    f.write("control", &[b"stop i001\n"]).await.unwrap();
    assert_eq!(f.tree.attr(status).unwrap().mtime, attr.mtime, "nothing of it has changed");
    f.write("control", &[b"kill i002\n"]).await.unwrap();
    assert_eq!((times(status), times(inspect)), (2, 1), "one of them was looked at");
}

/// What the files of a node say, but for those that name its container.
fn files(f: &Fixture, node: &str) -> Vec<String> {
    let names = ["state", "pid.txt", "exit_code", "ready", "ready_reason", "health", "error", "net", "ip"];
    names.iter().map(|name| format!("{name}: {}", f.read(&format!("{node}/{name}")).unwrap())).collect()
}

#[tokio::test]
async fn a_reset_cluster_is_as_after_mount() {
    let f = Fixture::new(3, TIMEOUT).await;
    let nodes = ["i001", "i002", "i003"];
    let all = || {
        let shared = ["status", "partition", "links", "error"].map(|name| f.read(name).unwrap());
        (nodes.map(|node| files(&f, node)), shared)
    };
    let ids = |node: bool| {
        let containers = f.engine.containers();
        let ids = containers.iter().filter(|container| nodes.contains(&container.name.as_str()) == node);
        let mut ids: Vec<_> = ids.map(|container| container.id.0.clone()).collect();
        ids.sort();
        ids
    };
    let (fresh, containers, sandboxes) = (all(), ids(true), ids(false));
    assert_eq!((containers.len(), sandboxes.len()), (3, 3));
    f.write("control", &[b"start\n"]).await.unwrap();
    f.write("partition", &[b"i001 | i002 i003\n"]).await.unwrap();
    f.write("i002/net", &[b"loss 5%\n"]).await.unwrap();
    f.write("links", &[b"i003>* delay 5ms\n"]).await.unwrap();
    f.write("control", &[b"pause i001\n"]).await.unwrap();
    f.write("control", &[b"crash i002\n"]).await.unwrap();
    f.write("i003/control", &[b"kill\n"]).await.unwrap();
    assert_eq!(f.write("i003/control", &[b"kill\n"]).await, Err(Errno::SRCH));
    assert_eq!(f.write("control", &[b"nonsense\n"]).await, Err(Errno::INVAL));
    assert_ne!(all(), fresh);
    f.write("control", &[b"reset\n"]).await.unwrap();
    assert_eq!(all(), fresh);
    assert_eq!(ids(false), sandboxes, "sandboxes stay");
    assert!(ids(true).len() == 3 && ids(true).iter().all(|id| !containers.contains(id)), "containers are new");
    f.write("control", &[b"reset --start i002\n"]).await.unwrap();
    let states = nodes.map(|node| f.read(&format!("{node}/state")).unwrap());
    assert_eq!(states, ["created\n", "running\n", "created\n"]);
}

#[tokio::test]
async fn a_node_that_cannot_be_reset_holds_back_no_other() {
    let f = Fixture::new(2, TIMEOUT).await;
    f.write("control", &[b"start\n"]).await.unwrap();
    f.engine.fail_next(Op::Create, 1, EngineError::Refused("no room".into()));
    assert_eq!(f.write("control", &[b"reset\n"]).await, Err(Errno::IO));
    let states = ["i001", "i002"].map(|node| f.read(&format!("{node}/state")).unwrap());
    assert!(states.contains(&"created\n".into()) && states.contains(&"missing\n".into()), "{states:?}");
    assert!(f.read("error").unwrap().contains("no room"));
    f.write("control", &[b"reset\n"]).await.unwrap();
    assert_eq!(f.read("status").unwrap().matches("created").count(), 2);
    assert_eq!(f.read("error").unwrap(), "");
}

#[tokio::test]
async fn nodes_whose_faults_cannot_be_healed_are_not_made() {
    let f = Fixture::new(3, TIMEOUT).await;
    f.write("control", &[b"start\n"]).await.unwrap();
    f.write("partition", &[b"i002 | i001 i003\n"]).await.unwrap();
    let sandbox = f.engine.containers().into_iter().find(|container| container.name == "i002-sandbox").unwrap();
    f.engine.refuse_changes(&sandbox.id, &[true]).unwrap();
    assert_eq!(f.write("control", &[b"reset --start\n"]).await, Err(Errno::IO));
    assert_eq!(f.read("status").unwrap().matches("missing").count(), 3);
    assert_eq!(f.read("error").unwrap().matches("told to refuse").count(), 1, "once, not for each node");
    assert_eq!(f.read("partition").unwrap(), "i002 | i001 i003\n", "it is still in force");
    f.write("control", &[b"reset --start\n"]).await.unwrap();
    assert_eq!(f.read("status").unwrap().matches("running").count(), 3);
    assert_eq!(f.read("partition").unwrap(), "");
}
