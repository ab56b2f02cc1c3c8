//! `stop`: the image's stop signal, then SIGKILL.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::super::ControlError;
use super::super::execute::{Action, Call, Executor, NodeOp, NodeResults, Result};
use super::kill::can_cause;
use super::verb::{Verb, write_grace};

pub(super) static STOP: Verb = Verb {
    name: "stop",
    options: "[-t SECONDS]",
    help: "stop signal, SIGKILL after SECONDS (1)",
    is_orderly: true,
    ended_by: Some("start"),
    parse: |words| Ok(Arc::new(Stop { grace: words.grace()? })),
    hint: "",
};

struct Stop {
    /// `None`: the cluster's.
    grace: Option<Duration>,
}

#[async_trait]
impl Action for Stop {
    fn options(&self) -> String {
        write_grace(self.grace)
    }

    async fn run(&self, executor: &Executor, call: &Call) -> Result<NodeResults> {
        Ok(executor.on_each_node(call, |op| run(executor, op, executor.grace(op.index, self.grace))).await)
    }
}

pub(super) async fn run(executor: &Executor, op: NodeOp<'_>, grace: Duration) -> Result<()> {
    executor.limited(op, grace, stop(executor, op, grace)).await
}

async fn stop(executor: &Executor, op: NodeOp<'_>, grace: Duration) -> Result<()> {
    let index = op.index;
    let node = executor.look(index).await?;
    let Some(container) = node.container.clone().filter(|_| node.is_alive()) else {
        return Ok(());
    };
    let grace_runs_out = Some(grace).filter(|_| !node.is_stopped_by_sigkill());
    let _acting = executor.recorder().acts(op.id, index, can_cause, grace_runs_out);
    let done = executor.engine(op.index).stop(&container, grace).await;
    executor.after(index, done).await?;
    if executor.cluster().node(index).is_alive() {
        let why = format!("{}: the engine says stopped, and it still runs", executor.name(index));
        return Err(ControlError::Refused(why));
    }
    Ok(())
}
