//! `resume`: unfreezes a paused node's processes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::super::execute::{Action, Call, Executor, NodeOp, NodeResults, Result};
use super::pause::became;
use super::verb::Verb;
use crate::cluster::State;

pub(super) static RESUME: Verb = Verb {
    name: "resume",
    options: "",
    help: "thaw",
    is_orderly: false,
    ended_by: None,
    parse: |_| Ok(Arc::new(Resume)),
    hint: "",
};

struct Resume;

#[async_trait]
impl Action for Resume {
    async fn run(&self, executor: &Executor, call: &Call) -> Result<NodeResults> {
        let resume = |op| executor.limited(op, Duration::ZERO, resume(executor, op));
        Ok(executor.on_each_node(call, resume).await)
    }
}

async fn resume(executor: &Executor, op: NodeOp<'_>) -> Result<()> {
    let index = op.index;
    let node = executor.look(index).await?;
    match (node.state, node.container.clone()) {
        (State::Running, _) => Ok(()),
        (State::Paused, Some(container)) => {
            let _acting = executor.acts(op, |from, to| from == State::Paused && to == State::Running);
            let done = executor.engine(op.index).unpause(&container).await;
            became(executor, index, done, State::Running).await
        }
        _ => Err(executor.not_running(index, &node)),
    }
}
