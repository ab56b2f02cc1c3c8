use std::time::Instant;

use super::*;

#[tokio::test]
async fn images_are_needed_pulled_and_imported() {
    let engine = engine().await;
    let mut other = spec("a1", 1);
    other.image = "redis".to_owned();
    not_found(engine.create(&other).await, "No such image: redis");
    assert!(!engine.has_image("redis").await.unwrap());
    let steps = engine.pull("redis").await.unwrap();
    assert!(!engine.has_image("redis").await.unwrap());
    let steps: Vec<_> = steps.map(|step| step.unwrap()).collect().await;
    assert!(steps.len() > 2 && steps.is_sorted_by(|a, b| a.done <= b.done));
    assert!(steps.iter().all(|step| step.done <= step.total));
    for same in ["redis", "redis:latest", "docker.io/library/redis"] {
        assert!(engine.has_image(same).await.unwrap(), "{same}");
    }
    assert!(!engine.has_image("redis:7").await.unwrap());
    engine.create(&other).await.unwrap();
    engine.import("host:5000/tool", Vec::new()).await.unwrap();
    assert!(engine.has_image("host:5000/tool:latest").await.unwrap());
}

#[tokio::test]
async fn images_that_no_registry_has() {
    let engine = engine().await;
    engine.miss_image("secret:1");
    for reference in ["missing/app", "secret:1"] {
        let mut steps = engine.pull(reference).await.unwrap();
        let why = format!("pull access denied for {reference}, repository does not exist");
        not_found(steps.next().await.unwrap(), &why);
        assert!(steps.next().await.is_none());
        assert!(!engine.has_image(reference).await.unwrap());
    }
}

#[tokio::test]
async fn failures_queue_up_and_have_no_effect() {
    let engine = engine().await;
    let id = engine.create(&spec("a1", 1)).await.unwrap();
    let denied = EngineError::Denied("first".into());
    let late = EngineError::TimedOut(LONG);
    engine.fail_next(Op::Start, 2, denied.clone());
    engine.fail_next(Op::Start, 1, late.clone());
    engine.fail_next(Op::Stop, 0, late.clone());
    engine.stop(&id, LONG).await.unwrap();
    for error in [denied.clone(), denied, late] {
        assert_eq!(engine.start(&id).await.unwrap_err(), error);
        assert_eq!(status(&engine, &id).await, Status::Created);
    }
    engine.start(&id).await.unwrap();
    assert_eq!(engine.calls(Op::Start), 4);
    assert_eq!(engine.calls(Op::Pause), 0);
}

#[tokio::test]
async fn delays_hold_the_effect_back() {
    let engine = engine().await;
    let id = engine.create(&spec("a1", 1)).await.unwrap();
    engine.delay(Op::Start, 10 * SHORT);
    let mut events = engine.events("cluster").await.unwrap();
    let begin = Instant::now();
    let (start, running) = tokio::join!(engine.start(&id), async {
        quiet(&mut events).await;
        assert!(!engine.list(None).await.unwrap()[0].running);
        // The engine works on the container, so the description comes after that.
        status(&engine, &id).await
    });
    start.unwrap();
    assert_eq!(running, Status::Running);
    assert!(begin.elapsed() >= 10 * SHORT);
    engine.delay(Op::Stop, LONG);
    let stop = tokio::time::timeout(SHORT, engine.stop(&id, LONG)).await;
    stop.unwrap_err();
    assert_eq!(status(&engine, &id).await, Status::Running);
    engine.delay(Op::Stop, Duration::ZERO);
    engine.stop(&id, LONG).await.unwrap();
    assert_eq!(engine.calls(Op::Stop), 2);
}

#[tokio::test]
async fn a_pull_spreads_its_delay() {
    let engine = engine().await;
    engine.delay(Op::Pull, 2 * SHORT);
    let begin = Instant::now();
    let steps = engine.pull("redis").await.unwrap();
    steps.for_each(async |step| drop(step.unwrap())).await;
    assert!(begin.elapsed() >= 2 * SHORT);
    engine.delay(Op::Pull, LONG);
    let mut steps = engine.pull("other").await.unwrap();
    quiet(&mut steps).await;
    engine.disconnect();
    unreachable(steps.next().await.unwrap());
    assert!(steps.next().await.is_none());
}

#[tokio::test]
async fn hung_calls_go_on_when_released() {
    let engine = engine().await;
    let id = engine.create(&spec("a1", 1)).await.unwrap();
    engine.hang(Op::Start);
    let other = engine.clone();
    let start = tokio::spawn({
        let id = id.clone();
        async move { other.start(&id).await }
    });
    tokio::time::sleep(SHORT).await;
    assert!(!start.is_finished());
    assert_eq!(engine.calls(Op::Start), 1);
    engine.start_outside("a1").unwrap();
    assert!(engine.list(None).await.unwrap()[0].running);
    engine.release(Op::Start);
    start.await.unwrap().unwrap();
    assert_eq!(engine.containers()[0].starts, 1);
}

#[tokio::test]
async fn a_broken_connection_frees_what_waits() {
    let engine = engine().await;
    let id = running(&engine, "a1", 1).await;
    engine.hang(Op::Stop);
    engine.delay(Op::Kill, LONG);
    let (stop, kill, ()) =
        tokio::join!(engine.stop(&id, LONG), engine.kill(&id, "TERM"), async { engine.disconnect() });
    unreachable(stop);
    unreachable(kill);
    engine.reconnect();
    assert_eq!(status(&engine, &id).await, Status::Running);
}

#[tokio::test]
async fn an_address_with_options() {
    let plain = SimulatedEngine::from_url("simulated:").unwrap();
    plain.ping().await.unwrap();
    let url = "simulated:?ping=30ms&create_network=1us";
    let slow = SimulatedEngine::from_url(url).unwrap();
    assert_eq!(slow.info().address, url);
    let begin = Instant::now();
    slow.ping().await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(30));
    for (url, part) in [
        ("simulated:?jump=1s", "no option \"jump\""),
        ("simulated:?start=soon", "\"soon\" is not a duration"),
        ("simulated:?start=50", "\"50\" is not a duration"),
        ("simulated:?start=", "is not a duration"),
        ("simulated:?start=-5ms", "is not a duration"),
        ("simulated:?start", "has no value"),
        ("simulated:?hang=here", "\"here\" is not a path that begins with /"),
        ("simulated:?label=rack", "is not a label such as rack=r1"),
        ("simulated:?clock=fast", "is not a duration"),
        ("simulated:?swarm=mine", "\"mine\" is not \"none\""),
        ("simulated:start=1s", "only options can follow"),
        ("docker:", "does not begin with"),
    ] {
        refused(SimulatedEngine::from_url(url).map(drop), part);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_containers_at_once() {
    const COUNT: usize = 3_000;
    let engine = engine().await;
    let mut events = engine.events("cluster=c1").await.unwrap();
    let tasks: Vec<_> = (0..COUNT)
        .map(|number| {
            let engine = engine.clone();
            tokio::spawn(async move {
                let mut spec = spec(&format!("n{number}"), 0);
                if let Network::Attached { endpoints, .. } = &mut spec.network {
                    endpoints[0].address = Ipv4Addr::from(0x0a09_0100 + number as u32);
                }
                let id = engine.create(&spec).await.unwrap();
                engine.start(&id).await.unwrap();
                engine.kill(&id, "KILL").await.unwrap();
                id
            })
        })
        .collect();
    let mut ids = std::collections::HashSet::new();
    for task in tasks {
        ids.insert(task.await.unwrap());
    }
    assert_eq!(ids.len(), COUNT);
    let events = take(&mut events, 3 * COUNT).await;
    assert!(events.is_sorted_by(|a, b| a.time < b.time));
    assert!(engine.networks()[0].used.is_empty());
}
