//! What the processes of a workload share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::Value;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep_until};

use super::Workload;
use super::client::Groups;
use super::generator::{Mix, Seen};
use super::journal::Journal;
use super::operation::{Kind, Operation, Outcome};
use crate::check::Model;
use crate::runner::signals::say;
use crate::text::{harmless, shown};

/// Where a workload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Operations are drawn and done.
    Working,
    /// Everything is read back.
    Finishing,
    /// This signal came.
    Interrupted(i32),
}

/// A node that clients talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) ip: String,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Workload,
    /// Absolute.
    pub(super) mountpoint: PathBuf,
    pub(super) mix: Mix,
    pub(super) seed: u64,
    /// Of process 0.
    pub(super) first_id: u64,
    /// At least one.
    pub(super) targets: Vec<Target>,
    pub(super) journal: Journal,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) pace: Pace,
    pub(super) groups: Groups,
    pub(super) clients: Clients,
    /// What was last seen in each register.
    pub(super) registers: RefCell<Seen>,
    /// The keys of all operations so far.
    pub(super) keys: RefCell<BTreeSet<String>>,
}

impl Shared {
    /// The node that a process talks to.
    pub(super) fn target(&self, process: u64) -> &Target {
        &self.targets[usize::try_from(process).unwrap_or_default() % self.targets.len()]
    }

    /// What the client of a process finds in its environment.
    pub(super) fn environment(&self, process: u64) -> [(&'static str, String); 4] {
        let Target { name, ip } = self.target(process).clone();
        let mountpoint = self.mountpoint.to_string_lossy().into_owned();
        [
            ("CTHULHU", mountpoint),
            ("CTHULHU_PROCESS", process.to_string()),
            ("CTHULHU_NODE", name),
            ("CTHULHU_ADDRESS", ip),
        ]
    }

    /// Does `work`; `None` as soon as the phase is such a one.
    pub(super) async fn unless<T>(&self, over: impl Fn(Phase) -> bool, work: impl Future<Output = T>) -> Option<T> {
        let mut phase = self.phase.clone();
        tokio::select! {
            biased;
            // An error means that nobody changes the phase any more: it does not come before the workload's end.
            Ok(_) = phase.wait_for(|phase| over(*phase)) => None,
            done = work => Some(done),
        }
    }

    /// Takes note of what an operation shows of a register.
    pub(super) fn see(&self, operation: &Operation, outcome: &Outcome) {
        if self.mix.model != Model::Register || outcome.kind != Kind::Ok {
            return;
        }
        let value = match (operation.f, &operation.value) {
            ("cas", Some(Value::Array(values))) => values.last(),
            ("write", value) => value.as_ref(),
            _ => outcome.value.as_ref(),
        };
        if let Some(value) = value.filter(|value| !value.is_null()) {
            self.registers.borrow_mut().insert(operation.key.clone(), value.clone());
        }
    }
}

/// When the next operation of any process begins: at times drawn at random, so that some coincide.
#[derive(Debug)]
pub(super) struct Pace {
    next: Mutex<Instant>,
    /// On average.
    gap: Duration,
}

impl Pace {
    /// How far it may be behind, and then goes on faster for a while. What is missed beyond that is left out: clients that
    /// have all been silent do not run into a flood.
    const BEHIND: Duration = Duration::from_millis(200);

    pub(super) fn new(per_second: f64) -> Self {
        Self { next: Mutex::new(Instant::now()), gap: Duration::from_secs_f64(1.0 / per_second) }
    }

    /// Returns when it is the caller's turn.
    pub(super) async fn turn(&self) {
        let mut next = self.next.lock().await;
        sleep_until(*next).await;
        let earliest = Instant::now().checked_sub(Self::BEHIND).unwrap_or(*next);
        *next = (*next + self.gap.mul_f64(2.0 * fastrand::f64())).max(earliest);
    }
}

/// How the clients do.
#[derive(Debug, Default)]
pub(super) struct Clients {
    /// One has given a sensible answer.
    answered: Cell<bool>,
    pub(super) silent: Cell<u64>,
    pub(super) ended: Cell<u64>,
    pub(super) nonsense: Cell<u64>,
    /// What was wrong with the first.
    first: RefCell<Option<String>>,
}

impl Clients {
    /// So many clients a process may be of no use before one has answered.
    const TRIES: u64 = 3;

    pub(super) fn answered(&self) {
        self.answered.set(true);
    }

    /// One has not answered in time, and was killed.
    pub(super) fn silent(&self) {
        self.silent.set(self.silent.get() + 1);
    }

    /// One is of no more use. Tells the user about the first; returns what goes into the history.
    pub(super) fn lost(&self, process: u64, how: &str, nonsense: bool) -> String {
        let count = if nonsense { &self.nonsense } else { &self.ended };
        count.set(count.get() + 1);
        let how = harmless(how);
        if count.get() == 1 {
            say(&format!("the client of process {process} {how}; it is started again"));
        }
        self.first.borrow_mut().get_or_insert_with(|| how.clone());
        format!("the client {how}")
    }

    /// Whether it makes sense to go on.
    ///
    /// # Errors
    /// A sentence: no client has ever answered, and not because they are slow.
    pub(super) fn check(&self, options: &Workload) -> Result<()> {
        let tries = self.ended.get() + self.nonsense.get();
        if tries >= Self::TRIES * options.processes { self.must_have_answered(options) } else { Ok(()) }
    }

    /// Fails if no client has ever answered.
    ///
    /// # Errors
    /// A sentence with the first reason.
    pub(super) fn must_have_answered(&self, options: &Workload) -> Result<()> {
        if self.answered.get() {
            return Ok(());
        }
        let program = shown(&options.client.join(" "));
        let first = self.first.borrow().clone().unwrap_or_else(|| "did not answer in time".into());
        let f = options.model.operations()[0];
        bail!(
            "no client (“{program}”) has given a sensible answer: the first {first}. A client reads lines such as \
             {{\"op\":\"{f}\",\"key\":\"k1\"}}, and answers each with one line: {{\"type\":\"ok\"}}, \
             {{\"type\":\"fail\",\"error\":\"...\"}} or {{\"type\":\"info\",\"error\":\"...\"}}"
        )
    }
}
