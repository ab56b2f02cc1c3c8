//! Removes what a cluster left in its engines, found by its labels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};

use super::AT_ONCE;
use crate::cluster::label;
use crate::engine::{Engine, EngineError, Labels, Listed, NetworkDriver, Result, while_it_answers};
use crate::sync::time;

/// How long the engine may take for one step of a teardown. Removing a busy container can take it ten seconds.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a ping may stay unanswered meanwhile. After that the engine counts as silent, and the teardown stops
/// waiting.
const SILENCE: Duration = Duration::from_secs(10);

async fn patiently<T>(engine: &dyn Engine, call: impl Future<Output = Result<T>>) -> Result<T> {
    let call = time::timeout(STEP_TIMEOUT, call);
    let call = async { call.await.unwrap_or(Err(EngineError::TimedOut(STEP_TIMEOUT))) };
    while_it_answers(engine, SILENCE, call).await
}

/// Whether further requests are pointless after this error.
fn is_away(error: &EngineError) -> bool {
    matches!(error, EngineError::Unreachable(_) | EngineError::TimedOut(SILENCE))
}

/// How much was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Containers.
    pub containers: usize,
    pub(crate) networks: usize,
    /// Volumes.
    pub volumes: usize,
}

/// Why not all of a cluster could be removed.
#[derive(Debug, thiserror::Error)]
#[error("{}{error}", .address.as_ref().map(|address| format!("{address}: ")).unwrap_or_default())]
pub struct NotRemoved {
    /// The engine in which something is left, if the cluster had several.
    pub(crate) address: Option<String>,
    /// The engine's error.
    pub error: EngineError,
}

/// Removes every container, network and volume of a cluster from its engines, each node before its sandbox, and networks
/// after all nodes.
///
/// # Errors
/// The first of an engine's; everything else was still tried, unless the engine is gone or silent: an error of the
/// kind `Unreachable` or `TimedOut`, a quarter of a minute later at most.
pub async fn remove_cluster(engines: &[Arc<dyn Engine>], cluster: &str) -> std::result::Result<Removed, NotRemoved> {
    const PASSES: u32 = 5;
    let ours = format!("{}={cluster}", label::CLUSTER);
    let mut removed = Removed::default();
    for _ in 1..PASSES {
        let Err(failure) = remove_all(engines, &ours, &mut removed).await else { return Ok(removed) };
        // A container that a dead daemon had asked for can come after the others were listed. It keeps volumes and networks.
        if is_away(&failure.error) || !is_any_left(engines, &ours).await? {
            return Err(failure);
        }
        time::sleep(Duration::from_millis(100)).await;
    }
    remove_all(engines, &ours, &mut removed).await.map(|()| removed)
}

/// Says where an error is from, if there are several engines.
fn from_one_of<T>(engines: &[Arc<dyn Engine>], host: usize, done: Result<T>) -> std::result::Result<T, NotRemoved> {
    let address = || (engines.len() > 1).then(|| engines[host].info().address.clone());
    done.map_err(|error| NotRemoved { address: address(), error })
}

async fn is_any_left(engines: &[Arc<dyn Engine>], ours: &str) -> std::result::Result<bool, NotRemoved> {
    for (host, engine) in engines.iter().enumerate() {
        let listed = patiently(engine.as_ref(), labelled(engine.as_ref(), ours)).await;
        if !from_one_of(engines, host, listed)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes what there is with a label, and counts it.
async fn remove_all(
    engines: &[Arc<dyn Engine>],
    ours: &str,
    removed: &mut Removed,
) -> std::result::Result<(), NotRemoved> {
    let mut failure = None;
    let mut is_away = vec![false; engines.len()];
    let removals = engines.iter().map(|engine| remove_containers(engine.as_ref(), ours));
    for (host, (containers, done)) in join_all(removals).await.into_iter().enumerate() {
        removed.containers += containers;
        is_away[host] = done.as_ref().is_err_and(self::is_away);
        failure = failure.or(from_one_of(engines, host, done).err());
    }
    // An engine that is away may still have containers in the networks that reach all of them.
    let all_answer = !is_away.contains(&true);
    for (host, engine) in engines.iter().enumerate().filter(|(host, _)| !is_away[*host]) {
        let done = remove_networks_and_volumes(engine.as_ref(), ours, all_answer, removed).await;
        failure = failure.or(from_one_of(engines, host, done).err());
    }
    failure.map_or(Ok(()), Err)
}

/// Returns how many were removed, and the first error.
async fn remove_containers(engine: &dyn Engine, ours: &str) -> (usize, Result<()>) {
    match patiently(engine, labelled(engine, ours)).await {
        Ok(containers) => remove_listed(engine, &containers).await,
        Err(error) => (0, Err(error)),
    }
}

/// Returns how many were removed, and the first error.
pub(super) async fn remove_listed(engine: &dyn Engine, containers: &[Listed]) -> (usize, Result<()>) {
    let (mut removed, mut failure) = (0, None);
    let mut removals = stream::iter(by_node(containers))
        .map(|containers| async move {
            let mut removals = vec![];
            for listed in containers {
                removals.push(patiently(engine, engine.remove(&listed.id)).await);
                if matches!(removals.last(), Some(Err(error)) if is_away(error)) {
                    break;
                }
            }
            removals
        })
        .buffer_unordered(AT_ONCE);
    while let Some(done) = removals.next().await {
        for done in done {
            match done {
                Ok(()) => removed += 1,
                Err(error) if is_away(&error) => return (removed, Err(error)),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
    }
    (removed, failure.map_or(Ok(()), Err))
}

async fn remove_networks_and_volumes(
    engine: &dyn Engine,
    ours: &str,
    all_answer: bool,
    removed: &mut Removed,
) -> Result<()> {
    let mut failure = None;
    let makes_overlays = engine.info().swarm.as_ref().is_some_and(|swarm| swarm.is_manager);
    for network in patiently(engine, engine.list_networks(Some(ours))).await? {
        // Only a manager removes those; from the other engines they go by themselves.
        if network.driver == NetworkDriver::Overlay.name() && !(makes_overlays && all_answer) {
            continue;
        }
        let gone = async {
            remove_network(engine, &network.id).await?;
            if network.driver == NetworkDriver::Overlay.name() { until_gone(engine, &network.id).await } else { Ok(()) }
        };
        match gone.await {
            Ok(()) => removed.networks += 1,
            Err(error) if is_away(&error) => return Err(error),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    for volume in patiently(engine, engine.list_volumes(Some(ours))).await? {
        match patiently(engine, engine.remove_volume(&volume.name)).await {
            Ok(()) => removed.volumes += 1,
            Err(error) if is_away(&error) => return Err(error),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(()), Err)
}

/// The containers of each node, its sandbox last: nodes go before the network that they are in. What a user has labelled goes by
/// itself.
fn by_node(containers: &[Listed]) -> Vec<Vec<&Listed>> {
    let mut nodes: BTreeMap<&str, Vec<&Listed>> = BTreeMap::new();
    let mut others = vec![];
    for listed in containers {
        match value(&listed.labels, label::NODE) {
            Some(node) => nodes.entry(node).or_default().push(listed),
            None => others.push(vec![listed]),
        }
    }
    for containers in nodes.values_mut() {
        containers.sort_by_key(|listed| value(&listed.labels, label::ROLE) == Some(label::SANDBOX));
    }
    nodes.into_values().chain(others).collect()
}

/// An endpoint can outlive its container by a moment: it is tried again for a while before it counts as a failure.
async fn remove_network(engine: &dyn Engine, id: &str) -> Result<()> {
    const TRIES: u32 = 20;
    for _ in 1..TRIES {
        match patiently(engine, engine.remove_network(id)).await {
            Err(EngineError::Refused(_) | EngineError::Conflict(_)) => {
                time::sleep(Duration::from_millis(100)).await;
            }
            done => return done,
        }
    }
    patiently(engine, engine.remove_network(id)).await
}

/// A swarm says that a network is removed before it is.
async fn until_gone(engine: &dyn Engine, id: &str) -> Result<()> {
    const TRIES: u32 = 50;
    for _ in 0..TRIES {
        match patiently(engine, engine.network(id)).await {
            Ok(_) => time::sleep(Duration::from_millis(100)).await,
            Err(EngineError::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What a cluster has in an engine, by its labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The cluster's id.
    pub cluster: String,
    /// Where it was mounted, as its daemon's own things say.
    pub mountpoint: String,
    /// Every owner that its things name. Things that a user has labelled, so that they are removed with the cluster,
    /// need not name one.
    pub owners: BTreeSet<String>,
    /// Whose daemon it was, on the daemon's machine; `None` if no label says so.
    pub(crate) uid: Option<u32>,
    /// The image of its nodes, if it has one yet.
    pub(crate) image: Option<String>,
    /// How many nodes have a container.
    pub(crate) nodes: usize,
    /// Containers, sandboxes among them.
    pub containers: usize,
    pub(crate) networks: Vec<String>,
    /// How many volumes it has.
    pub volumes: usize,
}

impl Found {
    /// Adds what the same cluster has in another engine.
    pub(crate) fn add(&mut self, other: Self) {
        self.owners.extend(other.owners);
        self.uid = self.uid.or(other.uid);
        self.image = self.image.take().or(other.image);
        self.nodes += other.nodes;
        self.containers += other.containers;
        self.networks
            .extend(other.networks.into_iter().filter(|name| !self.networks.contains(name)).collect::<Vec<_>>());
        self.volumes += other.volumes;
    }
}

/// All clusters that have something in the engine, by mountpoint.
///
/// # Errors
/// The engine's.
pub async fn clusters(engine: &dyn Engine) -> Result<Vec<Found>> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for listed in patiently(engine, labelled(engine, label::CLUSTER)).await? {
        let cluster = entry(&mut found, &listed.labels);
        cluster.containers += 1;
        if value(&listed.labels, label::ROLE) == Some(label::NODE_ROLE) {
            cluster.nodes += 1;
            cluster.image.get_or_insert(listed.image);
        }
    }
    for network in patiently(engine, engine.list_networks(Some(label::CLUSTER))).await? {
        entry(&mut found, &network.labels).networks.push(network.name);
    }
    for volume in patiently(engine, engine.list_volumes(Some(label::CLUSTER))).await? {
        entry(&mut found, &volume.labels).volumes += 1;
    }
    let mut found: Vec<_> = found.into_values().collect();
    found.sort_by(|a, b| (&a.mountpoint, &a.cluster).cmp(&(&b.mountpoint, &b.cluster)));
    Ok(found)
}

fn entry<'a>(found: &'a mut BTreeMap<String, Found>, labels: &Labels) -> &'a mut Found {
    let get = |key| value(labels, key).unwrap_or_default().to_owned();
    let cluster = found.entry(get(label::CLUSTER)).or_default();
    cluster.cluster = get(label::CLUSTER);
    if let Some(owner) = value(labels, label::OWNER)
        && cluster.owners.insert(owner.to_owned())
        && cluster.owners.len() == 1
    {
        cluster.mountpoint = get(label::MOUNTPOINT);
        cluster.uid = value(labels, label::USER).and_then(|uid| uid.parse().ok());
    }
    cluster
}

/// Containers that carry `wanted` (`key` or `key=value`) as a label of their own. `docker commit` writes a container's
/// labels into the image, and whatever is made from that has them too. Such a container is not ours.
pub(super) async fn labelled(engine: &dyn Engine, wanted: &str) -> Result<Vec<Listed>> {
    let mut listed = engine.list(Some(wanted)).await?;
    listed.retain(has_labels_of_its_own);
    Ok(listed)
}

fn has_labels_of_its_own(listed: &Listed) -> bool {
    let own = |key| value(&listed.labels, key);
    match &listed.image_labels {
        // The second is another for each container that a daemon makes, also of an image that was committed of its own nodes.
        Some(image) => [label::CLUSTER, label::CONTAINER].iter().any(|key| own(key) != value(image, key)),
        // The image is gone. While a container is there no other has its name.
        None => own(label::CONTAINER).is_none_or(|made| made.split('/').next() == Some(listed.name.as_str())),
    }
}

pub(super) fn value<'a>(labels: &'a Labels, key: &str) -> Option<&'a str> {
    labels.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ContainerId;
    use crate::engine::simulated::{Op, SimulatedEngine};
    use crate::engine::{ContainerSpec, VolumeMount};

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn listed(name: &str, own: &[(&str, &str)], image: Option<&[(&str, &str)]>) -> Listed {
        Listed {
            id: ContainerId(name.into()),
            name: name.into(),
            image: "image".into(),
            labels: labels(own),
            image_labels: image.map(labels),
            running: true,
        }
    }

    #[test]
    fn labels_of_the_image_are_nobodys() {
        let node = [(label::CLUSTER, "a"), (label::CONTAINER, "i001/1")];
        for (what, ours, container) in [
            ("a node", true, listed("i001", &node, Some(&[]))),
            ("a node, renamed", true, listed("x", &node, Some(&[]))),
            ("a node of an earlier version", true, listed("i001", &node[..1], Some(&[]))),
            ("what a user has labelled", true, listed("x", &node[..1], Some(&[("k", "v")]))),
            ("of a committed node", false, listed("x", &node, Some(&node))),
            ("the same by the node's name", false, listed("i001", &node, Some(&node))),
            ("of a committed node of an earlier version", false, listed("x", &node[..1], Some(&node[..1]))),
            (
                "a node of another cluster's committed node",
                true,
                listed("i001", &node, Some(&[(label::CLUSTER, "b"), (label::CONTAINER, "i001/1")])),
            ),
            (
                "a node recreated from an image of itself",
                true,
                listed("i001", &[(label::CLUSTER, "a"), (label::CONTAINER, "i001/4")], Some(&node)),
            ),
            ("a node whose image is gone", true, listed("i001", &node, None)),
            ("of a committed node, the image gone", false, listed("x", &node, None)),
            ("of an earlier version, the image gone", true, listed("x", &node[..1], None)),
        ] {
            assert_eq!(has_labels_of_its_own(&container), ours, "{what}");
        }
    }

    #[tokio::test]
    async fn a_cluster_is_what_its_owners_say_and_takes_what_users_labelled() {
        let engine = SimulatedEngine::new();
        let ours = labels(&[(label::CLUSTER, "a"), (label::OWNER, "o"), (label::MOUNTPOINT, "/m"), (label::USER, "7")]);
        engine.create_network("mine", &"10.0.0.0/24".into(), &labels(&[(label::CLUSTER, "a")])).await.unwrap();
        engine.create_volume("ours", &ours, None).await.unwrap();
        engine.create_volume("other", &labels(&[(label::CLUSTER, "b"), (label::OWNER, "p")]), None).await.unwrap();
        engine.create_volume("odd", &labels(&[(label::CLUSTER, "a"), (label::OWNER, "q")]), None).await.unwrap();
        let found = clusters(&engine).await.unwrap();
        let a = found.iter().find(|found| found.cluster == "a").unwrap();
        assert_eq!((found.len(), a.networks.len(), a.volumes), (2, 1, 2));
        assert_eq!(a.owners.iter().map(String::as_str).collect::<Vec<_>>(), ["o", "q"]);
        let shared: [Arc<dyn Engine>; 1] = [Arc::new(engine.clone())];
        let removed = remove_cluster(&shared, "a").await.unwrap();
        assert_eq!((removed.networks, removed.volumes), (1, 2));
        assert_eq!(clusters(&engine).await.unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_container_that_comes_after_the_others_were_listed_goes_too() {
        let engine = SimulatedEngine::new();
        engine.add_image("image");
        let ours = labels(&[(label::CLUSTER, "a")]);
        engine.create_volume("kept", &ours, None).await.unwrap();
        let late = ContainerSpec {
            name: "late".into(),
            image: "image".into(),
            labels: ours,
            volumes: vec![VolumeMount { name: "kept".into(), target: "/data".into(), ..VolumeMount::default() }],
            ..ContainerSpec::default()
        };
        engine.delay(Op::ListNetworks, Duration::from_secs(1));
        let shared: [Arc<dyn Engine>; 1] = [Arc::new(engine.clone())];
        let (removed, made) = tokio::join!(remove_cluster(&shared, "a"), async {
            time::sleep(Duration::from_millis(500)).await;
            engine.create(&late).await
        });
        made.unwrap();
        let removed = removed.unwrap();
        assert_eq!((removed.containers, removed.volumes), (1, 1));
        assert!(clusters(&engine).await.unwrap().is_empty());
    }
}
