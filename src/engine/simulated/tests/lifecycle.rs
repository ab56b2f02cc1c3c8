use serde_json::{Value, json};

use super::*;

const GRACE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_container_goes_through_its_states() {
    let engine = engine().await;
    let id = engine.create(&spec("a1", 1)).await.unwrap();
    assert_eq!(id.0.len(), 64);
    assert!(id.0.chars().all(|c| c.is_ascii_hexdigit()));
    let created = engine.inspect(&id).await.unwrap();
    assert_eq!((created.status, created.pid, created.exit_code, created.started_at), (Status::Created, None, None, 0));
    engine.start(&id).await.unwrap();
    let first = engine.inspect(&id).await.unwrap();
    assert_eq!((first.status, first.exit_code), (Status::Running, None));
    assert!(first.pid.unwrap() >= 1_000_000_000 && first.started_at > 0);
    engine.start(&id).await.unwrap();
    assert_eq!(engine.inspect(&id).await.unwrap(), first);
    engine.stop(&id, GRACE).await.unwrap();
    let stopped = engine.inspect(&id).await.unwrap();
    assert_eq!((stopped.pid, stopped.exit_code), (None, Some(143)));
    assert_eq!(stopped.status, Status::Exited);
    engine.stop(&id, GRACE).await.unwrap();
    engine.start(&id).await.unwrap();
    let second = engine.inspect(&id).await.unwrap();
    assert_ne!(second.pid, first.pid);
    assert!(second.started_at > first.started_at);
    engine.stop(&id, Duration::ZERO).await.unwrap();
    assert_eq!(engine.inspect(&id).await.unwrap().exit_code, Some(137));
    engine.remove(&id).await.unwrap();
    engine.remove(&id).await.unwrap();
    not_found(engine.inspect(&id).await, "No such container");
    assert!(!engine.info().local);
}

#[tokio::test]
async fn names_are_unique_and_free_again_after_removal() {
    let engine = engine().await;
    let first = engine.create(&spec("a1", 1)).await.unwrap();
    conflict(engine.create(&spec("a1", 2)).await, &first.0);
    engine.remove(&first).await.unwrap();
    let second = engine.create(&spec("a1", 1)).await.unwrap();
    assert_ne!(first, second);
    refused(engine.create(&spec("a/1", 3)).await, "Invalid container name");
    refused(engine.create(&spec("-a", 3)).await, "Invalid container name");
}

#[tokio::test]
async fn pause_forbids_and_is_forbidden() {
    let engine = engine().await;
    let id = engine.create(&spec("a1", 1)).await.unwrap();
    conflict(engine.pause(&id).await, "is not running");
    conflict(engine.unpause(&id).await, "is not paused");
    engine.start(&id).await.unwrap();
    conflict(engine.unpause(&id).await, "is not paused");
    engine.pause(&id).await.unwrap();
    conflict(engine.pause(&id).await, "is already paused");
    let start = engine.start(&id).await;
    conflict(start, "cannot start a paused container, try unpause instead");
    let paused = engine.inspect(&id).await.unwrap();
    assert!(paused.pid.is_some() && paused.status == Status::Paused);
    assert!(engine.list(None).await.unwrap()[0].running);
    engine.unpause(&id).await.unwrap();
    assert_eq!(status(&engine, &id).await, Status::Running);
}

#[tokio::test]
async fn signals_end_a_container_or_not() {
    let engine = engine().await;
    let id = engine.create(&spec("a1", 1)).await.unwrap();
    conflict(engine.kill(&id, "TERM").await, "is not running");
    refused(engine.kill(&id, "NOPE").await, "Invalid signal: NOPE");
    let deadly =
        [("SIGTERM", 143), ("int", 130), ("KILL", 137), ("sigquit", 131), ("9", 137), ("ABRT", 134), ("40", 168)];
    for (signal, code) in deadly {
        engine.start(&id).await.unwrap();
        engine.kill(&id, signal).await.unwrap();
        assert_eq!(engine.inspect(&id).await.unwrap().exit_code, Some(code));
    }
    engine.start(&id).await.unwrap();
    for signal in ["HUP", "USR1", "SIGUSR2", "WINCH", "18", "CHLD", "STOP"] {
        engine.kill(&id, signal).await.unwrap();
        assert_eq!(status(&engine, &id).await, Status::Running, "{signal}");
    }
    for signal in ["NOPE", "0", "65", "-1", "", "SIG"] {
        refused(engine.kill(&id, signal).await, "Invalid signal");
    }
    let snapshot = &engine.containers()[0];
    assert_eq!(snapshot.starts, 8);
    assert_eq!(snapshot.signals.len(), 14);
    assert_eq!(snapshot.signals[11], "SIGCONT");
}

#[tokio::test]
async fn a_signal_thaws() {
    let engine = engine().await;
    let id = running(&engine, "a1", 1).await;
    let mut events = engine.events("cluster").await.unwrap();
    engine.pause(&id).await.unwrap();
    engine.kill(&id, "USR1").await.unwrap();
    assert_eq!(status(&engine, &id).await, Status::Running);
    engine.pause(&id).await.unwrap();
    engine.kill(&id, "KILL").await.unwrap();
    let expected =
        [EventKind::Paused, EventKind::Unpaused, EventKind::Paused, EventKind::Unpaused, EventKind::Died(Some(137))];
    assert_eq!(kinds(&mut events, 5).await, expected);
}

#[tokio::test]
async fn calls_on_what_does_not_exist() {
    let engine = engine().await;
    let id = ContainerId("f00".to_owned());
    not_found(engine.start(&id).await, "No such container: f00");
    not_found(engine.stop(&id, GRACE).await, "No such container");
    not_found(engine.kill(&id, "TERM").await, "No such container");
    not_found(engine.pause(&id).await, "No such container");
    not_found(engine.unpause(&id).await, "No such container");
    not_found(engine.inspect(&id).await, "No such container");
    not_found(engine.logs(&id, 0, true).await.map(drop), "No such container");
    not_found(engine.attach(&id).await.map(drop), "No such container");
    engine.remove(&id).await.unwrap();
    engine.ping().await.unwrap();
}

#[tokio::test]
async fn auto_remove_at_exit() {
    let engine = engine().await;
    let auto_remove = ContainerSpec { auto_remove: true, ..spec("a1", 1) };
    let id = engine.create(&auto_remove).await.unwrap();
    engine.start(&id).await.unwrap();
    let mut events = engine.events("cluster").await.unwrap();
    engine.die("a1", 7).unwrap();
    let expected = [EventKind::Died(Some(7)), EventKind::Removed];
    assert_eq!(kinds(&mut events, 2).await, expected);
    assert!(engine.containers().is_empty());
    let id = engine.create(&auto_remove).await.unwrap();
    engine.start(&id).await.unwrap();
    engine.remove(&id).await.unwrap();
    kinds(&mut events, 4).await;
    quiet(&mut events).await;
}

#[tokio::test]
async fn list_by_label_newest_first() {
    let engine = engine().await;
    let first = running(&engine, "a1", 1).await;
    let mut other = spec("b1", 2);
    other.labels = vec![("cluster".into(), "c2".into())];
    let second = engine.create(&other).await.unwrap();
    let all = engine.list(None).await.unwrap();
    assert_eq!([&all[0].id, &all[1].id], [&second, &first]);
    assert!(!all[0].running && all[1].running);
    assert_eq!(engine.list(Some("cluster")).await.unwrap().len(), 2);
    let c1 = engine.list(Some("cluster=c1")).await.unwrap();
    assert_eq!((c1.len(), c1[0].name.as_str()), (1, "a1"));
    assert!(engine.list(Some("cluster=")).await.unwrap().is_empty());
    assert!(engine.list(Some("other")).await.unwrap().is_empty());
}

#[tokio::test]
async fn health_is_told() {
    let engine = engine().await;
    let id = running(&engine, "a1", 1).await;
    let mut events = engine.events("cluster").await.unwrap();
    assert_eq!(engine.inspect(&id).await.unwrap().health, Health::None);
    engine.set_health("a1", Health::Healthy).unwrap();
    assert_eq!(kinds(&mut events, 1).await, [EventKind::Health]);
    assert_eq!(engine.inspect(&id).await.unwrap().health, Health::Healthy);
    // A paused one is called unhealthy until it is checked again.
    engine.pause(&id).await.unwrap();
    engine.unpause(&id).await.unwrap();
    let seen = engine.inspect(&id).await.unwrap();
    assert_eq!((seen.health, seen.unhealthy_unchecked), (Health::Unhealthy, true));
    engine.set_health("a1", Health::Unhealthy).unwrap();
    let seen = engine.inspect(&id).await.unwrap();
    assert_eq!((seen.health, seen.unhealthy_unchecked), (Health::Unhealthy, false));
    engine.stop(&id, GRACE).await.unwrap();
    engine.start(&id).await.unwrap();
    assert_eq!(engine.inspect(&id).await.unwrap().health, Health::Starting);
    not_found(engine.set_health("b", Health::Healthy), "No such container");
}

#[tokio::test]
async fn inspect_shows_what_docker_shows() {
    let engine = engine().await;
    let mut full = spec("a1", 1);
    full.binds = vec![Bind { source: "/data/a1".into(), target: "/data".to_owned(), read_only: true }];
    let id = engine.create(&full).await.unwrap();
    let raw = async || -> Value {
        let raw = engine.inspect(&id).await.unwrap().raw;
        assert!(raw.starts_with("{\n  \"") && raw.ends_with('}'));
        serde_json::from_str(&raw).unwrap()
    };
    let created = raw().await;
    assert_eq!(created["Id"], id.0);
    assert_eq!(created["Name"], "/a1");
    assert_eq!(created["State"]["StartedAt"], "0001-01-01T00:00:00Z");
    assert_eq!(created["State"]["Status"], "created");
    assert_eq!(created["HostConfig"]["NetworkMode"], "net");
    assert_eq!(created["HostConfig"]["Binds"][0], "/data/a1:/data:ro");
    let expected = json!({
        "Hostname": "host-a1", "User": "", "Tty": false, "OpenStdin": false, "StdinOnce": false, "Env": ["A=1"],
        "WorkingDir": "", "Cmd": ["serve"], "Image": "app", "Entrypoint": null, "Labels": {"cluster": "c1"},
    });
    assert_eq!(created["Config"], expected);
    engine.start(&id).await.unwrap();
    engine.pause(&id).await.unwrap();
    let paused = raw().await;
    let state = &paused["State"];
    let flags = [&state["Running"], &state["Paused"]];
    assert_eq!(flags, [&json!(true), &json!(true)]);
    assert!(state["Pid"].as_i64().unwrap() >= 1_000_000_000);
    let endpoint = &paused["NetworkSettings"]["Networks"]["net"];
    assert_eq!(endpoint["IPAddress"], "10.9.1.1");
    assert_eq!(endpoint["IPPrefixLen"], 16);
    engine.die("a1", 3).unwrap();
    let exited = raw().await;
    assert_eq!(exited["State"]["ExitCode"], 3);
    assert_eq!(exited["State"]["Pid"], 0);
    assert_eq!(exited["NetworkSettings"]["Networks"]["net"]["IPAddress"], "");
}

#[test]
fn times_as_docker_writes_them() {
    let at = super::super::container::rfc3339;
    assert_eq!(at(1), "1970-01-01T00:00:00.000000001Z");
    let leap = 1_709_210_096_000_000_000;
    assert_eq!(at(leap), "2024-02-29T12:34:56.000000000Z");
    assert_eq!(at(1_767_225_599_999_999_999), "2025-12-31T23:59:59.999999999Z");
}
