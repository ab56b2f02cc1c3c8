//! Does what commands say. What a command has done is in the model before it returns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use super::ControlError;
use super::network::Network;
use super::parse::{Command, DEFAULT_GRACE, Verb};
use super::under_way::UnderWay;
use crate::cluster::faults::Dice;
use crate::cluster::{Cluster, Node, State, shown};
use crate::engine::{ContainerId, Engine, EngineError};
use crate::history::{Acting, CommandId, Outcome, Recorder};
use crate::provision::{AT_ONCE, Provisioner};
use crate::watch::{LogFile, Watch};

type Result<T> = std::result::Result<T, ControlError>;

/// How long to wait before looking again whether the engine has noticed a death that we have seen.
const LAG_STEP: Duration = Duration::from_millis(5);

/// Whose control file was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The root's: commands name nodes, or mean all.
    Root,
    /// This node's.
    Node(usize),
}

/// A command that has begun.
pub struct Invoked {
    id: CommandId,
    verb: Verb,
    /// Whom it is about; or why it is none.
    nodes: Result<Vec<usize>>,
    /// It is about the cluster as a whole.
    whole: bool,
}

impl Invoked {
    /// Its id in the history.
    pub fn id(&self) -> CommandId {
        self.id
    }
}

/// One node's part of a command.
#[derive(Clone, Copy)]
struct Work {
    index: usize,
    id: CommandId,
}

/// Tells the end of a command, whichever way it comes.
pub(super) struct End<'a> {
    recorder: &'a Recorder,
    id: CommandId,
    outcome: Option<Outcome>,
}

impl End<'_> {
    /// The end is this.
    pub(super) fn tell(self, answer: Result<()>) -> Result<()> {
        let outcome = answer.as_ref().map_or_else(ControlError::outcome, |()| Outcome::Ok);
        self.tell_as(answer, outcome)
    }

    fn tell_as(mut self, answer: Result<()>, outcome: Outcome) -> Result<()> {
        self.outcome = Some(outcome);
        answer
    }
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome.take() {
            self.recorder.end(self.id, outcome);
        }
    }
}

fn broken_off() -> Outcome {
    Outcome::fail("EIO", "an error in cthulhu; what had begun may still happen")
}

/// Executes commands on one cluster.
pub struct Executor {
    engine: Arc<dyn Engine>,
    cluster: Cluster,
    watch: Watch,
    provisioner: Arc<Provisioner>,
    recorder: Recorder,
    timeout: Duration,
    /// Between stop signal and SIGKILL, where a command does not say.
    stop_grace: Duration,
    /// One command on a node at a time.
    turns: Vec<Mutex<()>>,
    /// Starts at once.
    starts: Semaphore,
    /// The cluster is being taken down: nothing is begun any more.
    closing: AtomicBool,
    /// Commands under way on nodes.
    under_way: AtomicUsize,
    network: Network,
}

impl Executor {
    /// An executor whose commands give the engine `timeout` each, and are told to `recorder`. `dice` makes random choices.
    pub fn new(
        engine: Arc<dyn Engine>,
        cluster: Cluster,
        watch: Watch,
        provisioner: Arc<Provisioner>,
        recorder: Recorder,
        timeout: Duration,
        dice: Dice,
    ) -> Self {
        let network = Network::new(cluster.clone(), watch.clone(), provisioner.clone(), timeout, dice);
        let turns = (0..cluster.len()).map(|_| Mutex::default()).collect();
        Self {
            engine,
            cluster,
            watch,
            provisioner,
            recorder,
            timeout,
            stop_grace: DEFAULT_GRACE,
            turns,
            starts: Semaphore::new(AT_ONCE),
            closing: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
            network,
        }
    }

    /// The same, with another time between stop signal and SIGKILL for commands that do not say.
    #[must_use]
    pub fn with_stop_grace(self, stop_grace: Duration) -> Self {
        Self { stop_grace, ..self }
    }

    /// Begins nothing any more. Returns whether commands are under way still.
    pub fn close(&self) -> bool {
        self.closing.store(true, Ordering::SeqCst);
        self.under_way.load(Ordering::SeqCst) > 0
    }

    pub(super) fn check_open(&self) -> Result<()> {
        if self.closing.load(Ordering::SeqCst) {
            return Err(ControlError::Busy("the cluster is being taken down".into()));
        }
        Ok(())
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub(super) fn provisioner(&self) -> &Provisioner {
        &self.provisioner
    }

    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    /// A node's output.
    pub fn log(&self, index: usize) -> &LogFile {
        self.watch.log(index)
    }

    /// Who tells the history.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// A command begins: says so to the history. `line` is what was written.
    pub fn invoke(&self, target: Target, line: &str, command: Command) -> Invoked {
        let nodes = self.resolve(target, &command);
        let names = nodes.iter().flatten().map(|&index| self.name(index)).collect();
        let id = self.recorder.invoke(line, Some(command.verb.name()), names);
        let whole = target == Target::Root && command.nodes.is_empty();
        Invoked { id, verb: command.verb, nodes, whole }
    }

    /// Sees to it that a command's end is told, also if it panics.
    pub(super) fn end_of(&self, id: CommandId) -> End<'_> {
        End { recorder: &self.recorder, id, outcome: Some(broken_off()) }
    }

    /// Executes a command that has begun. Its end is in the history before this returns.
    ///
    /// # Errors
    /// What failed; at the root, all that failed, after every node had its turn.
    pub async fn execute(&self, invoked: Invoked) -> Result<()> {
        let Invoked { id, verb, nodes, whole } = invoked;
        let end = self.end_of(id);
        let nodes = match nodes {
            Ok(nodes) => nodes,
            Err(error) => return end.tell(Err(error)),
        };
        if verb == Verb::Heal {
            return end.tell(self.heal(Some(nodes).filter(|_| !whole)).await);
        }
        let several = nodes.len() > 1;
        let mut results = vec![];
        let mut nodes = nodes;
        // All at one moment, before any of them is killed.
        let mut silenced = vec![];
        if verb == Verb::Crash {
            silenced = nodes.iter().copied().filter(|&index| !self.cluster.faults().is_crashed(index)).collect();
            match self.silence_all(nodes.clone()).await {
                Ok(failed) => results.extend(failed.into_iter().map(|(index, error)| (index, Err(error)))),
                Err(error) => return end.tell(Err(error)),
            }
            nodes.retain(|index| !results.iter().any(|(failed, _)| failed == index));
        }
        let engine_hangs = AtomicBool::new(false);
        let done = join_all(nodes.iter().map(|&index| self.on_node(index, id, &verb, &engine_hangs))).await;
        results.extend(nodes.into_iter().zip(done));
        for (index, _) in results.iter().filter(|(index, done)| done.is_err() && silenced.contains(index)) {
            self.end_silence(*index).await;
        }
        let failed = results.iter().filter_map(|(index, result)| {
            result.as_ref().err().map(|error| (self.name(*index), error.errno_name().to_owned()))
        });
        let failed = if several { failed.collect() } else { Default::default() };
        let results = results.into_iter().map(|(_, result)| result);
        let mut failures: Vec<_> = results.filter_map(Result::err).collect();
        let error = match failures.len() {
            0 => return end.tell(Ok(())),
            1 => failures.remove(0),
            _ => ControlError::Several(failures),
        };
        let outcome = Outcome::Fail { errno: error.errno_name(), error: error.to_string(), failed };
        end.tell_as(Err(error), outcome)
    }

    /// The nodes that a command is about.
    fn resolve(&self, target: Target, command: &Command) -> Result<Vec<usize>> {
        let names = &command.nodes;
        if let Target::Node(index) = target {
            return match names.first() {
                Some(extra) => Err(ControlError::Invalid(format!(
                    "{}: '{}' is one word too many; nodes are named in the root's control",
                    command.verb.name(),
                    shown(extra)
                ))),
                None => Ok(vec![index]),
            };
        }
        if names.is_empty() {
            return Ok((0..self.cluster.len()).collect());
        }
        let mut nodes = Vec::with_capacity(names.len());
        for name in names {
            let index = self.cluster.index_of(name).ok_or_else(|| ControlError::NoSuchNode(shown(name)))?;
            if !nodes.contains(&index) {
                nodes.push(index);
            }
        }
        Ok(nodes)
    }

    async fn on_node(&self, index: usize, id: CommandId, verb: &Verb, engine_hangs: &AtomicBool) -> Result<()> {
        let _counted = UnderWay::count(&self.under_way);
        self.in_turn(Work { index, id }, verb, engine_hangs).await
    }

    async fn in_turn(&self, work: Work, verb: &Verb, engine_hangs: &AtomicBool) -> Result<()> {
        let index = work.index;
        let busy = || ControlError::Busy(format!("{}: another command is under way", self.name(index)));
        let _turn = tokio::time::timeout(self.timeout, self.turns[index].lock()).await.map_err(|_| busy())?;
        let no_grace = Duration::ZERO;
        match verb {
            Verb::Start => self.start_in_turn(work, engine_hangs).await,
            Verb::Stop { grace } => self.stop_in_turn(work, *grace, engine_hangs).await,
            Verb::Restart { grace } => {
                self.stop_in_turn(work, *grace, engine_hangs).await?;
                self.start_in_turn(work, engine_hangs).await
            }
            Verb::Kill { signal } => self.limited(index, no_grace, engine_hangs, self.kill(work, signal)).await,
            Verb::Pause => self.limited(index, no_grace, engine_hangs, self.pause(work)).await,
            Verb::Resume => self.limited(index, no_grace, engine_hangs, self.resume(work)).await,
            Verb::Crash => self.limited(index, no_grace, engine_hangs, self.crash(work)).await,
            // It is about links, not about one node's process, and is done before it comes here.
            Verb::Heal => self.heal(Some(vec![index])).await,
        }
    }

    /// Starts are bound by CPU: a few at a time. Waiting for one's turn does not count against the deadline, unless those
    /// before wait in vain.
    async fn start_in_turn(&self, work: Work, engine_hangs: &AtomicBool) -> Result<()> {
        let index = work.index;
        let _permit = loop {
            match tokio::time::timeout(self.timeout, self.starts.acquire()).await {
                Ok(permit) => break permit.ok(),
                Err(_) if self.cluster.is_reachable() => {}
                Err(_) => return Err(ControlError::TimedOut { node: self.name(index), after: self.timeout }),
            }
        };
        self.limited(index, Duration::ZERO, engine_hangs, self.start(work)).await
    }

    async fn stop_in_turn(&self, work: Work, grace: Option<Duration>, engine_hangs: &AtomicBool) -> Result<()> {
        let grace = grace.unwrap_or(self.stop_grace);
        self.limited(work.index, grace, engine_hangs, self.stop(work, grace)).await
    }

    /// Gives work on a node its deadline.
    async fn limited(
        &self,
        index: usize,
        grace: Duration,
        engine_hangs: &AtomicBool,
        work: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        self.check_open()?;
        let late = || ControlError::TimedOut { node: self.name(index), after: self.timeout };
        // With hundreds of nodes, one deadline each in turn would be no deadline.
        if engine_hangs.load(Ordering::Acquire) {
            return Err(late());
        }
        let limit = self.timeout + grace;
        let deadline = Instant::now() + limit;
        let heard = async {
            work.await?;
            // Who reads the log next finds what the run has said last. That is no reason to be late.
            let left = deadline.saturating_duration_since(Instant::now());
            let _ = tokio::time::timeout((limit / 4).min(left / 2), self.watch.settle(index)).await;
            // The engine answers again and the watch has not noticed yet: what is read next would be an error.
            self.watch.reachable().await;
            Ok(())
        };
        // Half of the time is left for the doubt to be settled: when a write has timed out on an engine that is silent,
        // live values are known to be unknown.
        let doubting = async {
            tokio::time::sleep(limit / 2).await;
            self.watch.doubt().await;
            std::future::pending().await
        };
        let done = tokio::select! {
            done = tokio::time::timeout(limit, heard) => done,
            done = doubting => done,
        };
        let done = done.unwrap_or_else(|_| {
            engine_hangs.store(true, Ordering::Release);
            Err(late())
        });
        if let Err(ControlError::Unreachable(_)) = done {
            self.watch.doubt().await;
        }
        done
    }

    pub(super) fn name(&self, index: usize) -> String {
        self.cluster.node_spec(index).name.to_string()
    }

    fn engine_error(&self, index: usize) -> impl Fn(EngineError) -> ControlError {
        let name = self.name(index);
        move |error| ControlError::from_engine(&name, error)
    }

    fn not_running(&self, index: usize, node: &Node) -> ControlError {
        ControlError::NotRunning { node: self.name(index), state: node.state.to_string() }
    }

    /// Looks at the node, and waits until the engine knows of every death that we have seen.
    async fn look(&self, index: usize) -> Result<Node> {
        loop {
            self.watch.refresh(index).await.map_err(self.engine_error(index))?;
            let node = self.cluster.node(index);
            if !node.engine_lags {
                return Ok(node);
            }
            tokio::time::sleep(LAG_STEP).await;
        }
    }

    /// From here on what becomes of the node is the command's doing. Not before the first look: that finds what was so.
    fn acts(&self, work: Work, verb: &'static str) -> Acting {
        self.recorder.acts(work.id, work.index, verb)
    }

    async fn start(&self, work: Work) -> Result<()> {
        let index = work.index;
        let mut node = self.look(index).await?;
        let _acting = self.acts(work, "start");
        let mut was_crashed = false;
        loop {
            let has_sandbox = self.has_sandbox(index).await?;
            match node.state {
                State::Running if has_sandbox => return self.end_crash(index).await.map(drop),
                // It runs, and nobody hears it: its network went with the sandbox.
                State::Running => {}
                State::Paused => {
                    let why = format!("{} is paused: resume it, or stop it first", self.name(index));
                    return Err(ControlError::Busy(why));
                }
                State::Created | State::Exited | State::Missing => {}
            }
            let container = self.startable(index, &node, has_sandbox).await?;
            was_crashed |= self.end_crash(index).await?;
            let before = node.started_at;
            match self.engine.start(&container).await {
                // Removed under our hands: the next round makes it anew.
                Ok(()) | Err(EngineError::NotFound(_)) => {}
                Err(error) => {
                    // A machine that does not come up is heard by nobody.
                    if was_crashed {
                        self.silence(index, true).await?;
                    }
                    self.look(index).await?;
                    return Err(self.engine_error(index)(error));
                }
            }
            node = self.look(index).await?;
            // A run that has ended already was a run: its exit code says how it went.
            if node.is_alive() || (node.state == State::Exited && node.started_at != before) {
                return Ok(());
            }
            tokio::time::sleep(LAG_STEP).await;
        }
    }

    async fn has_sandbox(&self, index: usize) -> Result<bool> {
        self.watch.check_sandbox(index, false).await.map_err(self.engine_error(index))
    }

    /// The node's container, on a sandbox that lives; made anew where either is gone.
    async fn startable(&self, index: usize, node: &Node, has_sandbox: bool) -> Result<ContainerId> {
        let fail = self.engine_error(index);
        if let Some(container) = &node.container {
            if has_sandbox {
                return Ok(container.clone());
            }
            // It is bound to the namespace of a sandbox that is no more.
            self.engine.remove(container).await.map_err(&fail)?;
        }
        self.check_open()?;
        let made = match has_sandbox {
            true => self.provisioner.make_in_sandbox(index).await,
            false => self.provisioner.make(index).await,
        };
        let container = made.map_err(|error| match error {
            EngineError::NotFound(_) | EngineError::Conflict(_) | EngineError::Refused(_) => {
                ControlError::Refused(format!("{}: cannot create it anew: {error}", self.name(index)))
            }
            error => fail(error),
        })?;
        self.watch.adopt(index, &container).await.map_err(&fail)?;
        // What is new is under control again.
        if !has_sandbox {
            self.has_sandbox(index).await?;
        }
        Ok(container)
    }

    async fn stop(&self, work: Work, grace: Duration) -> Result<()> {
        let index = work.index;
        let node = self.look(index).await?;
        let Some(container) = node.container.clone().filter(|_| node.is_alive()) else {
            return Ok(());
        };
        let _acting = self.recorder.stops(work.id, index, Some(grace).filter(|_| !node.is_stopped_by_sigkill()));
        let done = self.engine.stop(&container, grace).await;
        self.after(index, done).await?;
        let node = self.cluster.node(index);
        if node.is_alive() {
            let why = format!("{}: the engine says stopped, and it still runs", self.name(index));
            return Err(ControlError::Refused(why));
        }
        Ok(())
    }

    async fn kill(&self, work: Work, signal: &str) -> Result<()> {
        self.kill_as(work, signal, "kill").await
    }

    async fn kill_as(&self, work: Work, signal: &str, verb: &'static str) -> Result<()> {
        let index = work.index;
        let node = self.look(index).await?;
        let Some(container) = node.container.clone().filter(|_| node.is_alive()) else {
            return Err(self.not_running(index, &node));
        };
        let _acting = self.acts(work, verb);
        let done = self.engine.kill(&container, signal).await;
        if matches!(done, Err(EngineError::Conflict(_))) {
            let node = self.look(index).await?;
            if !node.is_alive() {
                return Err(self.not_running(index, &node));
            }
        }
        self.after(index, done).await?;
        if node.state == State::Paused {
            self.thaw_for_signal(index, &container).await?;
        }
        Ok(())
    }

    /// Nobody hears of the death: nothing leaves or enters the node any more when it is killed.
    async fn crash(&self, work: Work) -> Result<()> {
        let index = work.index;
        // A start that had its turn before us has ended it.
        if !self.cluster.faults().is_crashed(index) {
            self.silence(index, true).await?;
        }
        match self.kill_as(work, "SIGKILL", "crash").await {
            Err(ControlError::NotRunning { .. }) => Ok(()),
            done => done,
        }
    }

    /// A node that was to crash and has not is heard again.
    async fn end_silence(&self, index: usize) {
        if self.cluster.node(index).is_alive()
            && self.cluster.faults().is_crashed(index)
            && let Err(error) = self.silence(index, false).await
        {
            tracing::warn!(node = %self.name(index), %error, "cannot end the silence of a node that has not crashed");
        }
    }

    /// A signal thaws a frozen node. Docker does it after it has answered, and not for every signal of an image that
    /// names its own stop signal: see to it, so that what is read next is what stays.
    async fn thaw_for_signal(&self, index: usize, container: &ContainerId) -> Result<()> {
        if self.cluster.node(index).state == State::Paused {
            // It fails where the engine was quicker; the look tells.
            let _ = self.engine.unpause(container).await;
        }
        while self.look(index).await?.state == State::Paused {
            tokio::time::sleep(LAG_STEP).await;
        }
        Ok(())
    }

    async fn pause(&self, work: Work) -> Result<()> {
        let index = work.index;
        let node = self.look(index).await?;
        match (node.state, node.container.clone()) {
            (State::Paused, _) => Ok(()),
            (State::Running, Some(container)) => {
                let _acting = self.acts(work, "pause");
                let done = self.engine.pause(&container).await;
                self.frozen_or_thawed(index, done, State::Paused).await
            }
            _ => Err(self.not_running(index, &node)),
        }
    }

    async fn resume(&self, work: Work) -> Result<()> {
        let index = work.index;
        let node = self.look(index).await?;
        match (node.state, node.container.clone()) {
            (State::Running, _) => Ok(()),
            (State::Paused, Some(container)) => {
                let _acting = self.acts(work, "resume");
                let done = self.engine.unpause(&container).await;
                self.frozen_or_thawed(index, done, State::Running).await
            }
            _ => Err(self.not_running(index, &node)),
        }
    }

    async fn frozen_or_thawed(
        &self,
        index: usize,
        done: std::result::Result<(), EngineError>,
        wanted: State,
    ) -> Result<()> {
        if matches!(done, Err(EngineError::Conflict(_))) {
            let node = self.look(index).await?;
            // Somebody else was quicker, or it died meanwhile.
            if node.state == wanted {
                return Ok(());
            }
            if !node.is_alive() {
                return Err(self.not_running(index, &node));
            }
        }
        self.after(index, done).await
    }

    /// Looks at the node after the engine has answered, then tells its answer. A container that is gone is no error.
    async fn after(&self, index: usize, done: std::result::Result<(), EngineError>) -> Result<()> {
        self.look(index).await?;
        match done {
            Ok(()) | Err(EngineError::NotFound(_)) => Ok(()),
            Err(error) => Err(self.engine_error(index)(error)),
        }
    }
}
