//! Commands, events and readers at once, under many schedules of their tasks: what a write that succeeded changed is
//! read next, and no command runs twice.
//!
//! shuttle runs one task at a time and chooses at every lock, channel and await who goes on. A schedule that fails is
//! printed and can be run again with `shuttle::replay`.

// Clippy does not come here: it would compile everything once more, for this file.
#![deny(warnings)]

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::Fixture;
use cthulhu::engine::simulated::Op;
use cthulhu::sync::{self, Mutex};
use cthulhu::tree::{Attr, Ino, KernelNotifier, Tree, Wake};
use futures_util::future::{BoxFuture, join, join3};
use rustix::io::Errno;
use shuttle::scheduler::{PctScheduler, RandomScheduler};

/// Of each kind; SCHEDULES=N says otherwise.
const SCHEDULES: usize = 400;

/// Runs a scenario under schedules drawn at random, and under such as switch seldom, where it hurts.
fn under_many_schedules<F: Future<Output = ()> + Send + 'static>(scenario: impl Fn() -> F + Send + Sync + 'static) {
    let count = std::env::var("SCHEDULES").ok().and_then(|count| count.parse().ok()).unwrap_or(SCHEDULES);
    let scenario = Arc::new(scenario);
    let mut config = shuttle::Config::new();
    config.stack_size = 1 << 20;
    // One that fails is a long text: it goes into a file, below target/.
    let failures = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    config.failure_persistence = shuttle::FailurePersistence::File(Some(failures));
    let again = scenario.clone();
    shuttle::Runner::new(RandomScheduler::new(count), config.clone()).run(move || shuttle::future::block_on(again()));
    // These are unfair: who waits by looking again and again may keep the one waited for from running. Such end here.
    config.max_steps = shuttle::MaxSteps::ContinueAfter(20_000);
    shuttle::Runner::new(PctScheduler::new(3, count), config).run(move || shuttle::future::block_on(scenario()));
}

/// A kernel that hears of nothing before it must.
#[derive(Default)]
struct Cache {
    remembered: Mutex<HashMap<Ino, Attr>>,
    on_the_way: Mutex<Vec<Ino>>,
}

impl Cache {
    fn getattr(&self, tree: &Tree, ino: Ino) {
        let attr = tree.attr(ino).unwrap();
        self.remembered.lock().insert(ino, attr);
    }

    fn size(&self, tree: &Tree, ino: Ino) -> u64 {
        let remembered = self.remembered.lock().get(&ino).map(|attr| attr.size);
        remembered.unwrap_or_else(|| tree.attr(ino).unwrap().size)
    }
}

struct Way(Arc<Cache>);

impl KernelNotifier for Way {
    fn invalidate(&self, inos: Vec<Ino>) {
        self.0.on_the_way.lock().extend(inos);
    }

    fn wake(&self, wake: Wake) {
        wake();
    }

    fn flushed(&self) -> BoxFuture<'static, ()> {
        let told = std::mem::take(&mut *self.0.on_the_way.lock());
        let mut remembered = self.0.remembered.lock();
        for ino in told {
            remembered.remove(&ino);
        }
        Box::pin(async {})
    }
}

async fn fixture(nodes: usize) -> (Arc<Fixture>, Arc<Cache>) {
    let fixture = Arc::new(Fixture::new(nodes, Duration::from_secs(30)).await);
    let cache = Arc::new(Cache::default());
    fixture.tree.connect(Box::new(Way(cache.clone())));
    (fixture, cache)
}

/// Runs a task of its own: on another thread, for all that anybody knows.
fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> impl Future<Output = T> {
    let task = sync::spawn(task);
    async { task.await.unwrap() }
}

async fn write(f: &Fixture, path: &str, line: &str) -> Result<(), Errno> {
    f.write(path, &[line.as_bytes()]).await
}

fn row(f: &Fixture, node: &str) -> String {
    let status = f.read("status").unwrap();
    let row = status.lines().find(|line| line.starts_with(node)).unwrap();
    row.split_whitespace().nth(2).unwrap().to_owned()
}

/// All files agree on the state of a node, and so does what the kernel remembers.
fn says(f: &Fixture, cache: &Cache, node: &str, state: &str) {
    let path = format!("{node}/state");
    assert_eq!(f.read(&path).unwrap().trim_end(), state);
    assert_eq!(row(f, node), state);
    assert_eq!(cache.size(&f.tree, f.find(&path)), state.len() as u64 + 1, "the kernel had not heard");
    let pid = f.read(&format!("{node}/pid.txt")).unwrap();
    assert_eq!(!pid.is_empty(), matches!(state, "running" | "paused"));
}

#[test]
fn what_a_write_changed_is_read_next() {
    under_many_schedules(|| async {
        let (f, cache) = fixture(2).await;
        write(&f, "i002/control", "start\n").await.unwrap();
        cache.getattr(&f.tree, f.find("i001/state"));
        let other = f.clone();
        let outside = spawn(async move {
            other.engine.die("i002", 1).unwrap();
            other.engine.remove_outside("i002").unwrap();
        });
        let reading = f.clone();
        let reader = spawn(async move {
            let state = reading.read("i001/state").unwrap();
            assert!(["created\n", "running\n", "paused\n", "exited\n"].contains(&state.as_str()), "{state}");
        });
        let writer = spawn(async move {
            for (line, state) in [("start\n", "running"), ("pause\n", "paused"), ("stop\n", "exited")] {
                write(&f, "i001/control", line).await.unwrap();
                says(&f, &cache, "i001", state);
                cache.getattr(&f.tree, f.find("i001/state"));
            }
        });
        join3(outside, reader, writer).await;
    });
}

/// The engine has done it, and its news is on the way while the command looks.
fn finds_nothing_to_do(what: fn(&Fixture), state: &'static str) {
    under_many_schedules(move || async move {
        let (f, cache) = fixture(1).await;
        write(&f, "control", "start\n").await.unwrap();
        cache.getattr(&f.tree, f.find("i001/state"));
        what(&f);
        let writer = spawn(async move {
            write(&f, "i001/control", "stop\n").await.unwrap();
            says(&f, &cache, "i001", state);
        });
        writer.await;
    });
}

#[test]
fn a_stop_that_finds_it_dead_says_so() {
    finds_nothing_to_do(|f| f.engine.die("i001", 3).unwrap(), "exited");
}

#[test]
fn a_stop_that_finds_it_removed_says_so() {
    finds_nothing_to_do(|f| f.engine.remove_outside("i001").unwrap(), "missing");
}

#[test]
fn two_that_command_one_node_do_it_in_turn_and_once() {
    under_many_schedules(|| async {
        let (f, cache) = fixture(1).await;
        let starts = f.engine.calls(Op::Start);
        let writer = |path: &'static str, line: &'static str| {
            let f = f.clone();
            spawn(async move { write(&f, path, line).await })
        };
        let (one, two) = join(writer("i001/control", "start\n"), writer("control", "start i001\n")).await;
        assert_eq!((one, two), (Ok(()), Ok(())));
        assert_eq!(f.engine.calls(Op::Start) - starts, 1, "the second found it running");
        says(&f, &cache, "i001", "running");

        let (one, two) = join(writer("i001/control", "kill -s USR1\n"), writer("control", "kill\n")).await;
        assert_eq!(two, Ok(()));
        let sent = f.engine.calls(Op::Kill);
        assert_eq!(sent, if one.is_ok() { 2 } else { 1 }, "{one:?}");
        says(&f, &cache, "i001", "exited");
    });
}

#[test]
fn pieces_of_one_line_from_two_tasks_are_one_command() {
    under_many_schedules(|| async {
        let (f, _) = fixture(1).await;
        write(&f, "control", "start\n").await.unwrap();
        let fh = f.tree.open(f.find("i001/control"), true).unwrap();
        let piece = |text: &'static [u8]| {
            let f = f.clone();
            spawn(async move { common::done(f.tree.write(fh, cthulhu::tree::Position::default(), text)).await })
        };
        let flush = |f: Arc<Fixture>| spawn(async move { common::done(f.tree.flush(fh)).await });
        assert_eq!(piece(b"kill -s ").await, Ok(8));
        let (rest, flushed) = join(piece(b"USR1\n"), flush(f.clone())).await;
        assert_eq!(rest, Ok(5));
        // Whoever closes its copy between the pieces has no command to close with.
        assert!(matches!(flushed, Ok(0) | Err(Errno::INVAL)), "{flushed:?}");
        // Two that close at once: one of them takes the line.
        assert_eq!(piece(b"kill -s USR1").await, Ok(12));
        let (one, two) = join(flush(f.clone()), flush(f.clone())).await;
        assert_eq!((one, two), (Ok(0), Ok(0)));
        assert_eq!(f.engine.calls(Op::Kill), 2);
    });
}

#[test]
fn a_write_after_the_engine_came_back_is_read_next() {
    under_many_schedules(|| async {
        let (f, cache) = fixture(1).await;
        f.engine.disconnect();
        while f.read("i001/state") != Err(Errno::HOSTDOWN) {
            sync::yield_now().await;
        }
        let other = f.clone();
        let back = spawn(async move { other.engine.reconnect() });
        let writer = spawn(async move {
            while let Err(errno) = write(&f, "i001/control", "start\n").await {
                assert_eq!(errno, Errno::HOSTDOWN);
                sync::yield_now().await;
            }
            says(&f, &cache, "i001", "running");
        });
        join(back, writer).await;
    });
}

#[test]
fn who_waits_in_poll_misses_nothing() {
    under_many_schedules(|| async {
        let (f, _) = fixture(1).await;
        let fh = f.tree.open(f.find("i001/state"), false).unwrap();
        let woken = Arc::new(AtomicUsize::new(0));
        let count = woken.clone();
        let other = f.clone();
        let poller = spawn(async move {
            let wake: Wake = Box::new(move || {
                count.fetch_add(1, Ordering::SeqCst);
            });
            other.tree.poll(fh, Some(wake)).unwrap()
        });
        let writing = f.clone();
        let writer = spawn(async move { write(&writing, "i001/control", "start\n").await });
        let (changed, written) = join(poller, writer).await;
        assert_eq!(written, Ok(()));
        assert!(changed || woken.load(Ordering::SeqCst) == 1);
        assert_eq!(f.tree.poll(fh, None), Ok(true));
    });
}

#[test]
fn all_that_happens_outside_is_shown_in_the_end() {
    under_many_schedules(|| async {
        let (f, _) = fixture(1).await;
        f.engine.duplicate_events(true);
        write(&f, "control", "start\n").await.unwrap();
        let other = f.clone();
        let outside = spawn(async move {
            // Each finds what the restart has left.
            let _ = other.engine.pause_outside("i001");
            let _ = other.engine.remove_outside("i001");
        });
        let writing = f.clone();
        let writer = spawn(async move { write(&writing, "control", "restart\n").await });
        // EBUSY if it was paused between stop and start.
        let _ = join(outside, writer).await;
        let truth = || {
            let container = f.engine.containers().into_iter().find(|container| container.name == "i001");
            container.map_or("missing\n".into(), |container| format!("{:?}\n", container.status).to_lowercase())
        };
        while f.read("i001/state").unwrap() != truth() {
            sync::yield_now().await;
        }
    });
}
