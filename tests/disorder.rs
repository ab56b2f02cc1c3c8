//! News that is lost, late, doubled and out of order, and an engine that falls silent: over the simulated engine, without a
//! mount. Once the stream is read again or a command has run, the tree tells the truth.

mod common;

use std::time::Duration;

use common::{Fixture, eventually};
use cthulhu::engine::simulated::Op;
use cthulhu::engine::{EngineError, Event};
use proptest::prelude::*;
use rustix::io::Errno;

const TIMEOUT: Duration = Duration::from_secs(30);

/// What the engine has of a node, as the files `state`, `pid.txt` and `id` say it.
fn truth(f: &Fixture, node: usize) -> [String; 3] {
    let name = format!("i{:03}", node + 1);
    let line = |text: String| format!("{text}\n");
    match f.engine.containers().into_iter().find(|container| container.name == name) {
        Some(container) => {
            let pid = container.pid;
            let state = format!("{:?}", container.status).to_lowercase();
            [line(state), pid.map(|pid| line(pid.to_string())).unwrap_or_default(), line(container.id.to_string())]
        }
        None => [line("missing".into()), String::new(), String::new()],
    }
}

/// What the tree says of it.
fn said(f: &Fixture, node: usize) -> Result<[String; 3], Errno> {
    let read = |file: &str| f.read(&format!("i{:03}/{file}", node + 1));
    Ok([read("state")?, read("pid.txt")?, read("id")?])
}

fn agrees(f: &Fixture, node: usize) -> bool {
    said(f, node) == Ok(truth(f, node))
}

async fn all_agree(f: &Fixture) {
    eventually("all agree", || (0..f.cluster.len()).all(|node| agrees(f, node))).await;
}

/// Breaks the connection and mends it: all is read again.
async fn read_anew(f: &Fixture) {
    f.engine.disconnect();
    eventually("the loss is known", || f.read("status") == Err(Errno::HOSTDOWN)).await;
    f.engine.reconnect();
    eventually("the engine is back", || f.read("status").is_ok()).await;
}

#[derive(Clone, Debug)]
enum Step {
    Command(&'static str, usize),
    Outside(&'static str, usize),
    /// The next so many events are lost.
    Lose(u64),
    /// Events are doubled from now on, or not.
    Double(bool),
    /// Events are late from now on.
    Hold,
    /// The late ones come, shuffled by this seed; some come twice, some never.
    Deliver(u64),
    ReadAnew,
}

fn step() -> impl Strategy<Value = Step> {
    let verbs = prop::sample::select(vec!["start", "stop", "restart -t 0", "kill", "pause", "resume", "kill -s USR1"]);
    let outside = prop::sample::select(vec!["die", "start", "pause", "unpause", "remove"]);
    prop_oneof![
        6 => (verbs, 0..3usize).prop_map(|(verb, node)| Step::Command(verb, node)),
        6 => (outside, 0..3usize).prop_map(|(what, node)| Step::Outside(what, node)),
        2 => (1..4u64).prop_map(Step::Lose),
        1 => any::<bool>().prop_map(Step::Double),
        2 => Just(Step::Hold),
        2 => any::<u64>().prop_map(Step::Deliver),
        1 => Just(Step::ReadAnew),
    ]
}

/// Makes a mess of the order.
fn disarrange(events: &mut Vec<Event>, mut seed: u64) {
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below.max(1)
    };
    for at in (1..events.len()).rev() {
        events.swap(at, random(at + 1));
    }
    for _ in 0..events.len() / 4 {
        let at = random(events.len());
        match random(2) {
            0 => drop(events.remove(at)),
            _ => events.push(events[at].clone()),
        }
    }
}

async fn act(f: &Fixture, step: &Step) {
    match *step {
        Step::Command(verb, node) => {
            let line = format!("{verb}\n");
            if f.write(&format!("i{:03}/control", node + 1), &[line.as_bytes()]).await.is_ok() {
                assert_eq!(said(f, node), Ok(truth(f, node)), "after {verb}");
            }
        }
        Step::Outside(what, node) => {
            let name = format!("i{:03}", node + 1);
            // What cannot be done is not done.
            let _ = match what {
                "die" => f.engine.die(&name, 7),
                "start" => f.engine.start_outside(&name),
                "pause" => f.engine.pause_outside(&name),
                "unpause" => f.engine.unpause_outside(&name),
                _ => f.engine.remove_outside(&name),
            };
        }
        Step::Lose(count) => f.engine.lose_events(count),
        Step::Double(twice) => f.engine.duplicate_events(twice),
        Step::Hold => f.engine.hold_events(),
        Step::Deliver(seed) => f.engine.deliver_events(|events| disarrange(events, seed)),
        Step::ReadAnew => {
            read_anew(f).await;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn after_any_mess_the_tree_tells_the_truth(steps in prop::collection::vec(step(), 1..60), seed in any::<u64>()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let f = Fixture::new(3, TIMEOUT).await;
            for step in &steps {
                act(&f, step).await;
            }
            read_anew(&f).await;
            all_agree(&f).await;
            // What was late comes even later than the truth.
            f.engine.deliver_events(|events| disarrange(events, seed));
            all_agree(&f).await;
        });
    }
}

#[tokio::test]
async fn events_that_come_after_a_command_do_not_undo_it() {
    let f = Fixture::new(1, TIMEOUT).await;
    f.engine.hold_events();
    for verb in [&b"start\n"[..], b"kill\n", b"start\n", b"pause\n"] {
        f.write("i001/control", &[verb]).await.unwrap();
    }
    f.engine.deliver_events(|events| events.reverse());
    for _ in 0..20 {
        assert_eq!(f.read("i001/state").unwrap(), "paused\n");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(agrees(&f, 0));
}

/// A limit: a lost event leaves nothing to notice it by. The next news of the node tells, or a command.
#[tokio::test]
async fn a_lost_event_shows_with_the_next_one() {
    let f = Fixture::new(2, TIMEOUT).await;
    f.write("control", &[b"start\n"]).await.unwrap();
    f.engine.lose_events(1);
    f.engine.die("i001", 7).unwrap();
    f.engine.lose_events(1);
    f.engine.die("i002", 7).unwrap();
    assert_eq!(f.read("i001/state").unwrap(), "running\n");
    f.engine.start_outside("i001").unwrap();
    f.engine.kill_outside("i001").unwrap();
    eventually("told", || f.read("i001/exit_code").unwrap() == "137\n").await;
    assert_eq!(f.write("i002/control", &[b"kill\n"]).await, Err(Errno::SRCH));
    assert_eq!(f.read("i002/state").unwrap(), "exited\n");
    assert_eq!(f.read("i002/exit_code").unwrap(), "7\n");
}

#[tokio::test]
async fn an_inspection_that_failed_is_made_again() {
    let f = Fixture::new(1, TIMEOUT).await;
    f.write("control", &[b"start\n"]).await.unwrap();
    for error in [EngineError::Refused("try again".into()), EngineError::Unreachable("a moment".into())] {
        f.engine.fail_next(Op::Inspect, 1, error);
        f.engine.pause_outside("i001").unwrap();
        eventually("paused", || f.read("i001/state").as_deref() == Ok("paused\n")).await;
        f.engine.unpause_outside("i001").unwrap();
        eventually("running", || f.read("i001/state").as_deref() == Ok("running\n")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_silent_is_known_to_be_when_a_command_has_timed_out() {
    let f = Fixture::new(20, Duration::from_millis(600)).await;
    f.write("control", &[b"start\n"]).await.unwrap();
    let others = Op::ALL.into_iter().filter(|op| !matches!(op, Op::Logs | Op::Attach));
    others.clone().for_each(|op| f.engine.hang(op));
    // Nobody has asked, so nobody can know.
    assert_eq!(f.read("i001/state").unwrap(), "running\n");
    let pings = f.engine.calls(Op::Ping);
    let began = tokio::time::Instant::now();
    assert_eq!(f.write("control", &[b"restart\n"]).await, Err(Errno::TIMEDOUT));
    // Not one deadline for each batch of eight.
    assert!(began.elapsed() < Duration::from_millis(1800), "{:?}", began.elapsed());
    assert_eq!(f.read("i001/state"), Err(Errno::HOSTDOWN));
    assert_eq!(f.read("status"), Err(Errno::HOSTDOWN));
    assert_eq!(f.read("i001/name").unwrap(), "i001\n");
    assert!(f.engine.calls(Op::Ping) < pings + 10, "each of the 20 nodes has asked");
    f.engine.kill_outside("i002").unwrap();
    others.for_each(|op| f.engine.release(op));
    eventually("back", || f.read("i002/state").as_deref() == Ok("exited\n")).await;
    all_agree(&f).await;
    f.write("control", &[b"start\n"]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_command_on_an_engine_that_answers_leaves_the_values_known() {
    let f = Fixture::new(2, Duration::from_millis(400)).await;
    f.write("control", &[b"start\n"]).await.unwrap();
    f.engine.hang(Op::Stop);
    assert_eq!(f.write("i001/control", &[b"stop -t 0\n"]).await, Err(Errno::TIMEDOUT));
    assert_eq!(f.read("i001/state").unwrap(), "running\n");
    assert_eq!(f.read("i002/state").unwrap(), "running\n");
    f.engine.release(Op::Stop);
}

#[tokio::test]
async fn start_makes_a_running_node_whole_that_has_lost_its_sandbox() {
    let f = Fixture::new(1, TIMEOUT).await;
    f.write("control", &[b"start\n"]).await.unwrap();
    let first = f.read("i001/id").unwrap();
    f.write("control", &[b"start\n"]).await.unwrap();
    assert_eq!(f.read("i001/id").unwrap(), first);
    f.engine.remove_outside("i001-sandbox").unwrap();
    assert_eq!(f.read("i001/state").unwrap(), "running\n");
    f.write("control", &[b"start\n"]).await.unwrap();
    assert_ne!(f.read("i001/id").unwrap(), first);
    assert!(agrees(&f, 0));
    assert!(f.engine.containers().iter().any(|container| container.name == "i001-sandbox"));
}

#[tokio::test]
async fn a_loss_that_many_notice_is_told_once() {
    let f = Fixture::new(3, TIMEOUT).await;
    f.write("control", &[b"start\n"]).await.unwrap();
    for _ in 0..10 {
        f.engine.disconnect();
        // The stream of events breaks, and so does everybody's own connection.
        futures_util::future::join_all((0..8).map(|_| f.watch.check_liveness(0))).await;
        eventually("unknown", || f.read("i001/state") == Err(Errno::HOSTDOWN)).await;
        f.engine.reconnect();
        f.write("i001/control", &[b"start\n"]).await.unwrap();
        for _ in 0..20 {
            assert_eq!(f.read("i001/state").as_deref(), Ok("running\n"), "the loss is over");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn output_that_does_not_come_makes_no_command_late() {
    let f = Fixture::new(1, TIMEOUT).await;
    f.engine.hang(Op::Logs);
    f.write("i001/control", &[b"start\n"]).await.unwrap();
    f.engine.delay(Op::Kill, TIMEOUT - Duration::from_secs(1));
    f.write("i001/control", &[b"kill\n"]).await.unwrap();
    assert_eq!(f.read("i001/state").unwrap(), "exited\n");
    assert_eq!(f.read("i001/log").unwrap(), "", "it did not come");
    f.engine.release(Op::Logs);
    eventually("it comes later", || f.read("i001/log").unwrap() == "started\nexited 137\n").await;
}
