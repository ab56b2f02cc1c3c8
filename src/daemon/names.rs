//! A cluster's name, and the names of containers and hosts that it needs: refused or changed if they are taken.

use std::fs::File;
use std::io::Read;

use anyhow::{Result, anyhow, bail};

use super::plan::Plan;
use crate::cluster::{Cluster, ClusterId, NodeName, label};
use crate::engine::{Engine, Labels};
use crate::provision::{NetworkPlan, NetworkRequest, plan as plan_network, taken_name};

/// A name that no other cluster has: twelve hexadecimal digits, drawn at random.
///
/// # Errors
/// /dev/urandom cannot be read.
pub(crate) fn new_id() -> Result<ClusterId> {
    let mut bytes = [0; 6];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(ClusterId(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// Refuses container names that are taken.
///
/// # Errors
/// A sentence, or the engine's.
pub(crate) async fn refuse_taken_names(plan: &Plan, engine: &dyn Engine) -> Result<()> {
    let prefix = if plan.prefix.is_empty() { String::new() } else { format!("{}-", plan.prefix) };
    let existing = engine.list(None).await?;
    for index in 0..plan.nodes.len() {
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

/// Whether nodes need their prefix in the network, because a name such as `i001` is taken there; reports it then.
fn needs_prefix(plan: &Plan, network: &NetworkPlan, say: &(dyn Fn(String) + Sync)) -> Result<bool> {
    let name = match &plan.network {
        NetworkRequest::Existing(name) => name.as_str(),
        NetworkRequest::Any | NetworkRequest::Subnet(_) => "",
    };
    let nodes = || (0..plan.nodes.len()).map(NodeName::nth);
    let prefix = &plan.prefix;
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
///
/// # Errors
/// A sentence.
pub(crate) async fn network_for(
    plan: &Plan,
    engine: &dyn Engine,
    id: &ClusterId,
    labels: &Labels,
    say: &(dyn Fn(String) + Sync),
) -> Result<(NetworkPlan, bool)> {
    let network = plan_network(engine, &plan.network, plan.nodes.len(), &format!("cthulhu-{id}"), labels)
        .await
        .map_err(|error| anyhow!("cannot set up the network: {error}"))?;
    let prefixed_host_names = needs_prefix(plan, &network, say)?;
    Ok((network, prefixed_host_names))
}

/// Looks again once the nodes are there: two clusters that come to a network at the same time do not see each other before.
///
/// # Errors
/// A sentence that names the other container.
pub(crate) async fn refuse_names_taken_meanwhile(plan: &Plan, engine: &dyn Engine, cluster: &Cluster) -> Result<()> {
    let NetworkRequest::Existing(name) = &plan.network else { return Ok(()) };
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
