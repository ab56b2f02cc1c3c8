use super::*;

#[tokio::test]
async fn a_life_in_events_in_order() {
    let engine = engine().await;
    let mut events = engine.events("cluster=c1").await.unwrap();
    let id = running(&engine, "a1", 1).await;
    engine.pause(&id).await.unwrap();
    engine.unpause(&id).await.unwrap();
    engine.stop(&id, LONG).await.unwrap();
    engine.start(&id).await.unwrap();
    engine.remove(&id).await.unwrap();
    let events = take(&mut events, 8).await;
    let kinds: Vec<_> = events.iter().map(|event| event.kind.clone()).collect();
    let expected = [
        EventKind::Created,
        EventKind::Started,
        EventKind::Paused,
        EventKind::Unpaused,
        EventKind::Died(Some(143)),
        EventKind::Started,
        EventKind::Died(Some(137)),
        EventKind::Removed,
    ];
    assert_eq!(kinds, expected);
    assert!(events.is_sorted_by(|a, b| a.time < b.time));
    assert!(events.iter().all(|e| e.container == id));
}

#[tokio::test]
async fn what_changes_nothing_is_no_event() {
    let engine = engine().await;
    let id = running(&engine, "a1", 1).await;
    let mut events = engine.events("cluster").await.unwrap();
    engine.start(&id).await.unwrap();
    engine.kill(&id, "USR1").await.unwrap();
    engine.pause(&id).await.unwrap();
    engine.pause(&id).await.unwrap_err();
    assert_eq!(kinds(&mut events, 1).await, [EventKind::Paused]);
    quiet(&mut events).await;
}

#[tokio::test]
async fn only_events_of_the_label_and_from_now_on() {
    let engine = engine().await;
    running(&engine, "before", 1).await;
    let mut c1 = engine.events("cluster=c1").await.unwrap();
    let mut c2 = engine.events("cluster=c2").await.unwrap();
    let mut all = engine.events("cluster").await.unwrap();
    let mut other = spec("other", 2);
    other.labels = vec![("cluster".into(), "c2".into())];
    let other = engine.create(&other).await.unwrap();
    assert_eq!(take(&mut c2, 1).await[0].container, other);
    assert_eq!(take(&mut all, 1).await[0].container, other);
    quiet(&mut c1).await;
}

#[tokio::test]
async fn started_at_is_the_event_s_time() {
    let engine = engine().await;
    let mut events = engine.events("cluster").await.unwrap();
    let id = running(&engine, "a1", 1).await;
    let started = take(&mut events, 2).await.remove(1);
    let inspection = engine.inspect(&id).await.unwrap();
    assert_eq!(started.time, inspection.started_at);
}

#[tokio::test]
async fn lost_and_repeated_events() {
    let engine = engine().await;
    let mut events = engine.events("cluster").await.unwrap();
    engine.lose_events(2);
    let id = running(&engine, "a1", 1).await;
    engine.duplicate_events(true);
    engine.pause(&id).await.unwrap();
    engine.duplicate_events(false);
    engine.unpause(&id).await.unwrap();
    let events = take(&mut events, 3).await;
    assert_eq!(events[0].kind, EventKind::Paused);
    assert_eq!(events[0], events[1]);
    assert_eq!(events[2].kind, EventKind::Unpaused);
}

#[tokio::test]
async fn late_and_disordered_events() {
    let engine = engine().await;
    let mut events = engine.events("cluster").await.unwrap();
    engine.hold_events();
    let id = running(&engine, "a1", 1).await;
    engine.pause(&id).await.unwrap();
    quiet(&mut events).await;
    engine.deliver_events(|held| {
        held.reverse();
        held.push(held[0].clone());
        held.remove(1);
    });
    engine.unpause(&id).await.unwrap();
    let expected = [EventKind::Paused, EventKind::Created, EventKind::Paused, EventKind::Unpaused];
    assert_eq!(kinds(&mut events, 4).await, expected);
    engine.hold_events();
    engine.kill_outside("a1").unwrap();
    engine.disconnect();
    engine.reconnect();
    let mut events = engine.events("cluster").await.unwrap();
    engine.deliver_events(|held| assert_eq!(held, &[], "lost with the connection"));
    quiet(&mut events).await;
}

#[tokio::test]
async fn a_broken_connection_ends_everything() {
    let engine = engine().await;
    let id = running(&engine, "a1", 1).await;
    let mut events = engine.events("cluster").await.unwrap();
    let mut logs = engine.logs(&id, 0, true).await.unwrap();
    logs.next().await.unwrap().unwrap();
    engine.pause(&id).await.unwrap();
    engine.disconnect();
    assert_eq!(kinds(&mut events, 1).await, [EventKind::Paused]);
    unreachable(events.next().await.unwrap());
    assert!(events.next().await.is_none());
    unreachable(logs.next().await.unwrap());
    assert!(logs.next().await.is_none());
    unreachable(engine.ping().await);
    unreachable(engine.list(None).await);
    unreachable(engine.unpause(&id).await);
    unreachable(engine.events("cluster").await.map(drop));
    engine.unpause_outside("a1").unwrap();
    engine.reconnect();
    assert_eq!(status(&engine, &id).await, Status::Running);
    let mut events = engine.events("cluster").await.unwrap();
    engine.die("a1", 0).unwrap();
    assert_eq!(kinds(&mut events, 1).await, [EventKind::Died(Some(0))]);
}

#[tokio::test]
async fn streams_end_with_the_engine() {
    let engine = engine().await;
    let id = running(&engine, "a1", 1).await;
    let mut events = engine.events("cluster").await.unwrap();
    let mut logs = engine.logs(&id, 0, true).await.unwrap();
    let attachment = engine.attach(&id).await.unwrap();
    drop(engine);
    assert!(events.next().await.is_none());
    logs.next().await.unwrap().unwrap();
    unreachable(logs.next().await.unwrap());
    drop(attachment);
}

#[tokio::test]
async fn outside_actions() {
    let engine = engine().await;
    let id = running(&engine, "a1", 1).await;
    let mut events = engine.events("cluster").await.unwrap();
    engine.fail_next(Op::Start, 1, EngineError::Refused("no".into()));
    engine.kill_outside("a1").unwrap();
    engine.start_outside("a1").unwrap();
    engine.pause_outside("a1").unwrap();
    engine.die("a1", 9).unwrap();
    conflict(engine.die("a1", 9), "is not running");
    engine.remove_outside("a1").unwrap();
    let expected = [
        EventKind::Died(Some(137)),
        EventKind::Started,
        EventKind::Paused,
        EventKind::Died(Some(9)),
        EventKind::Removed,
    ];
    assert_eq!(kinds(&mut events, 5).await, expected);
    not_found(engine.inspect(&id).await, "No such container");
    not_found(engine.die("a1", 0), "No such container: a1");
    not_found(engine.remove_outside("a1"), "No such container: a1");
    assert_eq!(engine.calls(Op::Start), 1);
    assert_eq!(engine.calls(Op::Kill), 0);
}
