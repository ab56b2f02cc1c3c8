//! Collects a node's output, over all its runs, in the file that `log` shows.

mod matcher;
mod position;

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use tracing::{info, warn};

use self::matcher::Matcher;
use self::position::Position;
use super::{LogFile, Probe, Watch};
use crate::cluster::{News, Node, State};
use crate::engine::{ContainerId, EngineError};
use crate::sync::time::{self, Instant, timeout};
use crate::sync::{pin, select};

/// Wait before output is requested again after the connection broke.
const RETRY: Duration = Duration::from_millis(200);

/// Waits before output is requested again that the engine refuses: from this, doubling, to the slowest.
const REFUSED: Duration = Duration::from_secs(2);
const SLOWEST_REFUSED: Duration = Duration::from_secs(60);

/// The line in a log where output of the node is missing.
const HOLE: &str = "output is missing here: the engine did not have it any more";

/// Wait before a piece is written again after the disk was full.
const NO_ROOM: Duration = Duration::from_secs(1);

/// How long a command waits for the output of a run that it has ended: first, and once more after the output was
/// requested again.
const SETTLE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// Shortest time between two reports that no line has matched yet.
const TOLD_AGAIN: Duration = Duration::from_secs(1);

/// How long output of a removed container may still arrive.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long the end of a cluster waits for earlier output: without any arriving, and in all.
const LAST_LOOK: Duration = Duration::from_secs(2);
const LAST_LOOKS: u32 = 5;

impl Watch {
    pub(crate) fn log(&self, index: usize) -> &LogFile {
        &self.0.nodes[index].log
    }

    /// Waits until the log has all output of a node's last run, if that has ended. Gives up after some seconds: the
    /// engine may have lost it, or the disk may be full.
    pub(crate) async fn settle(&self, index: usize) {
        let node = self.0.cluster.node(index);
        if node.state != State::Exited || node.started_at == 0 {
            return;
        }
        let mut whole = self.0.nodes[index].whole.subscribe();
        // If the engine refuses to give logs, there is no point in waiting. But it has not refused this run yet.
        let refusals = whole.borrow().refusals;
        // The engine has all output of a run whose end it reports. Docker 20.10 ends the stream about 9 ms later.
        if !whole.borrow().has(&node) {
            self.0.nodes[index].output.notify_one();
        }
        for limit in SETTLE {
            if self.0.nodes[index].no_room.load(Ordering::Acquire) || !self.0.cluster.is_node_reachable(index) {
                return;
            }
            let before = self.log(index).total();
            let settled = whole.wait_for(|whole| whole.has(&node) || whole.refusals > refusals);
            if timeout(limit, settled).await.is_ok() {
                return;
            }
            // The connection may be dead, unless output keeps arriving: then there is just much of it.
            if self.log(index).total() == before {
                self.0.nodes[index].output.notify_one();
            }
        }
    }

    /// Collects what the nodes have written up to now, within ten seconds. Then ends every task.
    pub(crate) async fn end(&self) {
        self.0.closing.send_replace(true);
        let all = async {
            for node in &self.0.nodes {
                let _ = node.collected.subscribe().wait_for(|done| *done).await;
            }
        };
        pin!(all);
        let mut known = None;
        for _ in 0..LAST_LOOKS {
            if timeout(LAST_LOOK, &mut all).await.is_ok() {
                return self.stop();
            }
            let now: u64 = self.0.nodes.iter().map(|node| node.log.total()).sum();
            if known.replace(now) == Some(now) {
                break;
            }
        }
        warn!("the engine did not give the nodes' last output in time");
        self.stop();
    }
}

/// Whose output the log has completely.
#[derive(Debug, Default)]
pub(super) struct Whole {
    /// A run, by when it began.
    pub(crate) run: i64,
    /// A container that no longer exists.
    pub(crate) gone: Option<ContainerId>,
    /// How often the engine has refused output since it last gave some.
    pub(crate) refusals: u64,
}

impl Whole {
    fn has(&self, node: &Node) -> bool {
        self.run == node.started_at || self.gone.is_some() && self.gone == node.container
    }
}

/// How far output was taken.
enum Taken {
    ToTheEnd,
    /// Output has to be requested again: the connection may be dead, or the run over.
    Again,
}

/// What takes one node's output.
struct Collector {
    watch: Watch,
    index: usize,
    position: Option<Position>,
    /// Looks for the line that makes the node ready.
    matcher: Option<Matcher>,
    /// Lines came that did not match and were not reported yet; when the last report was.
    unmatched: bool,
    told: Option<Instant>,
    /// The last known run, by its start time.
    run: i64,
    /// Wait before the next request after a refusal.
    refused: Duration,
    /// The last attempt gave something new.
    gained: bool,
}

/// Appends output to the node's log until the watch ends.
pub(super) async fn collect(watch: Watch, index: usize) {
    let matcher = match &watch.0.nodes[index].probe {
        Some(Probe::Log(regex)) => Some(Matcher::new(regex.clone())),
        Some(Probe::Ask { .. }) | None => None,
    };
    let mut closing = watch.0.closing.subscribe();
    let mut collector = Collector {
        watch: watch.clone(),
        index,
        position: None,
        matcher,
        unmatched: false,
        told: None,
        run: 0,
        refused: REFUSED,
        gained: false,
    };
    select! {
        () = collector.follow() => {}
        _ = closing.wait_for(|closing| *closing) => {}
    }
    collector.take_the_rest().await;
    watch.0.nodes[index].collected.send_replace(true);
}

impl Collector {
    async fn follow(&mut self) {
        let watch = self.watch.clone();
        let (cluster, index) = (&watch.0.cluster, self.index);
        loop {
            watch.0.nodes[index].output.notified().await;
            loop {
                let node = cluster.node(index);
                let Some(container) = node.container.clone() else { break };
                self.begin(&container, node.started_at);
                // The end may be known from the process alone, before the engine has all output.
                let follow = node.is_alive() || node.exit_unconfirmed_by_engine;
                match self.take(&container, follow).await {
                    Ok(Taken::Again) => continue,
                    Ok(Taken::ToTheEnd) | Err(EngineError::NotFound(_)) => {
                        if self.ended(&container) {
                            break;
                        }
                    }
                    Err(EngineError::Unreachable(_)) => watch.check_liveness(self.index).await,
                    // An error of the engine within the stream. The rest may come the next time.
                    Err(error) if self.gained => {
                        let name = &cluster.node_spec(index).name;
                        warn!(node = %name, %error, "the engine broke off a node's output; it is asked for again");
                    }
                    Err(error) => {
                        if self.refused == REFUSED {
                            warn!(node = %cluster.node_spec(index).name, %error, "cannot read a node's output");
                        }
                        watch.0.nodes[index].whole.send_modify(|whole| whole.refusals += 1);
                        let wait = self.refused;
                        self.refused = (wait * 2).min(SLOWEST_REFUSED);
                        let node = cluster.node(index);
                        if node.container.as_ref() == Some(&container) && node.started_at == self.run {
                            if !node.is_alive() {
                                break;
                            }
                            let _ = timeout(wait, watch.0.nodes[index].output.notified()).await;
                            continue;
                        }
                    }
                }
                // A stream should end with its run. If it ended before, as far as we know, request it again from where
                // it stopped.
                if !cluster.is_node_reachable(self.index) {
                    break;
                }
                time::sleep(RETRY).await;
            }
        }
    }

    /// The engine gives output.
    fn is_given(&mut self) {
        self.refused = REFUSED;
        self.watch.0.nodes[self.index].whole.send_if_modified(|whole| std::mem::take(&mut whole.refusals) > 0);
    }

    /// The end of what was written up to now, unless it is known to be taken.
    async fn take_the_rest(&mut self) {
        let node = self.watch.0.cluster.node(self.index);
        let whole = !node.is_alive() && self.watch.0.nodes[self.index].whole.borrow().has(&node);
        if let (Some(container), false) = (node.container.clone(), whole || node.started_at == 0) {
            self.begin(&container, node.started_at);
            if let Err(error @ (EngineError::Refused(_) | EngineError::Conflict(_))) =
                self.take(&container, false).await
            {
                // For readers of the directory after the cluster's end. If the disk is full, nothing can be done.
                let _ = self.watch.log(self.index).note(&format!("what follows could not be read: {error}"));
            }
        }
    }

    /// Begins to collect the output of a container. `run` is its present or last run.
    fn begin(&mut self, container: &ContainerId, run: i64) {
        if self.position.as_ref().is_none_or(|position| !position.is_in(container)) {
            self.position = Some(Position::new(container.clone()));
            self.matcher.iter_mut().for_each(|matcher| matcher.forget_before(i64::MAX));
        }
        if run != self.run {
            // Output of the run before is recognised by its time. The first line may have a time before the run's
            // official start, so compare with the death of the run before.
            let died = self.died_since(self.run);
            self.matcher.iter_mut().for_each(|matcher| matcher.forget_before(died.unwrap_or(run)));
            self.run = run;
        }
        self.tell_if_ready();
    }

    /// The stream has ended. Returns whether the run has ended too, as far as we know, so that its output is complete.
    fn ended(&mut self, container: &ContainerId) -> bool {
        let node = self.watch.0.cluster.node(self.index);
        if node.container.as_ref() != Some(container) || node.started_at != self.run || node.is_alive() {
            return false;
        }
        // Output from now on is of a later run. What came may be too, if that run began in between.
        let died = self.died_since(self.run);
        self.matcher.iter_mut().for_each(|matcher| matcher.forget_before(died.unwrap_or(i64::MAX)));
        self.watch.0.nodes[self.index].whole.send_modify(|whole| whole.run = self.run);
        true
    }

    /// When the latest run ended, unless that was before `run` began.
    fn died_since(&self, run: i64) -> Option<i64> {
        self.watch.0.cluster.died_at(self.index).filter(|died| run != 0 && *died >= run)
    }

    /// Reports whether a line has matched.
    fn tell_if_ready(&mut self) {
        let Some(matcher) = &self.matcher else { return };
        let found = if matcher.has_matched() { Ok(()) } else { Err(matcher.unmatched().into()) };
        (self.unmatched, self.told) = (false, Some(Instant::now()));
        self.watch.apply(self.index, &News::Probed { started_at: self.run, found });
    }

    /// When to report next that no line has matched.
    fn tells_again(&self) -> Option<Instant> {
        self.told.filter(|_| self.unmatched).map(|told| told + TOLD_AGAIN)
    }

    async fn take(&mut self, container: &ContainerId, follow: bool) -> Result<Taken, EngineError> {
        let Some(position) = &mut self.position else { return Ok(Taken::ToTheEnd) };
        let since = position.begin_again();
        self.gained = false;
        let watch = self.watch.clone();
        let cuts = watch.log(self.index).cuts();
        let mut chunks = watch.engine_of(self.index).logs(container, since, follow).await?;
        let mut leaves: Option<Instant> = None;
        loop {
            let tells_again = self.tells_again();
            if tells_again.is_some_and(|time| time <= Instant::now()) {
                self.tell_if_ready();
            }
            let chunk = select! {
                biased;
                chunk = chunks.next() => chunk,
                () = watch.0.nodes[self.index].output.notified(), if follow && leaves.is_none() => {
                    if watch.0.cluster.node(self.index).container.as_ref() == Some(container) {
                        return Ok(Taken::Again);
                    }
                    // More output of a removed container may be on the way, and it cannot be requested again.
                    leaves = Some(Instant::now() + LAST_WORDS);
                    continue;
                }
                () = time::sleep_until(tells_again.unwrap_or_else(Instant::now)), if self.unmatched => continue,
                () = time::sleep_until(leaves.unwrap_or_else(Instant::now)), if leaves.is_some() => {
                    return Ok(Taken::Again);
                }
            };
            let Some(chunk) = chunk.transpose()? else {
                self.is_given();
                return Ok(Taken::ToTheEnd);
            };
            let Some(position) = &mut self.position else { return Ok(Taken::ToTheEnd) };
            if position.has(&chunk) {
                continue;
            }
            let is_torn = position.is_torn();
            self.is_given();
            self.gained = true;
            if is_torn {
                warn!(node = %watch.0.cluster.node_spec(self.index).name, "the engine has lost output of a node");
                self.append(|log| log.note(HOLE)).await;
            }
            // Also while there is no room, and a reset makes some.
            self.append(|log| if log.cuts() == cuts { log.append(&chunk.bytes) } else { Ok(()) }).await;
            if let Some(position) = &mut self.position {
                position.took(&chunk);
            }
            if let Some(matcher) = &mut self.matcher {
                if matcher.feed(&chunk) {
                    self.tell_if_ready();
                } else {
                    self.unmatched = !matcher.has_matched();
                }
            }
        }
    }

    /// Appends a whole piece, waiting as long as the disk is full. Meanwhile the engine keeps what comes after.
    async fn append(&self, append: impl Fn(&LogFile) -> std::io::Result<()>) {
        let no_room = &self.watch.0.nodes[self.index].no_room;
        let mut told = false;
        while let Err(error) = append(self.watch.log(self.index)) {
            if !told {
                warn!(%error, "cannot write a node's output; it is tried again until it works");
            }
            told = true;
            no_room.store(true, Ordering::Release);
            time::sleep(NO_ROOM).await;
        }
        if told {
            info!("a node's output can be kept again");
            no_room.store(false, Ordering::Release);
        }
    }
}
