//! The watch room: keeps the model in step with the engine, without polling.
//!
//! Subscribes to events, inspects what they name, holds a pidfd on each process of a local engine, collects output.
//! It works through the engine and the cluster only, and never blocks a reader.

mod log_file;
mod logs;
mod probe;
mod process;
mod reach;
mod sandboxes;
#[cfg(test)]
mod tests;

pub use log_file::{LogFile, LogReader, SMALLEST_LIMIT};
pub use probe::{Answer, Ask, Pace, Probe, exit_answers};
pub use sandboxes::Sandboxes;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::warn;

use crate::cluster::{Change, Cluster, News};
use crate::engine::{ContainerId, Engine, EngineError, Event, EventKind, Result};

/// Told of every change of the model, right after it.
pub type OnChange = Box<dyn Fn(Change) + Send + Sync>;

/// How a cluster is watched.
pub struct Options {
    /// How long the engine may take for an inspection.
    pub timeout: Duration,
    /// How much of a node's output is kept, in bytes.
    pub log_limit: u64,
    /// What makes a node ready, if not its HEALTHCHECK. The cluster must be made with [`Cluster::probed`] then.
    pub probe: Option<Probe>,
    /// What holds the nodes' networks. Without it, every network counts as under control.
    pub sandboxes: Option<Arc<dyn Sandboxes>>,
    /// When a node is asked whether it is ready.
    pub pace: Pace,
}

impl Options {
    /// The usual ones.
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, log_limit: DEFAULT_LOG_LIMIT, probe: None, pace: Pace::default(), sandboxes: None }
    }
}

/// How much of a node's output is kept if nothing else is asked for, in bytes.
pub const DEFAULT_LOG_LIMIT: u64 = 64 << 20;

/// Wait before a node is inspected again whose inspection has failed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Waits before and between two looks for the result of a check that has ended.
const CHECK_FOLLOWS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// A handle on what keeps one cluster's model true. Clones share it; [`Watch::stop`] ends all its tasks.
#[derive(Clone)]
pub struct Watch(Arc<Inner>);

struct Inner {
    engine: Arc<dyn Engine>,
    cluster: Cluster,
    on_change: OnChange,
    timeout: Duration,
    sandboxes: Option<Arc<dyn Sandboxes>>,
    /// One look at a node's sandbox at a time.
    checking: Vec<tokio::sync::Mutex<()>>,
    /// How many events have told that a node's sandbox was lost: what was seen before the last one is out of date.
    sandbox_events: Vec<Mutex<u64>>,
    /// One inspection of a node at a time, so that a later one never tells of an earlier moment.
    inspecting: Vec<tokio::sync::Mutex<()>>,
    /// A background inspection is due and has not begun.
    due: Vec<AtomicBool>,
    /// The node may have new output.
    output: Vec<Arc<Notify>>,
    logs: Vec<LogFile>,
    /// What the node's log has whole.
    whole: Vec<tokio::sync::watch::Sender<logs::Whole>>,
    /// There is no room for the node's output.
    no_room: Vec<AtomicBool>,
    /// What is written from now on is not collected any more.
    closing: tokio::sync::watch::Sender<bool>,
    /// All that was to be collected is.
    collected: Vec<tokio::sync::watch::Sender<bool>>,
    probe: Option<Probe>,
    pace: Pace,
    /// The node, or whether the engine can be reached, has changed: for who asks whether it is ready.
    probing: Vec<Notify>,
    /// Held by who asks.
    asking: tokio::sync::Semaphore,
    /// The run whose pidfd is held: pid, and when it began.
    watched: Vec<Mutex<Option<(i32, i64)>>>,
    /// Held from a change of the model until everybody knows of it, so that no command answers in between.
    telling: Vec<Mutex<()>>,
    /// The same for whether the engine can be reached.
    telling_reachable: Mutex<()>,
    /// Somebody waits for the engine to be reachable.
    hurry: Notify,
    /// Somebody has found the engine gone, whatever the stream of events says.
    lost: Notify,
    /// When the engine has last answered one who doubted it. Held while it is asked.
    answered: tokio::sync::Mutex<Option<Instant>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Watch {
    /// Subscribes to the engine's events and begins to follow them.
    ///
    /// # Errors
    /// The engine's, when the first subscription fails; later it is tried again for as long as it takes.
    pub async fn begin(
        engine: Arc<dyn Engine>,
        cluster: Cluster,
        options: Options,
        on_change: OnChange,
    ) -> Result<Self> {
        let Options { timeout, log_limit, probe, pace, sandboxes } = options;
        let spec = cluster.spec();
        let nodes = cluster.len();
        let open_log = |node: &crate::cluster::NodeSpec| {
            let cannot = |error| format!("cannot keep the output of {} in {}: {error}", node.name, node.dir.display());
            LogFile::open(&node.dir, log_limit).map_err(|error| EngineError::Refused(cannot(error)))
        };
        let logs = spec.nodes.iter().map(open_log).collect::<Result<_>>()?;
        let watch = Self(Arc::new(Inner {
            engine,
            on_change,
            timeout,
            sandboxes,
            checking: (0..nodes).map(|_| tokio::sync::Mutex::default()).collect(),
            sandbox_events: (0..nodes).map(|_| Mutex::default()).collect(),
            inspecting: (0..nodes).map(|_| tokio::sync::Mutex::default()).collect(),
            due: (0..nodes).map(|_| AtomicBool::new(false)).collect(),
            output: (0..nodes).map(|_| Arc::default()).collect(),
            logs,
            whole: (0..nodes).map(|_| tokio::sync::watch::Sender::new(logs::Whole::default())).collect(),
            no_room: (0..nodes).map(|_| AtomicBool::new(false)).collect(),
            closing: tokio::sync::watch::Sender::new(false),
            collected: (0..nodes).map(|_| tokio::sync::watch::Sender::new(false)).collect(),
            probing: (0..nodes).map(|_| Notify::new()).collect(),
            asking: tokio::sync::Semaphore::new(probe::AT_ONCE),
            probe,
            pace,
            watched: (0..nodes).map(|_| Mutex::default()).collect(),
            telling: (0..nodes).map(|_| Mutex::default()).collect(),
            telling_reachable: Mutex::default(),
            hurry: Notify::new(),
            lost: Notify::new(),
            answered: tokio::sync::Mutex::default(),
            tasks: Mutex::default(),
            cluster,
        }));
        let events = watch.subscribe().await?;
        watch.spawn(watch.clone().follow(events));
        for index in 0..nodes {
            watch.spawn(logs::collect(watch.clone(), index));
            if let Some(Probe::Ask(_)) = watch.0.probe {
                watch.spawn(probe::ask(watch.clone(), index));
            }
        }
        Ok(watch)
    }

    /// Ends every task of this watch.
    pub fn stop(&self) {
        self.0.tasks.lock().abort_all();
    }

    /// Takes a container that was just made as the node's, and looks at it.
    ///
    /// # Errors
    /// The engine's.
    pub async fn adopt(&self, index: usize, container: &ContainerId) -> Result<()> {
        let _turn = self.0.inspecting[index].lock().await;
        self.inspect(index, container).await
    }

    /// Looks at a node's container now: what the model says afterwards is no older than this call.
    ///
    /// # Errors
    /// The engine's; a container that is gone is no error.
    pub async fn refresh(&self, index: usize) -> Result<()> {
        let _turn = self.0.inspecting[index].lock().await;
        match self.0.cluster.node(index).container {
            Some(container) => self.inspect(index, &container).await,
            None => {
                // Whoever has just taken it away has told by then.
                drop(self.0.telling[index].lock());
                Ok(())
            }
        }
    }

    async fn inspect(&self, index: usize, container: &ContainerId) -> Result<()> {
        let begun = self.0.cluster.ends(index);
        match self.limited(self.0.engine.inspect(container)).await {
            Ok(seen) => self.tell(index, &News::Inspected { seen, begun }),
            Err(EngineError::NotFound(_)) => self.tell(index, &News::Removed(container.clone())),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Takes news in, and tells who must know.
    fn tell(&self, index: usize, news: &News) {
        let telling = self.0.telling[index].lock();
        let before = self.0.cluster.node(index);
        let change = self.0.cluster.apply(index, news);
        if change == Change::None {
            return;
        }
        let node = self.0.cluster.node(index);
        if node.started_at != before.started_at {
            self.0.output[index].notify_one();
        }
        if before.container.is_some() && node.container != before.container {
            self.0.whole[index].send_modify(|whole| whole.gone = before.container);
        }
        self.spread(change);
        drop(telling);
        self.0.probing[index].notify_one();
        if let (Some(pid), true) = (node.pid, self.0.engine.info().local) {
            self.watch_process(index, pid, node.started_at);
        }
    }

    /// Tells of a change that somebody else has made. If that panics, a part of it may not have been told: then of everything.
    pub fn spread(&self, change: Change) {
        let told = catch_unwind(AssertUnwindSafe(|| (self.0.on_change)(change)));
        if told.is_err() {
            (self.0.on_change)(Change::Reachable);
        }
    }

    fn watch_process(&self, index: usize, pid: i32, started_at: i64) {
        let mut watched = self.0.watched[index].lock();
        let run = (pid, started_at);
        if *watched == Some(run) {
            return;
        }
        *watched = Some(run);
        drop(watched);
        let watch = self.clone();
        self.spawn(async move {
            let ended = process::ended(pid).await;
            let mut watched = watch.0.watched[index].lock();
            if *watched == Some(run) {
                *watched = None;
            }
            drop(watched);
            if let Err(error) = ended {
                // The engine's events tell it too, only later.
                warn!(pid, %error, "cannot hold a pidfd");
                return;
            }
            watch.tell(index, &News::ProcessEnded { pid, started_at });
        });
    }

    async fn limited<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let limit = self.0.timeout;
        tokio::time::timeout(limit, call).await.unwrap_or(Err(EngineError::TimedOut(limit)))
    }

    fn on_event(&self, event: &Event) {
        // By its id: renaming a container, or taking over its name, changes nothing.
        let Some(index) = self.0.cluster.index_of_container(&event.container) else {
            return self.on_sandbox_event(event);
        };
        let container = event.container.clone();
        match event.kind {
            EventKind::Died(exit_code) => {
                self.tell(index, &News::Died { container, exit_code, time: event.time });
            }
            EventKind::OutOfMemory => self.tell(index, &News::OutOfMemory(container)),
            EventKind::Removed => self.tell(index, &News::Removed(container)),
            EventKind::ExecEnded => return self.look_for_check(index),
            EventKind::Created
            | EventKind::Started
            | EventKind::Paused
            | EventKind::Unpaused
            | EventKind::Health
            | EventKind::Connected
            | EventKind::Disconnected
            | EventKind::Other => {}
        }
        self.look_soon(index);
    }

    /// A check may have ended that makes a node unhealthy which the engine has called so before, so that it tells nobody.
    fn look_for_check(&self, index: usize) {
        if !self.0.cluster.node(index).health_doubted {
            return;
        }
        let watch = self.clone();
        self.spawn(async move {
            // The engine tells of the end first, and then takes the result in.
            for wait in CHECK_FOLLOWS {
                tokio::time::sleep(wait).await;
                watch.look_soon(index);
            }
        });
    }

    /// Inspects a node in the background; several events before it begins cost one inspection.
    fn look_soon(&self, index: usize) {
        if self.0.due[index].swap(true, Ordering::AcqRel) {
            return;
        }
        let watch = self.clone();
        self.spawn(async move {
            while let Err(error) = watch.look_now(index).await {
                warn!(node = %watch.0.cluster.node_spec(index).name, %error, "cannot inspect");
                // Something has happened, and what is shown is older. Either nobody can tell now and all is read anew
                // later, or this node is asked for again.
                watch.doubt().await;
                if !watch.0.cluster.is_reachable() || watch.0.due[index].swap(true, Ordering::AcqRel) {
                    // Or another look is due already.
                    return;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        });
    }

    async fn look_now(&self, index: usize) -> Result<()> {
        let _turn = self.0.inspecting[index].lock().await;
        self.0.due[index].store(false, Ordering::Release);
        match self.0.cluster.node(index).container {
            Some(container) => self.inspect(index, &container).await,
            None => Ok(()),
        }
    }
}
