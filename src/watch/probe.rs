//! Asks running nodes whether they may be used.
//!
//! One task a node, and one question at a time: a node that does not answer gets no second one meanwhile.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::Watch;
use crate::cluster::{News, State};
use crate::engine::{ContainerId, EngineError, Result};

/// Wait between two questions to a node that is not ready yet, and to one that is.
const UNTIL_READY: Duration = Duration::from_millis(100);
const ONCE_READY: Duration = Duration::from_secs(1);

/// A question without answer for so long counts as one answered no.
const LATE: Duration = Duration::from_secs(5);

/// Asks a node's container.
pub type Ask = Box<dyn Fn(usize, ContainerId) -> BoxFuture<'static, Result<bool>> + Send + Sync>;

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
        let tell = |passed| watch.tell(index, &News::Probed { started_at, passed });
        let asking = async {
            let mut turn = watch.0.asking.acquire().await.ok();
            let mut answer = question(index, container);
            if let Ok(answer) = tokio::time::timeout(LATE, &mut answer).await {
                return answer;
            }
            // Others need not wait for it.
            drop(turn.take());
            // It may be the engine that is silent.
            watch.doubt().await;
            if !is_over() {
                tell(false);
            }
            // While no answer comes, nothing else is asked: what was begun in the node may not have ended.
            answer.await
        };
        tokio::pin!(asking);
        let passed = loop {
            tokio::select! {
                answer = &mut asking => match answer {
                    Ok(passed) => break passed,
                    Err(EngineError::NotFound(_)) => break false,
                    Err(_) => {
                        // That says nothing of the node if it is the engine that is gone.
                        watch.doubt().await;
                        break false;
                    }
                },
                () = changed.notified() => {
                    if is_over() {
                        break false;
                    }
                }
            }
        };
        if is_over() {
            continue;
        }
        tell(passed);
        let wait = Instant::now() + if passed { ONCE_READY } else { UNTIL_READY };
        while !is_over() {
            tokio::select! {
                () = tokio::time::sleep_until(wait) => break,
                () = changed.notified() => {}
            }
        }
    }
}

/// Whether an exec that ended so says yes.
///
/// # Errors
/// The engine's, but for those that only say that the node does not run.
pub fn exit_is_yes(exit: Result<i64>) -> Result<bool> {
    match exit {
        Ok(code) => Ok(code == 0),
        Err(EngineError::Conflict(_) | EngineError::NotFound(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
