//! Operations that must succeed once, in whichever process.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use serde_json::Value;
use tokio::sync::Notify;

use super::operation::{Kind, Operation, Outcome};

#[derive(Debug)]
pub(super) struct Jobs {
    waiting: RefCell<VecDeque<Operation>>,
    /// Including those under way.
    left: Cell<usize>,
    done: Notify,
    /// Why the last one that did not succeed has not.
    error: RefCell<Option<String>>,
}

impl Jobs {
    pub(super) fn new(operations: impl IntoIterator<Item = Operation>) -> Self {
        let waiting: VecDeque<_> = operations.into_iter().collect();
        let jobs =
            Self { left: Cell::new(waiting.len()), waiting: waiting.into(), done: Notify::new(), error: None.into() };
        jobs.notify();
        jobs
    }

    /// One that is to be done.
    pub(super) fn take(&self) -> Option<Operation> {
        self.waiting.borrow_mut().pop_front()
    }

    /// Takes note of how one has ended; returns whether the process that did it leaves the next try to others for a while.
    pub(super) fn give_back(&self, operation: Operation, outcome: &Outcome) -> bool {
        match outcome.kind {
            // Not before nothing comes out any more.
            Kind::Ok if operation.f == "drain" && outcome.value.as_ref().is_some_and(is_not_empty) => {
                self.waiting.borrow_mut().push_back(operation);
                false
            }
            Kind::Ok => {
                self.left.set(self.left.get() - 1);
                self.notify();
                false
            }
            Kind::Fail | Kind::Info => {
                self.error.replace(outcome.error.clone().or_else(|| Some("a client said so without a reason".into())));
                self.waiting.borrow_mut().push_back(operation);
                true
            }
        }
    }

    fn notify(&self) {
        if self.left.get() == 0 {
            self.done.notify_one();
        }
    }

    /// Returns once all have succeeded.
    pub(super) async fn done(&self) {
        self.done.notified().await;
    }

    /// Those that have not succeeded, and why; `None` if all have. For when nothing is under way.
    pub(super) fn failure(&self) -> Option<(Vec<Operation>, String)> {
        let left: Vec<_> = self.waiting.borrow().iter().cloned().collect();
        let why = self.error.borrow().clone().unwrap_or_else(|| "no client was ready".into());
        (self.left.get() > 0).then_some((left, why))
    }
}

fn is_not_empty(value: &Value) -> bool {
    value.as_array().is_some_and(|values| !values.is_empty())
}
