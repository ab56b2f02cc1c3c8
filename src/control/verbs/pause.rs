//! `pause`: freezes a node's processes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::super::execute::{Action, Call, Executor, NodeOp, NodeResults, Result};
use super::verb::Verb;
use crate::cluster::State;
use crate::engine::EngineError;

pub(super) static PAUSE: Verb = Verb {
    name: "pause",
    options: "",
    help: "freeze",
    is_orderly: false,
    ended_by: Some("resume"),
    parse: |_| Ok(Arc::new(Pause)),
    hint: "",
};

struct Pause;

#[async_trait]
impl Action for Pause {
    async fn run(&self, executor: &Executor, call: &Call) -> Result<NodeResults> {
        let pause = |op| executor.limited(op, Duration::ZERO, pause(executor, op));
        Ok(executor.on_each_node(call, pause).await)
    }
}

async fn pause(executor: &Executor, op: NodeOp<'_>) -> Result<()> {
    let index = op.index;
    let node = executor.look(index).await?;
    match (node.state, node.container.clone()) {
        (State::Paused, _) => Ok(()),
        (State::Running, Some(container)) => {
            let _acting = executor.acts(op, |_, to| to == State::Paused);
            let done = executor.engine(op.index).pause(&container).await;
            became(executor, index, done, State::Paused).await
        }
        _ => Err(executor.not_running(index, &node)),
    }
}

/// Reads the engine's answer to a request to pause or resume a node, which another client may have done meanwhile.
pub(super) async fn became(
    executor: &Executor,
    index: usize,
    done: std::result::Result<(), EngineError>,
    wanted: State,
) -> Result<()> {
    // Docker calls it a failure of its runtime when the process dies while it is being frozen.
    if matches!(done, Err(EngineError::Conflict(_) | EngineError::Refused(_))) {
        let node = executor.look(index).await?;
        if node.state == wanted {
            return Ok(());
        }
        if !node.is_alive() {
            return Err(executor.not_running(index, &node));
        }
    }
    executor.after(index, done).await
}
