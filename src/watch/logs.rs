//! Collects a node's output, over all its runs, in the file that `log` shows.

mod matcher;
mod position;

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use self::matcher::Matcher;
use self::position::Position;
use super::{LogFile, Probe, Watch};
use crate::cluster::{News, Node, State};
use crate::engine::{ContainerId, EngineError};

/// Wait before output is asked for again after the engine broke off.
const RETRY: Duration = Duration::from_millis(200);

/// Waits before output is asked for again that the engine refuses to give: from this, doubling, to the slowest.
const REFUSED: Duration = Duration::from_secs(2);
const SLOWEST_REFUSED: Duration = Duration::from_secs(60);

/// What a log says where output of the node is missing.
const HOLE: &str = "output is missing here: the engine did not have it any more";

/// Wait before a piece is written again for which there was no room.
const NO_ROOM: Duration = Duration::from_secs(1);

/// How long a command waits for the output of a run that it has ended: first, and once more after it was asked for anew.
const SETTLE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// How often it is told at most that no line has matched yet.
const TOLD_AGAIN: Duration = Duration::from_secs(1);

/// How long the output of a container that is removed may still come.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long the end of a cluster waits for output that was written before: while none comes, and in all.
const LAST_LOOK: Duration = Duration::from_secs(2);
const LAST_LOOKS: u32 = 5;

impl Watch {
    /// A node's output.
    pub fn log(&self, index: usize) -> &LogFile {
        &self.0.logs[index]
    }

    /// Waits until the log has the output of a node's last run whole, if that has ended. Gives up after some seconds: an
    /// engine may have lost it, or there may be no room.
    pub async fn settle(&self, index: usize) {
        let node = self.0.cluster.node(index);
        if node.state != State::Exited || node.started_at == 0 {
            return;
        }
        let mut whole = self.0.whole[index].subscribe();
        // An engine whose logs cannot be read: nobody need wait for them. But this run it has not refused yet.
        let refusals = whole.borrow().refusals;
        if refusals > 0 {
            self.0.output[index].notify_one();
        }
        for patience in SETTLE {
            if self.0.no_room[index].load(Ordering::Acquire) || !self.0.cluster.is_reachable() {
                return;
            }
            let before = self.log(index).total();
            let settled = whole.wait_for(|whole| whole.has(&node) || whole.refusals > refusals);
            if timeout(patience, settled).await.is_ok() {
                return;
            }
            // It may wait on a connection that is dead, unless output comes all the time: then there is only much of it.
            if self.log(index).total() == before {
                self.0.output[index].notify_one();
            }
        }
    }

    /// Takes what the nodes have written up to now, and no more; within ten seconds. Then ends every task.
    pub async fn end(&self) {
        self.0.closing.send_replace(true);
        let all = async {
            for done in &self.0.collected {
                let _ = done.subscribe().wait_for(|done| *done).await;
            }
        };
        tokio::pin!(all);
        let mut known = None;
        for _ in 0..LAST_LOOKS {
            if timeout(LAST_LOOK, &mut all).await.is_ok() {
                return self.stop();
            }
            let now: u64 = self.0.logs.iter().map(LogFile::total).sum();
            if known.replace(now) == Some(now) {
                break;
            }
        }
        warn!("the engine did not give the nodes' last output in time");
        self.stop();
    }
}

/// Of what the log has all that there is to have.
#[derive(Debug, Default)]
pub(super) struct Whole {
    /// A run, by when it began.
    pub run: i64,
    /// A container that is no more.
    pub gone: Option<ContainerId>,
    /// How often the engine has refused to give output since it last gave some.
    pub refusals: u64,
}

impl Whole {
    fn has(&self, node: &Node) -> bool {
        self.run == node.started_at || self.gone.is_some() && self.gone == node.container
    }
}

/// How far output was taken.
enum Taken {
    /// The stream has ended.
    ToTheEnd,
    /// It is to be asked for anew: it may be one of a connection that is dead, or of a run that is over.
    Again,
}

/// What takes one node's output.
struct Collector {
    watch: Watch,
    index: usize,
    position: Option<Position>,
    /// Looks for the line that makes the node ready.
    matcher: Option<Matcher>,
    /// Lines have come that did not match, and it was not told yet; when it was told last.
    unmatched: bool,
    told: Option<Instant>,
    /// The run that was last known, by when it began.
    run: i64,
    /// Wait before output is asked for again that the engine has refused to give.
    refused: Duration,
    /// The last attempt has given something new.
    gained: bool,
}

/// Appends output to the node's log until the watch ends.
pub(super) async fn collect(watch: Watch, index: usize) {
    let matcher = match &watch.0.probe {
        Some(Probe::Log(regex)) => Some(Matcher::new(regex.clone())),
        Some(Probe::Ask(_)) | None => None,
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
    tokio::select! {
        () = collector.follow() => {}
        _ = closing.wait_for(|closing| *closing) => {}
    }
    collector.take_the_rest().await;
    watch.0.collected[index].send_replace(true);
}

impl Collector {
    async fn follow(&mut self) {
        let watch = self.watch.clone();
        let (cluster, index) = (&watch.0.cluster, self.index);
        loop {
            watch.0.output[index].notified().await;
            loop {
                let node = cluster.node(index);
                let Some(container) = node.container else { break };
                self.begin(&container, node.started_at);
                match self.take(&container, true).await {
                    Ok(Taken::Again) => continue,
                    Ok(Taken::ToTheEnd) | Err(EngineError::NotFound(_)) => {
                        if self.ended(&container) {
                            break;
                        }
                    }
                    Err(EngineError::Unreachable(_)) => watch.doubt().await,
                    // An error of the engine's on the way. What follows may come the next time.
                    Err(error) if self.gained => {
                        let name = &cluster.node_spec(index).name;
                        warn!(node = %name, %error, "the engine broke off a node's output; it is asked for again");
                    }
                    Err(error) => {
                        if self.refused == REFUSED {
                            warn!(node = %cluster.node_spec(index).name, %error, "cannot read a node's output");
                        }
                        watch.0.whole[index].send_modify(|whole| whole.refusals += 1);
                        let wait = self.refused;
                        self.refused = (wait * 2).min(SLOWEST_REFUSED);
                        let node = cluster.node(index);
                        if node.container.as_ref() == Some(&container) && node.started_at == self.run {
                            if !node.is_alive() {
                                break;
                            }
                            let _ = timeout(wait, watch.0.output[index].notified()).await;
                            continue;
                        }
                    }
                }
                // The stream ends with the run. Broken off before, as far as we know: again from where it stopped.
                if !cluster.is_reachable() {
                    break;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// The engine gives output.
    fn is_given(&mut self) {
        self.refused = REFUSED;
        self.watch.0.whole[self.index].send_if_modified(|whole| std::mem::take(&mut whole.refusals) > 0);
    }

    /// What was written up to now, if that is not known to be taken.
    async fn take_the_rest(&mut self) {
        let node = self.watch.0.cluster.node(self.index);
        let whole = !node.is_alive() && self.watch.0.whole[self.index].borrow().has(&node);
        if let (Some(container), false) = (node.container, whole || node.started_at == 0) {
            self.begin(&container, node.started_at);
            if let Err(error @ (EngineError::Refused(_) | EngineError::Conflict(_))) =
                self.take(&container, false).await
            {
                // For those who look into the directory afterwards. Without room for it there is nothing to be done.
                let _ = self.watch.log(self.index).note(&format!("what follows could not be read: {error}"));
            }
        }
    }

    /// Begins to take the output of a container, whose present or last run is that one.
    fn begin(&mut self, container: &ContainerId, run: i64) {
        if self.position.as_ref().is_none_or(|position| !position.is_in(container)) {
            self.position = Some(Position::new(container.clone()));
            self.matcher.iter_mut().for_each(|matcher| matcher.forget_before(i64::MAX));
        }
        if run != self.run {
            // What the run before it has said is told by its time. The first line may be stamped before the engine takes
            // the run for begun, so rather by when the one before it died.
            let died = self.died_since(self.run);
            self.matcher.iter_mut().for_each(|matcher| matcher.forget_before(died.unwrap_or(run)));
            self.run = run;
        }
        self.tell_if_ready();
    }

    /// The stream has ended. Whether the run has too, for all that we know, and is taken whole so.
    fn ended(&mut self, container: &ContainerId) -> bool {
        let node = self.watch.0.cluster.node(self.index);
        if node.container.as_ref() != Some(container) || node.started_at != self.run || node.is_alive() {
            return false;
        }
        // Whatever comes from now on is of a later run; and what has come may be, if that has begun in between.
        let died = self.died_since(self.run);
        self.matcher.iter_mut().for_each(|matcher| matcher.forget_before(died.unwrap_or(i64::MAX)));
        self.watch.0.whole[self.index].send_modify(|whole| whole.run = self.run);
        true
    }

    /// When the latest run ended, if that was not before `run` began.
    fn died_since(&self, run: i64) -> Option<i64> {
        self.watch.0.cluster.died_at(self.index).filter(|died| run != 0 && *died >= run)
    }

    /// Tells whether a line has matched.
    fn tell_if_ready(&mut self) {
        let Some(matcher) = &self.matcher else { return };
        let found = if matcher.has_matched() { Ok(()) } else { Err(matcher.unmatched().into()) };
        (self.unmatched, self.told) = (false, Some(Instant::now()));
        self.watch.tell(self.index, &News::Probed { started_at: self.run, found });
    }

    /// When it is to be told next that no line has matched.
    fn tells_again(&self) -> Option<Instant> {
        self.told.filter(|_| self.unmatched).map(|told| told + TOLD_AGAIN)
    }

    async fn take(&mut self, container: &ContainerId, follow: bool) -> Result<Taken, EngineError> {
        let Some(position) = &mut self.position else { return Ok(Taken::ToTheEnd) };
        let since = position.begin_again();
        self.gained = false;
        let watch = self.watch.clone();
        let mut chunks = watch.0.engine.logs(container, since, follow).await?;
        let mut leaves: Option<Instant> = None;
        loop {
            let tells_again = self.tells_again();
            if tells_again.is_some_and(|time| time <= Instant::now()) {
                self.tell_if_ready();
            }
            let chunk = tokio::select! {
                biased;
                chunk = chunks.next() => chunk,
                () = watch.0.output[self.index].notified(), if follow && leaves.is_none() => {
                    if watch.0.cluster.node(self.index).container.as_ref() == Some(container) {
                        return Ok(Taken::Again);
                    }
                    // Of a container that is removed there may be more on the way, and nothing can be asked for again.
                    leaves = Some(Instant::now() + LAST_WORDS);
                    continue;
                }
                () = tokio::time::sleep_until(tells_again.unwrap_or_else(Instant::now)), if self.unmatched => continue,
                () = tokio::time::sleep_until(leaves.unwrap_or_else(Instant::now)), if leaves.is_some() => {
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
            self.append(|log| log.append(&chunk.bytes)).await;
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

    /// Appends whole, however long there is no room. Meanwhile the engine keeps what comes after.
    async fn append(&self, append: impl Fn(&LogFile) -> std::io::Result<()>) {
        let no_room = &self.watch.0.no_room[self.index];
        let mut told = false;
        while let Err(error) = append(self.watch.log(self.index)) {
            if !told {
                warn!(%error, "cannot write a node's output; it is tried again until it works");
            }
            told = true;
            no_room.store(true, Ordering::Release);
            tokio::time::sleep(NO_ROOM).await;
        }
        if told {
            info!("a node's output can be kept again");
            no_room.store(false, Ordering::Release);
        }
    }
}
