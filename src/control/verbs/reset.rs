//! `reset`: nodes as after a mount, in the sandboxes that they have.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::super::ControlError;
use super::super::execute::{Action, Call, Executor, NodeOp, NodeResults, Result};
use super::verb::Verb;
use super::{kill, start};
use crate::cluster::State;
use crate::engine::Signal;
use crate::sync::time::{self, Instant};

pub(super) static RESET: Verb = Verb {
    name: "reset",
    options: "[--start]",
    help: "as after mount: new containers, no files, faults or logs; --start starts them",
    is_orderly: true,
    ended_by: None,
    parse: |words| Ok(Arc::new(Reset { starts: words.flag("--start") })),
    hint: "",
};

struct Reset {
    starts: bool,
}

#[async_trait]
impl Action for Reset {
    fn options(&self) -> String {
        if self.starts { "--start".into() } else { String::new() }
    }

    fn is_fresh_start(&self) -> bool {
        true
    }

    /// In steps for all nodes together: an old node must not meet a new one, nor be heard once its faults are healed.
    async fn run(&self, executor: &Executor, call: &Call) -> Result<NodeResults> {
        let ended = executor.on_each_node(call, |op| executor.a_few_at_once(op, |op| end(executor, op))).await;
        let (nodes, mut results) = succeeded(ended);
        let healed = if call.is_whole && results.is_empty() { None } else { Some(nodes.clone()) };
        if let Err(error) = executor.heal(healed).await {
            results.extend(nodes.into_iter().map(|index| (index, Err(error.clone()))));
            return Ok(results);
        }
        if let Err(error) = empty_volumes(executor, &nodes).await {
            results.extend(nodes.into_iter().map(|index| (index, Err(error.clone()))));
            return Ok(results);
        }
        let next = call.next(nodes);
        let renewed = executor.on_each_node(&next, |op| executor.a_few_at_once(op, |op| renew(executor, op))).await;
        if let Some(files) = executor.files() {
            files.forget_deleted().await;
        }
        let (nodes, failed) = succeeded(renewed);
        results.extend(failed);
        let next = call.next(nodes);
        results.extend(match self.starts {
            true => start::run_all(executor, &next).await,
            false => next.nodes.into_iter().map(|index| (index, Ok(()))).collect(),
        });
        Ok(results)
    }
}

/// The nodes that succeeded, and the results of the others.
fn succeeded(results: NodeResults) -> (Vec<usize>, NodeResults) {
    let (succeeded, failed): (NodeResults, NodeResults) = results.into_iter().partition(|(_, result)| result.is_ok());
    (succeeded.into_iter().map(|(index, _)| index).collect(), failed)
}

/// Ends a node and removes its container, once the log has all that it wrote.
async fn end(executor: &Executor, op: NodeOp<'_>) -> Result<()> {
    let ended = async {
        match kill::send(executor, op, Signal::KILL).await {
            Ok(()) | Err(ControlError::NotRunning { .. }) => {}
            Err(error) => return Err(error),
        }
        let _ = time::timeout(executor.timeout() / 4, executor.watch().settle(op.index)).await;
        remove(executor, op).await
    };
    executor.limited(op, Duration::ZERO, ended).await
}

async fn remove(executor: &Executor, op: NodeOp<'_>) -> Result<()> {
    let node = executor.look(op.index).await?;
    let Some(container) = &node.container else {
        return Ok(());
    };
    let _acting = executor.acts(op, |_, to| matches!(to, State::Exited | State::Missing));
    let removed = executor.engine(op.index).remove(container).await;
    executor.after(op.index, removed).await
}

/// Empties the named volumes that no other node uses.
async fn empty_volumes(executor: &Executor, nodes: &[usize]) -> Result<()> {
    if executor.cluster().spec().volumes.is_empty() {
        return Ok(());
    }
    let refused = |why| ControlError::Refused(format!("cannot empty the volumes: {why}"));
    // A node may have been created again meanwhile, and then the engine refuses.
    let names = executor.provisioner().remove_named_volumes(nodes).await;
    let names = names.map_err(|error| refused(error.to_string()))?;
    match executor.files() {
        Some(files) => files.empty_volumes(&names).await.map_err(refused),
        None => Ok(()),
    }
}

/// Makes a node's directories and container as a mount makes them.
async fn renew(executor: &Executor, op: NodeOp<'_>) -> Result<()> {
    let index = op.index;
    let refused = |what: &str, why: String| ControlError::Refused(format!("{}: {what}: {why}", executor.name(index)));
    let emptied = async {
        // It may have been created again meanwhile.
        remove(executor, op).await?;
        executor.provisioner().remove_volumes(index).await.map_err(executor.engine_error(index))
    };
    executor.limited(op, Duration::ZERO, emptied).await?;
    executor.check_open()?;
    // As long as it takes: there may be many files.
    if let Some(files) = executor.files() {
        files.renew(index).await.map_err(|why| refused("cannot make its files new", why))?;
    }
    executor.log(index).cut().map_err(|error| refused("cannot cut its log", error.to_string()))?;
    let op = NodeOp { began: Instant::now(), ..op };
    executor.limited(op, Duration::ZERO, create(executor, op)).await
}

async fn create(executor: &Executor, op: NodeOp<'_>) -> Result<()> {
    let index = op.index;
    let node = executor.look(index).await?;
    let _acting = executor.acts(op, |_, to| matches!(to, State::Created | State::Missing));
    let has_sandbox = start::has_sandbox(executor, index).await?;
    start::startable(executor, index, &node, has_sandbox).await?;
    executor.end_crash(index).await?;
    executor.watch().forget_last_run(index);
    Ok(())
}
