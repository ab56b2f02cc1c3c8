//! The watch room: keeps the model in step with the engine, without polling.
//!
//! Subscribes to events, inspects what they name, holds a pidfd on each process of a local engine, collects output.
//! It works through the engine and the cluster only, and never blocks a reader.

mod logs;
mod process;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::cluster::{Change, Cluster, News, label};
use crate::engine::{BoxStream, ContainerId, Engine, EngineError, Event, EventKind, Result};

/// Told of every change of the model, right after it.
pub type OnChange = Box<dyn Fn(Change) + Send + Sync>;

/// Waits between attempts to reach a lost engine: from this, doubling, to [`SLOWEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(50);
const SLOWEST_RETRY: Duration = Duration::from_secs(2);

/// A handle on what keeps one cluster's model true. Clones share it; [`Watch::stop`] ends all its tasks.
#[derive(Clone)]
pub struct Watch(Arc<Inner>);

struct Inner {
    engine: Arc<dyn Engine>,
    cluster: Cluster,
    on_change: OnChange,
    timeout: Duration,
    by_container_name: HashMap<String, usize>,
    /// One inspection of a node at a time, so that a later one never tells of an earlier moment.
    inspecting: Vec<tokio::sync::Mutex<()>>,
    /// A background inspection is due and has not begun.
    due: Vec<AtomicBool>,
    /// The node may have new output.
    output: Vec<Arc<Notify>>,
    /// The process whose pidfd is held.
    watched: Vec<Mutex<Option<i32>>>,
    /// Held from a change of the model until everybody knows of it, so that no command answers in between.
    telling: Vec<Mutex<()>>,
    /// The same for whether the engine can be reached.
    telling_reachable: Mutex<()>,
    /// Somebody waits for the engine to be reachable.
    hurry: Notify,
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
        timeout: Duration,
        on_change: OnChange,
    ) -> Result<Self> {
        let spec = cluster.spec();
        let by_container_name =
            spec.nodes.iter().enumerate().map(|(index, node)| (spec.container_name(&node.name), index)).collect();
        let nodes = cluster.len();
        let watch = Self(Arc::new(Inner {
            engine,
            on_change,
            timeout,
            by_container_name,
            inspecting: (0..nodes).map(|_| tokio::sync::Mutex::default()).collect(),
            due: (0..nodes).map(|_| AtomicBool::new(false)).collect(),
            output: (0..nodes).map(|_| Arc::default()).collect(),
            watched: (0..nodes).map(|_| Mutex::default()).collect(),
            telling: (0..nodes).map(|_| Mutex::default()).collect(),
            telling_reachable: Mutex::default(),
            hurry: Notify::new(),
            tasks: Mutex::default(),
            cluster,
        }));
        let events = watch.subscribe().await?;
        watch.spawn(watch.clone().follow(events));
        for index in 0..nodes {
            watch.spawn(logs::collect(watch.clone(), index));
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

    /// Returns when the engine can be reached as far as the model knows, and everybody has been told.
    pub async fn reachable(&self) {
        let known = || {
            let _told = self.0.telling_reachable.lock();
            self.0.cluster.is_reachable()
        };
        while !known() {
            self.0.hurry.notify_one();
            tokio::time::sleep(FIRST_RETRY).await;
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
        let before = self.0.cluster.node(index).started_at;
        let change = self.0.cluster.apply(index, news);
        if change == Change::None {
            return;
        }
        let node = self.0.cluster.node(index);
        if node.started_at != before {
            self.0.output[index].notify_one();
        }
        (self.0.on_change)(change);
        drop(telling);
        if let (Some(pid), true) = (node.pid, self.0.engine.info().local) {
            self.watch_process(index, pid, node.started_at);
        }
    }

    fn watch_process(&self, index: usize, pid: i32, started_at: i64) {
        let mut watched = self.0.watched[index].lock();
        if *watched == Some(pid) {
            return;
        }
        *watched = Some(pid);
        drop(watched);
        let watch = self.clone();
        self.spawn(async move {
            if let Err(error) = process::ended(pid).await {
                // The engine's events tell it too, only later.
                warn!(pid, %error, "cannot hold a pidfd");
                return;
            }
            let mut watched = watch.0.watched[index].lock();
            if *watched == Some(pid) {
                *watched = None;
            }
            drop(watched);
            watch.tell(index, &News::ProcessEnded { pid, started_at });
        });
    }

    async fn subscribe(&self) -> Result<BoxStream<Result<Event>>> {
        let ours = format!("{}={}", label::CLUSTER, self.0.cluster.spec().id);
        self.limited(self.0.engine.events(&ours)).await
    }

    async fn limited<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let limit = self.0.timeout;
        tokio::time::timeout(limit, call).await.unwrap_or(Err(EngineError::TimedOut(limit)))
    }

    /// Follows events for ever; reconnects when they end.
    async fn follow(self, mut events: BoxStream<Result<Event>>) {
        loop {
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => self.on_event(&event),
                    Err(error) => {
                        warn!(%error, "the engine's events ended");
                        break;
                    }
                }
            }
            self.publish_reachable(false);
            events = self.reconnect().await;
            self.publish_reachable(true);
            info!("the engine is back");
        }
    }

    fn publish_reachable(&self, reachable: bool) {
        let _telling = self.0.telling_reachable.lock();
        let change = self.0.cluster.set_reachable(reachable);
        if change != Change::None {
            (self.0.on_change)(change);
        }
    }

    /// Subscribes first, then reads everything anew: what happened in between is in both.
    async fn reconnect(&self) -> BoxStream<Result<Event>> {
        let mut wait = FIRST_RETRY;
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.0.hurry.notified() => {}
            }
            wait = (wait * 2).min(SLOWEST_RETRY);
            let Ok(events) = self.subscribe().await else { continue };
            if self.relist().await.is_ok() {
                return events;
            }
        }
    }

    async fn relist(&self) -> Result<()> {
        let ours = format!("{}={}", label::CLUSTER, self.0.cluster.spec().id);
        // From before the listing: a node made meanwhile is not in it, and not gone either.
        let known: Vec<_> = self.0.cluster.snapshot().into_iter().map(|node| node.container).collect();
        let listed = self.limited(self.0.engine.list(Some(&ours))).await?;
        for (name, &index) in &self.0.by_container_name {
            match listed.iter().find(|container| container.name == *name) {
                Some(container) => self.adopt(index, &container.id).await?,
                None => {
                    if let Some(container) = known[index].clone() {
                        self.tell(index, &News::Removed(container));
                    }
                }
            }
            self.0.output[index].notify_one();
        }
        Ok(())
    }

    fn on_event(&self, event: &Event) {
        let Some(&index) = self.0.by_container_name.get(&event.name) else {
            return;
        };
        let container = event.container.clone();
        match event.kind {
            EventKind::Died(exit_code) => {
                self.tell(index, &News::Died { container, exit_code, time: event.time });
            }
            EventKind::Removed => self.tell(index, &News::Removed(container)),
            EventKind::Created
            | EventKind::Started
            | EventKind::Paused
            | EventKind::Unpaused
            | EventKind::Health
            | EventKind::Other => {}
        }
        self.look_soon(index);
    }

    /// Inspects a node in the background; several events before it begins cost one inspection.
    fn look_soon(&self, index: usize) {
        if self.0.due[index].swap(true, Ordering::AcqRel) {
            return;
        }
        let watch = self.clone();
        self.spawn(async move {
            let _turn = watch.0.inspecting[index].lock().await;
            watch.0.due[index].store(false, Ordering::Release);
            let Some(container) = watch.0.cluster.node(index).container else { return };
            if let Err(error) = watch.inspect(index, &container).await {
                warn!(node = %watch.0.cluster.node_spec(index).name, %error, "cannot inspect");
            }
        });
    }
}
