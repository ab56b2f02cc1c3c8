//! A cluster's name, and the names of containers and hosts that it needs: refused or changed if they are taken.

use std::fs::File;
use std::io::Read;

use anyhow::{Result, bail};

use super::plan::{Plan, PlannedNode};
use crate::cluster::{Cluster, ClusterId, NodeName, label};
use crate::engine::Engine;
use crate::provision::taken_name;

/// A name that no other cluster has: twelve hexadecimal digits, drawn at random.
///
/// # Errors
/// /dev/urandom cannot be read.
pub(crate) fn new_id() -> Result<ClusterId> {
    let mut bytes = [0; 6];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(ClusterId(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// Refuses container names of these nodes that are taken in their engine.
///
/// # Errors
/// A sentence, or the engine's.
pub(crate) async fn refuse_taken_names(
    plan: &Plan,
    engine: &dyn Engine,
    nodes: impl Iterator<Item = usize>,
) -> Result<()> {
    let prefix = if plan.prefix.is_empty() { String::new() } else { format!("{}-", plan.prefix) };
    let existing = engine.list(None).await?;
    for index in nodes {
        let name = format!("{prefix}{}", plan.own_name(index));
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

/// Whether nodes need their prefix in a network that was there before, because a name such as `i001` is taken in it;
/// reports it then. `names` are those that containers have there.
///
/// # Errors
/// A sentence: the prefix does not help either.
pub(super) fn needs_prefix(
    plan: &Plan,
    network: &str,
    names: &[(String, String)],
    say: &(dyn Fn(String) + Sync),
) -> Result<bool> {
    let plain: Vec<_> = (0..plan.nodes.len()).flat_map(|index| host_names(plan, index)).collect();
    let prefix = &plan.prefix;
    let prefixed: Vec<_> = plain.iter().map(|name| format!("{prefix}-{name}")).collect();
    if let Some((taken, holder)) = taken_name(names, &prefixed).filter(|_| !prefix.is_empty()) {
        bail!("{taken} is a name of the container {holder} in the network {network}: choose another --prefix");
    }
    let Some((taken, holder)) = taken_name(names, &plain) else {
        return Ok(false);
    };
    if prefix.is_empty() {
        bail!(
            "{taken} is a name of the container {holder} in the network {network}: choose host names of your own with --prefix P, or \
             another network"
        );
    }
    say(format!(
        "{taken} is a name of the container {holder} in the network {network}: host names there are {}, …",
        prefixed[0]
    ));
    Ok(true)
}

/// The names that a node has for others in its networks: those of [`ClusterSpec::aliases`](crate::cluster::ClusterSpec::aliases).
fn host_names(plan: &Plan, index: usize) -> Vec<String> {
    let PlannedNode { service, aliases, .. } = &plan.nodes[index];
    let number = service.iter().map(|_| NodeName::nth(index).to_string());
    let own = std::iter::once(plan.own_name(index).to_string());
    own.chain(number).chain(service.iter().chain(aliases).cloned()).collect()
}

/// Looks again once the nodes are there: two clusters that come to a network at the same time do not see each other before.
///
/// # Errors
/// A sentence that names the other container.
pub(crate) async fn refuse_names_taken_meanwhile(plan: &Plan, engine: &dyn Engine, cluster: &Cluster) -> Result<()> {
    let spec = cluster.spec();
    let sandboxes: Vec<_> = spec.nodes.iter().map(|node| spec.sandbox_name(node)).collect();
    let ours: Vec<_> = (0..spec.nodes.len()).flat_map(|index| spec.aliases(index)).collect();
    for name in plan.existing_networks() {
        let mut names = engine.network(name).await?.names;
        names.retain(|(_, holder)| !sandboxes.contains(holder));
        if let Some((taken, holder)) = taken_name(&names, &ours) {
            bail!(
                "the container {holder} came to the network {name} at the same time, and is called {taken} too: mount again"
            )
        }
    }
    Ok(())
}
