use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::cluster::ClusterId;

fn cluster() -> Cluster {
    let node = NodeSpec {
        name: NodeName::nth(0),
        ip: [172, 30, 0, 2].into(),
        published_port: None,
        dir: PathBuf::from("/nowhere"),
    };
    Cluster::new(ClusterSpec {
        id: ClusterId("0123456789ab".into()),
        mountpoint: "/mnt".into(),
        prefix: String::new(),
        image: "image".into(),
        port: 8080,
        nodes: vec![node],
    })
}

fn id(text: &str) -> ContainerId {
    ContainerId(text.into())
}

fn seen(container: &str, status: Status, pid: i32, started_at: i64, exit_code: i64) -> Inspection {
    let alive = matches!(status, Status::Running | Status::Paused);
    Inspection {
        id: id(container),
        status,
        pid: alive.then_some(pid),
        exit_code: (status == Status::Exited).then_some(exit_code),
        health: Health::None,
        started_at,
        raw: format!("{{\"{container}\":\"{status:?} {pid} {started_at}\"}}"),
    }
}

#[test]
fn a_life() {
    let cluster = cluster();
    let node = || cluster.node(0);
    assert_eq!(node().state, State::Missing);
    cluster.apply(0, &News::Inspected(seen("a", Status::Created, 0, 0, 0)));
    assert_eq!((node().state, node().pid, node().exit_code), (State::Created, None, None));
    cluster.apply(0, &News::Inspected(seen("a", Status::Running, 7, 100, 0)));
    assert_eq!((node().state, node().pid), (State::Running, Some(7)));
    assert_eq!(cluster.apply(0, &News::ProcessEnded { pid: 7 }), Change::Node(0));
    assert_eq!((node().state, node().pid, node().exit_code), (State::Exited, None, None));
    assert!(node().engine_lags);
    cluster.apply(0, &News::Died { container: id("a"), exit_code: Some(137), time: 150 });
    assert_eq!((node().exit_code, node().engine_lags), (Some(137), false));
    assert_eq!(cluster.apply(0, &News::Removed(id("a"))), Change::Node(0));
    assert_eq!((node().state, node().container, node().exit_code), (State::Missing, None, Some(137)));
}

#[test]
fn an_inspection_from_before_a_death_does_not_revive() {
    for death in [News::ProcessEnded { pid: 7 }, News::Died { container: id("a"), exit_code: Some(1), time: 150 }] {
        let cluster = cluster();
        let running = News::Inspected(seen("a", Status::Running, 7, 100, 0));
        cluster.apply(0, &running);
        cluster.apply(0, &death);
        assert_eq!(cluster.apply(0, &running), Change::None);
        assert_eq!(cluster.node(0).state, State::Exited);
        cluster.apply(0, &News::Inspected(seen("a", Status::Running, 8, 200, 0)));
        assert_eq!(cluster.node(0).pid, Some(8));
    }
}

#[test]
fn a_late_death_of_an_earlier_run_changes_nothing() {
    let cluster = cluster();
    cluster.apply(0, &News::Inspected(seen("a", Status::Running, 8, 200, 0)));
    assert_eq!(cluster.node(0).state, State::Running);
    cluster.apply(0, &News::Died { container: id("a"), exit_code: Some(137), time: 150 });
    assert_eq!((cluster.node(0).state, cluster.node(0).exit_code), (State::Running, None));
    assert_eq!(cluster.apply(0, &News::ProcessEnded { pid: 7 }), Change::None);
    assert_eq!(cluster.apply(0, &News::Removed(id("z"))), Change::None);
}

/// One run of a container: it starts, and may end with a code.
#[derive(Clone, Debug)]
struct Run {
    exit_code: Option<i64>,
}

/// Everything that could be said of a life of several runs, in the order in which it came about.
fn told(runs: &[Run]) -> Vec<News> {
    let mut news = vec![News::Inspected(seen("a", Status::Created, 0, 0, 0))];
    for (nth, run) in runs.iter().enumerate() {
        let (pid, start) = (10 + nth as i32, 100 * (nth as i64 + 1));
        news.push(News::Inspected(seen("a", Status::Running, pid, start, 0)));
        if let Some(code) = run.exit_code {
            news.push(News::ProcessEnded { pid });
            news.push(News::Died { container: id("a"), exit_code: Some(code), time: start + 50 });
            news.push(News::Inspected(seen("a", Status::Exited, pid, start, code)));
        }
    }
    news
}

proptest! {
    /// Events lost, doubled and delayed in any way: once a re-list has told the truth, the model is the truth,
    /// and nothing that was said earlier and comes late moves it.
    #[test]
    fn ends_where_a_relist_puts_it(
        codes in prop::collection::vec(0i64..200, 1..5),
        last_runs in any::<bool>(),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        late in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let count = codes.len();
        let runs: Vec<Run> = codes
            .into_iter()
            .enumerate()
            .map(|(nth, code)| Run { exit_code: (!(last_runs && nth + 1 == count)).then_some(code) })
            .collect();
        let all = told(&runs);
        let truth = all.last().unwrap().clone();
        let News::Inspected(truth) = truth else { unreachable!() };
        let cluster = cluster();
        for pick in picks {
            cluster.apply(0, pick.get(&all));
        }
        cluster.apply(0, &News::Inspected(truth.clone()));
        // Inspections are told in the order in which they were made; events may come late.
        for pick in late {
            let news = pick.get(&all);
            if !matches!(news, News::Inspected(_)) {
                let own_end = matches!(news, News::ProcessEnded { pid } if truth.pid == Some(*pid));
                if !own_end {
                    cluster.apply(0, news);
                }
            }
        }
        let node = cluster.node(0);
        let expected = match truth.status {
            Status::Running => State::Running,
            _ => State::Exited,
        };
        prop_assert_eq!(node.state, expected);
        prop_assert_eq!(node.pid, truth.pid);
        if truth.exit_code.is_some() {
            prop_assert_eq!(node.exit_code, truth.exit_code);
        }
        prop_assert!(!node.engine_lags);
    }
}
