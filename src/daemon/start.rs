//! Brings a cluster up, step by step.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures_util::future::{join_all, select_all, try_join, try_join_all};
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::agents::Agents;
use super::data::{DataLock, Writer};
use super::images::Images;
use super::lock::Lock;
use super::machines::{Machines, check_reach};
use super::names::{refuse_names_taken_meanwhile, refuse_taken_names};
use super::needs::{fuse_device, fuse_helper};
use super::networks::{self};
use super::node_files::NodeFiles;
use super::owner::Owner;
use super::paths::{ClusterPaths, OwnMount, Record};
use super::plan::{Plan, Readiness};
use super::report::{Report, Reporter};
use super::specs::{Place, cluster_spec, node_options};
use super::{readiness, roles};
use crate::agent::RemoteMounts;
use crate::cluster::faults::SeededRng;
use crate::cluster::{Cluster, ClusterId, ClusterSpec, State};
use crate::control::{ControlError, Executor, FirstStart};
use crate::engine::{Engine, EngineError, falls_silent};
use crate::fleet::{Fleet, connect, connect_all, is_simulated};
use crate::fuse;
use crate::history::{History, Recorder};
use crate::passthrough::{Descriptors, Passthrough};
use crate::provision::{AT_ONCE, KeptAgent, Leases, Provisioner, cluster_labels, clusters, remove_cluster};
use crate::selfimage::{self};
use crate::sys;
use crate::template;
use crate::tree::{Ino, Layout, Tree};
use crate::watch::{self, Watch};

/// A cluster that is up.
pub(crate) struct Running {
    pub(crate) tree: Tree,
    /// Ends what keeps its model true.
    pub(crate) watch: Watch,
    /// Resolves when the mount is gone, or its requests cannot be served.
    pub(crate) unmounted: oneshot::Receiver<io::Result<()>>,
    /// Holds the sandboxes' connections.
    pub(crate) provisioner: Arc<Provisioner>,
    /// Keeps alive those that are not on this machine.
    pub(crate) leases: Leases,
    /// Keep the agents running.
    pub(crate) kept_agents: Vec<KeptAgent>,
    /// What the user should know besides; with a newline at its end, or empty.
    pub(crate) note: String,
}

/// What a start has made so far, to be removed if it fails.
pub(crate) struct Made {
    /// The engines, once connected.
    pub(crate) fleet: Mutex<Option<Fleet>>,
    pub(crate) id: ClusterId,
    /// Records the history, once there is one.
    pub(crate) recorder: Mutex<Option<Recorder>>,
    /// Whether the mountpoint was made, by this start or by an earlier cluster here that was killed.
    pub(crate) mountpoint: AtomicBool,
    /// Whether anything may be in the engines by now.
    pub(crate) begun: AtomicBool,
    /// Whether all is gone that an earlier cluster here had left.
    pub(crate) cleared: AtomicBool,
    /// The mount, once there is one.
    pub(crate) mount: std::sync::OnceLock<OwnMount>,
    /// Where the nodes write, held.
    pub(crate) data: Arc<Mutex<DataLock>>,
}

impl Made {
    /// Writes the history's last line. What the teardown does to the nodes is not recorded: all of them are removed.
    pub(crate) fn end_history(&self) {
        if let Some(recorder) = self.recorder.lock().take() {
            recorder.finish();
        }
    }

    /// Records that all of it is gone. What another cluster has left here, and has not been removed, stays recorded; so
    /// do its nodes in the data directory.
    pub(crate) fn forget(&self, paths: &ClusterPaths) {
        let is_others = paths.record().is_some_and(|record| record.id != self.id.0);
        if !is_others || self.cleared.load(Ordering::Relaxed) {
            paths.remove_record();
        }
        let data = self.data.lock();
        if data.last_writer().is_some_and(|writer| writer.cluster == self.id.0)
            && let Err(error) = data.set_writer(None)
        {
            warn!(%error, "the data directory still names a cluster that is gone");
        }
    }
}

/// Brings it up.
///
/// # Errors
/// One sentence: what failed, on what, what to do.
pub(crate) async fn start(plan: &Plan, lock: &Lock, made: &Made, report: &Reporter) -> Result<Running> {
    let _held: &Lock = lock;
    fuse_device()?;
    fuse_helper()?;
    let timeout = plan.timeout;
    let (fleet, names) = connect_all(&plan.hosts, timeout).await.map_err(|error| anyhow!("{error}"))?;
    roles::check_names(plan, &names)?;
    *made.fleet.lock() = Some(fleet.clone());
    for engine in fleet.engines() {
        info!(engine = %engine.info().description, address = %engine.info().address, "connected");
    }
    let machines = Machines::of(plan, fleet, names)?;
    // Pulling and importing take as long as they take; but not on an engine that says nothing any more.
    let silences = machines.fleet.engines().iter().map(|engine| Box::pin(falls_silent(engine.as_ref(), timeout)));
    tokio::select! {
        started = bring_up(plan, &machines, made, report) => started,
        (error, host, _) = select_all(silences) => match machines.fleet.len() {
            1 => Err(anyhow!("lost the engine while the cluster was made: {error}")),
            _ => Err(anyhow!("lost the engine of {} while the cluster was made: {error}", machines.names[host])),
        },
    }
}

async fn bring_up(plan: &Plan, machines: &Machines, made: &Made, report: &Reporter) -> Result<Running> {
    let fleet = &machines.fleet;
    let descriptors = sys::raise_nofile_limit().unwrap_or_else(|error| {
        warn!(%error, "cannot raise the limit of open files");
        sys::nofile_limit()
    });
    // An image of our own program takes its size once, and fuser has a buffer of 16 MiB of which requests fill little.
    sys::map_large_blocks();
    // Our own program is hashed meanwhile.
    let own = try_join_all(fleet.engines().iter().map(|engine| selfimage::ensure(engine.as_ref())));
    let own = async { own.await.context("cannot make the sandbox image") };
    let ((), mut own) = try_join(clear_the_way(plan, machines, made, report), own).await?;
    let images = Images::find(plan, own.remove(0), machines, report).await?;
    let mut record = begin_record(plan, machines, made, &images)?;
    let owner = Owner::this_process().to_string();
    let labels = cluster_labels(&made.id, &plan.paths.mountpoint, &owner);
    machines.find_own_files(plan, &made.id, &labels, &images.own).await?;
    record.files_elsewhere = machines.any_needs_agent();
    plan.paths.write_record(&record)?;
    let say = |text| report(Report::Note(text));
    if plan.keeps_data && record.files_elsewhere {
        say("--data does not keep what nodes on other machines write in bindmounts/: it goes with the cluster".into());
    }
    let networks = networks::make(plan, machines, &made.id, &labels, &say).await?;

    take_data(plan, &record, made)?;
    let spec = cluster_spec(plan, &made.id, &images, &networks, machines);
    let nodes = Arc::new(plan.template_nodes(spec.nodes.iter().map(|node| node.ip)));
    let (agents, kept_agents) = Agents::begin(plan, machines, &made.id, &labels, &images.own).await?;
    let emptier = fleet.engines().iter().find(|engine| engine.info().is_here).unwrap_or(fleet.engine(0));
    let files = Arc::new(NodeFiles::read(plan, &spec, &nodes, agents, emptier, &labels, &made.data)?);
    for missing in plan.recipes.iter().flat_map(|recipe| &recipe.missing) {
        std::fs::create_dir_all(missing).with_context(|| format!("cannot make {}", missing.display()))?;
    }
    files.prepare_all(&plan.data).await?;
    let options = (0..plan.nodes.len()).map(|index| {
        let endpoints = networks.endpoints(index, &spec.aliases(index));
        let place = Place::of(&spec.nodes[index], files.agents(), machines);
        node_options(plan, &images, index, &nodes.variables(index), endpoints, &place)
    });
    let options = options.collect::<Result<_>>()?;
    let model = Model::open(plan, spec, made)?;
    let provisioner =
        Arc::new(Provisioner::new(fleet.clone(), model.cluster.clone(), options, images.own, owner, plan.timeout));
    // Making the others may take longer than one lives unasked.
    let leases = provisioner.keep_leases();
    let watch = model.watch(plan, &nodes, machines, &provisioner).await?;
    let seed = plan.seed.map_or_else(drawn_seed, Ok)?;
    let (tree, bindmounts) = model.tree(plan, seed, files.clone(), &watch, &provisioner, descriptors).await?;
    model.recorder.begin(env!("CARGO_PKG_VERSION"), &sys::boot_id().unwrap_or_default(), seed);
    // In another's network, only after the names of all nodes are known to be free there.
    let has_order = plan.nodes.iter().any(|node| !node.depends_on.is_empty());
    let starts_at_once = plan.start && plan.existing_networks().next().is_none() && !has_order;
    let starting = starts_at_once.then(|| tree.executor().first_start());
    make_nodes(&model.cluster, &provisioner, &watch, starting.as_ref(), report).await?;
    let started = starting.map_or(Ok(()), FirstStart::end);
    started.map_err(cannot_start)?;
    for warning in provisioner.warnings() {
        report(Report::Note(format!("the engine warns: {warning}")));
    }
    for engine in fleet.engines() {
        refuse_names_taken_meanwhile(plan, engine.as_ref(), &model.cluster).await?;
    }
    refuse_unreadable_logs(plan, fleet, &model.cluster).await?;
    check_reach(&model.cluster, &provisioner).await?;
    match tokio::time::timeout(plan.timeout, provisioner.probe_kernels()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%error, "cannot find out which network faults are possible"),
        Err(_) => warn!("a sandbox does not say which network faults are possible"),
    }

    let unmounted = mount(plan, &tree, (bindmounts, files.agents().mounts.clone()), made, &mut record).await?;
    // Not before: a command may look into the mount.
    watch.follow_roles();
    if plan.start && !starts_at_once {
        report(Report::Step(format!("starting {}", count(model.cluster.len()))));
        tree.execute("start").await.map_err(cannot_start)?;
    }
    let note = if plan.start { exited_at_once(&model.cluster) } else { String::new() };
    Ok(Running { tree, watch, unmounted, provisioner, leases, kept_agents, note })
}

fn cannot_start(error: ControlError) -> anyhow::Error {
    anyhow!("cannot start: {error}")
}

/// Removes what dead daemons have left here, and refuses what cannot work before anything is made or pulled.
async fn clear_the_way(plan: &Plan, machines: &Machines, made: &Made, report: &Reporter) -> Result<()> {
    remove_leftovers(plan, &machines.fleet, report).await?;
    made.cleared.store(true, Ordering::Relaxed);
    remove_last_writer(plan, &machines.fleet, made, report).await?;
    let hosts = machines.fleet.engines().iter().enumerate();
    try_join_all(hosts.map(|(host, engine)| refuse_taken_names(plan, engine.as_ref(), machines.nodes_on(host))))
        .await?;
    networks::check_existing(plan, machines, &made.id).await
}

/// Makes the mountpoint, and records what must be removed later and in which engine, even if we are killed.
///
/// Not before there is something to mount, and directly before the record says so: who clears away what a killed daemon has left
/// takes the mountpoint for a directory of ours.
fn begin_record(plan: &Plan, machines: &Machines, made: &Made, images: &Images) -> Result<Record> {
    if plan.paths.make_mountpoint(plan.umask)? {
        made.mountpoint.store(true, Ordering::Relaxed);
    }
    let mut engines = machines.fleet.addresses().into_iter();
    let record = Record {
        id: made.id.to_string(),
        mountpoint: plan.paths.mountpoint.clone(),
        pid: std::process::id(),
        nodes: plan.nodes.len(),
        image: images.text(),
        data: plan.data.clone(),
        engine: engines.next().unwrap_or_default(),
        further_engines: engines.collect(),
        files_elsewhere: false,
        mount: None,
        made_mountpoint: made.mountpoint.load(Ordering::Relaxed),
    };
    plan.paths.write_record(&record)?;
    made.begun.store(true, Ordering::Relaxed);
    Ok(record)
}

/// Notes in the data directory that its nodes' cluster is this one. One that the user did not name begins empty.
fn take_data(plan: &Plan, record: &Record, made: &Made) -> Result<()> {
    let mut data = made.data.lock();
    if !plan.keeps_data {
        data.begin_fresh()?;
    }
    let (mountpoint, engine) = (record.mountpoint.clone(), record.engine.clone());
    let further_engines = record.further_engines.clone();
    data.set_writer(Some(&Writer { cluster: made.id.to_string(), mountpoint, engine, further_engines }))
}

/// The model of the cluster, and its listeners.
struct Model {
    cluster: Cluster,
    recorder: Recorder,
    /// The tree comes after the watch that it must hear from.
    tree: Arc<OnceLock<Tree>>,
}

impl Model {
    /// Opens the history, from which on there is a story to end.
    fn open(plan: &Plan, spec: ClusterSpec, made: &Made) -> Result<Self> {
        let cluster = Cluster::new(spec);
        let history = plan.data.join("history");
        let history = History::open(&history)
            .map_err(|error| anyhow!("cannot keep the history in {}: {error}", history.display()))?;
        let recorder = Recorder::new(history, cluster.clone());
        *made.recorder.lock() = Some(recorder.clone());
        Ok(Self { cluster, recorder, tree: Arc::default() })
    }

    /// Begins to follow the engine.
    async fn watch(
        &self,
        plan: &Plan,
        nodes: &template::Nodes,
        machines: &Machines,
        provisioner: &Arc<Provisioner>,
    ) -> Result<Watch> {
        let probe = |index| {
            let (variables, engine) = (nodes.variables(index), machines.engine_of(index));
            readiness::probe(plan.recipe(index), index, &variables, engine, provisioner)
        };
        let probes = (0..plan.nodes.len()).map(probe).collect::<Result<_>>()?;
        let roles = roles::questions(plan, &self.cluster, nodes, machines)?;
        let (tree, recorder) = (self.tree.clone(), self.recorder.clone());
        let on_change = Box::new(move |change| {
            // The history first: a line that a test appends after reading a change is ordered after it.
            recorder.changed(change);
            if let Some(tree) = tree.get() {
                tree.changed(change);
            }
        });
        let sandboxes = Some(provisioner.clone() as Arc<dyn watch::Sandboxes>);
        let options = watch::Options { timeout: plan.timeout, log_limit: plan.log_limit, probes, roles, sandboxes };
        let watch = Watch::begin(machines.fleet.clone(), self.cluster.clone(), options, on_change).await;
        watch.context("cannot follow the engine's events")
    }

    /// The files over the model, and those of the nodes below `bindmounts`. `limit` is that of open files; `None` for no limit.
    async fn tree(
        &self,
        plan: &Plan,
        seed: u64,
        files: Arc<NodeFiles>,
        watch: &Watch,
        provisioner: &Arc<Provisioner>,
        limit: Option<u64>,
    ) -> Result<(Tree, Arc<Passthrough>)> {
        let cluster = &self.cluster;
        let descriptors = Descriptors::of_limit(limit.unwrap_or(u64::MAX), own_descriptors(cluster.len()));
        let bindmounts = Arc::new(Passthrough::new(None, descriptors));
        let mut roots = vec![];
        for node in &cluster.spec().nodes {
            let mut own = vec![];
            for name in node.own_directories() {
                own.push((
                    name.to_owned(),
                    Ino(match files.agents().of(node.host) {
                        Some(agent) => agent.add_root(node, name).await?,
                        None => bindmounts.add_root(&node.dir.join(name))?,
                    }),
                ));
            }
            roots.push(own);
        }
        let mut volumes = vec![];
        for (name, dir) in &cluster.spec().volumes {
            volumes.push((
                name.clone(),
                Ino(match files.agents().of(cluster.spec().host_of_volume(name)) {
                    Some(agent) => agent.add_volume(name).await?,
                    None => bindmounts.add_root(dir)?,
                }),
            ));
        }
        files.served_by(bindmounts.clone());
        let layout = Layout::new(cluster, |index| roots[index].clone(), volumes);
        let executor = Executor::new(
            provisioner.fleet().clone(),
            cluster.clone(),
            watch.clone(),
            provisioner.clone(),
            self.recorder.clone(),
            plan.timeout,
            SeededRng::new(seed),
        );
        let executor = executor
            .with_stop_grace(plan.stop_grace)
            .with_start_timeout(plan.start_timeout)
            .with_node_files(Arc::new(files));
        let tree = Tree::new(cluster.clone(), executor, layout);
        let _ = self.tree.set(tree.clone());
        // News between the two would be lost.
        tree.changed(crate::cluster::Change::Reachable);
        Ok((tree, bindmounts))
    }
}

/// Mounts the tree and waits until the kernel has had an answer. Returns what resolves when the mount is gone.
async fn mount(
    plan: &Plan,
    tree: &Tree,
    (bindmounts, remote): (Arc<Passthrough>, Arc<RemoteMounts>),
    made: &Made,
    record: &mut Record,
) -> Result<oneshot::Receiver<io::Result<()>>> {
    plan.paths.check_mountpoint()?;
    let mountpoint = &plan.paths.mountpoint;
    let source = OwnMount::source(&made.id.0);
    let mounted = fuse::mount(tree, bindmounts, remote, mountpoint, &source, plan.allow_other, Handle::current())
        .map_err(|error| anyhow!("cannot mount {}: {}", mountpoint.display(), fuse_advice(&error)))?;
    let own = OwnMount::at(mountpoint).ok_or_else(|| anyhow!("{} is not mounted", mountpoint.display()))?;
    record.mount = Some(made.mount.get_or_init(|| own).clone());
    plan.paths.write_record(record)?;
    let (gone, mut unmounted) = oneshot::channel();
    std::thread::Builder::new().name("fuse".into()).spawn(move || gone.send(mounted.serve()))?;
    let ended = |served: io::Result<()>| served.err().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
    let answered = tokio::select! {
        answered = tokio::time::timeout(plan.timeout, first_answer(mountpoint.clone())) => match (answered, unmounted.try_recv()) {
            // It may have been one thread that answered, and another that could not be started.
            (_, Ok(served)) => Err(ended(served)),
            (answered, Err(_)) => answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
        },
        served = &mut unmounted => Err(ended(served.unwrap_or(Ok(())))),
    };
    answered.with_context(|| format!("the mount at {} does not answer", mountpoint.display()))?;
    Ok(unmounted)
}

/// Resolves when the kernel has had an answer: until then nothing proves that requests are served. It is the one time
/// that the daemon asks something of its own mount. No other process has opened it yet; and if it is not served, the
/// thread that asks does not keep anyone from ending.
async fn first_answer(mountpoint: PathBuf) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    let (answer, answered) = oneshot::channel();
    std::thread::Builder::new().name("answer".into()).spawn(move || {
        // What the kernel remembers is no answer: AT_STATX_FORCE_SYNC.
        let flags = AtFlags::STATX_FORCE_SYNC | AtFlags::NO_AUTOMOUNT;
        let _ = answer.send(statx(CWD, &mountpoint, flags, StatxFlags::BASIC_STATS).map(drop));
    })?;
    Ok(answered.await.map_err(io::Error::other)??)
}

/// What a daemon needs for its own work: twice what one at rest was seen to have, as commands and probes need some too.
fn own_descriptors(nodes: usize) -> u64 {
    2 * (40 + 4 * nodes as u64)
}

/// A random seed, short enough to type.
fn drawn_seed() -> Result<u64> {
    let mut bytes = [0; 4];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(u32::from_ne_bytes(bytes).into())
}

/// A sentence on nodes whose image does not stay up: their start has succeeded nevertheless.
fn exited_at_once(cluster: &Cluster) -> String {
    let nodes = cluster.spec().nodes.iter().zip(cluster.snapshot());
    let exited: Vec<_> = nodes
        .filter(|(spec, node)| node.state == State::Exited && !(spec.oneshot && node.exit_code == Some(0)))
        .map(|(spec, node)| format!("{} (exit code {})", spec.name, node.exit_code.unwrap_or_default()))
        .collect();
    if exited.is_empty() { String::new() } else { format!("exited at once: {}; see their log\n", exited.join(", ")) }
}

/// So many nodes, in words.
pub(crate) fn count(nodes: usize) -> String {
    if nodes == 1 { "1 node".into() } else { format!("{nodes} nodes") }
}

/// Makes every sandbox and node, and starts each node right away if they are to be started. The first failure to make one ends it;
/// what was made stays for the caller to remove.
async fn make_nodes(
    cluster: &Cluster,
    provisioner: &Provisioner,
    watch: &Watch,
    starting: Option<&FirstStart<'_>>,
    report: &Reporter,
) -> Result<()> {
    let total = cluster.len() as u64;
    let verb = if starting.is_some() { "creating and starting" } else { "creating" };
    let progress = |done| {
        let what = format!("{verb} {}", count(cluster.len()));
        report(Report::Progress { what, done, total });
    };
    progress(0);
    let made = stream::iter(0..cluster.len()).map(async |index| {
        let name = &cluster.node_spec(index).name;
        let container = provisioner.make(index).await.map_err(|error| anyhow!("cannot create {name}: {error}"))?;
        match starting {
            Some(starting) => starting.node(index, &container).await,
            None => watch.adopt(index, &container).await?,
        }
        anyhow::Ok(())
    });
    let mut made = made.buffer_unordered(AT_ONCE);
    let mut done = 0;
    while let Some(made) = made.next().await {
        made?;
        done += 1;
        progress(done);
    }
    Ok(())
}

/// A node would never be ready by its log where the engine keeps none that can be read.
async fn refuse_unreadable_logs(plan: &Plan, fleet: &Fleet, cluster: &Cluster) -> Result<()> {
    let by_log = |index: &usize| matches!(plan.recipe(*index).readiness, Some(Readiness::Log(_)));
    let Some(index) = (0..plan.nodes.len()).find(by_log) else { return Ok(()) };
    let Some(container) = cluster.node(index).container.clone() else { return Ok(()) };
    match fleet.engine(cluster.host_of(index)).logs(&container, 0, false).await?.next().await {
        Some(Err(EngineError::Refused(why))) => {
            bail!("--ready-log: the engine does not give the nodes' output ({why}); use --ready-port or --ready-cmd")
        }
        Some(Ok(_) | Err(_)) | None => Ok(()),
    }
}

fn fuse_advice(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.trim().trim_start_matches("fusermount3: ").to_owned();
    if text.contains("user_allow_other") {
        return "--allow-other needs the line user_allow_other in /etc/fuse.conf".into();
    }
    text
}

/// Removes what is left of earlier clusters here, also from engines that the last of them had and this one has not.
async fn remove_leftovers(plan: &Plan, fleet: &Fleet, report: &Reporter) -> Result<()> {
    let say =
        |mountpoint: &str| report(Report::Step(format!("removing what is left of an earlier cluster at {mountpoint}")));
    let recorded = plan.paths.record();
    let engines = with_engines_of(fleet, recorded.iter().flat_map(Record::engines), plan.timeout).await.map_err(|error| {
        let at = plan.paths.mountpoint.display();
        anyhow!(
            "an earlier cluster here may have left containers behind: {error}. cthulhu prune removes them when that engine \
             answers; if it never will, cthulhu umount --host URL {at} with another engine's URL forgets them"
        )
    })?;
    remove_earlier(&plan.paths, &engines, say).await.context("cannot remove what is left of an earlier cluster here")
}

/// The engines of a fleet, and those at these addresses.
async fn with_engines_of(
    fleet: &Fleet,
    addresses: impl Iterator<Item = &String>,
    timeout: Duration,
) -> Result<Vec<Arc<dyn Engine>>, EngineError> {
    let mut engines = fleet.engines().to_vec();
    // A simulated engine has ended with its daemon.
    for address in addresses.filter(|address| !is_simulated(address)) {
        if !engines.iter().any(|engine| engine.info().address == *address) {
            engines.push(connect(Some(address), timeout).await?);
        }
    }
    Ok(engines)
}

/// Removes what clusters at a place have left in these engines, their daemons being gone, having said of each that it does.
/// An engine that fails does not hold back the others.
pub(crate) async fn remove_earlier(
    paths: &ClusterPaths,
    engines: &[Arc<dyn Engine>],
    say: impl Fn(&str),
) -> Result<()> {
    let (mut left, mut done) = (BTreeMap::new(), Ok(()));
    let found = join_all(engines.iter().map(|engine| clusters(engine.as_ref()))).await;
    for (engine, found) in engines.iter().zip(found) {
        match found {
            Ok(found) => left.extend(found.into_iter().filter_map(|found| {
                let is_here = Path::new(&found.mountpoint) == paths.mountpoint;
                let is_left = is_here && Owner::all_gone(&found.owners, engine.info().local);
                is_left.then_some((found.cluster, found.mountpoint))
            })),
            Err(error) => done = done.and(Err(error.into())),
        }
    }
    for (cluster, mountpoint) in left {
        say(&mountpoint);
        done = done.and(remove_cluster(engines, &cluster).await.map(drop).map_err(Into::into));
    }
    done
}

/// Removes what the cluster has left that had the data directory last, as its daemon was killed: its nodes may run on, and write there.
async fn remove_last_writer(plan: &Plan, fleet: &Fleet, made: &Made, report: &Reporter) -> Result<()> {
    let Some(last) = made.data.lock().last_writer() else { return Ok(()) };
    let at = last.mountpoint.display();
    let removal = async {
        let engines = with_engines_of(fleet, last.engines(), plan.timeout).await?;
        anyhow::Ok(remove_cluster(&engines, &last.cluster).await?)
    };
    match removal.await {
        Ok(removed) if removed == Default::default() => {}
        Ok(_) => {
            report(Report::Note(format!("removed what was left of the cluster at {at}, which kept its data here")))
        }
        // Nodes of that one keep the old directory when a new one takes its place.
        Err(error) if !plan.keeps_data => warn!(%error, "nodes of an earlier cluster may run on"),
        Err(error) => bail!(
            "--data {}: nodes of the cluster {} at {at} may still write there, and cannot be removed from {}: {error}. If there are none, remove {0}/lock",
            plan.data.display(),
            last.cluster,
            last.engine
        ),
    }
    Ok(())
}
