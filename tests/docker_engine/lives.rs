//! Containers: from creation to removal, and what the engine refuses.

use std::time::{Duration, Instant};

use cthulhu::engine::{
    Bind, ContainerId, Engine, EngineError, EventKind, Health, LogChunk, Network, Protocol, PublishedPort, RunOptions,
    Status,
};
use futures_util::TryStreamExt;

use crate::bench::{next_kind, text, with_bench};

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_introduces_itself() {
    with_bench(async |bench| {
        bench.engine.ping().await.unwrap();
        let info = bench.engine.info();
        assert!(info.description.contains("API 1."), "{}", info.description);
        eprintln!("{info:?}");
        assert!(bench.engine.has_image(&bench.image).await.unwrap());
        assert!(!bench.engine.has_image("cthulhu-test-none:none").await.unwrap());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life() {
    with_bench(async |bench| {
        let engine = &bench.engine;
        let mut events = engine.events(&bench.label()).await.unwrap();
        let id = engine.create(&bench.spec("life", "exec /bin/busybox sleep 1000")).await.unwrap();
        let seen = engine.inspect(&id).await.unwrap();
        assert_eq!((seen.status, seen.pid, seen.exit_code, seen.started_at), (Status::Created, None, None, 0));
        assert_eq!(seen.health, Health::None);
        assert_eq!(seen.id, id);
        assert!(matches!(engine.kill(&id, "SIGKILL").await, Err(EngineError::Conflict(_))));
        assert!(matches!(engine.pause(&id).await, Err(EngineError::Conflict(_))));

        engine.start(&id).await.unwrap();
        engine.start(&id).await.unwrap();
        let seen = engine.inspect(&id).await.unwrap();
        assert_eq!((seen.status, seen.exit_code), (Status::Running, None));
        assert!(seen.pid.unwrap() > 0 && seen.started_at > 1_700_000_000_000_000_000);
        let whole: serde_json::Value = serde_json::from_str(&seen.raw).unwrap();
        assert_eq!(whole["Config"]["Hostname"], "life");
        assert!(seen.raw.starts_with("{\n    \"Id\"") && !seen.raw.ends_with('\n'));

        assert!(matches!(engine.unpause(&id).await, Err(EngineError::Conflict(_))));
        engine.pause(&id).await.unwrap();
        assert!(matches!(engine.pause(&id).await, Err(EngineError::Conflict(_))));
        assert_eq!(engine.inspect(&id).await.unwrap().status, Status::Paused);
        engine.unpause(&id).await.unwrap();
        assert!(matches!(engine.kill(&id, "SIGNONSENSE").await, Err(EngineError::Refused(_))));
        engine.kill(&id, "9").await.unwrap();
        assert_eq!(bench.ended(&id).await.exit_code, Some(137));

        // Less than the engine's own ten seconds; on a busy machine not every time.
        let mut soon = false;
        for _ in 0..20 {
            engine.start(&id).await.unwrap();
            let begin = Instant::now();
            engine.stop(&id, Duration::from_millis(300)).await.unwrap();
            soon = begin.elapsed() < Duration::from_secs(5);
            if soon {
                break;
            }
        }
        assert!(soon, "the grace of 300 ms is not heeded");
        engine.stop(&id, Duration::ZERO).await.unwrap();

        let listed = engine.list(Some(&bench.label())).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((&listed[0].id, listed[0].running), (&id, false));
        assert_eq!(listed[0].name, format!("{}-life", bench.mark));
        assert!(engine.list(None).await.unwrap().iter().any(|other| other.id == id));
        engine.remove(&id).await.unwrap();
        engine.remove(&id).await.unwrap();
        assert!(matches!(engine.inspect(&id).await, Err(EngineError::NotFound(_))));

        for expected in [
            EventKind::Created,
            EventKind::Started,
            EventKind::Paused,
            EventKind::Unpaused,
            EventKind::Died(Some(137)),
            EventKind::Started,
            EventKind::Died(Some(137)),
            EventKind::Removed,
        ] {
            assert_eq!(next_kind(&mut events).await, (id.clone(), expected));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_that_others_began_is_waited_for() {
    with_bench(async |bench| {
        let id = bench.run("gone", "exec /bin/busybox sleep 1000").await;
        let all = (0..8).map(|_| bench.engine.remove(&id));
        for outcome in futures_util::future::join_all(all).await {
            outcome.unwrap();
        }
        assert!(matches!(bench.engine.inspect(&id).await, Err(EngineError::NotFound(_))));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_binds_and_ports_reach_the_container() {
    with_bench(async |bench| {
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("a:b c");
        std::fs::create_dir(&odd).unwrap();
        std::fs::write(odd.join("file"), "from outside\n").unwrap();
        let mut spec =
            bench.spec("limits", "/bin/busybox cat '/in:side/file'; /bin/busybox hostname; /bin/busybox touch /x");
        spec.binds = vec![Bind { source: odd, target: "/in:side".into(), read_only: true }];
        spec.run = RunOptions {
            memory: Some(64 << 20),
            nano_cpus: Some(500_000_000),
            cap_add: vec!["NET_ADMIN".into()],
            cap_drop: vec!["ALL".into()],
            read_only: true,
            user: Some("1000".into()),
            ..RunOptions::default()
        };
        let Network::Attached { options, .. } = &mut spec.network else { unreachable!() };
        options.ports.push(PublishedPort { host_ip: None, host_port: None, port: 80, protocol: Protocol::Tcp });
        let id = bench.engine.create(&spec).await.unwrap();
        bench.engine.start(&id).await.unwrap();
        let seen = bench.ended(&id).await;
        let whole: serde_json::Value = serde_json::from_str(&seen.raw).unwrap();
        let host = &whole["HostConfig"];
        assert_eq!((&host["Memory"], &host["NanoCpus"]), (&(64 << 20).into(), &500_000_000.into()));
        assert_eq!(whole["Config"]["User"], "1000");
        assert!(host["PortBindings"]["80/tcp"].is_array());
        let chunks: Vec<LogChunk> = bench.engine.logs(&id, 0, false).await.unwrap().try_collect().await.unwrap();
        let output = text(&chunks);
        assert!(output.contains("from outside\n") && output.contains("limits\n"), "{output}");
        assert!(output.contains("Read-only file system"), "{output}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_is_wrong() {
    with_bench(async |bench| {
        let engine = &bench.engine;
        let spec = bench.spec("twice", "true");
        engine.create(&spec).await.unwrap();
        assert!(matches!(engine.create(&spec).await, Err(EngineError::Conflict(_))));
        let mut spec = bench.spec("imageless", "true");
        spec.image = "cthulhu-test-none:none".into();
        let error = engine.create(&spec).await.unwrap_err();
        assert!(matches!(&error, EngineError::NotFound(reason) if reason.contains("cthulhu-test-none")), "{error}");
        let mut spec = bench.spec("commandless", "true");
        spec.entrypoint = Some(vec!["/none".into()]);
        let id = engine.create(&spec).await.unwrap();
        let error = engine.start(&id).await.unwrap_err();
        assert!(matches!(&error, EngineError::Refused(reason) if reason.contains("/none")), "{error:?}");
        let missing = ContainerId("0123456789ab".into());
        assert!(matches!(engine.start(&missing).await, Err(EngineError::NotFound(_))));
        assert!(engine.attach(&missing).await.is_err());
        let error =
            engine.pull("localhost:1/cthulhu-test-none:none").await.unwrap().try_collect::<Vec<_>>().await.unwrap_err();
        assert!(error.to_string().contains("localhost:1/cthulhu-test-none:none"), "{error}");
    })
    .await;
}
