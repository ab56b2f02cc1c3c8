//! Executes commands: whose turn it is, deadlines, and what every verb needs. What a command has done is in the model
//! before it returns.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;

use super::ControlError;
use super::completion::CompletionGuard;
use super::in_flight::InFlightGuard;
use super::network::Network;
use crate::cluster::faults::SeededRng;
use crate::cluster::{Cluster, NamedRoles, Node};
use crate::engine::{Engine, EngineError};
use crate::fleet::Fleet;
use crate::history::{AttributionGuard, CanCause, CommandId, CommandOutcome, Recorder};
use crate::provision::{AT_ONCE, Provisioner};
use crate::sync::time::{self, Instant};
use crate::sync::{AsyncMutex, Semaphore, select};
use crate::text::shown;
use crate::watch::{LogFile, Watch};

pub(super) type Result<T> = std::result::Result<T, ControlError>;

/// Time between the stop signal and SIGKILL, unless given.
pub(crate) const DEFAULT_GRACE: Duration = Duration::from_secs(1);
/// How long the start of all nodes may wait for nodes that others depend on, unless given.
pub(crate) const DEFAULT_START_TIMEOUT: Duration = Duration::from_secs(60);
/// Time between two inspections while the engine has not noticed a death that we have seen.
pub(super) const LAG_STEP: Duration = Duration::from_millis(5);

/// A parsed line of the command language.
#[derive(Clone)]
pub struct Command {
    /// The verb's name.
    pub verb: &'static str,
    pub(super) action: Arc<dyn Action>,
    /// The nodes that it names; empty for all.
    pub nodes: Vec<String>,
}

impl Command {
    /// Whether its nodes are as after a mount afterwards.
    pub(crate) fn is_fresh_start(&self) -> bool {
        self.action.is_fresh_start()
    }
}

/// As text that parses to the same.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verb)?;
        let options = self.action.options();
        let options = Some(options).filter(|options| !options.is_empty());
        options.iter().chain(&self.nodes).try_for_each(|word| write!(f, " {word}"))
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for Command {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

/// What a verb does, with the options that were given.
#[async_trait]
pub(super) trait Action: Send + Sync {
    /// The options as text that parses to the same; empty if there are none.
    fn options(&self) -> String {
        String::new()
    }

    /// Whether its nodes are as after a mount afterwards, so that earlier errors are no longer shown.
    fn is_fresh_start(&self) -> bool {
        false
    }

    /// Runs it. Returns each node's result.
    ///
    /// # Errors
    /// An error for all nodes: nothing has been done.
    async fn run(&self, executor: &Executor, call: &Call) -> Result<NodeResults>;
}

/// The directories of the nodes on the daemon's machine.
#[async_trait]
pub(crate) trait NodeFiles: Send + Sync {
    /// Makes a node's directories as they are after a mount. Its container is gone.
    ///
    /// # Errors
    /// A sentence.
    async fn renew(&self, index: usize) -> std::result::Result<(), String>;

    /// Empties these named volumes. No container uses them.
    ///
    /// # Errors
    /// A sentence.
    async fn empty_volumes(&self, names: &[String]) -> std::result::Result<(), String>;

    /// Nodes have new directories: has the kernel forget what was in the old ones.
    async fn forget_deleted(&self);
}

/// How a command went, by index of its nodes.
pub(super) type NodeResults = Vec<(usize, Result<()>)>;

/// A command under way.
#[derive(Clone)]
pub(super) struct Call {
    pub(crate) id: CommandId,
    /// The nodes that it is about.
    pub(crate) nodes: Vec<usize>,
    /// It is about the cluster as a whole.
    pub(crate) is_whole: bool,
    pub(crate) began: Instant,
    /// Which engines did not answer in time for a node of this command.
    pub(crate) engine_hangs: Arc<[AtomicBool]>,
}

/// Whose control file was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The root's: commands name nodes, or mean all.
    Root,
    Node(usize),
}

/// A command that has begun.
pub(crate) struct Invoked {
    id: CommandId,
    action: Arc<dyn Action>,
    /// The nodes that it is about; or why there are none.
    nodes: Result<Vec<usize>>,
    is_whole: bool,
    began: Instant,
}

impl Invoked {
    /// Its id in the history.
    pub(crate) fn id(&self) -> CommandId {
        self.id
    }

    /// The nodes that it is about, and whether it is about the cluster as a whole.
    pub(crate) fn about(&self) -> (Vec<usize>, bool) {
        (self.nodes.clone().unwrap_or_default(), self.is_whole)
    }
}

impl Call {
    /// The same command's next step, about these nodes, with a deadline of its own.
    pub(crate) fn next(&self, nodes: Vec<usize>) -> Self {
        let engine_hangs = self.engine_hangs.iter().map(|_| AtomicBool::default()).collect();
        Self { nodes, began: Instant::now(), engine_hangs, ..self.clone() }
    }
}

/// One node's part of a command.
#[derive(Clone, Copy)]
pub(super) struct NodeOp<'a> {
    pub(crate) index: usize,
    pub(crate) id: CommandId,
    /// When its time began to run.
    pub(crate) began: Instant,
    /// Its engine did not answer in time for another node of this command.
    pub(crate) engine_hangs: &'a AtomicBool,
}

/// Executes commands on one cluster.
pub struct Executor {
    fleet: Fleet,
    cluster: Cluster,
    watch: Watch,
    provisioner: Arc<Provisioner>,
    recorder: Recorder,
    timeout: Duration,
    /// Between stop signal and SIGKILL, where a command does not say.
    stop_grace: Duration,
    /// How long the start of all nodes may wait for nodes that others depend on.
    start_timeout: Duration,
    files: Option<Arc<dyn NodeFiles>>,
    /// One command on a node at a time.
    turns: Vec<AsyncMutex<()>>,
    /// How many nodes of each engine may do at once what is bound by CPU.
    turns_of_few: Vec<Semaphore>,
    /// The cluster is being taken down: nothing is begun any more.
    closing: AtomicBool,
    /// Commands under way on nodes.
    under_way: AtomicUsize,
    network: Network,
}

impl Executor {
    /// An executor whose commands give an engine `timeout` each, and are recorded by `recorder`. `rng` makes random
    /// choices.
    pub fn new(
        fleet: impl Into<Fleet>,
        cluster: Cluster,
        watch: Watch,
        provisioner: Arc<Provisioner>,
        recorder: Recorder,
        timeout: Duration,
        rng: SeededRng,
    ) -> Self {
        let network = Network::new(cluster.clone(), watch.clone(), provisioner.clone(), timeout, rng);
        let turns = (0..cluster.len()).map(|_| AsyncMutex::default()).collect();
        Self {
            fleet: fleet.into(),
            watch,
            provisioner,
            recorder,
            timeout,
            stop_grace: DEFAULT_GRACE,
            start_timeout: DEFAULT_START_TIMEOUT,
            files: None,
            turns,
            turns_of_few: (0..cluster.spec().engines()).map(|_| Semaphore::new(AT_ONCE)).collect(),
            cluster,
            closing: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
            network,
        }
    }

    /// Sets the time between stop signal and SIGKILL for commands that do not give one.
    #[must_use]
    pub(crate) fn with_stop_grace(self, stop_grace: Duration) -> Self {
        Self { stop_grace, ..self }
    }

    /// Sets how long the start of all nodes may wait for nodes that others depend on.
    #[must_use]
    pub(crate) fn with_start_timeout(self, start_timeout: Duration) -> Self {
        Self { start_timeout, ..self }
    }

    /// Adds the directories of the nodes. Without them, `reset` leaves their content.
    #[must_use]
    pub(crate) fn with_node_files(self, files: Arc<dyn NodeFiles>) -> Self {
        Self { files: Some(files), ..self }
    }

    /// Refuses new commands from now on. Returns whether commands are still under way.
    pub(crate) fn close(&self) -> bool {
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

    /// The engine that a node runs in.
    pub(super) fn engine(&self, index: usize) -> &dyn Engine {
        &**self.fleet.engine(self.cluster.host_of(index))
    }

    /// A flag for each engine, that it does not answer.
    pub(super) fn no_engine_hangs(&self) -> Arc<[AtomicBool]> {
        (0..self.fleet.len()).map(|_| AtomicBool::default()).collect()
    }

    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }

    pub(super) fn files(&self) -> Option<&dyn NodeFiles> {
        self.files.as_deref()
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn start_timeout(&self) -> Duration {
        self.start_timeout
    }

    /// How long a node has between the stop signal and SIGKILL: as the command says, or its service, or the cluster.
    pub(super) fn grace(&self, index: usize, said: Option<Duration>) -> Duration {
        said.or(self.cluster.node_spec(index).stop_grace).unwrap_or(self.stop_grace)
    }

    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    pub(crate) fn log(&self, index: usize) -> &LogFile {
        self.watch.log(index)
    }

    pub(crate) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Records that a command begins. `line` is what was written, `roles` what the words for roles in it stand for.
    pub(crate) fn invoke(&self, target: Target, line: &str, command: Command, roles: NamedRoles) -> Invoked {
        let recorded = self.recorded(&roles);
        let nodes = self.resolve(target, &command, roles);
        let names = nodes.iter().flatten().map(|&index| self.name(index)).collect();
        let id = self.recorder.invoke(line, Some(command.verb), names, recorded, false);
        let is_whole = target == Target::Root && command.nodes.is_empty();
        Invoked { id, action: command.action, nodes, is_whole, began: Instant::now() }
    }

    /// Executes a command that has begun. Its end is in the history before this returns.
    ///
    /// # Errors
    /// What failed; at the root, all that failed, after every node had its turn.
    pub(crate) async fn execute(&self, invoked: Invoked) -> Result<()> {
        let Invoked { id, action, nodes, is_whole, began } = invoked;
        let end = CompletionGuard::of(id, &self.recorder);
        let done = async {
            let call = Call { id, nodes: nodes?, is_whole, began, engine_hangs: self.no_engine_hangs() };
            Ok((call.nodes.len() > 1, action.run(self, &call).await?))
        };
        match done.await {
            Ok((several, results)) => self.end(end, several, results),
            Err(error) => end.tell(Err(error)),
        }
    }

    /// Ends a command with the results of its nodes. `several`: it is about more than one.
    pub(super) fn end(&self, end: CompletionGuard<'_>, several: bool, results: NodeResults) -> Result<()> {
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
        let outcome = CommandOutcome::Fail { errno: error.errno_name(), error: error.to_string(), failed };
        end.tell_as(Err(error), outcome)
    }

    /// What to tell the writer of a command that has succeeded.
    pub(crate) fn warning(&self, id: CommandId) -> Option<String> {
        let names: Vec<_> = self.recorder.grace_expired(id).into_iter().map(|index| self.name(index)).collect();
        let names = names.join(", ");
        (!names.is_empty()).then(|| format!("{names}: ended by SIGKILL, as the grace ran out (--stop-grace, stop -t)"))
    }

    /// The nodes that a command is about.
    fn resolve(&self, target: Target, command: &Command, roles: NamedRoles) -> Result<Vec<usize>> {
        let names = &command.nodes;
        if let Target::Node(index) = target {
            return match names.first() {
                Some(extra) => Err(ControlError::Invalid(format!(
                    "{}: '{}' is one word too many; nodes are named in the root's control",
                    command.verb,
                    shown(extra)
                ))),
                None => Ok(vec![index]),
            };
        }
        if names.is_empty() {
            return Ok((0..self.cluster.len()).collect());
        }
        if let Some(why) = roles.missing {
            return Err(ControlError::NoRole(why));
        }
        let mut nodes = Vec::with_capacity(names.len());
        let known = self.cluster.names_with(roles.words);
        for name in names {
            let named = known.find(name);
            if named.is_empty() {
                return Err(ControlError::NoSuchNode(shown(name)));
            }
            named.into_iter().for_each(|index| {
                if !nodes.contains(&index) {
                    nodes.push(index);
                }
            });
        }
        Ok(nodes)
    }

    /// Runs a command on all its nodes at once, but one command per node at a time.
    pub(super) async fn on_each_node<'a, F: Future<Output = Result<()>> + Send>(
        &'a self,
        call: &'a Call,
        work: impl Fn(NodeOp<'a>) -> F + Sync,
    ) -> NodeResults {
        let on_node = async |index: usize| {
            let _counted = InFlightGuard::count(&self.under_way);
            let busy = || ControlError::Busy(format!("{}: another command is under way", self.name(index)));
            // A quarter of its time is left then for the engine.
            let until = call.began + self.timeout * 3 / 4;
            let _turn = time::timeout_at(until, self.turns[index].lock()).await.map_err(|_| busy())?;
            let _at_work = self.watch.at_work(index);
            let engine_hangs = &call.engine_hangs[self.cluster.host_of(index)];
            work(NodeOp { index, id: call.id, began: call.began, engine_hangs }).await
        };
        let done = join_all(call.nodes.iter().map(|&index| on_node(index))).await;
        call.nodes.iter().copied().zip(done).collect()
    }

    /// Does what is bound by CPU, for a few nodes at once. Waiting for its turn does not count against a node's deadline,
    /// unless the engine is silent and those before it wait for nothing.
    pub(super) async fn a_few_at_once<'a, F: Future<Output = Result<()>> + Send>(
        &self,
        op: NodeOp<'a>,
        work: impl FnOnce(NodeOp<'a>) -> F + Send,
    ) -> Result<()> {
        let few = &self.turns_of_few[self.cluster.host_of(op.index)];
        let waits = Instant::now();
        let _permit = loop {
            match time::timeout(self.timeout, few.acquire()).await {
                Ok(permit) => break permit.ok(),
                Err(_) if self.cluster.is_node_reachable(op.index) => {}
                Err(_) => return Err(ControlError::TimedOut { node: self.name(op.index), after: self.timeout }),
            }
        };
        work(NodeOp { began: op.began + waits.elapsed(), ..op }).await
    }

    /// Gives work on a node its deadline.
    pub(super) async fn limited(
        &self,
        NodeOp { index, began, engine_hangs, .. }: NodeOp<'_>,
        grace: Duration,
        work: impl Future<Output = Result<()>> + Send,
    ) -> Result<()> {
        self.check_open()?;
        if self.fleet.len() > 1 && !self.watch.is_reachable_soon(index).await {
            return Err(self.network.away(index));
        }
        let late = || ControlError::TimedOut { node: self.name(index), after: self.timeout };
        // With hundreds of nodes in turn, a deadline for each would add up.
        if engine_hangs.load(Ordering::Acquire) {
            return Err(late());
        }
        let deadline = began + self.timeout + grace;
        let limit = deadline.saturating_duration_since(Instant::now());
        let heard = async {
            work.await?;
            // The next reader of the log finds the run's last output. But do not miss the deadline for it.
            let left = deadline.saturating_duration_since(Instant::now());
            let _ = time::timeout((limit / 4).min(left / 2), self.watch.settle(index)).await;
            // The engine answers again, but the watch has not noticed yet: the next read would fail.
            self.watch.reachable(index).await;
            Ok(())
        };
        // Half of the time is left to check that the engine is alive. So once a write has timed out on a silent engine,
        // live values read as unknown.
        let doubting = async {
            time::sleep(limit / 2).await;
            self.watch.check_liveness(index).await;
            // The writer waits for the other engines, not for this one.
            if self.fleet.len() > 1 && !self.cluster.is_node_reachable(index) {
                let away = self.network.away(index);
                return Err(ControlError::Unreachable(format!("{away}; what had begun may still happen")));
            }
            std::future::pending().await
        };
        let done = select! {
            done = time::timeout(limit, heard) => done,
            away = doubting => Ok(away),
        };
        let done = done.unwrap_or_else(|_| {
            // With less time left, the cause may have been the commands before it.
            engine_hangs.fetch_or(limit >= self.timeout / 2, Ordering::AcqRel);
            Err(late())
        });
        // An inspection that timed out did so before the engine was doubted, if the node has a long grace.
        let is_early = Instant::now() < deadline;
        if matches!(done, Err(ControlError::Unreachable(_)))
            || is_early && matches!(done, Err(ControlError::TimedOut { .. }))
        {
            self.watch.check_liveness(index).await;
        }
        done
    }

    pub(super) fn name(&self, index: usize) -> String {
        self.cluster.node_spec(index).name.to_string()
    }

    pub(super) fn engine_error(&self, index: usize) -> impl Fn(EngineError) -> ControlError {
        let name = self.name(index);
        move |error| ControlError::from_engine(&name, error)
    }

    pub(super) fn not_running(&self, index: usize, node: &Node) -> ControlError {
        ControlError::NotRunning { node: self.name(index), state: node.state.to_string() }
    }

    /// Inspects the node until the engine knows every death that we have seen.
    pub(super) async fn look(&self, index: usize) -> Result<Arc<Node>> {
        loop {
            self.watch.refresh(index).await.map_err(self.engine_error(index))?;
            let node = self.cluster.node(index);
            if !node.exit_unconfirmed_by_engine {
                return Ok(node);
            }
            time::sleep(LAG_STEP).await;
        }
    }

    /// From here on, changes of the node are attributed to the command. The first inspection is excluded: it finds what
    /// happened before.
    pub(super) fn acts(&self, op: NodeOp<'_>, can_cause: CanCause) -> AttributionGuard {
        self.recorder.acts(op.id, op.index, can_cause, None)
    }

    /// Inspects the node after the engine has answered, then returns the answer. A container that is gone is not an
    /// error.
    pub(super) async fn after(&self, index: usize, done: std::result::Result<(), EngineError>) -> Result<()> {
        self.look(index).await?;
        match done {
            Ok(()) | Err(EngineError::NotFound(_)) => Ok(()),
            Err(error) => Err(self.engine_error(index)(error)),
        }
    }
}
