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

/// Ends what is in force, all but the `endless`, which nothing ends: files first, so that nodes find a whole network, then
/// pauses, then what ended a process. Tries until all is as it was, or until it is asked to leave it as it is. Returns a
/// sentence if it is not so in time.
///
/// # Errors
/// A sentence: the mount has gone away.
pub(super) fn heal(
    cluster: &Mounted,
    schedule: &Schedule,
    (in_force, endless): (InForce, Vec<Action>),
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
    let nodes = cluster.nodes();
    let why = not_running(cluster, &nodes, &endless);
    // What could not be read would count as healed.
    cluster.is_there()?;
    if why.is_some() || nodes.is_empty() || stop.asked().is_some() {
        return Ok(why);
    }
    let paths: Vec<_> = nodes.iter().map(|node| cluster.node_dir(node)).collect();
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

/// Which nodes do not run, and why; `None` if all do. Those are not ours to start.
fn not_running(cluster: &Mounted, nodes: &[String], endless: &[Action]) -> Option<String> {
    let mut down: BTreeMap<(String, String), Vec<&str>> = BTreeMap::new();
    for node in nodes {
        let state = fs::read_to_string(cluster.node_file(node, "state")).unwrap_or_default();
        let (what, may_do_that) = match state.trim() {
            "running" => continue,
            "exited" => ("has ended".into(), Some("kill")),
            "missing" => ("has no container any more".into(), None),
            "created" => ("has not been started".into(), Some("reset")),
            state => (format!("is {state}"), None),
        };
        let did_that = |action: &&Action| action.verb() == may_do_that && cluster.means(action, node);
        let why = match endless.iter().rev().find(did_that) {
            Some(action) if action.has_end() => format!("{action} has no 'for'"),
            Some(action) => format!("{action} does not start it"),
            None => "no episode did that".into(),
        };
        down.entry((what, why)).or_default().push(node);
    }
    let sentences = down.iter().map(|((what, why), nodes)| format!("{} {what}, and {why}", nodes.join(", ")));
    (!down.is_empty()).then(|| sentences.collect::<Vec<_>>().join("; "))
}

/// The files of faults that a schedule writes, each with the nodes that a role may have stood for left out.
fn touched(schedule: &Schedule) -> BTreeSet<File> {
    let files = schedule.episodes.iter().map(|episode| episode.action.file.clone());
    files
        .filter(|file| !matches!(file, File::Control) && !matches!(file, File::Net(node) if node.starts_with('@')))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::mounted::tests::like_a_mount;
    use super::*;

    #[test]
    fn a_node_that_does_not_run_is_told_with_what_may_have_done_that() {
        let endless: Vec<_> = ["kill -s KILL i001", "reset i002", "restart i003"]
            .iter()
            .map(|text| Action::parse(text).unwrap())
            .collect();
        let why = |states| {
            let (_dir, cluster) = like_a_mount(states);
            not_running(&cluster, &cluster.nodes(), &endless)
        };
        assert_eq!(why(["running"; 3]), None);
        assert_eq!(
            why(["exited", "created", "exited"]).unwrap(),
            "i001 has ended, and kill -s KILL i001 has no 'for'; i003 has ended, and no episode did that; \
             i002 has not been started, and reset i002 does not start it"
        );
        assert_eq!(
            why(["unknown", "missing", "paused"]).unwrap(),
            "i002 has no container any more, and no episode did that; i003 is paused, and no episode did that; \
             i001 is unknown, and no episode did that"
        );
    }
}
