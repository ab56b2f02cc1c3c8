//! `heal`: takes network faults away.

use std::sync::Arc;

use async_trait::async_trait;

use super::super::execute::{Action, Call, Executor, NodeResults, Result};
use super::verb::Verb;

pub(super) static HEAL: Verb = Verb {
    name: "heal",
    options: "",
    help: "take away the network faults of @WHOM@",
    is_orderly: false,
    ended_by: None,
    parse: |_| Ok(Arc::new(Heal)),
    hint: "",
};

struct Heal;

#[async_trait]
impl Action for Heal {
    /// It is about links, which change all at once, not about one node after the other.
    async fn run(&self, executor: &Executor, call: &Call) -> Result<NodeResults> {
        executor.heal(Some(call.nodes.clone()).filter(|_| !call.is_whole)).await?;
        Ok(vec![])
    }
}
