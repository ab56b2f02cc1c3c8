//! The Docker room against a real engine: what is asked, what comes back, what goes wrong.
//!
//! Needs an engine and a statically linked busybox (`CTHULHU_TEST_BUSYBOX`, or one in `/bin` or `/usr/bin`); without
//! them every test says so and passes. Everything it makes has a name of its own and is removed again.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cthulhu::engine::docker::{DockerEngine, connect};
use cthulhu::engine::{
    Bind, BoxStream, ContainerId, ContainerSpec, Engine, EngineError, Event, EventKind, Health, LogChunk, Network,
    Result, Status,
};
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const LABEL: &str = "io.cthulhu.test";
const WAIT: Duration = Duration::from_secs(20);

/// One test's engine, and what is to be removed after it.
struct Bench {
    engine: DockerEngine,
    mark: String,
    image: String,
    /// Second octet of the subnet that this test may use.
    octet: u8,
}

impl Bench {
    async fn open() -> Option<Bench> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let engine = match connect(None, WAIT).await {
            Ok(engine) => engine,
            Err(error) => return skip(&error.to_string()),
        };
        let usual = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from);
        let named = std::env::var_os("CTHULHU_TEST_BUSYBOX").map(PathBuf::from);
        let Some(busybox) = named.into_iter().chain(usual).find(|path| path.exists()) else {
            return skip("there is no busybox");
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mark = format!("cthulhu-test-{}-{number}", std::process::id());
        let image = format!("{mark}:v1");
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_path_with_name(&busybox, "bin/busybox").unwrap();
        engine.import(&image, archive.into_inner().unwrap()).await.unwrap();
        Some(Bench { engine, mark, image, octet: 200 + u8::try_from(number % 50).unwrap() })
    }

    fn label(&self) -> String {
        format!("{LABEL}={}", self.mark)
    }

    fn subnet(&self) -> String {
        format!("10.{}.77.0/24", self.octet)
    }

    fn address(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.octet, 77, last)
    }

    async fn network(&self) -> String {
        let labels = vec![(LABEL.to_owned(), self.mark.clone())];
        self.engine.create_network(&self.mark, &self.subnet(), &labels).await.unwrap()
    }

    fn spec(&self, name: &str, script: &str) -> ContainerSpec {
        let hash = name.bytes().fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
        ContainerSpec {
            name: format!("{}-{name}", self.mark),
            image: self.image.clone(),
            entrypoint: Some(["/bin/busybox", "sh", "-c"].map(str::to_owned).to_vec()),
            command: Some(vec![script.to_owned()]),
            env: vec!["GREETING=ia ia".into()],
            labels: vec![(LABEL.into(), self.mark.clone())],
            network: Network::Attached {
                network: self.mark.clone(),
                address: self.address(10 + hash % 200),
                aliases: vec![name.to_owned()],
                hostname: name.to_owned(),
                published: Vec::new(),
            },
            binds: Vec::new(),
            user: None,
            memory: None,
            nano_cpus: None,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            privileged: false,
            read_only: false,
            attached_stdin: false,
            auto_remove: false,
        }
    }

    async fn run(&self, name: &str, script: &str) -> ContainerId {
        let id = self.engine.create(&self.spec(name, script)).await.unwrap();
        self.engine.start(&id).await.unwrap();
        id
    }

    async fn ended(&self, id: &ContainerId) -> cthulhu::engine::Inspection {
        let begin = Instant::now();
        loop {
            let seen = self.engine.inspect(id).await.unwrap();
            if seen.status == Status::Exited {
                return seen;
            }
            assert!(begin.elapsed() < WAIT, "it does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn clean(&self) {
        for container in self.engine.list(Some(&self.label())).await.unwrap() {
            self.engine.remove(&container.id).await.unwrap();
        }
        self.engine.remove_network(&self.mark).await.unwrap();
        let removed = std::process::Command::new("docker").args(["rmi", "-f", &self.image]).output();
        if !removed.is_ok_and(|output| output.status.success()) {
            eprintln!("left behind: image {}", self.image);
        }
    }
}

fn skip<T>(reason: &str) -> Option<T> {
    eprintln!("SKIPPED: {reason}");
    None
}

/// Runs a test, and cleans up also if it fails.
async fn with_bench(test: impl AsyncFnOnce(&Bench)) {
    let Some(bench) = Bench::open().await else {
        return;
    };
    let outcome = std::panic::AssertUnwindSafe(test(&bench)).catch_unwind().await;
    bench.clean().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

async fn next_kind(events: &mut BoxStream<Result<Event>>) -> (ContainerId, EventKind) {
    loop {
        let event = timeout(WAIT, events.next()).await.expect("no event").unwrap().unwrap();
        if event.kind != EventKind::Other {
            return (event.container, event.kind);
        }
    }
}

fn text(chunks: &[LogChunk]) -> String {
    String::from_utf8(chunks.iter().flat_map(|chunk| chunk.bytes.clone()).collect()).unwrap()
}

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
        bench.network().await;
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

        engine.start(&id).await.unwrap();
        let begin = Instant::now();
        engine.stop(&id, Duration::from_millis(300)).await.unwrap();
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
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
async fn no_event_is_lost_right_after_subscribing() {
    with_bench(async |bench| {
        bench.network().await;
        for round in 0..20 {
            let mut events = bench.engine.events(&bench.label()).await.unwrap();
            let id = bench.engine.create(&bench.spec(&format!("e{round}"), "true")).await.unwrap();
            // First polled long after.
            tokio::time::sleep(Duration::from_millis(20)).await;
            loop {
                let (container, kind) = next_kind(&mut events).await;
                if (&container, &kind) == (&id, &EventKind::Created) {
                    break;
                }
            }
        }
    })
    .await;
}

/// A way to the engine that can be cut. Gives its address, the number of open connections, and the cut.
fn detour(target: String) -> (String, Arc<AtomicU32>, impl FnOnce()) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("detour.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let open = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&open);
    let proxy = tokio::spawn(async move {
        let _dir = dir;
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let (target, counter) = (target.clone(), Arc::clone(&counter));
            connections.spawn(async move {
                counter.fetch_add(1, Ordering::SeqCst);
                let mut far = tokio::net::UnixStream::connect(target).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                counter.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (format!("unix://{}", path.display()), open, move || proxy.abort())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_is_told_and_a_dropped_one_closed() {
    with_bench(async |bench| {
        let Some(socket) = bench.engine.info().address.strip_prefix("unix://") else {
            return eprintln!("SKIPPED: the engine is not on a socket");
        };
        bench.network().await;
        let (address, open, cut) = detour(socket.to_owned());
        let engine = connect(Some(&address), WAIT).await.unwrap();
        let settle = async |expected: u32| {
            let begin = Instant::now();
            while open.load(Ordering::SeqCst) != expected {
                let now = open.load(Ordering::SeqCst);
                assert!(begin.elapsed() < WAIT, "{now} connections, not {expected}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        settle(0).await;
        let mut spec = bench.spec("attached", "exec /bin/busybox cat");
        spec.attached_stdin = true;
        let id = engine.create(&spec).await.unwrap();
        settle(0).await;
        let attachment = engine.attach(&id).await.unwrap();
        engine.start(&id).await.unwrap();
        let mut log = engine.logs(&id, 0, true).await.unwrap();
        assert!(log.next().now_or_never().is_none());
        let events = engine.events(&bench.label()).await.unwrap();
        settle(3).await;
        drop((attachment, log, events));
        settle(0).await;

        let mut events = engine.events(&bench.label()).await.unwrap();
        cut();
        let end = timeout(WAIT, async {
            loop {
                match events.next().await {
                    Some(Ok(_)) => {}
                    end => return end,
                }
            }
        });
        let end = end.await.unwrap();
        assert!(matches!(end, Some(Err(EngineError::Unreachable(_)))), "{end:?}");
        assert!(events.next().await.is_none());
        for outcome in [engine.ping().await, engine.events("x").await.map(drop)] {
            assert!(matches!(outcome, Err(EngineError::Unreachable(_))), "{outcome:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_that_others_began_is_waited_for() {
    with_bench(async |bench| {
        bench.network().await;
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
async fn logs_are_whole_and_begin_where_asked() {
    with_bench(async |bench| {
        let engine = &bench.engine;
        bench.network().await;
        let script = "echo one; echo two >&2; echo \"$GREETING\"; \
                      busybox=/bin/busybox; $busybox head -c 40000 /dev/zero | $busybox tr '\\0' x; echo; \
                      $busybox sleep 0.3; printf last";
        let id = bench.run("logs", script).await;
        let followed = engine.logs(&id, 0, true).await.unwrap();
        let followed: Vec<LogChunk> = timeout(WAIT, followed.try_collect()).await.unwrap().unwrap();
        bench.ended(&id).await;
        let chunks: Vec<LogChunk> = engine.logs(&id, 0, false).await.unwrap().try_collect().await.unwrap();
        let sorted = |chunks: &[LogChunk]| {
            let mut chunks = chunks.to_vec();
            chunks.sort_by(|a, b| (a.time, &a.bytes).cmp(&(b.time, &b.bytes)));
            chunks
        };
        assert_eq!(sorted(&followed), sorted(&chunks));
        let whole = text(&chunks);
        assert!(whole.contains("one\n") && whole.contains("two\n") && whole.contains("ia ia\n"));
        assert!(whole.contains(&format!("{}\n", "x".repeat(40_000))), "a long line is changed");
        assert!(whole.ends_with("last"), "the last line is missing");
        assert!(chunks.iter().all(|chunk| chunk.time > 0));

        let last = chunks.last().unwrap();
        let again: Vec<LogChunk> = engine.logs(&id, last.time, false).await.unwrap().try_collect().await.unwrap();
        assert_eq!(again, std::slice::from_ref(last));
        let none: Vec<LogChunk> = engine.logs(&id, last.time + 1, false).await.unwrap().try_collect().await.unwrap();
        assert!(none.is_empty());
        let missing = ContainerId("0123456789ab".into());
        let error = engine.logs(&missing, 0, true).await.unwrap().next().await.unwrap().unwrap_err();
        assert!(matches!(error, EngineError::NotFound(_)), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_helper_talks_and_goes_when_dropped() {
    with_bench(async |bench| {
        let engine = &bench.engine;
        bench.network().await;
        let sandbox = bench.run("sandbox", "exec /bin/busybox sleep 1000").await;
        let mut spec = bench.spec("helper", "echo noise >&2; while read line; do echo \"<$line>\"; done");
        spec.network = Network::Of(sandbox);
        spec.attached_stdin = true;
        spec.auto_remove = true;
        let id = engine.create(&spec).await.unwrap();
        let mut attachment = engine.attach(&id).await.unwrap();
        engine.start(&id).await.unwrap();
        attachment.stdin.write_all(b"ph'nglui\n").await.unwrap();
        let mut answer = [0; 11];
        timeout(WAIT, attachment.stdout.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"<ph'nglui>\n");
        drop(attachment);
        let begin = Instant::now();
        while !matches!(engine.inspect(&id).await, Err(EngineError::NotFound(_))) {
            assert!(begin.elapsed() < WAIT, "the helper stays");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_stdin_alone_ends_the_output() {
    with_bench(async |bench| {
        bench.network().await;
        let mut spec = bench.spec("cat", "exec /bin/busybox cat");
        spec.attached_stdin = true;
        let id = bench.engine.create(&spec).await.unwrap();
        let mut attachment = bench.engine.attach(&id).await.unwrap();
        bench.engine.start(&id).await.unwrap();
        let sent = vec![b'y'; 300_000];
        let mut stdin = attachment.stdin;
        let send = async {
            stdin.write_all(&sent).await.unwrap();
            stdin.shutdown().await.unwrap();
        };
        let mut received = Vec::new();
        let receive = attachment.stdout.read_to_end(&mut received);
        let ((), read) = timeout(WAIT, async { tokio::join!(send, receive) }).await.unwrap();
        read.unwrap();
        assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_pin_addresses_and_refuse_overlaps() {
    with_bench(async |bench| {
        let engine = &bench.engine;
        let id = bench.network().await;
        let labels = Vec::new();
        let taken = engine.create_network(&bench.mark, "10.250.78.0/24", &labels).await;
        assert!(matches!(taken, Err(EngineError::Conflict(_))), "{taken:?}");
        let other = format!("{}-other", bench.mark);
        let overlap = engine.create_network(&other, &bench.subnet(), &labels).await;
        assert!(matches!(overlap, Err(EngineError::Conflict(_))), "{overlap:?}");

        let node = bench.run("pinned", "exec /bin/busybox sleep 1000").await;
        let network = engine.network(&bench.mark).await.unwrap();
        assert_eq!((&network.id, network.driver.as_str()), (&id, "bridge"));
        assert_eq!(network.subnets, [bench.subnet()]);
        assert_eq!(network.used.len(), 1);
        let whole: serde_json::Value = serde_json::from_str(&engine.inspect(&node).await.unwrap().raw).unwrap();
        assert_eq!(whole["NetworkSettings"]["Networks"][&bench.mark]["IPAddress"], network.used[0].to_string());
        let busy = engine.remove_network(&bench.mark).await;
        assert!(matches!(busy, Err(EngineError::Conflict(_))), "{busy:?}");

        let listed = engine.list_networks(Some(&bench.label())).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].subnets, [bench.subnet()]);
        assert!(engine.list_networks(None).await.unwrap().iter().any(|network| network.driver == "host"));
        assert!(matches!(engine.network("cthulhu-test-none").await, Err(EngineError::NotFound(_))));
        engine.remove_network("cthulhu-test-none").await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_binds_and_ports_reach_the_container() {
    with_bench(async |bench| {
        bench.network().await;
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("a:b c");
        std::fs::create_dir(&odd).unwrap();
        std::fs::write(odd.join("file"), "from outside\n").unwrap();
        let mut spec =
            bench.spec("limits", "/bin/busybox cat '/in:side/file'; /bin/busybox hostname; /bin/busybox touch /x");
        spec.binds = vec![Bind { source: odd, target: "/in:side".into(), read_only: true }];
        spec.memory = Some(64 << 20);
        spec.nano_cpus = Some(500_000_000);
        spec.cap_add = vec!["NET_ADMIN".into()];
        spec.cap_drop = vec!["ALL".into()];
        spec.read_only = true;
        spec.user = Some("1000".into());
        let Network::Attached { published, .. } = &mut spec.network else { unreachable!() };
        published.push((0, 80));
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
        bench.network().await;
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
