//! What keeps flowing: events, logs, attached streams, and their ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cthulhu::engine::docker::connect;
use cthulhu::engine::{ContainerId, Engine, EngineError, EventKind, LogChunk, Network, Status, Stdin};
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::bench::{WAIT, next_kind, text, with_bench};

#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_lost_right_after_subscribing() {
    with_bench(async |bench| {
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

/// Everything that a container has written so far, as one that follows it sees it too.
async fn whole_log(engine: &dyn Engine, id: &ContainerId) -> Vec<LogChunk> {
    let read = engine.logs(id, 0, false).await.unwrap();
    let followed = engine.logs(id, 0, true).await.unwrap();
    let read: Vec<LogChunk> = read.try_collect().await.unwrap();
    let followed: Vec<LogChunk> = timeout(WAIT, followed.try_collect()).await.unwrap().unwrap();
    assert_eq!(read, followed);
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_terminal_has_the_same_lines() {
    with_bench(async |bench| {
        let engine = &bench.engine;
        let script = "busybox=/bin/busybox; echo one; echo two >&2; $busybox head -c 40000 /dev/zero | $busybox tr '\\0' x; \
                      echo; echo 2020-01-01T00:00:00.000000000Z said; test -t 1 && printf '> '";
        let mut spec = bench.spec("terminal", script);
        spec.run.tty = true;
        let id = engine.create(&spec).await.unwrap();
        let run = format!("one\ntwo\n{}\n2020-01-01T00:00:00.000000000Z said\n> ", "x".repeat(40_000));
        for runs in 1..=2 {
            engine.start(&id).await.unwrap();
            bench.ended(&id).await;
            let chunks = whole_log(engine, &id).await;
            assert_eq!(text(&chunks), run.repeat(runs));
            assert!(chunks.iter().all(|chunk| chunk.time > 0));
            let ends = chunks.iter().filter(|chunk| chunk.bytes == b"> ").count();
            assert_eq!(ends, runs, "an unfinished line is a piece of its own");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_whole_and_begin_where_asked() {
    with_bench(async |bench| {
        let engine = &bench.engine;
        // The pause keeps stderr out of the long line, which comes in several pieces.
        let script = "echo one; echo two >&2; echo \"$GREETING\"; /bin/busybox sleep 0.2; \
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
        let sandbox = bench.run("sandbox", "exec /bin/busybox sleep 1000").await;
        let mut spec = bench.spec("helper", "echo noise >&2; while read line; do echo \"<$line>\"; done");
        spec.network = Network::Of(sandbox);
        spec.stdin = Stdin::UntilDetached;
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
async fn a_kept_stdin_outlives_its_clients() {
    with_bench(async |bench| {
        let mut spec = bench.spec("helper", "while read line; do echo \"<$line>\"; done");
        spec.stdin = Stdin::Kept;
        let engine = &bench.engine;
        let id = engine.create(&spec).await.unwrap();
        let mut first = engine.attach(&id).await.unwrap();
        engine.start(&id).await.unwrap();
        // Half a line of a client that goes is the next one's.
        first.stdin.write_all(b"ia\nftha").await.unwrap();
        let mut answer = [0; 5];
        timeout(WAIT, first.stdout.read_exact(&mut answer)).await.unwrap().unwrap();
        drop(first);
        for text in ["ghn", "cf"] {
            let mut next = engine.attach(&id).await.unwrap();
            next.stdin.write_all(format!("{text}\n").as_bytes()).await.unwrap();
            let mut line = String::new();
            let mut stdout = tokio::io::BufReader::new(next.stdout);
            timeout(WAIT, stdout.read_line(&mut line)).await.unwrap().unwrap();
            assert!(line.ends_with(&format!("{text}>\n")), "{line}");
        }
        assert_eq!(engine.inspect(&id).await.unwrap().status, Status::Running);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_stdin_alone_ends_the_output() {
    with_bench(async |bench| {
        let mut spec = bench.spec("cat", "exec /bin/busybox cat");
        spec.stdin = Stdin::UntilDetached;
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
            return crate::skip::skipped("the engine is not on a socket");
        };
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
        spec.stdin = Stdin::UntilDetached;
        let id = engine.create(&spec).await.unwrap();
        settle(0).await;
        let attachment = engine.attach(&id).await.unwrap();
        engine.start(&id).await.unwrap();
        let mut log = engine.logs(&id, 0, true).await.unwrap();
        assert!(log.next().now_or_never().is_none());
        let events = engine.events(&bench.label()).await.unwrap();
        // Events come over two: one for containers, one for networks.
        settle(4).await;
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
