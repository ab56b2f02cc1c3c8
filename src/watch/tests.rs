use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;

use super::*;
use crate::cluster::{ClusterId, ClusterSpec, NodeSpec, label};
use crate::engine::simulated::{Op, SimulatedEngine};
use crate::engine::{ContainerSpec, Labels};
use crate::sync::time::Instant;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A cluster over the simulated engine, whose nodes run.
struct Watched {
    engine: SimulatedEngine,
    cluster: Cluster,
    watch: Watch,
    /// After each change: whether the engine can be reached, and the first node's probe result.
    seen: mpsc::Receiver<(bool, Option<bool>)>,
    _dir: tempfile::TempDir,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watch.stop();
    }
}

impl Watched {
    async fn new(nodes: usize, probe: impl Fn(&SimulatedEngine, usize) -> Option<Probe>) -> Self {
        Self::with_roles(nodes, probe, vec![]).await
    }

    async fn with_roles(
        nodes: usize,
        probe: impl Fn(&SimulatedEngine, usize) -> Option<Probe>,
        roles: Vec<RoleQuestion>,
    ) -> Self {
        let (engine, dir) = (SimulatedEngine::new(), tempfile::tempdir().unwrap());
        engine.add_image("image");
        let node = |index: usize| {
            let dir = dir.path().join(index.to_string());
            std::fs::create_dir(&dir).unwrap();
            let node = NodeSpec::numbered(index, [172, 30, 0, 2 + index as u8].into(), "image", dir);
            NodeSpec { probed: true, ..node }
        };
        let cluster = Cluster::new(ClusterSpec {
            id: ClusterId("0123456789ab".into()),
            mountpoint: "/mnt".into(),
            prefix: String::new(),
            prefixed_host_names: false,
            port: 8080,
            volumes: Default::default(),
            roles: (0..roles.len()).map(|at| format!("role{at}")).collect(),
            hosts: vec![],
            nodes: (0..nodes).map(node).collect(),
        });
        let (told, seen) = mpsc::channel();
        let model = cluster.clone();
        let on_change = Box::new(move |_| {
            let _ = told.send((model.is_reachable(0), model.node(0).probe));
        });
        let options =
            Options { probes: (0..nodes).map(|index| probe(&engine, index)).collect(), roles, ..Options::new(TIMEOUT) };
        let watch = Watch::begin(Arc::new(engine.clone()), cluster.clone(), options, on_change).await.unwrap();
        let watched = Self { engine, cluster, watch, seen, _dir: dir };
        for index in 0..nodes {
            let container = watched.engine.create(&watched.container(index)).await.unwrap();
            watched.engine.start(&container).await.unwrap();
            watched.watch.adopt(index, &container).await.unwrap();
        }
        watched
    }

    fn container(&self, index: usize) -> ContainerSpec {
        let labels: Labels = vec![(label::CLUSTER.into(), self.cluster.spec().id.0.clone())];
        ContainerSpec {
            name: self.cluster.node_spec(index).name.to_string(),
            image: "image".into(),
            labels,
            ..ContainerSpec::default()
        }
    }

    fn are_ready(&self) -> usize {
        self.cluster.snapshot().iter().filter(|node| node.is_ready()).count()
    }
}

/// Waits for a condition that another task makes true.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

/// A program that runs in the node.
fn program(engine: &SimulatedEngine, _: usize) -> Option<Probe> {
    Some(program_at(engine, Pace::default()))
}

fn program_at(engine: &SimulatedEngine, pace: Pace) -> Probe {
    let engine = engine.clone();
    let question: Ask = Box::new(move |container| {
        let engine = engine.clone();
        Box::pin(async move { engine.exec(&container, &[]).await.map(exit_answers) })
    });
    Probe::Ask { question, pace }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_goes_does_not_make_a_node_unready() {
    let f = Watched::new(1, program).await;
    let gone = || EngineError::Unreachable("gone".into());
    for silent in [true, false] {
        until("it is ready", || f.cluster.is_reachable(0) && f.are_ready() == 1).await;
        f.seen.try_iter().for_each(drop);
        if silent {
            f.engine.hang(Op::Exec);
            f.engine.hang(Op::Ping);
        } else {
            f.engine.fail_next(Op::Exec, 1, gone());
            f.engine.fail_next(Op::Ping, 2, gone());
        }
        until("the loss is known", || !f.cluster.is_reachable(0)).await;
        f.engine.release(Op::Exec);
        f.engine.release(Op::Ping);
        until("the engine is back", || f.cluster.is_reachable(0)).await;
        let seen: Vec<_> = f.seen.try_iter().collect();
        assert!(seen.contains(&(false, Some(true))), "{seen:?}");
        assert!(!seen.contains(&(true, Some(false))) && !seen.contains(&(false, Some(false))), "{seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_without_answer_makes_a_node_unready_while_the_engine_lives() {
    let f = Watched::new(1, program).await;
    until("it is ready", || f.are_ready() == 1).await;
    f.engine.fail_next(Op::Exec, 1, EngineError::Refused("no".into()));
    until("an error says no", || f.are_ready() == 0).await;
    until("it is ready again", || f.are_ready() == 1).await;
    f.engine.hang(Op::Exec);
    until("silence says no", || f.are_ready() == 0).await;
    let asked = f.engine.calls(Op::Exec);
    tokio::time::sleep(10 * TIMEOUT).await;
    assert_eq!(f.engine.calls(Op::Exec), asked, "no second question meanwhile");
    f.engine.release(Op::Exec);
    until("it is ready in the end", || f.are_ready() == 1).await;
    assert!(f.cluster.is_reachable(0));
}

#[tokio::test(start_paused = true)]
async fn a_few_are_asked_at_once_and_those_without_answer_keep_nobody_waiting() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, peak) = (now.clone(), most.clone());
    let ask = move |index: usize| -> Ask {
        let (counted, peak) = (counted.clone(), peak.clone());
        Box::new(move |_| {
            let (now, most) = (counted.clone(), peak.clone());
            Box::pin(async move {
                if index.is_multiple_of(2) {
                    std::future::pending::<()>().await;
                }
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(10)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(Answer::Yes)
            })
        })
    };
    let probe = |_: &_, index| Some(Probe::Ask { question: ask(index), pace: Pace::default() });
    let f = Watched::new(40, probe).await;
    until("those that answer are ready", || f.are_ready() == 20).await;
    let most = most.load(Ordering::SeqCst);
    assert!((2..=probe::AT_ONCE).contains(&most), "{most}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_waits_for_a_line_says_how_many_it_has_seen() {
    let f = Watched::new(1, |_, _| Some(Probe::Log(regex::bytes::Regex::new("^listening").unwrap()))).await;
    let unready = || f.cluster.node(0).unready.clone().unwrap_or_default();
    until("its start is told", || &*unready() == "1 line seen, none matches ^listening").await;
    f.seen.try_iter().for_each(drop);
    for _ in 0..1000 {
        f.engine.print("i001", b"something else\n").unwrap();
    }
    until("they are counted", || unready().starts_with("1001 lines")).await;
    assert!(f.seen.try_iter().count() < 10, "not one by one");
    f.engine.print("i001", b"listening\n").unwrap();
    until("it is ready", || f.are_ready() == 1).await;
    assert_eq!(&*unready(), "");
}

#[tokio::test(start_paused = true)]
async fn a_question_to_a_frozen_node_is_no_answer() {
    let f = Watched::new(1, program).await;
    until("it is ready", || f.are_ready() == 1).await;
    f.seen.try_iter().for_each(drop);
    for _ in 0..3 {
        f.engine.fail_next(Op::Exec, 1, EngineError::Conflict("is paused, unpause the container before exec".into()));
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(f.seen.try_iter().count(), 0, "nothing has changed");
    assert_eq!(f.are_ready(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_is_asked_at_the_pace_that_was_chosen() {
    let second = Duration::from_secs(1);
    let pace = Pace { until_ready: 30 * second, once_ready: 30 * second, timeout: 2 * second };
    let f = Watched::new(1, |engine, _| Some(program_at(engine, pace))).await;
    until("it is ready", || f.are_ready() == 1).await;
    let asked = f.engine.calls(Op::Exec);
    tokio::time::sleep(300 * second).await;
    assert!((9..=11).contains(&(f.engine.calls(Op::Exec) - asked)), "{}", f.engine.calls(Op::Exec) - asked);
    f.engine.hang(Op::Exec);
    until("silence says no", || f.are_ready() == 0).await;
    let unready = f.cluster.node(0).unready.clone().unwrap();
    assert!(unready.starts_with("no answer within 2 s since "), "{unready}");
}

/// A question about a role that takes a second, and how often it was begun. It must not be asked twice at once.
fn asked(
    answer: impl Fn(usize) -> std::result::Result<&'static str, &'static str> + Send + Sync + 'static,
) -> (RoleQuestion, Arc<AtomicUsize>) {
    let (begun, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, answer) = (begun.clone(), Arc::new(answer));
    let question: AskRole = Box::new(move || {
        let nth = count.fetch_add(1, Ordering::Relaxed);
        let (open, answer) = (open.clone(), answer.clone());
        Box::pin(async move {
            assert!(!open.swap(true, Ordering::Relaxed), "asked while it is asked");
            tokio::time::sleep(Duration::from_secs(1)).await;
            open.store(false, Ordering::Relaxed);
            answer(nth).map(Into::into).map_err(Into::into)
        })
    });
    (RoleQuestion { question, interval: Duration::from_secs(9) }, begun)
}

#[tokio::test(start_paused = true)]
async fn roles_are_asked_again_and_again_and_anew_for_those_who_need_them() {
    let (question, begun) = asked(|_| Ok("i002"));
    let f = Watched::with_roles(3, |_, _| None, vec![question]).await;
    let second = Duration::from_secs(1);
    let count = || begun.load(Ordering::Relaxed);
    f.watch.follow_roles();
    tokio::time::sleep(second / 2).await;
    assert_eq!(count(), 1);
    // One who needs it now waits for a question that begins after that; two who do share it.
    let began = Instant::now();
    tokio::join!(f.watch.ask_roles(&[0]), f.watch.ask_roles(&[0]));
    assert_eq!((count(), began.elapsed().as_millis() / 100), (2, 15));
    assert_eq!(f.cluster.roles().all()[0].nodes, [1]);
    f.watch.ask_roles(&[]).await;
    tokio::time::sleep(100 * second).await;
    assert_eq!(count(), 12, "every ten seconds");
    // Not while no node runs, unless somebody needs it.
    (1..=3).for_each(|nth| f.engine.die(&format!("i00{nth}"), 0).unwrap());
    until("none runs", || f.cluster.roles().all()[0].unknown.as_deref() == Some("no node runs")).await;
    let before = count();
    tokio::time::sleep(100 * second).await;
    assert_eq!(count(), before);
    f.watch.ask_roles(&[0]).await;
    assert_eq!((count(), &f.cluster.roles().all()[0].unknown), (before + 1, &None));
    // The end of the watch ends a wait, too.
    let waiting = async {
        tokio::time::sleep(second / 2).await;
        f.watch.0.closing.send_replace(true);
    };
    let began = Instant::now();
    tokio::join!(f.watch.ask_roles(&[0]), waiting);
    assert_eq!(began.elapsed().as_millis() / 100, 5);
}

#[tokio::test(start_paused = true)]
async fn an_answer_names_nodes() {
    let answers = [
        ("i003 172.30.0.2\n i003", Ok(vec![0, 2])),
        ("", Ok(vec![])),
        ("172.30.0.9", Err("the answer has '172.30.0.9' in it, which is no node")),
        ("i001 \u{1b}[2J", Err("the answer has '\\u{1b}[2J' in it, which is no node")),
        ("@role0", Err("the answer has '@role0' in it, which is no node")),
    ];
    let texts = answers.clone().map(|(text, _)| text);
    let (question, _) = asked(move |nth| Ok(texts[nth % 5]));
    let (failing, _) = asked(|_| Err("why"));
    let f = Watched::with_roles(3, |_, _| None, vec![question, failing]).await;
    f.watch.follow_roles();
    for (text, wanted) in answers {
        f.watch.ask_roles(&[0]).await;
        let role = f.cluster.roles().all()[0].clone();
        assert_eq!(
            role.unknown.map_or(Ok(role.nodes), Err).as_ref().map_err(|why| &**why),
            wanted.as_ref().map_err(|why| *why),
            "{text}"
        );
    }
    assert_eq!(f.cluster.roles().all()[1].unknown.as_deref(), Some("why"));
}

/// What the log of the first node says.
fn said(f: &Watched) -> String {
    String::from_utf8(f.watch.log(0).reader().read(0, 1 << 20).unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_output_that_the_engine_refuses() {
    let f = Watched::new(1, |_, _| None).await;
    until("its start is told", || said(&f) == "started\n").await;
    let asked = f.engine.calls(Op::Logs);
    let refuse = |count| f.engine.fail_next(Op::Logs, count, EngineError::Refused("no reading".into()));
    // A live node's log is requested again and again, at growing intervals.
    refuse(4);
    f.watch.0.nodes[0].output.notify_one();
    until("it is refused", || f.engine.calls(Op::Logs) > asked).await;
    f.engine.print("i001", b"meanwhile\n").unwrap();
    let began = Instant::now();
    until("it is given again", || said(&f) == "started\nmeanwhile\n").await;
    assert!(began.elapsed() > Duration::from_secs(20), "{:?}", began.elapsed());
    // A wait for the last output of a run lasts until one refusal.
    f.engine.die("i001", 0).unwrap();
    until("its end is known", || !f.cluster.node(0).is_alive()).await;
    refuse(1000);
    f.engine.start_outside("i001").unwrap();
    until("it runs again", || f.cluster.node(0).is_alive()).await;
    f.engine.die("i001", 0).unwrap();
    until("its next end is known", || !f.cluster.node(0).is_alive()).await;
    for _ in 0..3 {
        let (began, asked) = (Instant::now(), f.engine.calls(Op::Logs));
        f.watch.settle(0).await;
        assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
        assert!(f.engine.calls(Op::Logs) <= asked + 2);
    }
}

#[tokio::test(start_paused = true)]
async fn output_that_comes_slowly_is_not_asked_for_again() {
    let f = Watched::new(1, |_, _| None).await;
    until("its start is told", || said(&f) == "started\n").await;
    f.engine.die("i001", 0).unwrap();
    until("its end is told", || said(&f) == "started\nexited 0\n").await;
    // As if it were unknown that this is all.
    f.watch.0.nodes[0].whole.send_modify(|whole| whole.run = 0);
    let log = f.watch.log(0).clone();
    let asked = f.engine.calls(Op::Logs);
    tokio::join!(f.watch.settle(0), async {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(800)).await;
            log.append(b"more\n").unwrap();
        }
    });
    assert_eq!(f.engine.calls(Op::Logs), asked + 1, "once, at the beginning");
}
