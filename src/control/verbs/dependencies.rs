//! What has to be true of other nodes before a node of a service starts.

use std::time::Duration;

use futures_util::future::try_join_all;

use super::super::ControlError;
use super::super::execute::{Executor, Result};
use crate::cluster::{Condition, Dependency, Node, State};
use crate::engine::Health;
use crate::sync::time::{self, Instant};
use crate::sync::watch;

/// How the starts of all nodes of one command went; `None` for those that are yet to end.
pub(super) struct Starts(Vec<watch::Sender<Option<bool>>>);

/// What is to be said of a dependency.
enum Met {
    Yes,
    NotYet,
    /// It never will be, and why.
    Never(String),
}

impl Starts {
    /// None has ended.
    pub(super) fn new(nodes: usize) -> Self {
        Self((0..nodes).map(|_| watch::channel(None).0).collect())
    }

    /// A node's start has ended.
    pub(super) fn ended(&self, index: usize, succeeded: bool) {
        self.0[index].send_replace(Some(succeeded));
    }

    /// Waits until all is true on which a node's start depends. `limit`: how long all the starts may take.
    ///
    /// # Errors
    /// A sentence that names the service waited for: it is too late, or it never will be true.
    pub(super) async fn wait(&self, executor: &Executor, index: usize, limit: Duration, until: Instant) -> Result<()> {
        let each = executor.cluster().node_spec(index).depends_on.iter().map(async |dependency| {
            let all = dependency.nodes.iter().map(|&other| self.wait_for(executor, index, dependency, other));
            let all = async { try_join_all(all).await.map(drop) };
            let late = |_| {
                Err(ControlError::Overdue(format!(
                    "{}: not started, as {} {} within {} s",
                    executor.name(index),
                    dependency.service,
                    dependency.condition.not_met(),
                    limit.as_secs_f64()
                )))
            };
            match time::timeout_at(until, all).await.unwrap_or_else(late) {
                Err(ControlError::Refused(_) | ControlError::Overdue(_)) if !dependency.required => Ok(()),
                done => done,
            }
        });
        try_join_all(each).await.map(drop)
    }

    async fn wait_for(&self, executor: &Executor, index: usize, dependency: &Dependency, other: usize) -> Result<()> {
        let mut start = self.0[other].subscribe();
        let refused = |why: String| {
            ControlError::Refused(format!("{}: not started: {} {why}", executor.name(index), executor.name(other)))
        };
        let started = start.wait_for(Option::is_some).await.is_ok_and(|started| *started == Some(true));
        if !started {
            return Err(refused("could not be started".into()));
        }
        let mut changes = executor.watch().changes();
        loop {
            executor.check_open()?;
            let _ = *changes.borrow_and_update();
            match dependency.condition.is_met(&executor.cluster().node(other)) {
                Met::Yes => return Ok(()),
                Met::Never(why) => return Err(refused(why)),
                Met::NotYet => {}
            }
            if changes.changed().await.is_err() {
                return Err(ControlError::Busy("the cluster is being taken down".into()));
            }
        }
    }
}

impl Condition {
    fn not_met(self) -> &'static str {
        match self {
            Self::Started => "was not started",
            Self::Healthy => "was not healthy",
            Self::CompletedSuccessfully => "did not end",
        }
    }

    /// Whether it is true of a node that has been started.
    fn is_met(self, node: &Node) -> Met {
        let code = node.exit_code.map_or("unknown".to_owned(), |code| code.to_string());
        match (self, node.state) {
            (Self::Started, _) => Met::Yes,
            (Self::CompletedSuccessfully, State::Exited) => match node.exit_code {
                Some(0) => Met::Yes,
                Some(_) => Met::Never(format!("has ended with exit code {code}")),
                None => Met::NotYet,
            },
            (Self::CompletedSuccessfully, _) => Met::NotYet,
            (Self::Healthy, State::Exited | State::Missing) => Met::Never(format!("has ended with exit code {code}")),
            (Self::Healthy, _) if node.is_ready() && (node.health == Health::Healthy || node.probe.is_some()) => {
                Met::Yes
            }
            (Self::Healthy, State::Running) if node.health == Health::None && node.probe.is_none() => {
                Met::Never("has no health check that could pass".into())
            }
            (Self::Healthy, _) => Met::NotYet,
        }
    }
}
