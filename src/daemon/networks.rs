//! The networks of a cluster, and which addresses its nodes have in them.

use std::net::Ipv4Addr;

use anyhow::{Result, anyhow};

use super::machines::Machines;
use super::names::needs_prefix;
use super::plan::Plan;
use crate::cluster::ClusterId;
use crate::engine::{Endpoint, Labels};
use crate::provision::{self, NetworkPlan, NetworkRequest};

/// Where the nodes are connected.
pub(crate) struct Networks {
    /// The endpoints of each node, in order; at least one each.
    pub(crate) nodes: Vec<Vec<NodeEndpoint>>,
    /// Host names have the prefix, as another container has a node's name.
    pub(crate) prefixed_host_names: bool,
}

/// A node's place in a network.
pub(crate) struct NodeEndpoint {
    /// What the user calls the network; empty for the only one of equal nodes.
    pub(crate) called: String,
    /// Its name or id for the engine.
    pub(crate) network: String,
    pub(crate) address: Ipv4Addr,
    /// Names that the node has in this network besides its own.
    pub(crate) aliases: Vec<String>,
}

impl Networks {
    /// The endpoints of the node at `index`, which is called `names` in every network.
    pub(crate) fn endpoints(&self, index: usize, names: &[String]) -> Vec<Endpoint> {
        let endpoint = |endpoint: &NodeEndpoint| {
            let mut aliases = names.to_vec();
            aliases.extend(endpoint.aliases.iter().filter(|alias| !names.contains(alias)).cloned());
            Endpoint { network: endpoint.network.clone(), address: endpoint.address, aliases }
        };
        self.nodes[index].iter().map(endpoint).collect()
    }
}

/// Finds or makes all networks.
///
/// # Errors
/// A sentence.
pub(crate) async fn make(
    plan: &Plan,
    machines: &Machines,
    id: &ClusterId,
    labels: &Labels,
    say: &(dyn Fn(String) + Sync),
) -> Result<Networks> {
    let mut prefixed_host_names = false;
    let mut found: Vec<std::vec::IntoIter<Ipv4Addr>> = vec![];
    let mut networks = vec![];
    for index in 0..plan.networks.len() {
        let network = find(plan, index, machines, id, labels).await?;
        prefixed_host_names |= needs_prefix(plan, &network.network, &network.names, say)?;
        found.push(network.addresses.into_iter());
        networks.push(network.network);
    }
    let mut nodes = vec![];
    for node in &plan.nodes {
        let mut endpoints = vec![];
        for endpoint in &node.endpoints {
            let address = found[endpoint.network].next().ok_or_else(|| anyhow!("a node has no address"))?;
            endpoints.push(NodeEndpoint {
                called: plan.networks[endpoint.network].called.clone(),
                network: networks[endpoint.network].clone(),
                address,
                aliases: endpoint.aliases.clone(),
            });
        }
        nodes.push(endpoints);
    }
    Ok(Networks { nodes, prefixed_host_names })
}

/// Refuses networks that have to be there and cannot be used. Nothing is made.
///
/// # Errors
/// A sentence.
pub(crate) async fn check_existing(plan: &Plan, machines: &Machines, id: &ClusterId) -> Result<()> {
    for index in 0..plan.networks.len() {
        if let NetworkRequest::Existing(_) = plan.networks[index].request {
            let network = find(plan, index, machines, id, &Labels::new()).await?;
            needs_prefix(plan, &network.network, &network.names, &|_| {})?;
        }
    }
    Ok(())
}

/// Finds or makes one network, with an address for each node in it.
async fn find(plan: &Plan, index: usize, machines: &Machines, id: &ClusterId, labels: &Labels) -> Result<NetworkPlan> {
    let endpoints = plan.nodes.iter().flat_map(|node| &node.endpoints);
    let nodes: Vec<_> =
        endpoints.filter(|endpoint| endpoint.network == index).map(|endpoint| endpoint.address).collect();
    let network = &plan.networks[index];
    let name = match network.called.as_str() {
        "" => format!("cthulhu-{id}"),
        called => format!("cthulhu-{id}-{called}"),
    };
    provision::plan(&machines.fleet, &machines.names, network, &nodes, &name, labels).await.map_err(|error| {
        match network.called.as_str() {
            "" => anyhow!("cannot set up the network: {error}"),
            called => anyhow!("cannot set up the network {called}: {error}"),
        }
    })
}
