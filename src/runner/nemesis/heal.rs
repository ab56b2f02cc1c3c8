//! The end of a performance: nothing that the schedule did is in force any more, and the nodes run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use rustix::io::Errno;

use super::mounted::Mounted;
use super::stop::{Ending, Stop};
use crate::history::NemesisEvent;
use crate::nemesis::{Action, File, Schedule};
use crate::runner::{Goal, wait};

/// How long healing may take, and then the nodes to get ready.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(200);

/// What episodes have put in force, by their places: what ends it.
pub(super) type InForce = BTreeMap<usize, Action>;

/// What an end is called: `start i002`, or the file that is cleared.
pub(super) fn words(end: &Action) -> String {
    match &end.file {
        File::Control => end.words.clone(),
        _ => format!("{} cleared", end.to_string().trim_end()),
    }
}

/// Ends what is in force: files first, so that nodes find a whole network, then pauses, then what ended a process. Tries until
/// all is as it was, or until it is asked to leave it as it is. Returns a sentence if it is not so in time.
///
/// # Errors
/// A sentence: the mount has gone away.
pub(super) fn heal(
    cluster: &Mounted,
    schedule: &Schedule,
    in_force: InForce,
    stop: &Stop,
    record: &mut dyn FnMut(NemesisEvent),
) -> Result<Option<String>> {
    cluster.is_there()?;
    let deadline = Instant::now() + TIMEOUT;
    let mut left: Vec<(usize, Action)> = in_force.into_iter().collect();
    left.sort_by_key(|(nth, end)| (end.verb() == Some("start"), end.verb().is_some(), *nth));
    let mut why = None;
    for (nth, end) in left {
        loop {
            cluster.is_there()?;
            if stop.asked() == Some(Ending::Leave) {
                return Ok(None);
            }
            let error = cluster.write(&end).err();
            // What does not run any more is not resumed by another try.
            let is_gone = error.as_ref().is_some_and(|error| error.errno == Some(Errno::SRCH));
            let error = error.map(|error| error.sentence);
            let is_over = error.is_none() || is_gone || Instant::now() > deadline;
            if is_over {
                let words = words(&end);
                why = why.or(error.as_ref().map(|error| format!("{words}: {error}")));
                record(NemesisEvent::End { episode: nth as u64 + 1, words, late_ms: 0, error });
                break;
            }
            thread::sleep(AGAIN);
        }
    }
    if why.is_some() {
        return Ok(why);
    }
    if let Some(file) =
        touched(schedule).into_iter().find(|file| cluster.read(file).is_ok_and(|text| !text.trim().is_empty()))
    {
        let text = cluster.read(&file).unwrap_or_default();
        return Ok(Some(format!("still in force: {}", text.trim())));
    }
    // Those that have ended by themselves are not ours to start, but are told.
    let nodes = cluster.nodes();
    let state = |node: &String| fs::read_to_string(cluster.node_file(node, "state")).unwrap_or_default();
    for (down, what) in [("exited", "has ended"), ("missing", "has no container any more"), ("paused", "is paused")] {
        let down: Vec<_> = nodes.iter().filter(|node| state(node).trim() == down).cloned().collect();
        if !down.is_empty() {
            return Ok(Some(format!("{} {what}, and no episode did that", down.join(", "))));
        }
    }
    if stop.asked().is_some() {
        return Ok(None);
    }
    let running = nodes.iter().filter(|node| state(node).trim() == "running");
    let paths: Vec<_> = running.map(|node| cluster.node_dir(node)).collect();
    if paths.is_empty() {
        return Ok(None);
    }
    let (done, result) = channel();
    thread::spawn(move || drop(done.send(wait(&paths, Goal::Ready, Some(TIMEOUT)))));
    let outcome = loop {
        match result.recv_timeout(AGAIN) {
            Ok(outcome) => break outcome?,
            Err(RecvTimeoutError::Timeout) if stop.asked().is_none() => {}
            Err(RecvTimeoutError::Timeout) => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => return Err(anyhow!("the wait has ended without a result")),
        }
    };
    Ok(outcome.text(false).lines().next().map(str::to_owned))
}

/// The files of faults that a schedule writes, each with the nodes that a role may have stood for left out.
fn touched(schedule: &Schedule) -> BTreeSet<File> {
    let files = schedule.episodes.iter().map(|episode| episode.action.file.clone());
    files
        .filter(|file| !matches!(file, File::Control) && !matches!(file, File::Net(node) if node.starts_with('@')))
        .collect()
}
