//! Asks running nodes whether they may be used.
//!
//! One task a node, and one question at a time: a node that does not answer gets no second one meanwhile.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Watch;
use crate::cluster::{News, State, first_lines};
use crate::engine::{ContainerId, EngineError, Exit, Result};

/// When a node is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Wait between two questions to a node that is not ready yet.
    pub until_ready: Duration,
    /// Wait between two questions to one that is.
    pub once_ready: Duration,
    /// A question without answer for so long counts as one answered no.
    pub timeout: Duration,
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
        /// Why, in words that are the same for as long as the reason is.
        why: String,
        /// What the one who was asked has written.
        output: Vec<u8>,
    },
}

impl Answer {
    /// No, for this reason.
    pub fn no(why: impl Into<String>) -> Self {
        Self::No { why: why.into(), output: vec![] }
    }
}

/// Asks a node's container.
pub type Ask = Box<dyn Fn(usize, ContainerId) -> BoxFuture<'static, Result<Answer>> + Send + Sync>;

/// So many lines of what a program has written are kept.
const LINES: usize = 5;

/// How many questions are under way at once. Each may be a program that the engine runs: hundreds at once would keep it from
/// everything else.
pub(super) const AT_ONCE: usize = 8;

/// What makes a node ready.
pub enum Probe {
    /// A line of the output of its present run that matches.
    Log(regex::bytes::Regex),
    /// The answer to a question, asked again and again.
    Ask(Ask),
}

/// Asks one node, in each of its runs, until the watch ends.
pub(super) async fn ask(watch: Watch, index: usize) {
    let Some(Probe::Ask(question)) = &watch.0.probe else { return };
    let changed = &watch.0.probing[index];
    let pace = watch.0.pace;
    let refusal = Mutex::new(Refusal::default());
    loop {
        let node = watch.0.cluster.node(index);
        let (State::Running, Some(container), true) = (node.state, node.container, watch.0.cluster.is_reachable())
        else {
            changed.notified().await;
            continue;
        };
        let started_at = node.started_at;
        let is_over = || {
            let now = watch.0.cluster.node(index);
            now.state != State::Running || now.started_at != started_at || !watch.0.cluster.is_reachable()
        };
        let tell = |found| watch.tell(index, &News::Probed { started_at, found });
        let late = || Answer::no(format!("no answer within {} s", pace.timeout.as_secs_f64()));
        let asking = async {
            let mut turn = watch.0.asking.acquire().await.ok();
            let mut answer = question(index, container);
            if let Ok(answer) = tokio::time::timeout(pace.timeout, &mut answer).await {
                return answer;
            }
            // Others need not wait for it.
            drop(turn.take());
            // It may be the engine that is silent.
            watch.doubt().await;
            if !is_over() {
                tell(refusal.lock().found(started_at, late()));
            }
            // While no answer comes, nothing else is asked: what was begun in the node may not have ended.
            answer.await
        };
        tokio::pin!(asking);
        let answer = loop {
            tokio::select! {
                answer = &mut asking => match answer {
                    Ok(answer) => break Some(answer),
                    // It was frozen, or has ended, a moment ago: that is no answer.
                    Err(EngineError::Conflict(_)) => break None,
                    Err(EngineError::NotFound(why)) => break Some(Answer::no(why)),
                    Err(error) => {
                        // That says nothing of the node if it is the engine that is gone.
                        watch.doubt().await;
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
            tokio::select! {
                () = tokio::time::sleep_until(wait) => break,
                () = changed.notified() => {}
            }
        }
    }
}

/// Since when a node has said no for one reason.
#[derive(Default)]
struct Refusal {
    run: i64,
    why: String,
    since: Option<SystemTime>,
}

impl Refusal {
    /// What an answer tells.
    fn found(&mut self, run: i64, answer: Answer) -> std::result::Result<(), Arc<str>> {
        let Answer::No { why, output } = answer else {
            self.since = None;
            return Ok(());
        };
        if self.since.is_none() || self.run != run || self.why != why {
            *self = Self { run, why, since: Some(SystemTime::now()) };
        }
        let since = humantime::format_rfc3339_seconds(self.since.unwrap_or(SystemTime::UNIX_EPOCH));
        let mut text = format!("{} since {since}", crate::cluster::plain(&self.why));
        for line in first_lines(&output, LINES) {
            text.push_str("\n  ");
            text.push_str(&line);
        }
        Err(text.into())
    }
}

/// What an exec that ended so says.
pub fn exit_answers(exit: Exit) -> Answer {
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
        let exit = |code, output: &str| exit_answers(Exit { code, output: output.into() });
        let first = refusal.found(1, exit(1, "not yet\n\n\x1b[2J\n")).unwrap_err();
        let (sentence, output) = first.split_once('\n').unwrap();
        let (why, since) = sentence.split_once(" since ").unwrap();
        assert_eq!((why, output), ("exit status 1", "  not yet\n  \\u{1b}[2J"));
        assert!(humantime::parse_rfc3339(since).is_ok(), "{since}");
        // The same reason has the same time, whatever is written; another one, and one of another run, have their own.
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
