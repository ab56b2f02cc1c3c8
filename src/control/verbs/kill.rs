//! `kill`: sends a signal.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::super::ControlError;
use super::super::execute::{Action, Call, Executor, LAG_STEP, NodeOp, NodeResults, Result};
use super::verb::Verb;
use crate::cluster::State;
use crate::engine::{ContainerId, EngineError, Signal};
use crate::sync::time;
use crate::text::shown;

pub(super) static KILL: Verb = Verb {
    name: "kill",
    options: "[-s SIGNAL]",
    help: "send SIGNAL (KILL)",
    is_orderly: false,
    ended_by: Some("start"),
    parse: |words| {
        let Some(text) = words.option("-s")? else {
            return Ok(Arc::new(Kill(Signal::KILL)));
        };
        let signal = Signal::parse(text);
        let signal = signal.ok_or_else(|| ControlError::Invalid(format!("kill: no such signal: '{}'", shown(text))))?;
        Ok(Arc::new(Kill(signal)))
    },
    hint: "; a signal is named with -s, as in kill -s TERM",
};

struct Kill(Signal);

#[async_trait]
impl Action for Kill {
    fn options(&self) -> String {
        format!("-s {}", self.0)
    }

    async fn run(&self, executor: &Executor, call: &Call) -> Result<NodeResults> {
        let kill = |op| executor.limited(op, Duration::ZERO, send(executor, op, self.0));
        Ok(executor.on_each_node(call, kill).await)
    }
}

/// A paused node is resumed so that the signal can end it.
pub(super) fn can_cause(from: State, to: State) -> bool {
    to == State::Exited || from == State::Paused && to == State::Running
}

pub(super) async fn send(executor: &Executor, op: NodeOp<'_>, signal: Signal) -> Result<()> {
    let index = op.index;
    let node = executor.look(index).await?;
    let Some(container) = node.container.clone().filter(|_| node.is_alive()) else {
        return Err(executor.not_running(index, &node));
    };
    let _acting = executor.acts(op, can_cause);
    let done = executor.engine(op.index).kill(&container, &signal.to_string()).await;
    if matches!(done, Err(EngineError::Conflict(_) | EngineError::Refused(_))) {
        let node = executor.look(index).await?;
        if !node.is_alive() {
            return Err(executor.not_running(index, &node));
        }
    }
    executor.after(index, done).await?;
    if node.state == State::Paused {
        thaw(executor, index, &container).await?;
    }
    Ok(())
}

/// A signal resumes a paused node. Docker does so after it has answered, and not for every signal if the image names
/// its own stop signal. So do it here: the state that is read next then stays.
async fn thaw(executor: &Executor, index: usize, container: &ContainerId) -> Result<()> {
    if executor.cluster().node(index).state == State::Paused {
        // It fails if the engine was faster; the inspection shows that.
        let _ = executor.engine(index).unpause(container).await;
    }
    while executor.look(index).await?.state == State::Paused {
        time::sleep(LAG_STEP).await;
    }
    Ok(())
}
