//! Brings a cluster up, step by step.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::config::Config;
use super::data;
use super::needs::{fuse_device, fuse_helper};
use super::options::Plan;
use super::owner::Owner;
use super::place::{Lock, OwnMount, Place, Record};
use super::program::programs;
use super::readiness;
use super::report::{Report, Reporter};
use crate::cluster::faults::Dice;
use crate::cluster::{Cluster, ClusterId, ClusterSpec, NodeName, NodeSpec, State, label};
use crate::control::{DEFAULT_GRACE, Executor};
use crate::engine::docker;
use crate::engine::simulated::SimulatedEngine;
use crate::engine::{Engine, EngineError, Labels, falls_silent};
use crate::fuse;
use crate::history::{History, Recorder};
use crate::passthrough::{Descriptors, Passthrough};
use crate::provision::{
    NetworkPlan, Provisioner, cluster_labels, leftovers, plan as plan_network, remove_cluster, taken_name,
};
use crate::selfimage;
use crate::sys;
use crate::template;
use crate::tree::{Ino, Layout, Tree};
use crate::watch::{self, Watch};

/// Connects to the engine that `host` names, or to the one that is there.
///
/// # Errors
/// The engine's.
pub async fn connect(host: Option<&str>, timeout: Duration) -> Result<Arc<dyn Engine>, EngineError> {
    if let Some(url) = host.filter(|url| url.starts_with("simulated:")) {
        return Ok(Arc::new(SimulatedEngine::from_url(url)?));
    }
    let connecting = tokio::time::timeout(timeout, docker::connect(host, timeout)).await;
    match connecting.unwrap_or(Err(EngineError::TimedOut(timeout))) {
        Ok(engine) => Ok(Arc::new(engine)),
        Err(EngineError::TimedOut(_)) => {
            let which = host.map_or("the engine".to_owned(), |host| format!("the engine at {host}"));
            let seconds = timeout.as_secs_f64();
            let advice = "see that it runs, or name another with --host";
            Err(EngineError::Unreachable(format!("{which} did not answer within {seconds} s: {advice}")))
        }
        Err(error) => Err(error),
    }
}

/// A cluster that is up.
pub struct Running {
    /// Begins its commands.
    pub tree: Tree,
    /// Ends what keeps its model true.
    pub watch: Watch,
    /// Resolves when the mount is gone.
    pub unmounted: oneshot::Receiver<()>,
    /// Holds the sandboxes' connections.
    pub provisioner: Arc<Provisioner>,
    /// What the user should know besides; with a newline at its end, or empty.
    pub note: String,
}

/// What a start has made so far, for whoever must take it away again.
pub struct Made {
    /// The engine, once connected.
    pub engine: Mutex<Option<Arc<dyn Engine>>>,
    /// The cluster's id.
    pub id: ClusterId,
    /// Who tells the history, once there is one.
    pub recorder: Mutex<Option<Recorder>>,
    /// Whether the mountpoint was made, by this start or by an earlier cluster here that was killed.
    pub mountpoint: AtomicBool,
    /// The mount, once there is one.
    pub mount: std::sync::OnceLock<OwnMount>,
}

impl Made {
    /// Writes the history's last line. What the teardown does to the nodes is not told: all of them go.
    pub fn end_history(&self) {
        if let Some(recorder) = self.recorder.lock().take() {
            recorder.finish();
        }
    }
}

/// Brings it up.
///
/// # Errors
/// One sentence: what failed, on what, what to do.
pub async fn start(plan: &Plan, lock: &Lock, made: &Made, report: &Reporter) -> Result<Running> {
    let _held: &Lock = lock;
    fuse_device()?;
    fuse_helper()?;
    let timeout = plan.args.timeout.0;
    let engine = connect(plan.args.host.as_deref(), timeout).await.map_err(|error| anyhow!("{error}"))?;
    *made.engine.lock() = Some(engine.clone());
    info!(engine = %engine.info().description, address = %engine.info().address, "connected");
    // Pulling and importing take as long as they take; but not on an engine that says nothing any more.
    tokio::select! {
        started = bring_up(plan, engine.clone(), made, report) => started,
        error = falls_silent(engine.as_ref(), timeout) => Err(anyhow!("lost the engine while the cluster was made: {error}")),
    }
}

async fn bring_up(plan: &Plan, engine: Arc<dyn Engine>, made: &Made, report: &Reporter) -> Result<Running> {
    let args = &plan.args;
    let timeout = args.timeout.0;
    let step = |text: String| report(Report::Step(text));

    let limit = sys::raise_nofile_limit().unwrap_or_else(|error| {
        warn!(%error, "cannot raise the limit of open files");
        sys::nofile_limit()
    });
    remove_leftovers(plan, engine.as_ref(), report).await?;
    refuse_taken_names(plan, engine.as_ref()).await?;
    if args.network.is_some() {
        // A network that is there is only looked at. What is wrong with it is told before anything is made or pulled.
        network_for(plan, engine.as_ref(), &made.id, &Labels::new(), &|_| {}).await?;
    }

    let config = args.config.as_deref().map(Config::read).transpose()?;

    let own_image = selfimage::ensure(engine.as_ref()).await.context("cannot make the sandbox image")?;
    let mut options = plan.node_options();
    let image = match &args.image {
        Some(image) => {
            have_image(engine.as_ref(), image, report).await?;
            options.image_volumes = engine.image_volumes(image).await?;
            image.clone()
        }
        None => {
            options.entrypoint.get_or_insert_with(|| own_image.argv.clone());
            own_image.reference.clone()
        }
    };

    // Not before there is something to mount, and directly before the record says so: who clears away what a killed
    // daemon has left takes it for a directory of ours.
    if plan.place.make_mountpoint(plan.umask)? {
        made.mountpoint.store(true, Ordering::Relaxed);
    }
    // From here on there is something to clear away, whatever becomes of us; and somebody must know in which engine.
    let mut kept = Record {
        id: made.id.to_string(),
        mountpoint: plan.place.mountpoint.clone(),
        pid: std::process::id(),
        nodes: args.instances,
        image: image.clone(),
        data: plan.data.clone(),
        engine: engine.info().address.clone(),
        mount: None,
        made_mountpoint: made.mountpoint.load(Ordering::Relaxed),
    };
    plan.place.write_record(&kept)?;
    let owner = Owner::this_process().to_string();
    let labels = cluster_labels(&made.id, &plan.place.mountpoint, &owner);
    let say = |text| report(Report::Note(text));
    let (network, prefixed_host_names) = network_for(plan, engine.as_ref(), &made.id, &labels, &say).await?;

    if args.data.is_none() {
        data::clear(&plan.data)?;
    }
    let spec = cluster_spec(plan, made, image, &network, prefixed_host_names);
    let nodes = template::Nodes::new(args.port, spec.nodes.iter().map(|node| (node.name.to_string(), node.ip)));
    options.programs = programs(plan, &nodes)?;
    if args.image.is_none() {
        for program in &mut options.programs {
            program.command.get_or_insert_with(|| vec!["demo".into()]);
        }
    }
    data::prepare(&spec, &plan.data, config.as_ref(), &nodes)?;
    let is_probed = args.ready_port.is_some() || args.ready_log.is_some() || args.ready_cmd.is_some();
    let cluster = if is_probed { Cluster::probed(spec) } else { Cluster::new(spec) };
    let history = plan.data.join("history");
    let history = History::open(&history)
        .map_err(|error| anyhow!("cannot keep the history in {}: {error}", history.display()))?;
    let recorder = Recorder::new(history, cluster.clone());
    *made.recorder.lock() = Some(recorder.clone());

    // What the tree is comes after the watch that it must hear from.
    let tree_slot: Arc<std::sync::OnceLock<Tree>> = Arc::default();
    let (told, record) = (tree_slot.clone(), recorder.clone());
    let on_change = Box::new(move |change| {
        // First, so that whoever has read a change and appends a line comes after it.
        record.changed(change);
        if let Some(tree) = told.get() {
            tree.changed(change);
        }
    });
    let provisioner = Arc::new(Provisioner::new(
        engine.clone(),
        cluster.clone(),
        options,
        own_image,
        network.network,
        owner,
        timeout,
    ));
    let probe = readiness::probe(args, &nodes, &engine, &provisioner)?;
    let (pace, sandboxes) = (readiness::pace(args), Some(provisioner.clone() as Arc<dyn watch::Sandboxes>));
    let options = watch::Options { timeout, log_limit: plan.log_limit, probe, pace, sandboxes };
    let watch = Watch::begin(engine.clone(), cluster.clone(), options, on_change)
        .await
        .context("cannot follow the engine's events")?;
    make_nodes(&cluster, &provisioner, &watch, report).await?;
    for warning in provisioner.warnings() {
        report(Report::Note(format!("the engine warns: {warning}")));
    }
    refuse_names_taken_meanwhile(plan, engine.as_ref(), &cluster).await?;
    if args.ready_log.is_some() {
        refuse_unreadable_logs(engine.as_ref(), &cluster).await?;
    }
    match tokio::time::timeout(timeout, provisioner.kernel()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => warn!(%error, "cannot find out which network faults are possible"),
        Err(_) => warn!("a sandbox does not say which network faults are possible"),
    }

    let bindmounts = Arc::new(Passthrough::new(None, Descriptors::of_limit(limit.unwrap_or(u64::MAX))));
    let mut roots = vec![];
    for node in &cluster.spec().nodes {
        let root = |name: &str| bindmounts.add_root(&node.dir.join(name)).map(Ino);
        roots.push([("etc", root("etc")?), ("var", root("var")?)]);
    }
    let layout = Layout::new(&cluster, |index| roots[index]);
    let seed = args.seed.map_or_else(drawn_seed, Ok)?;
    let dice = Dice::new(seed);
    let executor = Executor::new(
        engine.clone(),
        cluster.clone(),
        watch.clone(),
        provisioner.clone(),
        recorder.clone(),
        timeout,
        dice,
    )
    .with_stop_grace(args.stop_grace.map_or(DEFAULT_GRACE, |grace| whole_seconds(grace.0)));
    let tree = Tree::new(cluster.clone(), executor, layout);
    let _ = tree_slot.set(tree.clone());
    // News between the two would be lost.
    tree.changed(crate::cluster::Change::Reachable);

    plan.place.check_mountpoint()?;
    let mountpoint = &plan.place.mountpoint;
    let source = OwnMount::source(&made.id.0);
    let mounted = fuse::mount(&tree, bindmounts, mountpoint, &source, args.allow_other, Handle::current())
        .map_err(|error| anyhow!("cannot mount {}: {}", mountpoint.display(), fuse_advice(&error)))?;
    let own = OwnMount::at(mountpoint).ok_or_else(|| anyhow!("{} is not mounted", mountpoint.display()))?;
    kept.mount = Some(made.mount.get_or_init(|| own).clone());
    plan.place.write_record(&kept)?;
    // Before the first request is served.
    recorder.begin(env!("CARGO_PKG_VERSION"), &sys::boot_id().unwrap_or_default(), seed);
    let (gone, unmounted) = oneshot::channel();
    std::thread::Builder::new().name("fuse".into()).spawn(move || {
        if let Err(error) = mounted.serve() {
            tracing::error!(%error, "the FUSE connection failed");
        }
        let _ = gone.send(());
    })?;

    let mut note = String::new();
    if args.start {
        step(format!("starting {}", count(cluster.len())));
        tree.execute("start").await.map_err(|error| anyhow!("cannot start: {error}"))?;
        note = exited_at_once(&cluster);
    }
    Ok(Running { tree, watch, unmounted, provisioner, note })
}

/// Engines take a grace in whole seconds: no less than was asked for.
fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}

/// A seed that nobody has chosen: short enough to be typed again.
fn drawn_seed() -> Result<u64> {
    let mut bytes = [0; 4];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(u32::from_ne_bytes(bytes).into())
}

/// A sentence on nodes whose image does not stay up: their start has succeeded all the same.
fn exited_at_once(cluster: &Cluster) -> String {
    let nodes = cluster.spec().nodes.iter().zip(cluster.snapshot());
    let exited: Vec<_> = nodes
        .filter(|(_, node)| node.state == State::Exited)
        .map(|(spec, node)| format!("{} (exit code {})", spec.name, node.exit_code.unwrap_or_default()))
        .collect();
    if exited.is_empty() { String::new() } else { format!("exited at once: {}; see their log\n", exited.join(", ")) }
}

fn cluster_spec(
    plan: &Plan,
    made: &Made,
    image: String,
    network: &NetworkPlan,
    prefixed_host_names: bool,
) -> ClusterSpec {
    let args = &plan.args;
    let node = |(index, ip): (usize, &std::net::Ipv4Addr)| {
        let name = NodeName::nth(index);
        NodeSpec {
            dir: plan.data.join(name.as_str()),
            ip: *ip,
            published_port: args.publish.map(|base| base + index as u16),
            name,
        }
    };
    ClusterSpec {
        id: made.id.clone(),
        mountpoint: plan.place.mountpoint.clone(),
        prefix: args.prefix.clone(),
        prefixed_host_names,
        image,
        port: args.port,
        nodes: network.addresses.iter().enumerate().map(node).collect(),
    }
}

/// So many nodes, in words.
pub fn count(nodes: usize) -> String {
    if nodes == 1 { "1 node".into() } else { format!("{nodes} nodes") }
}

async fn make_nodes(cluster: &Cluster, provisioner: &Arc<Provisioner>, watch: &Watch, report: &Reporter) -> Result<()> {
    let total = cluster.len() as u64;
    let progress = |done| {
        let what = format!("creating {}", count(cluster.len()));
        report(Report::Progress { what, done, total });
    };
    progress(0);
    let done = std::sync::atomic::AtomicU64::new(0);
    let containers = Mutex::new(vec![]);
    provisioner
        .make_all(|index, container| {
            containers.lock().push((index, container.clone()));
            progress(done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1);
        })
        .await
        .map_err(|(node, error)| anyhow!("cannot create {node}: {error}"))?;
    for (index, container) in containers.into_inner() {
        watch.adopt(index, &container).await?;
    }
    Ok(())
}

/// A node would never be ready by its log where the engine keeps none that can be read.
async fn refuse_unreadable_logs(engine: &dyn Engine, cluster: &Cluster) -> Result<()> {
    let Some(container) = cluster.node(0).container else { return Ok(()) };
    match engine.logs(&container, 0, false).await?.next().await {
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

async fn remove_leftovers(plan: &Plan, engine: &dyn Engine, report: &Reporter) -> Result<()> {
    let say =
        |mountpoint: &str| report(Report::Step(format!("removing what is left of an earlier cluster at {mountpoint}")));
    remove_earlier(&plan.place, engine, say).await.context("cannot remove what is left of an earlier cluster here")
}

/// Removes what clusters at a place have left in the engine, their daemons being gone, having said of each that it does.
pub async fn remove_earlier(place: &Place, engine: &dyn Engine, say: impl Fn(&str)) -> Result<()> {
    for (id, mountpoint, owner) in leftovers(engine).await? {
        if Path::new(&mountpoint) == place.mountpoint && Owner::is_gone(&owner, engine.info().local) {
            say(&mountpoint);
            remove_cluster(engine, &id).await?;
        }
    }
    Ok(())
}

async fn refuse_taken_names(plan: &Plan, engine: &dyn Engine) -> Result<()> {
    let prefix = if plan.args.prefix.is_empty() { String::new() } else { format!("{}-", plan.args.prefix) };
    let existing = engine.list(None).await?;
    for index in 0..plan.args.instances {
        let name = format!("{prefix}{}", NodeName::nth(index));
        let sandbox = format!("{name}-sandbox");
        let Some(taken) = existing.iter().find(|listed| listed.name == name || listed.name == sandbox) else {
            continue;
        };
        let whose = match taken.labels.iter().find(|(key, _)| key == label::MOUNTPOINT) {
            Some((_, mountpoint)) => format!(" (of the cluster at {mountpoint})"),
            None => String::new(),
        };
        bail!(
            "a container named {} exists already{whose}: choose names of your own with --prefix P, or remove it",
            taken.name
        );
    }
    Ok(())
}

/// Whether nodes can be told from others in the network by their prefix only, as somebody there is called `i001` or so already: says so then.
fn needs_prefix(plan: &Plan, network: &NetworkPlan, say: &(dyn Fn(String) + Sync)) -> Result<bool> {
    let name = plan.args.network.as_deref().unwrap_or_default();
    let nodes = || (0..plan.args.instances).map(NodeName::nth);
    let prefix = &plan.args.prefix;
    let prefixed: Vec<_> = nodes().map(|node| format!("{prefix}-{node}")).collect();
    if let Some((taken, holder)) = taken_name(&network.names, &prefixed).filter(|_| !prefix.is_empty()) {
        bail!("{taken} is a name of the container {holder} in the network {name}: choose another --prefix");
    }
    let plain: Vec<_> = nodes().map(|node| node.to_string()).collect();
    let Some((taken, holder)) = taken_name(&network.names, &plain) else {
        return Ok(false);
    };
    if prefix.is_empty() {
        bail!(
            "{taken} is a name of the container {holder} in the network {name}: choose host names of your own with --prefix P, or \
             another network"
        );
    }
    say(format!(
        "{taken} is a name of the container {holder} in the network {name}: host names there are {}, …",
        prefixed[0]
    ));
    Ok(true)
}

/// The network, and whether host names in it have the prefix.
async fn network_for(
    plan: &Plan,
    engine: &dyn Engine,
    id: &ClusterId,
    labels: &Labels,
    say: &(dyn Fn(String) + Sync),
) -> Result<(NetworkPlan, bool)> {
    let network = plan_network(engine, &plan.network(), plan.args.instances, &format!("cthulhu-{id}"), labels)
        .await
        .map_err(|error| anyhow!("cannot set up the network: {error}"))?;
    let prefixed_host_names = needs_prefix(plan, &network, say)?;
    Ok((network, prefixed_host_names))
}

/// Looks again once the nodes are there: two clusters that come to a network at the same time do not see each other before.
async fn refuse_names_taken_meanwhile(plan: &Plan, engine: &dyn Engine, cluster: &Cluster) -> Result<()> {
    let Some(name) = &plan.args.network else {
        return Ok(());
    };
    let spec = cluster.spec();
    let sandboxes: Vec<_> = spec.nodes.iter().map(|node| spec.sandbox_name(&node.name)).collect();
    let mut names = engine.network(name).await?.names;
    names.retain(|(_, holder)| !sandboxes.contains(holder));
    let ours: Vec<_> = spec.nodes.iter().flat_map(|node| spec.aliases(&node.name)).collect();
    match taken_name(&names, &ours) {
        Some((taken, holder)) => {
            bail!(
                "the container {holder} came to the network {name} at the same time, and is called {taken} too: mount again"
            )
        }
        None => Ok(()),
    }
}

async fn have_image(engine: &dyn Engine, image: &str, report: &Reporter) -> Result<()> {
    if engine.has_image(image).await? {
        return Ok(());
    }
    let what = format!("pulling {image}");
    report(Report::Step(what.clone()));
    let missing = |error: EngineError| anyhow!("the image {image} is not here and cannot be pulled: {error}");
    let mut steps = engine.pull(image).await.map_err(missing)?;
    while let Some(step) = steps.next().await {
        let step = step.map_err(missing)?;
        report(Report::Progress { what: what.clone(), done: step.done, total: step.total });
    }
    Ok(())
}
