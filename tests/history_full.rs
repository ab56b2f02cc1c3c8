//! A history for which there is no room for a while. Its own process: the limit of the size of files is the process's.

#[path = "common/mod.rs"]
mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{Fixture, eventually};
use cthulhu::history::{ClusterEvent, CommandEvent, CommandOutcome, CommandPhase, HistoryEvent, HistoryLine};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

/// Nothing may be written beyond so many bytes.
fn limit(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum }).unwrap();
}

fn ends(entries: &[HistoryLine]) -> Vec<u64> {
    let end = |entry: &HistoryLine| match &entry.event {
        HistoryEvent::Command(CommandEvent { id, phase: CommandPhase::Ok, .. }) => Some(*id),
        _ => None,
    };
    entries.iter().filter_map(end).collect()
}

fn without_gap(entries: &[HistoryLine]) {
    assert_eq!(
        entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(),
        (1..=entries.len() as u64).collect::<Vec<_>>()
    );
    assert!(entries.windows(2).all(|pair| pair[0].mono_ns <= pair[1].mono_ns && pair[0].time <= pair[1].time));
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_lines_wait_for_room_and_a_tests_are_refused() {
    // With a handler of ours, what hits the limit fails with EFBIG and does not kill.
    let _handled = signal(SignalKind::from_raw(libc::SIGXFSZ)).unwrap();
    let f = Fixture::new(1, Duration::from_secs(30)).await;
    f.write("history", &[b"{\"n\":1}\n"]).await.unwrap();
    let before = f.history();
    let size = f.tree.attr(f.find("history")).unwrap().size;

    // Room for a part of a line.
    limit(Some(size + 40));
    assert_eq!(f.write("history", &[b"{\"n\":2}\n"]).await, Err(Errno::FBIG));
    assert!(f.read("error").unwrap().starts_with("history: nothing was appended: "));
    f.write("control", &[b"start\nstop\n"]).await.unwrap();
    assert_eq!(f.write("history", &[b"{\"n\":3}\n"]).await, Err(Errno::FBIG));
    assert_eq!(f.history(), before);
    assert_eq!(f.tree.attr(f.find("history")).unwrap().size, size);
    // Nobody writes, and it is written all the same.
    limit(None);
    eventually("written", || ends(&f.history()) == [1, 2]).await;
    let entries = f.history();
    without_gap(&entries);
    f.write("history", &[b"{\"n\":4}\n"]).await.unwrap();

    // More than is kept: what does not fit is counted.
    let size = f.tree.attr(f.find("history")).unwrap().size;
    limit(Some(size));
    let long = "x".repeat(10_000);
    for _ in 0..500 {
        let id = f.recorder.invoke(&long, None, vec![], Default::default(), false);
        f.recorder.end(id, CommandOutcome::Ok);
    }
    assert_eq!(f.tree.attr(f.find("history")).unwrap().size, size);
    limit(None);
    f.write("history", &[b"{\"n\":5}\n"]).await.unwrap();
    let after = f.tree.read(f.tree.open(f.find("history"), false).unwrap(), 0, 1 << 30).unwrap();
    let after = String::from_utf8(after).unwrap();
    let entries: Vec<_> = after.lines().map(|line| HistoryLine::parse(line).unwrap()).collect();
    without_gap(&entries);
    let lost = entries.iter().find_map(|entry| match &entry.event {
        HistoryEvent::Cluster(ClusterEvent::LinesLost { lost }) => Some((entry.seq, *lost)),
        _ => None,
    });
    let (seq, lost) = lost.unwrap();
    assert_eq!(seq, entries.len() as u64 - 1, "they are missing before the test's line");
    let told: BTreeSet<_> = ends(&entries).into_iter().collect();
    assert!(told.len() > 100 && told.len() < 502, "{}", told.len());
    let commands = entries.iter().filter(|entry| matches!(entry.event, HistoryEvent::Command(_))).count() as u64;
    assert_eq!(commands + lost, 2 * 502, "each of our lines is there, or counted");
}
