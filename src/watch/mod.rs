//! Keeps the model in step with the engine, without polling.
//!
//! Subscribes to events, inspects what they name, holds a pidfd on each process of a local engine, collects output.
//! It works through the engine and the cluster only, and never blocks a reader.

mod clocks;
mod log_file;
mod logs;
mod probe;
mod process;
mod reach;
mod roles;
mod sandboxes;
#[cfg(test)]
mod tests;

pub(crate) use log_file::{LogFile, LogReader, SMALLEST_LIMIT};
pub(crate) use probe::{Answer, Ask, Pace, Probe, exit_answers};
pub(crate) use roles::{AskRole, RoleQuestion};
pub(crate) use sandboxes::Sandboxes;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use tracing::warn;

use crate::cluster::{Change, Cluster, News};
use crate::engine::{ContainerId, Engine, EngineError, Event, EventKind, Result};
use crate::fleet::Fleet;
use crate::sync::time;
use crate::sync::{AsyncMutex, JoinSet, Mutex, Notify, Semaphore, watch};

/// Called after every change of the model, right away.
pub(crate) type OnChange = Box<dyn Fn(Change) + Send + Sync>;

/// How a cluster is watched.
pub struct Options {
    /// How long the engine may take for an inspection.
    pub timeout: Duration,
    /// How much of a node's output is kept, in bytes.
    pub log_limit: u64,
    /// What makes each node ready, if not its HEALTHCHECK: for all that are `probed` in the cluster's spec. A node past the end has
    /// none.
    pub probes: Vec<Option<Probe>>,
    /// How it is found out which nodes have the roles of the cluster's spec, in order.
    pub roles: Vec<RoleQuestion>,
    /// What holds the nodes' networks. Without it, every network counts as under control.
    pub sandboxes: Option<Arc<dyn Sandboxes>>,
}

impl Options {
    /// The usual ones.
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, log_limit: DEFAULT_LOG_LIMIT, probes: vec![], roles: vec![], sandboxes: None }
    }
}

/// Default for how much of a node's output is kept, in bytes.
pub(crate) const DEFAULT_LOG_LIMIT: u64 = 64 << 20;

/// Wait before a failed inspection is tried again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long an inspection that an event asks for waits for a command: it inspects its node itself, after its last event. Most
/// commands take less.
const COMMAND: Duration = Duration::from_millis(100);

/// Waits before the first and the second attempt to see the result of a check that has ended.
const CHECK_FOLLOWS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// A handle on what keeps one cluster's model true. Clones share it; [`Watch::stop`] ends all its tasks.
#[derive(Clone)]
pub struct Watch(Arc<Inner>);

struct Inner {
    fleet: Fleet,
    cluster: Cluster,
    on_change: OnChange,
    timeout: Duration,
    sandboxes: Option<Arc<dyn Sandboxes>>,
    nodes: Vec<WatchedNode>,
    roles: Vec<roles::WatchedRole>,
    /// Of each engine.
    engines: Vec<reach::WatchedEngine>,
    /// How many changes of the model there have been.
    changes: watch::Sender<u64>,
    /// Output from now on is not collected.
    closing: watch::Sender<bool>,
    /// Limits how many readiness questions run at once.
    questions: Semaphore,
    tasks: Mutex<JoinSet<()>>,
}

/// What is kept for each node beside the model.
struct WatchedNode {
    /// One check of the node's sandbox at a time.
    sandbox_check: AsyncMutex<()>,
    /// How many events have said that the sandbox was lost. What was seen before the last one is outdated.
    sandbox_events: Mutex<u64>,
    /// One inspection at a time, so that a later one never reports an earlier moment.
    inspection: AsyncMutex<()>,
    /// A background inspection is due and has not begun.
    inspection_due: AtomicBool,
    /// How many events have asked for an inspection, and how many of them were there when the latest one began that was
    /// answered.
    events: AtomicU64,
    seen: AtomicU64,
    /// How many commands are at work on the node.
    commands: watch::Sender<usize>,
    /// The node may have new output.
    output: Notify,
    log: LogFile,
    /// Up to which run the log is complete.
    whole: watch::Sender<logs::Whole>,
    /// There is no disk space for the node's output.
    no_room: AtomicBool,
    /// All output has been collected.
    collected: watch::Sender<bool>,
    probe: Option<Probe>,
    /// The node, or whether the engine can be reached, has changed: wakes its probe.
    probe_wakeup: Notify,
    /// The run whose pidfd is held: pid, and when it began.
    watched_run: Mutex<Option<(i32, i64)>>,
    /// Held from a change of the model until all listeners have been notified, so that no command answers in between.
    notifying: Mutex<()>,
}

impl WatchedNode {
    fn new(log: LogFile, probe: Option<Probe>) -> Self {
        Self {
            sandbox_check: Default::default(),
            sandbox_events: Default::default(),
            inspection: Default::default(),
            inspection_due: Default::default(),
            events: Default::default(),
            seen: Default::default(),
            commands: watch::channel(0).0,
            output: Default::default(),
            log,
            whole: watch::channel(logs::Whole::default()).0,
            no_room: Default::default(),
            collected: watch::channel(false).0,
            probe,
            probe_wakeup: Default::default(),
            watched_run: Default::default(),
            notifying: Default::default(),
        }
    }
}

/// See [`Watch::at_work`].
pub(crate) struct AtWork<'a>(&'a watch::Sender<usize>);

impl<'a> AtWork<'a> {
    fn on(commands: &'a watch::Sender<usize>) -> Self {
        commands.send_modify(|commands| *commands += 1);
        Self(commands)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|commands| *commands -= 1);
    }
}

impl Watch {
    /// Subscribes to the events of all engines and begins to follow them.
    ///
    /// # Errors
    /// An engine's, when the first subscription fails; later it is tried again for as long as it takes.
    pub async fn begin(
        fleet: impl Into<Fleet>,
        cluster: Cluster,
        options: Options,
        on_change: OnChange,
    ) -> Result<Self> {
        let Options { timeout, log_limit, probes, roles, sandboxes } = options;
        let spec = cluster.spec();
        let open = |(node, probe): (&crate::cluster::NodeSpec, _)| {
            let cannot = |error| format!("cannot keep the output of {} in {}: {error}", node.name, node.dir.display());
            let log = LogFile::open(&node.dir, node.log_limit.unwrap_or(log_limit))
                .map_err(|error| EngineError::Refused(cannot(error)))?;
            Ok(WatchedNode::new(log, probe))
        };
        let probes = probes.into_iter().chain(std::iter::repeat_with(|| None));
        let nodes = spec.nodes.iter().zip(probes).map(open).collect::<Result<_>>()?;
        let watch = Self(Arc::new(Inner {
            engines: (0..cluster.spec().engines()).map(|_| Default::default()).collect(),
            fleet: fleet.into(),
            on_change,
            timeout,
            sandboxes,
            nodes,
            roles: roles.into_iter().map(roles::WatchedRole::new).collect(),
            changes: watch::channel(0).0,
            closing: watch::channel(false).0,
            questions: Semaphore::new(probe::AT_ONCE),
            tasks: Mutex::default(),
            cluster,
        }));
        let subscriptions = (0..watch.0.engines.len()).map(|host| watch.subscribe(host));
        for (host, events) in try_join_all(subscriptions).await?.into_iter().enumerate() {
            watch.spawn(watch.clone().follow(host, events));
        }
        if watch.0.engines.len() > 1 {
            join_all((0..watch.0.engines.len()).map(|host| watch.read_clock(host))).await;
            watch.spawn(watch.clone().follow_clocks());
        }
        for index in 0..watch.0.nodes.len() {
            watch.spawn(logs::collect(watch.clone(), index));
            if let Some(Probe::Ask { .. }) = watch.0.nodes[index].probe {
                watch.spawn(probe::ask(watch.clone(), index));
            }
        }
        Ok(watch)
    }

    /// Ends every task of this watch.
    pub fn stop(&self) {
        self.0.tasks.lock().abort_all();
    }

    /// Makes a container that was just created the node's, and inspects it.
    ///
    /// # Errors
    /// The engine's.
    pub async fn adopt(&self, index: usize, container: &ContainerId) -> Result<()> {
        let _turn = self.0.nodes[index].inspection.lock().await;
        self.inspect(index, container).await
    }

    /// Inspects a node's container now: the model is then no older than this call.
    ///
    /// # Errors
    /// The engine's; a container that is gone is no error.
    pub async fn refresh(&self, index: usize) -> Result<()> {
        let _turn = self.0.nodes[index].inspection.lock().await;
        match &self.0.cluster.node(index).container {
            Some(container) => self.inspect(index, container).await,
            None => {
                // If it has just been removed, the model is updated when this lock is free.
                drop(self.0.nodes[index].notifying.lock());
                Ok(())
            }
        }
    }

    /// Forgets how the node's last run ended, which the model keeps over a removal of the container.
    pub(crate) fn forget_last_run(&self, index: usize) {
        self.apply(index, &News::Reset);
    }

    async fn inspect(&self, index: usize, container: &ContainerId) -> Result<()> {
        let asked_at_epoch = self.0.cluster.exit_epoch(index);
        let events = self.0.nodes[index].events.load(Ordering::Acquire);
        match self.limited(self.engine_of(index).inspect(container)).await {
            Ok(seen) => self.apply(index, &News::Inspected { seen, asked_at_epoch }),
            Err(EngineError::NotFound(_)) => self.apply(index, &News::Removed(container.clone())),
            Err(error) => return Err(error),
        }
        self.0.nodes[index].seen.fetch_max(events, Ordering::AcqRel);
        Ok(())
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Applies news to the model, and notifies the listeners.
    fn apply(&self, index: usize, news: &News) {
        let telling = self.0.nodes[index].notifying.lock();
        let before = self.0.cluster.node(index);
        let change = self.0.cluster.apply(index, news);
        if change == Change::None {
            return;
        }
        let node = self.0.cluster.node(index);
        if node.started_at != before.started_at {
            self.0.nodes[index].output.notify_one();
        }
        if before.container.is_some() && node.container != before.container {
            self.0.nodes[index].whole.send_modify(|whole| whole.gone = before.container.clone());
        }
        self.notify_change(change);
        drop(telling);
        self.0.nodes[index].probe_wakeup.notify_one();
        if let (Some(pid), true) = (node.pid, self.engine_of(index).info().local) {
            self.watch_process(index, pid, node.started_at);
        }
    }

    /// Changes with every change of the model, once all listeners have heard of that.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Notifies the listeners of a change made elsewhere. If that panics, some may have missed it: then everything is
    /// read again.
    pub(crate) fn notify_change(&self, change: Change) {
        let told = catch_unwind(AssertUnwindSafe(|| (self.0.on_change)(change)));
        if told.is_err() {
            (self.0.on_change)(Change::Reachable);
        }
        self.0.changes.send_modify(|changes| *changes += 1);
    }

    fn watch_process(&self, index: usize, pid: i32, started_at: i64) {
        let mut watched = self.0.nodes[index].watched_run.lock();
        let run = (pid, started_at);
        if *watched == Some(run) {
            return;
        }
        *watched = Some(run);
        drop(watched);
        let watch = self.clone();
        self.spawn(async move {
            let ended = process::ended(pid).await;
            let mut watched = watch.0.nodes[index].watched_run.lock();
            if *watched == Some(run) {
                *watched = None;
            }
            drop(watched);
            if let Err(error) = ended {
                // The engine's events report it too, but later.
                warn!(pid, %error, "cannot hold a pidfd");
                return;
            }
            watch.apply(index, &News::ProcessEnded { pid, started_at });
        });
    }

    /// The engine that a node runs in.
    fn engine_of(&self, index: usize) -> &dyn Engine {
        &**self.0.fleet.engine(self.0.cluster.host_of(index))
    }

    async fn limited<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let limit = self.0.timeout;
        time::timeout(limit, call).await.unwrap_or(Err(EngineError::TimedOut(limit)))
    }

    fn on_event(&self, event: &Event) {
        // By its id: renaming a container, or taking over its name, changes nothing.
        let Some(index) = self.0.cluster.index_of_container(&event.container) else {
            return self.on_sandbox_event(event);
        };
        let container = event.container.clone();
        match event.kind {
            EventKind::Died(exit_code) => {
                self.apply(index, &News::Died { container, exit_code, time: event.time });
            }
            EventKind::OutOfMemory => self.apply(index, &News::OutOfMemory(container)),
            EventKind::Removed => self.apply(index, &News::Removed(container)),
            EventKind::ExecEnded => return self.inspect_after_check(index),
            EventKind::Created
            | EventKind::Started
            | EventKind::Paused
            | EventKind::Unpaused
            | EventKind::Health
            | EventKind::Connected
            | EventKind::Disconnected
            | EventKind::Other => {}
        }
        self.inspect_soon(index);
    }

    /// The engine sends no event for a check that makes a node unhealthy if it has called the node unhealthy before.
    fn inspect_after_check(&self, index: usize) {
        if !self.0.cluster.node(index).health_doubted {
            return;
        }
        let watch = self.clone();
        self.spawn(async move {
            // The engine reports the end of a check before it has stored the result.
            for wait in CHECK_FOLLOWS {
                time::sleep(wait).await;
                watch.inspect_soon(index);
            }
        });
    }

    /// Inspects a node in the background; several events before it begins cost one inspection.
    fn inspect_soon(&self, index: usize) {
        self.0.nodes[index].events.fetch_add(1, Ordering::AcqRel);
        if self.0.nodes[index].inspection_due.swap(true, Ordering::AcqRel) {
            return;
        }
        let watch = self.clone();
        self.spawn(async move {
            while let Err(error) = watch.inspect_now(index).await {
                warn!(node = %watch.0.cluster.node_spec(index).name, %error, "cannot inspect");
                // Something has happened, and the model is older. Either the engine is gone and everything is read
                // again later, or this node is inspected again.
                watch.check_liveness(index).await;
                if !watch.0.cluster.is_node_reachable(index)
                    || watch.0.nodes[index].inspection_due.swap(true, Ordering::AcqRel)
                {
                    // Or another inspection is due already.
                    return;
                }
                time::sleep(LOOK_AGAIN).await;
            }
        });
    }

    /// A command is at work on a node until this is dropped.
    pub(crate) fn at_work(&self, index: usize) -> AtWork<'_> {
        AtWork::on(&self.0.nodes[index].commands)
    }

    async fn inspect_now(&self, index: usize) -> Result<()> {
        let node = &self.0.nodes[index];
        // Not while it holds the engine: the command's own inspection would have to wait for this one.
        let _ = time::timeout(COMMAND, node.commands.subscribe().wait_for(|commands| *commands == 0)).await;
        let _turn = node.inspection.lock().await;
        // A swap, so that no event that asks for nothing more is overlooked by the load that follows.
        node.inspection_due.swap(false, Ordering::AcqRel);
        // A command may have looked meanwhile.
        if node.seen.load(Ordering::Acquire) >= node.events.load(Ordering::Acquire) {
            return Ok(());
        }
        match &self.0.cluster.node(index).container {
            Some(container) => self.inspect(index, container).await,
            None => Ok(()),
        }
    }
}
