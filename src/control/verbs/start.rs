//! `start`: runs a node; creates its container and sandbox again if they are gone.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{join, join_all};

use super::super::ControlError;
use super::super::execute::{Action, Call, Executor, LAG_STEP, NodeOp, NodeResults, Result};
use super::dependencies::Starts;
use super::verb::Verb;
use crate::cluster::{Node, State};
use crate::engine::{ContainerId, EngineError};
use crate::sync::time;

pub(super) static START: Verb = Verb {
    name: "start",
    options: "",
    help: "run; nothing if it runs already",
    is_orderly: false,
    ended_by: None,
    parse: |_| Ok(Arc::new(Start)),
    hint: "",
};

struct Start;

#[async_trait]
impl Action for Start {
    async fn run(&self, executor: &Executor, call: &Call) -> Result<NodeResults> {
        Ok(run_all(executor, call).await)
    }
}

/// Starts the nodes of a command: all of a cluster's in the order of what they depend on.
pub(super) async fn run_all(executor: &Executor, call: &Call) -> NodeResults {
    let has_order = executor.cluster().spec().nodes.iter().any(|node| !node.depends_on.is_empty());
    match call.is_whole && has_order {
        true => run_in_order(executor, call).await,
        false => executor.on_each_node(call, |op| run(executor, op)).await,
    }
}

/// Starts all nodes, each when what it depends on is true.
async fn run_in_order(executor: &Executor, call: &Call) -> NodeResults {
    let starts = Starts::new(executor.cluster().len());
    // Those that a command leaves out, as they failed before, are not waited for.
    (0..executor.cluster().len())
        .filter(|index| !call.nodes.contains(index))
        .for_each(|index| starts.ended(index, false));
    let limit = executor.start_timeout();
    let until = call.began + limit;
    let start_one = async |index: usize| {
        let results = match starts.wait(executor, index, limit, until).await {
            Ok(()) => {
                let call = call.next(vec![index]);
                executor.on_each_node(&call, |op| run(executor, op)).await
            }
            Err(error) => vec![(index, Err(error))],
        };
        starts.ended(index, results.iter().all(|(_, result)| result.is_ok()));
        results
    };
    join_all(call.nodes.iter().map(|&index| start_one(index))).await.concat()
}

/// A start recreates what is missing, and what has lost its sandbox.
fn can_cause(from: State, to: State) -> bool {
    matches!(to, State::Running | State::Created | State::Missing) && (from, to) != (State::Paused, State::Running)
}

/// Starts are bound by CPU: a few at a time.
pub(super) async fn run(executor: &Executor, op: NodeOp<'_>) -> Result<()> {
    executor.a_few_at_once(op, |op| executor.limited(op, Duration::ZERO, start(executor, op))).await
}

/// Runs a node for the first time. Its container and sandbox have just been made, and the model does not know the former yet: one
/// inspection shows both that and how the start went.
pub(super) async fn run_first(executor: &Executor, op: NodeOp<'_>, container: &ContainerId) -> Result<()> {
    let start = async {
        let _acting = executor.acts(op, can_cause);
        let fail = executor.engine_error(op.index);
        let started = executor.engine(op.index).start(container).await;
        executor.watch().adopt(op.index, container).await.map_err(&fail)?;
        started.map_err(&fail)
    };
    executor.limited(op, Duration::ZERO, start).await
}

async fn start(executor: &Executor, op: NodeOp<'_>) -> Result<()> {
    let index = op.index;
    let (node, sandbox) = join(executor.look(index), has_sandbox(executor, index)).await;
    let (mut node, mut has_sandbox) = (node?, sandbox?);
    let _acting = executor.acts(op, can_cause);
    let mut was_crashed = false;
    loop {
        match node.state {
            State::Running if has_sandbox => return executor.end_crash(index).await.map(drop),
            // It runs but cannot be reached: its network went with the sandbox.
            State::Running => {}
            State::Paused => {
                let why = format!("{} is paused: resume it, or stop it first", executor.name(index));
                return Err(ControlError::Busy(why));
            }
            State::Created | State::Exited | State::Missing => {}
        }
        let container = startable(executor, index, &node, has_sandbox).await?;
        was_crashed |= executor.end_crash(index).await?;
        let before = node.started_at;
        match executor.engine(index).start(&container).await {
            // Removed meanwhile: the next round creates it again.
            Ok(()) | Err(EngineError::NotFound(_)) => {}
            Err(error) => {
                // A node that does not start is not heard by its peers.
                if was_crashed {
                    executor.silence(index, true).await?;
                }
                executor.look(index).await?;
                return Err(executor.engine_error(index)(error));
            }
        }
        node = executor.look(index).await?;
        // A run that has ended already was a run: its exit code says how it went.
        if node.is_alive() || (node.state == State::Exited && node.started_at != before) {
            return Ok(());
        }
        time::sleep(LAG_STEP).await;
        has_sandbox = self::has_sandbox(executor, index).await?;
    }
}

pub(super) async fn has_sandbox(executor: &Executor, index: usize) -> Result<bool> {
    executor.watch().check_sandbox(index, false).await.map_err(executor.engine_error(index))
}

/// The node's container, on a running sandbox; creates whichever is gone.
pub(super) async fn startable(
    executor: &Executor,
    index: usize,
    node: &Node,
    has_sandbox: bool,
) -> Result<ContainerId> {
    let fail = executor.engine_error(index);
    if let Some(container) = &node.container {
        if has_sandbox {
            return Ok(container.clone());
        }
        // It is bound to the namespace of a sandbox that no longer exists.
        executor.engine(index).remove(container).await.map_err(&fail)?;
    }
    executor.check_open()?;
    let made = match has_sandbox {
        true => executor.provisioner().make_in_sandbox(index).await,
        false => executor.provisioner().make(index).await,
    };
    let container = made.map_err(|error| match error {
        EngineError::NotFound(_) | EngineError::Conflict(_) | EngineError::Refused(_) => {
            ControlError::Refused(format!("{}: cannot recreate it: {error}", executor.name(index)))
        }
        error => fail(error),
    })?;
    executor.watch().adopt(index, &container).await.map_err(&fail)?;
    // What is new is under control again.
    if !has_sandbox {
        self::has_sandbox(executor, index).await?;
    }
    Ok(container)
}
