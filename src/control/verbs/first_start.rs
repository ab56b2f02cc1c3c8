//! The `start` of `mount --start`: one command, though each node starts as soon as it is made.

use super::super::completion::CompletionGuard;
use super::super::execute::{Call, Executor, NodeResults, Result};
use super::start::{self, START};
use crate::engine::ContainerId;
use crate::sync::Mutex;
use crate::sync::time::Instant;

/// A `start` of all nodes under way, recorded as if it were written to the root's `control`.
pub(crate) struct FirstStart<'a> {
    executor: &'a Executor,
    call: Call,
    end: CompletionGuard<'a>,
    results: Mutex<NodeResults>,
}

impl Executor {
    /// Begins to start all nodes, which are yet to be made.
    pub(crate) fn first_start(&self) -> FirstStart<'_> {
        let nodes: Vec<_> = (0..self.cluster().len()).collect();
        let names = nodes.iter().map(|&index| self.name(index)).collect();
        let id = self.recorder().invoke(START.name, Some(START.name), names, Default::default(), false);
        let end = CompletionGuard::of(id, self.recorder());
        let call = Call { id, nodes, is_whole: true, began: Instant::now(), engine_hangs: self.no_engine_hangs() };
        FirstStart { executor: self, call, end, results: Mutex::default() }
    }
}

impl FirstStart<'_> {
    /// Starts a node that has just been made, with its sandbox.
    pub(crate) async fn node(&self, index: usize, container: &ContainerId) {
        let call = self.call.next(vec![index]);
        let done = self.executor.on_each_node(&call, |op| start::run_first(self.executor, op, container)).await;
        self.results.lock().extend(done);
    }

    /// Ends the command; all nodes had their turn.
    ///
    /// # Errors
    /// What failed.
    pub(crate) fn end(self) -> Result<()> {
        let mut results = self.results.into_inner();
        results.sort_by_key(|(index, _)| *index);
        self.executor.end(self.end, self.call.nodes.len() > 1, results)
    }
}
