//! Whether each engine can be reached: follows its events, detects that it is gone or silent, and reconnects.
//!
//! A broken connection is noticed at once. One that is open but silent is not, and asking at intervals would wake up an
//! idle cluster. So the engine is asked when a caller has waited for it and got no answer. With several engines it is asked
//! at intervals too: a reader of what the others' nodes do must be told which ones nobody knows anything of.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tracing::{info, warn};

use super::Watch;
use crate::cluster::{Change, News, label};
use crate::engine::{BoxStream, Engine, EngineError, Event, Result};
use crate::sync::time::{self, Instant};
use crate::sync::{AsyncMutex, Mutex, Notify, select};

/// Waits between attempts to reach a lost engine: from this, doubling, to [`SLOWEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(50);
const SLOWEST_RETRY: Duration = Duration::from_secs(2);

/// Timeout of the ping that checks a doubtful engine. One that works answers within milliseconds, also while a
/// container keeps it busy.
const PING: Duration = Duration::from_secs(5);

/// How often each of several engines is asked while it says nothing by itself.
const ASK: Duration = Duration::from_secs(5);

/// What is kept for each engine.
#[derive(Default)]
pub(super) struct WatchedEngine {
    /// Held from a change of whether it can be reached until all listeners have been notified.
    notifying: Mutex<()>,
    /// A caller waits for it to be reachable.
    reconnect: Notify,
    /// A caller has found it gone, even if the event stream is still open.
    lost: Notify,
    /// When it last answered a liveness check. Held while it is asked.
    answered: AsyncMutex<Option<Instant>>,
    /// When it was last found to be gone.
    lost_at: Mutex<Option<Instant>>,
}

/// How long after a loss an engine may be back. One whose connections were reset is within some round trips.
const BACK_SOON: Duration = Duration::from_secs(2);

impl Watch {
    /// Returns when the model says that a node's engine can be reached, and all listeners have been notified.
    pub async fn reachable(&self, index: usize) {
        let host = self.0.cluster.host_of(index);
        let known = || {
            let _told = self.0.engines[host].notifying.lock();
            self.0.cluster.is_reachable(host)
        };
        while !known() {
            self.0.engines[host].reconnect.notify_one();
            time::sleep(FIRST_RETRY).await;
        }
    }

    /// Whether a node's engine can be reached. One that was lost a moment ago, as its connections were reset, may be back
    /// in a moment.
    pub(crate) async fn is_reachable_soon(&self, index: usize) -> bool {
        let host = self.0.cluster.host_of(index);
        if self.0.cluster.is_reachable(host) {
            return true;
        }
        let lost_at = *self.0.engines[host].lost_at.lock();
        match lost_at.map(|lost_at| lost_at + BACK_SOON).filter(|until| *until > Instant::now()) {
            Some(until) => time::timeout_at(until, self.reachable(index)).await.is_ok(),
            None => false,
        }
    }

    /// Pings a node's engine for a caller that got no answer from it. If the ping fails too, live values of its nodes
    /// are unknown until it is back. Takes at most a third of the timeout, and [`PING`].
    pub async fn check_liveness(&self, index: usize) {
        let host = self.0.cluster.host_of(index);
        let began = Instant::now();
        let mut answered = self.0.engines[host].answered.lock().await;
        // Hundreds may ask at once: one answer is enough for all of them.
        if !self.0.cluster.is_reachable(host) || *answered > Some(began) {
            return;
        }
        match self.ping(host).await {
            Ok(()) => *answered = Some(Instant::now()),
            Err(error) => {
                warn!(engine = self.address(host), %error, "the engine gives no sign of life");
                self.publish_reachable(host, false);
            }
        }
    }

    fn engine(&self, host: usize) -> &dyn Engine {
        &**self.0.fleet.engine(host)
    }

    pub(super) fn address(&self, host: usize) -> &str {
        &self.engine(host).info().address
    }

    /// The nodes that run in an engine.
    pub(super) fn nodes_on(&self, host: usize) -> impl Iterator<Item = usize> {
        (0..self.0.cluster.len()).filter(move |index| self.0.cluster.host_of(*index) == host)
    }

    async fn ping(&self, host: usize) -> Result<()> {
        let limit = PING.min(self.0.timeout / 3);
        let answer = time::timeout(limit, self.engine(host).ping());
        answer.await.unwrap_or(Err(EngineError::TimedOut(limit)))
    }

    pub(super) async fn subscribe(&self, host: usize) -> Result<BoxStream<Result<Event>>> {
        self.limited(self.engine(host).events(&self.our_label())).await
    }

    fn our_label(&self) -> String {
        format!("{}={}", label::CLUSTER, self.0.cluster.spec().id)
    }

    /// Follows events for ever; reconnects when they end, or when the engine is found to be gone.
    pub(super) async fn follow(self, host: usize, mut events: BoxStream<Result<Event>>) {
        let engine = self.address(host);
        loop {
            // A panic while news is applied may have left some of it out. So everything is read again, as after a loss.
            let ended = AssertUnwindSafe(self.until_lost(host, &mut events)).catch_unwind().await;
            drop(events);
            warn!(engine, why = ended.unwrap_or_else(|_| "a panic".into()), "the engine's events ended");
            self.publish_reachable(host, false);
            events = self.reconnect(host).await;
            self.publish_reachable(host, true);
            // The tasks that collect output have given up, or hold a connection that may be dead without their
            // noticing.
            self.nodes_on(host).for_each(|index| self.0.nodes[index].output.notify_one());
            info!(engine, "the engine is back");
        }
    }

    async fn until_lost(&self, host: usize, events: &mut BoxStream<Result<Event>>) -> String {
        loop {
            select! {
                event = events.next() => match event {
                    Some(Ok(event)) => self.on_event(&event),
                    Some(Err(error)) => return error.to_string(),
                    None => return "no more came".into(),
                },
                () = self.0.engines[host].lost.notified() => return "it gives no sign of life".into(),
                () = self.silence(host) => return "it does not answer".into(),
            }
        }
    }

    /// Returns when one of several engines does not answer.
    async fn silence(&self, host: usize) {
        if self.0.fleet.len() == 1 {
            std::future::pending::<()>().await;
        }
        loop {
            time::sleep(ASK).await;
            if self.ping(host).await.is_err() {
                return;
            }
        }
    }

    fn publish_reachable(&self, host: usize, reachable: bool) {
        let engine = &self.0.engines[host];
        let _telling = engine.notifying.lock();
        let change = self.0.cluster.set_reachable(host, reachable);
        if change == Change::None {
            return;
        }
        if reachable {
            // This loss need not be reported any more, and must not be taken for the next one.
            let _ = engine.lost.notified().now_or_never();
        } else {
            *engine.lost_at.lock() = Some(Instant::now());
            engine.lost.notify_one();
        }
        self.notify_change(change);
        self.nodes_on(host).for_each(|index| self.0.nodes[index].probe_wakeup.notify_one());
    }

    /// Subscribes first, then reads everything again: what happened in between is in both.
    async fn reconnect(&self, host: usize) -> BoxStream<Result<Event>> {
        let mut wait = FIRST_RETRY;
        loop {
            select! {
                () = time::sleep(wait) => {}
                () = self.0.engines[host].reconnect.notified() => {}
            }
            wait = (wait * 2).min(SLOWEST_RETRY);
            // A ping times out sooner than a subscription, so an engine that was silent is found again sooner.
            if self.ping(host).await.is_err() {
                continue;
            }
            let Ok(events) = self.subscribe(host).await else { continue };
            if self.relist(host).await.is_ok() && self.check_sandboxes(host).await.is_ok() {
                return events;
            }
        }
    }

    async fn relist(&self, host: usize) -> Result<()> {
        // From before the listing: a node created meanwhile is not in it, but not gone either.
        let known: Vec<_> =
            self.nodes_on(host).map(|index| (index, self.0.cluster.node(index).container.clone())).collect();
        let listed = self.limited(self.engine(host).list(Some(&self.our_label()))).await?;
        let by_id: HashSet<_> = listed.iter().map(|container| &container.id).collect();
        let by_name: HashMap<_, _> = listed.iter().map(|container| (&container.name, &container.id)).collect();
        let spec = self.0.cluster.spec();
        for (index, known) in known {
            // Renamed or not. One that was made while the connection was gone is found by its name.
            let there = known.as_ref().filter(|container| by_id.contains(container));
            let named = || by_name.get(&spec.container_name(&spec.nodes[index])).copied();
            match (there.or_else(named), &known) {
                (Some(container), _) => self.adopt(index, container).await?,
                (None, Some(gone)) => self.apply(index, &News::Removed(gone.clone())),
                (None, None) => {}
            }
        }
        Ok(())
    }
}
