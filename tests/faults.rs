//! Faults through the tree, over the simulated engine: what a write answers, what is read then, and what sandboxes were told.

mod common;

use std::time::Duration;

use common::{Fixture, done};
use cthulhu::cluster::faults::{FaultInForce, NetState};
use cthulhu::engine::simulated::Op;
use cthulhu::engine::{ContainerId, Engine, EngineError};
use cthulhu::tree::Position;
use rustix::io::Errno;

const TIMEOUT: Duration = Duration::from_secs(20);

async fn sandbox(f: &Fixture, index: usize) -> ContainerId {
    let name = f.cluster.spec().sandbox_name(f.cluster.node_spec(index));
    let all = f.engine.list(None).await.unwrap();
    all.into_iter().find(|listed| listed.name == name).unwrap().id
}

/// What the sandboxes have been told.
async fn in_force(f: &Fixture) -> Vec<serde_json::Value> {
    let mut all = vec![];
    for index in 0..f.cluster.len() {
        all.push(f.engine.network_state(&sandbox(f, index).await).unwrap());
    }
    all
}

/// What the history tells of faults, a set a line.
fn told(f: &Fixture) -> Vec<String> {
    let text = f.read("history").unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let sets = lines.filter_map(|line| line["fault"]["links"].as_array().cloned());
    sets.map(|set| set.iter().map(|link| link.as_str().unwrap().to_owned()).collect::<Vec<_>>().join(", ")).collect()
}

#[tokio::test]
async fn what_is_written_is_read_and_told() {
    let f = Fixture::new(3, TIMEOUT).await;
    f.write("partition", &[b"i001 | i002 i003\n"]).await.unwrap();
    assert_eq!(f.read("partition").unwrap(), "i001 | i002 i003\n");
    f.write("links", &[b"i002>i003 delay 100ms\n"]).await.unwrap();
    f.write("i003/net", &[b"loss 5%\n"]).await.unwrap();
    assert_eq!(f.read("i003/net").unwrap(), "loss 5%\n");
    assert_eq!(told(&f).len(), 3);
    assert!(
        told(&f)[2].contains("i002>i003 delay 100ms") && told(&f)[2].contains("i003>i002 loss 5%"),
        "{:?}",
        told(&f)
    );
    // The same again changes nothing, and is told by nobody.
    f.write("i003/net", &[b"loss 5%\n"]).await.unwrap();
    assert_eq!(told(&f).len(), 3);
    f.write("control", &[b"heal\n"]).await.unwrap();
    assert_eq!((f.read("partition").unwrap(), f.read("links").unwrap()), (String::new(), String::new()));
    assert_eq!(told(&f)[3], "");
}

#[tokio::test]
async fn each_write_at_the_beginning_is_a_whole_table() {
    let f = Fixture::new(3, TIMEOUT).await;
    f.write("links", &[b"i001>i002 drop\n"]).await.unwrap();
    f.write("links", &[b"i002>i003 drop\n"]).await.unwrap();
    assert_eq!(f.read("links").unwrap(), "i002>i003 drop\n");
    f.write("links", &[b"\n"]).await.unwrap();
    assert_eq!(f.read("links").unwrap(), "");
}

#[tokio::test]
async fn lines_in_several_writes_are_one_table() {
    let f = Fixture::new(3, TIMEOUT).await;
    f.write("links", &[b"i003>i001 drop\n"]).await.unwrap();
    // One after the other on the same descriptor, as of several echos into one redirection.
    let fh = f.tree.open(f.find("links"), true).unwrap();
    let mut offset = 0;
    for (line, wanted) in
        [("i001>i002 drop\n", "i001>i002 drop\n"), ("i002>i003 reject\n", "i001>i002 drop\ni002>i003 reject\n")]
    {
        let written = f.tree.write(fh, Position { offset, appends: false }, line.as_bytes());
        offset += u64::from(done(written).await.unwrap());
        assert_eq!(f.read("links").unwrap(), wanted);
    }
    // A wrong one leaves those before it.
    assert_eq!(done(f.tree.write(fh, Position { offset, appends: false }, b"nonsense\n")).await, Err(Errno::INVAL));
    f.tree.release(fh);
    assert_eq!(f.read("links").unwrap(), "i001>i002 drop\ni002>i003 reject\n");
}

// On a clock that goes on only when all wait: the silence takes no time, and no slow machine is taken for it.
#[tokio::test(start_paused = true)]
async fn one_sandbox_that_is_silent_keeps_all_from_changing() {
    let f = Fixture::new(3, TIMEOUT).await;
    f.write("links", &[b"i001>i002 drop\n"]).await.unwrap();
    let second = sandbox(&f, 1).await;
    f.engine.pause(&second).await.unwrap();
    assert_eq!(f.write("partition", &[b"isolate i003\n"]).await, Err(Errno::TIMEDOUT));
    assert!(f.read("error").unwrap().contains("i002"));
    assert_eq!(f.read("partition").unwrap(), "");
    assert_eq!(f.read("links").unwrap(), "i001>i002 drop\n");
    assert_eq!(told(&f).len(), 1);
    // Nobody knows what it has: until it says, no write can promise that what is read is in force.
    assert_eq!(f.write("control", &[b"heal\n"]).await, Err(Errno::TIMEDOUT));
    f.engine.unpause(&second).await.unwrap();
    f.write("links", &[b"i001>i002 drop\ni001>i003 loss 1%\n"]).await.unwrap();
    f.write("partition", &[b"isolate i003\n"]).await.unwrap();
    assert_eq!(f.read("partition").unwrap(), "i003 | i001 i002\n");
}

#[tokio::test]
async fn a_crash_ends_with_the_next_start() {
    let f = Fixture::new(2, TIMEOUT).await;
    f.write("control", &[b"start\n"]).await.unwrap();
    f.write("i002/control", &[b"crash\n"]).await.unwrap();
    assert_eq!(f.read("i002/state").unwrap(), "exited\n");
    assert_eq!(f.read("i002/exit_code").unwrap(), "137\n");
    f.write("control", &[b"heal\n"]).await.unwrap();
    assert_eq!(told(&f), ["i002 crashed"]);
    f.write("i002/control", &[b"crash\n"]).await.unwrap();
    f.write("i002/control", &[b"start\n"]).await.unwrap();
    assert_eq!(told(&f), ["i002 crashed", ""]);
    assert_eq!(f.read("i002/state").unwrap(), "running\n");
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_is_silent_holds_back_no_crash_of_others() {
    let f = Fixture::new(3, TIMEOUT).await;
    f.write("control", &[b"start\n"]).await.unwrap();
    let first = sandbox(&f, 0).await;
    f.engine.pause(&first).await.unwrap();
    assert_eq!(f.write("control", &[b"crash\n"]).await, Err(Errno::TIMEDOUT));
    let error = f.read("error").unwrap();
    assert!(error.contains("i001") && !error.contains("i002"), "{error}");
    assert_eq!(f.read("i001/state").unwrap(), "running\n");
    assert_eq!(told(&f), ["i002 crashed, i003 crashed"], "both at one moment");
    for node in ["i002", "i003"] {
        assert_eq!(f.read(&format!("{node}/state")).unwrap(), "exited\n", "{node}");
        // What nobody knows of the first is no reason to hold back others.
        f.write(&format!("{node}/control"), &[b"start\n"]).await.unwrap();
        f.write(&format!("{node}/net"), &[b"loss 1%\n"]).await.unwrap_err();
        f.write(&format!("{node}/control"), &[b"crash\n"]).await.unwrap();
    }
    assert_eq!(f.write("i001/control", &[b"crash\n"]).await, Err(Errno::TIMEDOUT));
    f.engine.unpause(&first).await.unwrap();
    f.write("i001/control", &[b"crash\n"]).await.unwrap();
    f.write("control", &[b"heal\n"]).await.unwrap();
    assert_eq!(told(&f).last().unwrap(), "i001 crashed, i002 crashed, i003 crashed");
    f.write("control", &[b"start\n"]).await.unwrap();
    assert_eq!(told(&f).last().unwrap(), "");
}

#[tokio::test]
async fn a_start_that_fails_leaves_the_silence() {
    let f = Fixture::new(1, TIMEOUT).await;
    f.write("i001/control", &[b"crash\n"]).await.unwrap();
    f.engine.fail_next(Op::Start, 1, EngineError::Refused("no such program".into()));
    assert_eq!(f.write("i001/control", &[b"start\n"]).await, Err(Errno::IO));
    assert_eq!(told(&f), ["i001 crashed", "", "i001 crashed"]);
    f.write("i001/control", &[b"start\n"]).await.unwrap();
    assert_eq!(told(&f).last().unwrap(), "");
}

#[tokio::test]
async fn a_sandbox_that_is_gone_is_no_reason_to_fail_unless_its_node_runs() {
    let f = Fixture::new(2, TIMEOUT).await;
    f.write("i001/control", &[b"start\n"]).await.unwrap();
    let second = sandbox(&f, 1).await;
    f.engine.remove(&second).await.unwrap();
    f.write("partition", &[b"i001 | i002\n"]).await.unwrap();
    assert_eq!(f.read("partition").unwrap(), "i001 | i002\n");
    f.write("control", &[b"heal\n"]).await.unwrap();
    let first = sandbox(&f, 0).await;
    f.engine.remove(&first).await.unwrap();
    assert_eq!(f.write("partition", &[b"i001 | i002\n"]).await, Err(Errno::IO));
    let error = f.read("error").unwrap();
    assert!(error.contains("i001") && error.contains("start it"), "{error}");
    assert_eq!(f.read("partition"), Err(Errno::HOSTDOWN), "what reaches i001 is unknown");
    f.write("control", &[b"start i001\n"]).await.unwrap();
    assert_eq!(f.read("partition").unwrap(), "");
}

#[tokio::test]
async fn capabilities_are_told_before_anything_is_asked_for() {
    let f = Fixture::new(1, TIMEOUT).await;
    let text = f.read("capabilities").unwrap();
    assert_eq!(text.lines().count(), 9, "{text}");
    assert!(text.lines().all(|line| line.split_whitespace().nth(1) == Some("yes")), "{text}");
}

#[tokio::test]
async fn one_sandbox_that_refuses_keeps_all_from_changing() {
    let f = Fixture::new(3, TIMEOUT).await;
    f.write("links", &[b"i001>i002 drop\n"]).await.unwrap();
    f.write("i003/net", &[b"delay 5ms\n"]).await.unwrap();
    let before = in_force(&f).await;
    f.engine.refuse_changes(&sandbox(&f, 1).await, &[true]).unwrap();
    assert_eq!(f.write("partition", &[b"isolate i003\n"]).await, Err(Errno::IO));
    assert_eq!(f.read("error").unwrap(), "i002: told to refuse\n");
    assert_eq!(f.read("partition").unwrap(), "");
    assert_eq!(in_force(&f).await, before, "those that had it have what was before");
    assert_eq!(told(&f).len(), 2);
    f.write("partition", &[b"isolate i003\n"]).await.unwrap();
    assert_ne!(in_force(&f).await, before);
}

#[tokio::test]
async fn what_cannot_be_put_back_is_told_and_made_good_with_the_next_change() {
    let f = Fixture::new(3, TIMEOUT).await;
    f.write("links", &[b"i001>i002 drop\n"]).await.unwrap();
    let before = in_force(&f).await;
    f.engine.refuse_changes(&sandbox(&f, 1).await, &[true]).unwrap();
    f.engine.refuse_changes(&sandbox(&f, 2).await, &[false, true]).unwrap();
    assert_eq!(f.write("partition", &[b"isolate i003\n"]).await, Err(Errno::IO));
    let error = f.read("error").unwrap();
    assert!(error.contains("i002: told to refuse") && error.contains("could not be put back: i003"), "{error}");
    assert_ne!(in_force(&f).await[2], before[2]);
    // What is about others does not see to it, what is about all does.
    f.write("i001/control", &[b"crash\n"]).await.unwrap();
    f.write("i001/control", &[b"start\n"]).await.unwrap();
    assert_ne!(in_force(&f).await[2], before[2]);
    f.write("links", &[b"i001>i002 drop\n"]).await.unwrap();
    let nothing = serde_json::to_value(NetState::default()).unwrap();
    assert_eq!(in_force(&f).await[2], nothing);
}

#[tokio::test]
async fn many_at_once_leave_what_the_last_one_says() {
    let f = std::sync::Arc::new(Fixture::new(4, TIMEOUT).await);
    let writers = (0..8).map(|writer: usize| {
        let f = f.clone();
        async move {
            for round in 0..20 {
                let node = (writer + round) % 4 + 1;
                let (file, text) = match (writer + round) % 5 {
                    0 => ("partition".to_owned(), format!("isolate i00{node}\n")),
                    1 => ("links".to_owned(), format!("i00{node}>* delay {}ms\n", round + 1)),
                    2 => (format!("i00{node}/net"), format!("loss {}%\n", round + 1)),
                    3 => (format!("i00{node}/control"), "heal\n".to_owned()),
                    _ => (format!("i00{node}/control"), "crash\n".to_owned()),
                };
                f.write(&file, &[text.as_bytes()]).await.unwrap();
            }
        }
    });
    futures_util::future::join_all(writers).await;
    // Each sandbox has what the files say, whichever was written last.
    let faults = f.cluster.faults();
    let addresses: Vec<_> = f.cluster.spec().nodes.iter().map(|node| vec![node.ip]).collect();
    for (index, has) in in_force(&f).await.into_iter().enumerate() {
        assert_eq!(has, serde_json::to_value(&*faults.desired(&addresses)[index]).unwrap(), "i00{}", index + 1);
    }
    let in_force: Vec<_> = faults.in_force().iter().flat_map(FaultInForce::texts).collect();
    assert_eq!(told(&f).last().unwrap(), &in_force.join(", "));
}

#[tokio::test(start_paused = true)]
async fn a_new_sandbox_does_not_begin_with_a_change_that_failed() {
    let f = std::sync::Arc::new(Fixture::new(3, TIMEOUT).await);
    let (first, second) = (sandbox(&f, 0).await, sandbox(&f, 1).await);
    f.engine.pause(&second).await.unwrap();
    let writing = tokio::spawn({
        let f = f.clone();
        async move { f.write("partition", &[b"isolate i001\n"]).await }
    });
    // The first one has taken it, and then does not answer to what was before.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(f.engine.network_state(&first).unwrap()["ingress"][0]["impairments"]["cut"], "drop");
    f.engine.pause(&first).await.unwrap();
    assert_eq!(writing.await.unwrap(), Err(Errno::TIMEDOUT));
    for id in [&first, &second] {
        f.engine.remove(id).await.unwrap();
    }
    f.write("control", &[b"start\n"]).await.unwrap();
    assert_eq!(f.read("partition").unwrap(), "");
    let is_nothing = |state: &serde_json::Value| state.as_object().is_none_or(|state| state.is_empty());
    assert!(in_force(&f).await.iter().all(is_nothing), "{:?}", in_force(&f).await);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_has_not_crashed_after_all_is_heard() {
    let f = std::sync::Arc::new(Fixture::new(2, TIMEOUT).await);
    f.write("control", &[b"start\n"]).await.unwrap();
    f.engine.fail_next(Op::Kill, 1, EngineError::Refused("not today".into()));
    assert_eq!(f.write("i001/control", &[b"crash\n"]).await, Err(Errno::IO));
    assert_eq!(told(&f), ["i001 crashed", ""]);
    // Another command has the node, and keeps it.
    f.engine.hang(Op::Stop);
    let stopping = tokio::spawn({
        let f = f.clone();
        async move { f.write("i001/control", &[b"stop -t 60\n"]).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(f.write("control", &[b"crash\n"]).await, Err(Errno::BUSY));
    assert_eq!(f.read("i001/state").unwrap(), "running\n");
    assert_eq!(f.read("i002/state").unwrap(), "exited\n");
    assert_eq!(told(&f).last().unwrap(), "i002 crashed");
    stopping.abort();
}

#[tokio::test]
async fn what_failed_has_drawn_nothing() {
    let mut drawn = vec![];
    for fails in [false, true] {
        let f = Fixture::new(5, TIMEOUT).await;
        if fails {
            f.engine.refuse_changes(&sandbox(&f, 4).await, &[true]).unwrap();
            f.engine.refuse_changes(&sandbox(&f, 3).await, &[true]).unwrap();
            assert_eq!(f.write("partition", &[b"ring\n"]).await, Err(Errno::IO));
        }
        for _ in 0..3 {
            f.write("partition", &[b"halves\n"]).await.unwrap();
            drawn.push(f.read("partition").unwrap());
        }
    }
    assert_eq!(drawn[..3], drawn[3..]);
}

#[tokio::test]
async fn the_same_again_is_asked_for_again() {
    let f = Fixture::new(3, TIMEOUT).await;
    f.write("links", &[b"i001>i002 drop\n"]).await.unwrap();
    f.engine.refuse_changes(&sandbox(&f, 1).await, &[true]).unwrap();
    assert_eq!(f.write("links", &[b"i001>i002 drop\n"]).await, Err(Errno::IO));
    f.write("links", &[b"i001>i002 drop\n"]).await.unwrap();
    assert_eq!(told(&f), ["i001>i002 drop"], "nothing is new");
}

#[tokio::test]
async fn a_ring_of_many_can_be_written_back_and_many_are_healed_at_once() {
    let f = Fixture::new(300, TIMEOUT).await;
    f.write("partition", &[b"ring\n"]).await.unwrap();
    let ring = f.read("partition").unwrap();
    assert!(ring.len() > 64 << 10, "{}", ring.len());
    f.write("partition", &[ring.as_bytes()]).await.unwrap();
    assert_eq!(f.read("partition").unwrap(), ring);
    let names: Vec<_> = f.cluster.spec().nodes[..250].iter().map(|node| node.name.to_string()).collect();
    f.write("control", &[format!("heal {}\n", names.join(" ")).as_bytes()]).await.unwrap();
    let (faults, end) = (f.cluster.faults(), cthulhu::cluster::faults::LinkEnd::Node);
    assert!((0..250).all(|one| (0..300).all(|other| {
        faults.impairments(end(one), end(other)).is_none() && faults.impairments(end(other), end(one)).is_none()
    })));
    assert!((250..300).any(|one| (250..300).any(|other| !faults.impairments(end(one), end(other)).is_none())));
}
