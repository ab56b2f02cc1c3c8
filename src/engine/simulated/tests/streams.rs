use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::*;
use crate::engine::{Attachment, LogChunk, Usage};

/// What a log stream has until its end.
async fn text(logs: BoxStream<Result<LogChunk>>) -> String {
    let pieces = tokio::time::timeout(LONG, logs.collect::<Vec<_>>()).await;
    let pieces = pieces.expect("the end of the log").into_iter();
    let bytes = pieces.flat_map(|piece| piece.unwrap().bytes).collect();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn logs_of_all_runs_from_a_time_on() {
    let engine = engine().await;
    let id = engine.create(&spec("a1", 1)).await.unwrap();
    assert_eq!(text(engine.logs(&id, 0, true).await.unwrap()).await, "");
    engine.start(&id).await.unwrap();
    engine.print("a1", b"hello\n").unwrap();
    engine.die("a1", 3).unwrap();
    engine.start(&id).await.unwrap();
    let all = engine.logs(&id, 0, false).await.unwrap();
    let all: Vec<LogChunk> = all.map(|piece| piece.unwrap()).collect().await;
    assert!(all.is_sorted_by(|a, b| a.time < b.time));
    assert_eq!(all.len(), 4);
    let since = engine.logs(&id, all[1].time, false).await.unwrap();
    assert_eq!(text(since).await, "hello\nexited 3\nstarted\n");
    let since = engine.logs(&id, all[1].time + 1, false).await.unwrap();
    assert_eq!(text(since).await, "exited 3\nstarted\n");
    engine.die("a1", 0).unwrap();
    conflict(engine.print("a1", b"late\n"), "is not running");
    let stopped = engine.logs(&id, all[3].time, true).await.unwrap();
    assert_eq!(text(stopped).await, "started\nexited 0\n");
}

#[tokio::test]
async fn following_ends_with_the_run() {
    let engine = engine().await;
    let id = running(&engine, "a1", 1).await;
    let mut logs = engine.logs(&id, 0, true).await.unwrap();
    assert_eq!(logs.next().await.unwrap().unwrap().bytes, b"started\n");
    quiet(&mut logs).await;
    let reader = tokio::spawn(text(logs));
    engine.print("a1", b"one\n").unwrap();
    tokio::task::yield_now().await;
    engine.print("a1", b"two\n").unwrap();
    engine.kill(&id, "KILL").await.unwrap();
    engine.start(&id).await.unwrap();
    assert_eq!(reader.await.unwrap(), "one\ntwo\nexited 137\n");
}

#[tokio::test]
async fn following_survives_removal() {
    let engine = engine().await;
    let id = running(&engine, "a1", 1).await;
    let logs = engine.logs(&id, 0, true).await.unwrap();
    engine.remove(&id).await.unwrap();
    assert_eq!(text(logs).await, "started\nexited 137\n");
}

/// Asks and reads one line.
async fn ask(attachment: &mut Attachment, line: &str) -> serde_json::Value {
    attachment.stdin.write_all(line.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let mut reader = BufReader::new(&mut attachment.stdout);
    let read = reader.read_line(&mut answer);
    tokio::time::timeout(LONG, read).await.unwrap().unwrap();
    serde_json::from_str(&answer).unwrap()
}

#[tokio::test]
async fn a_sandbox_answers_and_ends_with_its_client() {
    let engine = engine().await;
    let id = engine.create(&sandbox("s1", 1)).await.unwrap();
    let mut attachment = engine.attach(&id).await.unwrap();
    attachment.stdin.write_all(b"{\"op\":").await.unwrap();
    engine.start(&id).await.unwrap();
    let hello = ask(&mut attachment, "\"hello\"}\n").await;
    let version = env!("CARGO_PKG_VERSION");
    let expected = serde_json::json!({"ok": true, "version": version, "addresses": ["10.9.1.1"]});
    assert_eq!(hello, expected);
    let unknown = serde_json::json!({"ok": false, "error": "unknown request"});
    assert_eq!(ask(&mut attachment, "{\"op\":\"dance\"}\n").await, unknown);
    assert_eq!(ask(&mut attachment, "nonsense\n").await, unknown);
    let mut events = engine.events("cluster").await.unwrap();
    drop(attachment);
    let expected = [EventKind::Died(Some(0)), EventKind::Removed];
    assert_eq!(kinds(&mut events, 2).await, expected);
    not_found(engine.inspect(&id).await, "No such container");
}

#[tokio::test]
async fn a_frozen_sandbox_answers_when_thawed() {
    let engine = engine().await;
    let id = engine.create(&sandbox("s1", 1)).await.unwrap();
    let mut attachment = engine.attach(&id).await.unwrap();
    engine.start(&id).await.unwrap();
    engine.pause(&id).await.unwrap();
    conflict(engine.attach(&id).await.map(drop), "is paused");
    let asking = tokio::time::timeout(SHORT, ask(&mut attachment, "{\"op\":\"hello\"}\n"));
    asking.await.unwrap_err();
    drop(attachment.stdin);
    assert_eq!(status(&engine, &id).await, Status::Paused);
    engine.kill(&id, "USR1").await.unwrap();
    let mut answer = String::new();
    attachment.stdout.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("10.9.1.1") && answer.ends_with("}\n"));
    assert!(engine.containers().is_empty());
}

#[tokio::test]
async fn the_end_of_a_run_closes_both_ends() {
    let engine = engine().await;
    let spec = ContainerSpec { auto_remove: false, ..sandbox("s1", 1) };
    let id = engine.create(&spec).await.unwrap();
    let mut old = engine.attach(&id).await.unwrap();
    engine.start(&id).await.unwrap();
    engine.die("s1", 1).unwrap();
    let mut rest = Vec::new();
    old.stdout.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
    let error = old.stdin.write_all(b"x\n").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    // What is left of the first run's attachment does not touch the second run.
    let mut new = engine.attach(&id).await.unwrap();
    engine.start(&id).await.unwrap();
    drop(old);
    assert_eq!(ask(&mut new, "{\"op\":\"hello\"}\n").await["ok"], true);
    new.stdin.shutdown().await.unwrap();
    assert_eq!(engine.inspect(&id).await.unwrap().exit_code, Some(0));
}

#[tokio::test]
async fn a_client_gone_before_the_start_ends_it_at_once() {
    let engine = engine().await;
    let id = engine.create(&sandbox("s1", 1)).await.unwrap();
    drop(engine.attach(&id).await.unwrap());
    let mut events = engine.events("cluster").await.unwrap();
    engine.start(&id).await.unwrap();
    let expected = [EventKind::Started, EventKind::Died(Some(0)), EventKind::Removed];
    assert_eq!(kinds(&mut events, 3).await, expected);
}

#[tokio::test]
async fn a_kept_stdin_outlives_its_clients() {
    let engine = engine().await;
    let spec = ContainerSpec {
        command: Some(["sandbox", "--lease", "60"].map(str::to_owned).to_vec()),
        stdin: Stdin::Kept,
        ..sandbox("s1", 1)
    };
    let id = engine.create(&spec).await.unwrap();
    drop(engine.attach(&id).await.unwrap());
    engine.start(&id).await.unwrap();
    let mut first = engine.attach(&id).await.unwrap();
    // Two at once write to one stdin, and both get every answer.
    let mut second = engine.attach(&id).await.unwrap();
    first.stdin.write_all(b"{\"op\":").await.unwrap();
    assert_eq!(ask(&mut second, "\"hello\"}\n").await["ok"], true);
    assert_eq!(ask(&mut first, "\n").await["ok"], true);
    // The end of what one writes is the end of its attachment.
    first.stdin.shutdown().await.unwrap();
    let mut rest = String::new();
    first.stdout.read_to_string(&mut rest).await.unwrap();
    assert_eq!(first.stdin.write_all(b"\n").await.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    drop(second);
    assert_eq!(status(&engine, &id).await, Status::Running);
    assert_eq!(ask(&mut engine.attach(&id).await.unwrap(), "{\"op\":\"hello\"}\n").await["ok"], true);
}

#[tokio::test]
async fn attaching_to_a_node_shows_its_output_only() {
    let engine = engine().await;
    let id = engine.create(&spec("a1", 1)).await.unwrap();
    let mut attachment = engine.attach(&id).await.unwrap();
    engine.start(&id).await.unwrap();
    attachment.stdin.write_all(b"{\"op\":\"hello\"}\n").await.unwrap();
    engine.print("a1", b"hello\n").unwrap();
    drop(attachment.stdin);
    assert_eq!(status(&engine, &id).await, Status::Running);
    engine.die("a1", 0).unwrap();
    let mut output = String::new();
    attachment.stdout.read_to_string(&mut output).await.unwrap();
    assert_eq!(output, "hello\n");
}

#[tokio::test]
async fn stdin_counts_when_nobody_reads_stdout() {
    let engine = engine().await;
    let id = engine.create(&sandbox("s1", 1)).await.unwrap();
    let mut attachment = engine.attach(&id).await.unwrap();
    engine.start(&id).await.unwrap();
    drop(attachment.stdout);
    attachment.stdin.write_all(b"one\ntwo\n").await.unwrap();
    assert_eq!(status(&engine, &id).await, Status::Running);
    drop(attachment.stdin);
    assert!(engine.containers().is_empty());
}

#[tokio::test]
async fn what_runs_uses_something() {
    let engine = engine().await;
    let id = engine.create(&spec("a1", 1)).await.unwrap();
    assert_eq!(engine.stats(&id).await.unwrap(), Usage::default());
    engine.start(&id).await.unwrap();
    let first = engine.stats(&id).await.unwrap();
    let second = engine.stats(&id).await.unwrap();
    assert!(first.memory.is_some() && second.cpu >= first.cpu);
    engine.die("a1", 0).unwrap();
    assert_eq!(engine.stats(&id).await.unwrap(), Usage::default());
    let nothing = engine.stats(&ContainerId("none".into())).await;
    assert!(matches!(nothing, Err(EngineError::NotFound(_))));
}
