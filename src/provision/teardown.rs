//! Takes away what a cluster left in an engine, found by its labels.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::AT_ONCE;
use crate::cluster::label;
use crate::engine::{Engine, EngineError, Labels, Listed, Result, while_it_answers};

/// How long the engine may take for one step of a teardown. Removing a busy container can take it ten seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may leave a ping without an answer meanwhile: then it is silent, and nobody waits any longer.
const SILENCE: Duration = Duration::from_secs(10);

async fn patiently<T>(engine: &dyn Engine, call: impl Future<Output = Result<T>>) -> Result<T> {
    let call = tokio::time::timeout(PATIENCE, call);
    let call = async { call.await.unwrap_or(Err(EngineError::TimedOut(PATIENCE))) };
    while_it_answers(engine, SILENCE, call).await
}

/// Whether after this error it is in vain to ask for anything more.
fn is_away(error: &EngineError) -> bool {
    matches!(error, EngineError::Unreachable(_) | EngineError::TimedOut(SILENCE))
}

/// How much was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Containers.
    pub containers: usize,
    /// Networks.
    pub networks: usize,
    /// Volumes.
    pub volumes: usize,
}

/// Removes every container, network and volume of a cluster, nodes before sandboxes.
///
/// # Errors
/// The first of the engine's; everything else was tried all the same, unless the engine is gone or silent: an error of
/// the kind `Unreachable` or `TimedOut`, a quarter of a minute later at most.
pub async fn remove_cluster(engine: &dyn Engine, cluster: &str) -> Result<Removed> {
    let ours = format!("{}={cluster}", label::CLUSTER);
    let mut removed = Removed::default();
    let mut failure = None;
    let (sandboxes, nodes): (Vec<_>, Vec<_>) = patiently(engine, engine.list(Some(&ours)))
        .await?
        .into_iter()
        .partition(|listed| value(&listed.labels, label::ROLE) == Some(label::SANDBOX));
    for (group, at_once) in [(nodes, AT_ONCE), (sandboxes, SANDBOXES_AT_ONCE)] {
        let mut removals = stream::iter(&group)
            .map(|listed: &Listed| patiently(engine, engine.remove(&listed.id)))
            .buffer_unordered(at_once);
        while let Some(done) = removals.next().await {
            match done {
                Ok(()) => removed.containers += 1,
                Err(error) if is_away(&error) => return Err(error),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
    }
    for network in patiently(engine, engine.list_networks(Some(&ours))).await? {
        match remove_network(engine, &network.id).await {
            Ok(()) => removed.networks += 1,
            Err(error) if is_away(&error) => return Err(error),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    for volume in patiently(engine, engine.list_volumes(Some(&ours))).await? {
        match patiently(engine, engine.remove_volume(&volume.name)).await {
            Ok(()) => removed.volumes += 1,
            Err(error) if is_away(&error) => return Err(error),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(removed), Err)
}

/// Sandboxes have the endpoints in the network. Docker 20.10 can lose count of those that are removed at the same time, and then keeps the
/// network ("has active endpoints", and there is none) until it restarts.
const SANDBOXES_AT_ONCE: usize = 1;

/// An endpoint can outlive its container by a moment: try again for a while before it counts as a failure.
async fn remove_network(engine: &dyn Engine, id: &str) -> Result<()> {
    const TRIES: u32 = 20;
    for _ in 1..TRIES {
        match patiently(engine, engine.remove_network(id)).await {
            Err(EngineError::Refused(_) | EngineError::Conflict(_)) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            done => return done,
        }
    }
    patiently(engine, engine.remove_network(id)).await
}

/// Clusters that have something in the engine, with the labels of what they have: (cluster id, mountpoint, owner).
///
/// # Errors
/// The engine's.
pub async fn leftovers(engine: &dyn Engine) -> Result<Vec<(String, String, String)>> {
    let containers =
        patiently(engine, engine.list(Some(label::CLUSTER))).await?.into_iter().map(|listed| listed.labels);
    let networks =
        patiently(engine, engine.list_networks(Some(label::CLUSTER))).await?.into_iter().map(|network| network.labels);
    let volumes =
        patiently(engine, engine.list_volumes(Some(label::CLUSTER))).await?.into_iter().map(|volume| volume.labels);
    let mut found: Vec<_> = containers
        .chain(networks)
        .chain(volumes)
        .map(|labels| {
            let get = |key| value(&labels, key).unwrap_or_default().to_owned();
            (get(label::CLUSTER), get(label::MOUNTPOINT), get(label::OWNER))
        })
        .collect();
    found.sort();
    found.dedup();
    Ok(found)
}

/// What a cluster has in an engine, as its labels tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The cluster's id.
    pub cluster: String,
    /// Where it was mounted.
    pub mountpoint: String,
    /// Its owner's label.
    pub owner: String,
    /// Whose daemon it was, on the daemon's machine; `None` if no label says so.
    pub uid: Option<u32>,
    /// The image of its nodes, if it has one yet.
    pub image: Option<String>,
    /// How many nodes have a container.
    pub nodes: usize,
    /// Containers, sandboxes among them.
    pub containers: usize,
    /// Names of its networks.
    pub networks: Vec<String>,
    /// How many volumes it has.
    pub volumes: usize,
}

/// All clusters that have something in the engine, by mountpoint.
///
/// # Errors
/// The engine's.
pub async fn clusters(engine: &dyn Engine) -> Result<Vec<Found>> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for listed in patiently(engine, engine.list(Some(label::CLUSTER))).await? {
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
    found.entry(get(label::CLUSTER)).or_insert_with(|| Found {
        cluster: get(label::CLUSTER),
        mountpoint: get(label::MOUNTPOINT),
        owner: get(label::OWNER),
        uid: value(labels, label::USER).and_then(|uid| uid.parse().ok()),
        ..Found::default()
    })
}

fn value<'a>(labels: &'a Labels, key: &str) -> Option<&'a str> {
    labels.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
}
