//! Sandboxes that are restarted, disconnected, renamed or cut off behind our back, over the simulated engine: no file claims
//! what is not in force, and `start` makes it true again.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Fixture, eventually};
use cthulhu::cluster::faults::NetState;
use cthulhu::engine::simulated::Op;
use cthulhu::engine::{ContainerId, ContainerSpec, Endpoint, Engine, Network};
use cthulhu::history::HistoryEvent;
use rustix::io::Errno;

const TIMEOUT: Duration = Duration::from_secs(60);

fn name(f: &Fixture, index: usize) -> String {
    f.cluster.spec().sandbox_name(f.cluster.node_spec(index))
}

async fn sandbox(f: &Fixture, index: usize) -> ContainerId {
    let all = f.engine.list(None).await.unwrap();
    all.into_iter().find(|listed| listed.name == name(f, index)).unwrap().id
}

/// What each sandbox was told, and whether that is what the files say.
async fn is_in_force(f: &Fixture) -> bool {
    let faults = f.cluster.faults();
    let addresses: Vec<_> = f.cluster.spec().nodes.iter().map(|node| vec![node.ip]).collect();
    for index in 0..f.cluster.len() {
        let has = f.engine.network_state(&sandbox(f, index).await).unwrap();
        let wanted = serde_json::to_value(&*faults.desired(&addresses)[index]).unwrap();
        let is_nothing = has.is_null() && wanted == serde_json::to_value(NetState::default()).unwrap();
        if has != wanted && !is_nothing {
            return false;
        }
    }
    true
}

/// What the history says of sandboxes: `i001 lost`.
fn told(f: &Fixture) -> Vec<String> {
    let line = |event: &HistoryEvent| match event {
        HistoryEvent::Sandbox(entry) => Some(format!("{} {:?}", entry.node, entry.phase).to_lowercase()),
        _ => None,
    };
    f.history().iter().filter_map(|entry| line(&entry.event)).collect()
}

/// Two nodes that run, cut off from each other.
async fn cut() -> Fixture {
    let f = Fixture::new(2, TIMEOUT).await;
    f.write("control", &[b"start\n"]).await.unwrap();
    f.write("partition", &[b"i001 | i002\n"]).await.unwrap();
    f
}

/// No file of faults claims anything, and the node is not ready.
async fn is_unknown(f: &Fixture, node: &str) {
    eventually("the files say that nothing is known", || {
        let faults = ["partition", "links", "i001/net", "i002/net"];
        faults.iter().all(|file| f.read(file) == Err(Errno::HOSTDOWN))
            && f.read(&format!("{node}/ready")).as_deref() == Ok("no\n")
    })
    .await;
    assert_eq!(f.read(&format!("{node}/state")).unwrap(), "running\n", "its process is untouched");
    let reason = f.read(&format!("{node}/ready_reason")).unwrap();
    assert!(reason.starts_with("its sandbox ") && reason.ends_with('\n'), "{reason}");
}

/// `start` makes it whole: the faults are in force and the files say so.
async fn is_made_whole(f: &Fixture) {
    f.write("control", &[b"start\n"]).await.unwrap();
    assert!(is_in_force(f).await);
    assert_eq!(f.read("partition").unwrap(), "i001 | i002\n");
    for node in ["i001", "i002"] {
        assert_eq!(f.read(&format!("{node}/state")).unwrap(), "running\n");
        eventually("ready", || f.read(&format!("{node}/ready")).as_deref() == Ok("yes\n")).await;
        assert_eq!(f.read(&format!("{node}/ready_reason")).unwrap(), "");
    }
    assert!(f.engine.containers().iter().filter(|container| container.name.ends_with("sandbox")).count() == 2);
}

#[tokio::test]
async fn one_that_is_restarted_has_no_faults_in_force_and_no_file_says_so() {
    for also_node in [false, true] {
        let f = cut().await;
        let before = sandbox(&f, 1).await;
        f.engine.restart_outside(&name(&f, 1)).unwrap();
        if also_node {
            f.engine.restart_outside("i002").unwrap();
        }
        is_unknown(&f, "i002").await;
        assert_eq!(told(&f), ["i002 lost"]);
        for (file, text) in [("partition", "i001 i002\n"), ("links", "i001>i002 drop\n"), ("control", "heal\n")] {
            assert_eq!(f.write(file, &[text.as_bytes()]).await, Err(Errno::IO), "{file}");
            let error = f.read("error").unwrap();
            assert!(error.starts_with("i002: its sandbox was restarted") && error.contains("start it"), "{error}");
        }
        assert_eq!(sandbox(&f, 1).await, before);
        is_made_whole(&f).await;
        assert_ne!(sandbox(&f, 1).await, before);
        assert_eq!(told(&f), ["i002 lost", "i002 back"]);
    }
}

#[tokio::test]
async fn a_restart_of_its_node_makes_one_that_was_restarted_anew() {
    let f = cut().await;
    for index in 0..2 {
        f.engine.restart_outside(&name(&f, index)).unwrap();
    }
    f.write("control", &[b"restart\n"]).await.unwrap();
    assert!(is_in_force(&f).await);
    assert_eq!(f.read("partition").unwrap(), "i001 | i002\n");
}

#[tokio::test]
async fn a_restart_that_no_event_tells_is_found_by_start() {
    let f = cut().await;
    f.engine.lose_events(100);
    f.engine.restart_outside(&name(&f, 0)).unwrap();
    is_made_whole(&f).await;
}

#[tokio::test]
async fn a_node_that_does_not_run_makes_no_claim() {
    let f = cut().await;
    f.write("i002/control", &[b"stop\n"]).await.unwrap();
    f.engine.remove_outside(&name(&f, 1)).unwrap();
    eventually("the loss is told", || told(&f) == ["i002 lost"]).await;
    assert_eq!(f.read("partition").unwrap(), "i001 | i002\n");
    f.write("links", &[b"i001>i002 drop\n"]).await.unwrap();
    f.write("links", &[b"\n"]).await.unwrap();
    is_made_whole(&f).await;
}

#[tokio::test]
async fn one_that_is_disconnected_comes_back_with_its_faults_when_it_is_connected_again() {
    let f = cut().await;
    f.engine.disconnect_network(&name(&f, 0)).unwrap();
    is_unknown(&f, "i001").await;
    assert_eq!(f.write("partition", &[b"\n"]).await, Err(Errno::IO));
    assert!(f.read("error").unwrap().contains("not connected to the network"), "{}", f.read("error").unwrap());
    let before = sandbox(&f, 0).await;
    f.engine.connect_network(&name(&f, 0)).unwrap();
    eventually("it is back", || f.read("partition").as_deref() == Ok("i001 | i002\n")).await;
    assert!(is_in_force(&f).await);
    assert_eq!(f.read("i001/ready").unwrap(), "yes\n");
    assert_eq!(told(&f), ["i001 lost", "i001 back"]);
    assert_eq!(sandbox(&f, 0).await, before);
}

#[tokio::test]
async fn one_that_stays_disconnected_is_made_anew() {
    let f = cut().await;
    f.engine.disconnect_network(&name(&f, 0)).unwrap();
    is_made_whole(&f).await;
}

#[tokio::test]
async fn a_change_sees_that_the_address_is_gone_before_any_event_does() {
    let f = cut().await;
    f.engine.hold_events();
    f.engine.disconnect_network(&name(&f, 0)).unwrap();
    assert_eq!(f.write("partition", &[b"\n"]).await, Err(Errno::IO));
    assert!(f.read("error").unwrap().contains("not connected to the network"));
}

#[tokio::test]
async fn one_whose_connection_is_gone_is_connected_to_again() {
    let f = cut().await;
    let before = [sandbox(&f, 0).await, sandbox(&f, 1).await];
    before.iter().for_each(|id| f.engine.break_attachments(id).unwrap());
    f.write("links", &[b"i001>i002 delay 5ms\n"]).await.unwrap();
    assert!(is_in_force(&f).await);
    assert_eq!([sandbox(&f, 0).await, sandbox(&f, 1).await], before, "the same ones");
    before.iter().for_each(|id| f.engine.break_attachments(id).unwrap());
    f.write("control", &[b"start\n"]).await.unwrap();
    f.write("control", &[b"heal\n"]).await.unwrap();
    assert!(is_in_force(&f).await);
    assert_eq!([sandbox(&f, 0).await, sandbox(&f, 1).await], before);
}

#[tokio::test]
async fn an_engine_with_live_restore_leaves_faults_in_force() {
    let f = cut().await;
    let before = [sandbox(&f, 0).await, sandbox(&f, 1).await];
    f.engine.disconnect();
    before.iter().for_each(|id| f.engine.break_attachments(id).unwrap());
    eventually("the loss is known", || f.read("status") == Err(Errno::HOSTDOWN)).await;
    f.engine.reconnect();
    eventually("it is back", || f.read("i001/ready").as_deref() == Ok("yes\n")).await;
    assert_eq!(f.read("partition").unwrap(), "i001 | i002\n");
    assert!(is_in_force(&f).await);
    f.write("control", &[b"heal\n"]).await.unwrap();
    assert!(is_in_force(&f).await);
    assert_eq!([sandbox(&f, 0).await, sandbox(&f, 1).await], before);
    assert_eq!(told(&f), Vec::<String>::new());
}

#[tokio::test]
async fn one_that_cannot_be_connected_to_after_a_loss_is_lost() {
    let f = cut().await;
    let second = sandbox(&f, 1).await;
    f.engine.disconnect();
    f.engine.break_attachments(&second).unwrap();
    eventually("the loss is known", || f.read("status") == Err(Errno::HOSTDOWN)).await;
    let refused = cthulhu::engine::EngineError::Refused("no".into());
    f.engine.fail_next(Op::Attach, 1, refused);
    f.engine.reconnect();
    eventually("the engine is back", || f.read("status").is_ok()).await;
    is_unknown(&f, "i002").await;
    is_made_whole(&f).await;
}

#[tokio::test]
async fn one_that_cannot_be_connected_to_for_a_while_is_not_removed() {
    let f = cut().await;
    let before = [sandbox(&f, 0).await, sandbox(&f, 1).await];
    f.engine.break_attachments(&before[1]).unwrap();
    let refused = cthulhu::engine::EngineError::Refused("no".into());
    // For the change, and for putting back what was.
    f.engine.fail_next(Op::Attach, 2, refused);
    assert_eq!(f.write("partition", &[b"\n"]).await, Err(Errno::TIMEDOUT));
    assert!(f.read("error").unwrap().contains("i002: its sandbox did not answer"));
    assert_eq!([sandbox(&f, 0).await, sandbox(&f, 1).await], before);
    assert!(is_in_force(&f).await, "nothing has changed");
    f.write("partition", &[b"\n"]).await.unwrap();
    assert!(is_in_force(&f).await);
    assert_eq!(f.read("partition").unwrap(), "");
    assert_eq!([sandbox(&f, 0).await, sandbox(&f, 1).await], before);
    assert_eq!(told(&f), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_change_that_a_dead_connection_swallows_says_so_and_the_next_one_succeeds() {
    let f = cut().await;
    let second = sandbox(&f, 1).await;
    f.engine.break_attachments(&second).unwrap();
    f.engine.hang(Op::Attach);
    let began = tokio::time::Instant::now();
    f.engine.disconnect();
    assert_eq!(f.write("partition", &[b"\n"]).await, Err(Errno::HOSTDOWN));
    assert!(began.elapsed() < TIMEOUT / 2);
    f.engine.reconnect();
    eventually("the engine is back", || f.read("status").is_ok()).await;
    f.engine.release(Op::Attach);
    f.write("partition", &[b"\n"]).await.unwrap();
    assert!(is_in_force(&f).await);
    assert_eq!(sandbox(&f, 1).await, second);
}

#[tokio::test(start_paused = true)]
async fn connections_that_nobody_misses_are_made_again_soon() {
    let f = cut().await;
    f.watch.stop();
    let before = [sandbox(&f, 0).await, sandbox(&f, 1).await];
    let breaks = || before.iter().for_each(|id| f.engine.break_attachments(id).unwrap());
    let made = || f.engine.calls(Op::Attach);
    let pass = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
    let leases = f.provisioner.keep_leases();
    let first = made();
    pass(60).await;
    assert_eq!(made(), first, "while they are there");
    breaks();
    pass(16).await;
    assert_eq!(made(), first + 2);
    assert!(is_in_force(&f).await);

    // The network fails for longer than a sandbox goes unasked.
    f.engine.disconnect();
    breaks();
    pass(40).await;
    let failed = made();
    f.engine.reconnect();
    pass(5).await;
    assert_eq!(made(), failed + 2);
    assert_eq!([sandbox(&f, 0).await, sandbox(&f, 1).await], before);

    // One that does not come back is left to the engine's events.
    f.engine.remove_outside(&name(&f, 1)).unwrap();
    f.engine.break_attachments(&before[0]).unwrap();
    pass(16).await;
    assert_eq!(made(), failed + 3);

    drop(leases);
    f.engine.break_attachments(&before[0]).unwrap();
    pass(600).await;
    assert_eq!(made(), failed + 3, "it has ended");
}

#[tokio::test(start_paused = true)]
async fn renewing_leases_keeps_nothing_alive() {
    let f = cut().await;
    let provisioner = Arc::downgrade(&f.provisioner);
    let _leases = f.provisioner.keep_leases();
    tokio::time::sleep(Duration::from_secs(20)).await;
    drop(f);
    tokio::task::yield_now().await;
    assert_eq!(provisioner.strong_count(), 0);
}

#[tokio::test]
async fn news_of_a_renamed_container_is_taken_in() {
    let f = Fixture::new(1, TIMEOUT).await;
    f.write("control", &[b"start\n"]).await.unwrap();
    f.engine.rename_outside("i001", "other").unwrap();
    f.engine.kill_outside("other").unwrap();
    eventually("exited", || f.read("i001/exit_code").as_deref() == Ok("137\n")).await;
    f.engine.start_outside("other").unwrap();
    eventually("running", || f.read("i001/state").as_deref() == Ok("running\n")).await;
    // A loss of the engine changes nothing of that.
    f.engine.disconnect();
    eventually("the loss is known", || f.read("status") == Err(Errno::HOSTDOWN)).await;
    f.engine.reconnect();
    eventually("running", || f.read("i001/state").as_deref() == Ok("running\n")).await;
    f.engine.remove_outside("other").unwrap();
    eventually("missing", || f.read("i001/state").as_deref() == Ok("missing\n")).await;
    f.write("control", &[b"start\n"]).await.unwrap();
    assert_eq!(f.read("i001/state").unwrap(), "running\n");
    assert!(f.engine.containers().iter().any(|container| container.name == "i001"));
}

#[tokio::test]
async fn one_that_was_renamed_while_it_was_made_does_not_keep_the_address() {
    let f = cut().await;
    let ip = f.cluster.node_spec(1).ip;
    for gone in [name(&f, 1), "i002".into()] {
        f.engine.remove_outside(&gone).unwrap();
    }
    eventually("gone", || f.read("i002/state").as_deref() == Ok("missing\n")).await;
    // It runs, it has the address and our labels, and nobody has come to know its id.
    let label = |key: &str, value: &str| (format!("io.cthulhu.{key}"), value.to_owned());
    let orphan = |node: &str| ContainerSpec {
        name: "other".into(),
        image: "self".into(),
        labels: vec![label("cluster", &f.cluster.spec().id.0), label("node", node), label("role", "sandbox")],
        network: Network::Attached {
            endpoints: vec![Endpoint { network: "net".into(), address: ip, aliases: vec![] }],
            hostname: "i002".into(),
            hosts: vec![],
            options: Box::default(),
        },
        ..ContainerSpec::default()
    };
    let id = f.engine.create(&orphan("i002")).await.unwrap();
    f.engine.start(&id).await.unwrap();
    is_made_whole(&f).await;
    assert!(!f.engine.containers().iter().any(|container| container.name == "other"));
}
