//! `restart`: stop, then start.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::super::execute::{Action, Call, Executor, NodeOp, NodeResults, Result};
use super::verb::{Verb, write_grace};
use super::{start, stop};
use crate::sync::time::Instant;

pub(super) static RESTART: Verb = Verb {
    name: "restart",
    options: "[-t SECONDS]",
    help: "stop, then start",
    is_orderly: true,
    ended_by: None,
    parse: |words| Ok(Arc::new(Restart { grace: words.grace()? })),
    hint: "",
};

struct Restart {
    /// `None`: the cluster's.
    grace: Option<Duration>,
}

#[async_trait]
impl Action for Restart {
    fn options(&self) -> String {
        write_grace(self.grace)
    }

    async fn run(&self, executor: &Executor, call: &Call) -> Result<NodeResults> {
        Ok(executor.on_each_node(call, |op| restart(executor, op, executor.grace(op.index, self.grace))).await)
    }
}

async fn restart(executor: &Executor, op: NodeOp<'_>, grace: Duration) -> Result<()> {
    stop::run(executor, op, grace).await?;
    // The time of the start does not run while the node uses its grace.
    let began = (op.began + grace).min(Instant::now());
    start::run(executor, NodeOp { began, ..op }).await
}
