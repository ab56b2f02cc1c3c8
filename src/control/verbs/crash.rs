//! `crash`: SIGKILL after all packets are dropped, so that no peer notices the death.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::super::ControlError;
use super::super::execute::{Action, Call, Executor, NodeOp, NodeResults, Result};
use super::kill;
use super::verb::Verb;
use crate::engine::Signal;

pub(super) static CRASH: Verb = Verb {
    name: "crash",
    options: "",
    help: "as if the power failed: its peers hear nothing any more",
    is_orderly: false,
    ended_by: Some("start"),
    parse: |_| Ok(Arc::new(Crash)),
    hint: "",
};

struct Crash;

#[async_trait]
impl Action for Crash {
    async fn run(&self, executor: &Executor, call: &Call) -> Result<NodeResults> {
        let is_crashed = |index: &usize| executor.cluster().faults().is_crashed(*index);
        let silenced: Vec<_> = call.nodes.iter().copied().filter(|index| !is_crashed(index)).collect();
        // All at one moment, before any of them is killed.
        let failed = executor.silence_all(call.nodes.clone()).await?;
        let nodes = call.nodes.iter().copied();
        let nodes = nodes.filter(|index| !failed.iter().any(|(failed, _)| failed == index)).collect();
        let crash = |op| executor.limited(op, Duration::ZERO, end(executor, op));
        let mut results: NodeResults = failed.into_iter().map(|(index, error)| (index, Err(error))).collect();
        results.extend(executor.on_each_node(&Call { nodes, ..call.clone() }, crash).await);
        for (index, _) in results.iter().filter(|(index, done)| done.is_err() && silenced.contains(index)) {
            end_silence(executor, *index).await;
        }
        Ok(results)
    }
}

async fn end(executor: &Executor, op: NodeOp<'_>) -> Result<()> {
    // A start that came first has opened the network again.
    if !executor.cluster().faults().is_crashed(op.index) {
        executor.silence(op.index, true).await?;
    }
    match kill::send(executor, op, Signal::KILL).await {
        Err(ControlError::NotRunning { .. }) => Ok(()),
        done => done,
    }
}

/// Opens the network of a node whose crash failed.
async fn end_silence(executor: &Executor, index: usize) {
    if executor.cluster().node(index).is_alive()
        && executor.cluster().faults().is_crashed(index)
        && let Err(error) = executor.silence(index, false).await
    {
        tracing::warn!(node = %executor.name(index), %error, "cannot open the network of a node whose crash failed");
    }
}
