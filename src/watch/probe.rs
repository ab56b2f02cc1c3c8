//! Asks running nodes whether they are ready.
//!
//! One task per node, and one question at a time: a node that does not answer gets no second one meanwhile.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;

use super::Watch;
use crate::cluster::{News, State};
use crate::engine::{ContainerId, EngineError, Exit, Result};
use crate::sync::time::{self, Instant};
use crate::sync::{Mutex, pin, select};
use crate::text::first_lines;

/// When a node is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Pace {
    /// Interval while the node is not ready.
    pub(crate) until_ready: Duration,
    /// Interval while the node is ready.
    pub(crate) once_ready: Duration,
    /// A question without an answer after this time counts as a no.
    pub(crate) timeout: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            until_ready: Duration::from_millis(100),
            once_ready: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
        }
    }
}

/// Whether a node may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It may.
    Yes,
    /// It may not.
    No {
        /// Why: a sentence that stays the same as long as the reason does.
        why: String,
        /// Output of the program that was asked.
        output: Vec<u8>,
    },
}

impl Answer {
    /// No, for this reason.
    pub(crate) fn no(why: impl Into<String>) -> Self {
        Self::No { why: why.into(), output: vec![] }
    }
}

pub(crate) type Ask = Box<dyn Fn(ContainerId) -> BoxFuture<'static, Result<Answer>> + Send + Sync>;

/// Lines of a program's output that are kept.
const LINES: usize = 5;

/// How many questions are under way at once. Each may be a program that the engine runs; hundreds at once would block
/// it.
pub(super) const AT_ONCE: usize = 8;

/// What makes a node ready.
pub enum Probe {
    /// A line of the output of its present run that matches.
    Log(regex::bytes::Regex),
    /// The answer to a question, asked again and again.
    Ask {
        /// Asks it.
        question: Ask,
        /// When it is asked.
        pace: Pace,
    },
}

/// Asks one node, in each of its runs, until the watch ends.
pub(super) async fn ask(watch: Watch, index: usize) {
    let Some(Probe::Ask { question, pace }) = &watch.0.nodes[index].probe else { return };
    let changed = &watch.0.nodes[index].probe_wakeup;
    let refusal = Mutex::new(Refusal::default());
    loop {
        let node = watch.0.cluster.node(index);
        let (State::Running, Some(container), true) =
            (node.state, node.container.clone(), watch.0.cluster.is_node_reachable(index))
        else {
            changed.notified().await;
            continue;
        };
        let started_at = node.started_at;
        let is_over = || {
            let now = watch.0.cluster.node(index);
            now.state != State::Running || now.started_at != started_at || !watch.0.cluster.is_node_reachable(index)
        };
        let tell = |found| watch.apply(index, &News::Probed { started_at, found });
        let late = || Answer::no(format!("no answer within {} s", pace.timeout.as_secs_f64()));
        let asking = async {
            let mut turn = watch.0.questions.acquire().await.ok();
            let mut answer = question(container);
            if let Ok(answer) = time::timeout(pace.timeout, &mut answer).await {
                return answer;
            }
            // Lets other probes go first.
            drop(turn.take());
            // The engine itself may be silent.
            watch.check_liveness(index).await;
            if !is_over() {
                tell(refusal.lock().found(started_at, late()));
            }
            // No other question while there is no answer: what was started in the node may still run.
            answer.await
        };
        pin!(asking);
        let answer = loop {
            select! {
                answer = &mut asking => match answer {
                    Ok(answer) => break Some(answer),
                    // It was paused or ended a moment ago: this is not an answer.
                    Err(EngineError::Conflict(_)) => break None,
                    Err(EngineError::NotFound(why)) => break Some(Answer::no(why)),
                    Err(error) => {
                        // If the engine is gone, this says nothing about the node.
                        watch.check_liveness(index).await;
                        break Some(Answer::no(error.to_string()));
                    }
                },
                () = changed.notified() => {
                    if is_over() {
                        break None;
                    }
                }
            }
        };
        if is_over() {
            continue;
        }
        let passed = answer == Some(Answer::Yes);
        if let Some(answer) = answer {
            tell(refusal.lock().found(started_at, answer));
        }
        let wait = Instant::now() + if passed { pace.once_ready } else { pace.until_ready };
        while !is_over() {
            select! {
                () = time::sleep_until(wait) => break,
                () = changed.notified() => {}
            }
        }
    }
}

/// Since when a node has been unready for one reason.
#[derive(Default)]
struct Refusal {
    run: i64,
    why: String,
    since: Option<SystemTime>,
}

impl Refusal {
    /// Turns an answer into a result.
    fn found(&mut self, run: i64, answer: Answer) -> std::result::Result<(), Arc<str>> {
        let Answer::No { why, output } = answer else {
            self.since = None;
            return Ok(());
        };
        if self.since.is_none() || self.run != run || self.why != why {
            *self = Self { run, why, since: Some(SystemTime::now()) };
        }
        let since = humantime::format_rfc3339_seconds(self.since.unwrap_or(SystemTime::UNIX_EPOCH));
        let mut text = format!("{} since {since}", crate::text::plain(&self.why));
        for line in first_lines(&output, LINES) {
            text.push_str("\n  ");
            text.push_str(&line);
        }
        Err(text.into())
    }
}

/// What the end of an exec means.
pub(crate) fn exit_answers(exit: Exit) -> Answer {
    match exit.code {
        0 => Answer::Yes,
        code => Answer::No { why: format!("exit status {code}"), output: exit.output },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_the_time_since_when_it_is_one() {
        let mut refusal = Refusal::default();
        let exit = |code, output: &str| exit_answers(Exit { code, output: output.into(), stdout: vec![] });
        let first = refusal.found(1, exit(1, "not yet\n\n\x1b[2J\n")).unwrap_err();
        let (sentence, output) = first.split_once('\n').unwrap();
        let (why, since) = sentence.split_once(" since ").unwrap();
        assert_eq!((why, output), ("exit status 1", "  not yet\n  \\u{1b}[2J"));
        assert!(humantime::parse_rfc3339(since).is_ok(), "{since}");
        // A reason keeps its time whatever is written; another reason, or another run, gets its own.
        refusal.since = Some(SystemTime::UNIX_EPOCH);
        assert_eq!(&*refusal.found(1, exit(1, "")).unwrap_err(), "exit status 1 since 1970-01-01T00:00:00Z");
        assert!(!refusal.found(2, exit(1, "")).unwrap_err().contains("1970"));
        refusal.since = Some(SystemTime::UNIX_EPOCH);
        assert!(!refusal.found(2, exit(3, "")).unwrap_err().contains("1970"));
        refusal.since = Some(SystemTime::UNIX_EPOCH);
        assert_eq!(refusal.found(2, exit(0, "fine")), Ok(()));
        assert!(!refusal.found(2, exit(3, "")).unwrap_err().contains("1970"));
    }
}
