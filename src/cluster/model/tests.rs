use super::*;
use crate::cluster::ClusterId;

mod lives;

fn cluster() -> Cluster {
    cluster_of(1)
}

fn cluster_of(nodes: u8) -> Cluster {
    let node = |index: u8| NodeSpec::numbered(index.into(), [172, 30, 0, 2 + index].into(), "image", "/nowhere".into());
    Cluster::new(ClusterSpec {
        id: ClusterId("0123456789ab".into()),
        mountpoint: "/mnt".into(),
        prefix: String::new(),
        prefixed_host_names: false,
        port: 8080,
        volumes: Default::default(),
        roles: vec![],
        hosts: vec![],
        nodes: (0..nodes).map(node).collect(),
    })
}

fn id(text: &str) -> ContainerId {
    ContainerId(text.into())
}

fn seen(container: &str, status: Status, pid: i32, started_at: i64, exit_code: i64) -> Inspection {
    let alive = matches!(status, Status::Running | Status::Paused);
    Inspection {
        out_of_memory: false,
        id: id(container),
        status,
        pid: alive.then_some(pid),
        exit_code: (status == Status::Exited).then_some(exit_code),
        health: Health::None,
        unhealthy_unchecked: false,
        check: None,
        started_at,
        ports: vec![],
        raw: format!("{{\"{container}\":\"{status:?} {pid} {started_at}\"}}"),
    }
}

/// News of an inspection that no end followed.
fn inspected(cluster: &Cluster, seen: Inspection) -> News {
    News::Inspected { seen, asked_at_epoch: cluster.exit_epoch(0) }
}

#[test]
fn a_life() {
    let cluster = cluster();
    let node = || cluster.node(0);
    assert_eq!(node().state, State::Missing);
    cluster.apply(0, &inspected(&cluster, seen("a", Status::Created, 0, 0, 0)));
    assert_eq!((node().state, node().pid, node().exit_code), (State::Created, None, None));
    cluster.apply(0, &inspected(&cluster, seen("a", Status::Running, 7, 100, 0)));
    assert_eq!((node().state, node().pid), (State::Running, Some(7)));
    assert_eq!(cluster.apply(0, &News::ProcessEnded { pid: 7, started_at: 100 }), Change::Node(0));
    assert_eq!((node().state, node().pid, node().exit_code), (State::Exited, None, None));
    assert!(node().exit_unconfirmed_by_engine);
    cluster.apply(0, &News::Died { container: id("a"), exit_code: Some(137), time: 150 });
    assert_eq!((node().exit_code, node().exit_unconfirmed_by_engine), (Some(137), false));
    assert_eq!(cluster.apply(0, &News::Removed(id("a"))), Change::Node(0));
    assert_eq!((node().state, node().container.clone(), node().exit_code), (State::Missing, None, Some(137)));
}

#[test]
fn an_inspection_from_before_a_death_does_not_revive() {
    for death in [
        News::ProcessEnded { pid: 7, started_at: 100 },
        News::Died { container: id("a"), exit_code: Some(1), time: 150 },
    ] {
        let cluster = cluster();
        let running = inspected(&cluster, seen("a", Status::Running, 7, 100, 0));
        cluster.apply(0, &running);
        cluster.apply(0, &death);
        assert_eq!(cluster.apply(0, &running), Change::None);
        assert_eq!(cluster.node(0).state, State::Exited);
        cluster.apply(0, &inspected(&cluster, seen("a", Status::Running, 8, 200, 0)));
        assert_eq!(cluster.node(0).pid, Some(8));
    }
}

#[test]
fn a_probe_speaks_of_its_own_run_only() {
    let mut spec = cluster().spec().as_ref().clone();
    spec.nodes.iter_mut().for_each(|node| node.probed = true);
    let cluster = Cluster::new(spec);
    let ready = || cluster.node(0).is_ready();
    let found = |passed: bool| if passed { Ok(()) } else { Err("refused".into()) };
    let probed = |started_at, passed| cluster.apply(0, &News::Probed { started_at, found: found(passed) });
    assert_eq!(probed(0, true), Change::None, "it has no container");
    cluster.apply(0, &inspected(&cluster, seen("a", Status::Running, 7, 100, 0)));
    assert!(!ready());
    assert_eq!(probed(99, true), Change::None);
    assert_eq!(probed(100, true), Change::Node(0));
    assert!(ready());
    cluster.apply(0, &inspected(&cluster, seen("a", Status::Paused, 7, 100, 0)));
    assert!(!ready());
    cluster.apply(0, &inspected(&cluster, seen("a", Status::Running, 7, 100, 0)));
    assert!(ready(), "it was only frozen");
    probed(100, false);
    assert!(!ready());
    assert_eq!(cluster.node(0).unready.as_deref(), Some("refused"));
    probed(100, true);
    assert_eq!(cluster.node(0).unready, None);
    cluster.apply(0, &inspected(&cluster, seen("a", Status::Running, 8, 200, 0)));
    assert!(!ready(), "another run");
    assert_eq!(probed(100, true), Change::None);
    probed(200, true);
    cluster.apply(0, &News::ProcessEnded { pid: 8, started_at: 200 });
    assert!(!ready());
    assert_eq!(probed(200, true), Change::None, "it has ended");
    cluster.apply(0, &News::Removed(id("a")));
    cluster.apply(0, &inspected(&cluster, seen("b", Status::Running, 9, 300, 0)));
    assert!(!ready());
    // Without a probe it is the HEALTHCHECK's business.
    let other = self::cluster();
    other.apply(0, &inspected(&other, seen("a", Status::Running, 7, 100, 0)));
    assert_eq!(other.apply(0, &News::Probed { started_at: 100, found: found(false) }), Change::None);
    assert!(other.node(0).is_ready());
}

#[test]
fn a_pause_makes_nobody_unhealthy() {
    let cluster = cluster();
    let tell = |status, health, unhealthy_unchecked, check: Option<(i64, i64)>| {
        let check = check.map(|(began, exit_code)| Check { began, exit_code, output: String::new() });
        let seen = Inspection { health, unhealthy_unchecked, check, ..seen("a", status, 7, 100, 0) };
        cluster.apply(0, &inspected(&cluster, seen));
        (cluster.node(0).health, cluster.node(0).is_ready())
    };
    // A check of the run before says nothing of this one.
    let before = Some((50, 0));
    assert_eq!(tell(Status::Running, Health::Starting, false, before), (Health::Starting, false));
    assert_eq!(tell(Status::Paused, Health::Unhealthy, true, before), (Health::Starting, false));
    assert_eq!(tell(Status::Running, Health::Unhealthy, true, before), (Health::Starting, false));
    assert_eq!(tell(Status::Running, Health::Healthy, false, Some((110, 0))), (Health::Healthy, true));
    // One check failed without an event, and the next one would have to fail too.
    assert_eq!(tell(Status::Paused, Health::Unhealthy, true, Some((120, 1))), (Health::Healthy, false));
    assert_eq!(tell(Status::Running, Health::Unhealthy, true, Some((120, 1))), (Health::Healthy, true));
    assert_eq!(tell(Status::Running, Health::Unhealthy, false, Some((130, 1))), (Health::Unhealthy, false));
    // One that is unhealthy stays so.
    assert_eq!(tell(Status::Paused, Health::Unhealthy, false, Some((130, 1))), (Health::Unhealthy, false));
    assert_eq!(tell(Status::Running, Health::Unhealthy, false, Some((130, 1))), (Health::Unhealthy, false));
    // The first check known of a node: it has passed.
    let other = self::cluster();
    let check = Some(Check { began: 110, exit_code: 0, output: String::new() });
    let paused = Inspection {
        health: Health::Unhealthy,
        unhealthy_unchecked: true,
        check,
        ..seen("a", Status::Paused, 7, 100, 0)
    };
    other.apply(0, &inspected(&other, paused));
    assert_eq!(other.node(0).health, Health::Healthy);
}

#[test]
fn a_stop_signal_may_be_sigkill() {
    let stopped_by_sigkill = |raw: &str| {
        let cluster = cluster();
        cluster.apply(0, &inspected(&cluster, Inspection { raw: raw.into(), ..seen("a", Status::Running, 7, 100, 0) }));
        cluster.node(0).is_stopped_by_sigkill()
    };
    for signal in ["SIGKILL", "KILL", "sigkill", "9"] {
        assert!(stopped_by_sigkill(&format!(r#"{{"Config":{{"StopSignal":"{signal}"}}}}"#)), "{signal}");
    }
    for other in [r#"{"Config":{"StopSignal":"SIGTERM"}}"#, r#"{"Config":{"StopSignal":""}}"#, "{}", "nonsense"] {
        assert!(!stopped_by_sigkill(other), "{other}");
    }
}

#[test]
fn a_late_death_of_an_earlier_run_changes_nothing() {
    let cluster = cluster();
    cluster.apply(0, &inspected(&cluster, seen("a", Status::Running, 8, 200, 0)));
    assert_eq!(cluster.node(0).state, State::Running);
    cluster.apply(0, &News::Died { container: id("a"), exit_code: Some(137), time: 150 });
    assert_eq!((cluster.node(0).state, cluster.node(0).exit_code), (State::Running, None));
    assert_eq!(cluster.apply(0, &News::ProcessEnded { pid: 7, started_at: 100 }), Change::None);
    assert_eq!(cluster.apply(0, &News::Removed(id("z"))), Change::None);
}

#[test]
fn a_late_end_of_a_process_says_nothing_of_a_later_run_with_its_pid() {
    let cluster = cluster();
    cluster.apply(0, &inspected(&cluster, seen("a", Status::Running, 7, 100, 0)));
    cluster.apply(0, &inspected(&cluster, seen("a", Status::Running, 7, 200, 0)));
    assert_eq!(cluster.apply(0, &News::ProcessEnded { pid: 7, started_at: 100 }), Change::None);
    assert_eq!(cluster.node(0).pid, Some(7));
}

#[test]
fn an_inspection_from_before_a_removal_does_not_bring_the_container_back() {
    let cluster = cluster();
    let running = inspected(&cluster, seen("a", Status::Running, 7, 100, 0));
    cluster.apply(0, &running);
    cluster.apply(0, &News::Removed(id("a")));
    assert_eq!(cluster.apply(0, &running), Change::None);
    assert_eq!(cluster.node(0).state, State::Missing);
    // It was renamed and is back: the engine knows best.
    cluster.apply(0, &inspected(&cluster, seen("a", Status::Running, 7, 100, 0)));
    assert_eq!(cluster.node(0).state, State::Running);
}

#[test]
fn a_death_taken_for_one_of_a_later_run_ends_with_the_next_inspection() {
    let cluster = cluster();
    // Run 1 died at 900, the clock stepped back, run 2 began at 500; only then comes the news of run 1's death.
    let run_2 = || inspected(&cluster, seen("a", Status::Running, 8, 500, 0));
    cluster.apply(0, &run_2());
    let in_flight = run_2();
    cluster.apply(0, &News::Died { container: id("a"), exit_code: Some(1), time: 900 });
    cluster.apply(0, &in_flight);
    assert_eq!(cluster.node(0).state, State::Exited);
    cluster.apply(0, &run_2());
    assert_eq!((cluster.node(0).state, cluster.node(0).pid), (State::Running, Some(8)));
}
