//! The machines of a cluster: their engines, and which nodes run on which.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use futures_util::future::try_join_all;

use super::plan::Plan;
use crate::cluster::{Cluster, HostSpec, Names, NodeName, NodeWords};
use crate::engine::Engine;
use crate::fleet::{Fleet, Room};
use crate::provision::Provisioner;

/// How long nodes of two machines may take to reach each other after they were made.
const MEETING: Duration = Duration::from_secs(10);

/// Where the nodes of a plan run.
pub(super) struct Machines {
    pub(super) fleet: Fleet,
    /// What each machine is called.
    pub(super) names: Vec<String>,
    /// The machine of each node.
    of_nodes: Vec<usize>,
}

impl Machines {
    /// Puts each node on a machine.
    ///
    /// # Errors
    /// A sentence: the nodes cannot be put there.
    pub(super) fn of(plan: &Plan, fleet: Fleet, names: Vec<String>) -> Result<Self> {
        let of_nodes = match fleet.len() {
            1 => vec![0; plan.nodes.len()],
            _ => place(plan, &fleet, &names)?,
        };
        Ok(Self { fleet, names, of_nodes })
    }

    /// The machine that a node runs on, by index.
    pub(super) fn host_of(&self, index: usize) -> usize {
        self.of_nodes[index]
    }

    /// The engine that a node runs in.
    pub(super) fn engine_of(&self, index: usize) -> &Arc<dyn Engine> {
        self.fleet.engine(self.of_nodes[index])
    }

    /// Whether a machine's nodes do not see this machine's files. Unknown of an engine alone that is neither here nor
    /// reached over ssh: a virtual machine may share them.
    pub(super) fn has_own_files(&self, host: usize) -> Option<bool> {
        let info = self.fleet.engine(host).info();
        if info.is_here { Some(false) } else { (self.fleet.len() > 1 || info.over_ssh).then_some(true) }
    }

    /// The nodes that run on a machine.
    pub(super) fn nodes_on(&self, host: usize) -> impl Iterator<Item = usize> {
        (0..self.of_nodes.len()).filter(move |index| self.of_nodes[*index] == host)
    }

    /// What the model says of them: nothing if there is only one.
    pub(super) fn specs(&self) -> Vec<HostSpec> {
        let several = self.names.iter().zip(self.fleet.addresses()).filter(|_| self.fleet.len() > 1);
        several.map(|(name, address)| HostSpec { name: name.clone(), address }).collect()
    }
}

fn place(plan: &Plan, fleet: &Fleet, names: &[String]) -> Result<Vec<usize>> {
    if let Some((unknown, _)) = plan.capacities.iter().find(|(host, _)| !names.contains(host)) {
        bail!("--capacity {unknown}: no machine has that name; there are {}", names.join(", "));
    }
    let room = |(engine, name): (&Arc<dyn Engine>, &String)| Room {
        name: name.clone(),
        labels: engine.info().labels.clone(),
        capacity: plan.capacities.iter().rfind(|(host, _)| host == name).map(|(_, capacity)| *capacity),
    };
    let rooms: Vec<_> = fleet.engines().iter().zip(names).map(room).collect();
    let placed = plan.placement.place(&node_names(plan), &rooms).map_err(|why| anyhow!("{why}"))?;
    refuse_divided_volumes(plan, &placed)?;
    Ok(placed)
}

/// Tries whether a node of each machine reaches one of each other machine with which it shares a network.
///
/// # Errors
/// A sentence: one is not reached.
pub(super) async fn check_reach(cluster: &Cluster, provisioner: &Provisioner) -> Result<()> {
    let spec = cluster.spec();
    let hosts = 0..spec.hosts.len();
    let pairs = hosts.clone().flat_map(|from| hosts.clone().map(move |to| (from, to))).filter(|(from, to)| from != to);
    try_join_all(pairs.map(|(from, to)| check_pair(cluster, provisioner, from, to))).await.map(drop)
}

async fn check_pair(cluster: &Cluster, provisioner: &Provisioner, from: usize, to: usize) -> Result<()> {
    let spec = cluster.spec();
    let on = |host: usize| (0..cluster.len()).filter(move |index| cluster.host_of(*index) == host);
    let pair = on(from).find_map(|a| on(to).find_map(|b| Some((a, b, spec.address_for(b, a)?))));
    let Some((a, b, address)) = pair else { return Ok(()) };
    let until = Instant::now() + MEETING;
    // The engines tell each other of new containers by gossip, which takes a moment.
    while !provisioner.reaches(a, address).await? {
        if Instant::now() > until {
            bail!(
                "{} on {} does not reach {} on {} ({address}): open 7946/tcp and udp and 4789/udp between the machines, or, if \
                 the network is an encrypted overlay, see that both have IPsec (modprobe esp4)",
                spec.nodes[a].name,
                spec.hosts[from].name,
                spec.nodes[b].name,
                spec.hosts[to].name
            );
        }
        tokio::time::sleep(MEETING / 50).await;
    }
    Ok(())
}

/// How nodes are named before there is a model.
fn node_names(plan: &Plan) -> Names {
    if plan.nodes.iter().all(|node| node.service.is_none()) {
        return Names::numbered(plan.nodes.len());
    }
    let called: Vec<NodeName> = (0..plan.nodes.len()).map(|index| plan.node_name(index)).collect();
    let words = plan.nodes.iter().zip(&called).map(|(node, name)| NodeWords {
        name,
        service: node.service.as_deref(),
        aliases: &node.aliases,
    });
    Names::of(words)
}

/// A volume is on one machine, so all nodes that use it must be.
fn refuse_divided_volumes(plan: &Plan, placed: &[usize]) -> Result<()> {
    let mut places: Vec<(&str, usize, usize)> = vec![];
    for (index, host) in placed.iter().enumerate() {
        for volume in &plan.recipe(index).volumes {
            match places.iter().find(|(name, ..)| *name == volume.name) {
                Some((name, other, first)) if other != host => {
                    let (first, second) = (plan.node_name(*first), plan.node_name(index));
                    bail!(
                        "{first} and {second} share the volume {name}, so they have to be on one machine: see --place"
                    );
                }
                Some(_) => {}
                None => places.push((&volume.name, *host, index)),
            }
        }
    }
    Ok(())
}
