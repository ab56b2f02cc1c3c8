//! From a plan, and what was found for it, to the model's spec and the options of each node's container.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;

use super::agents::{Agent, Agents};
use super::data::FILES;
use super::images::Images;
use super::machines::Machines;
use super::networks::{Networks, NodeEndpoint};
use super::plan::{Plan, PlannedFile, PlannedNode, PlannedVolume};
use super::program::Program;
use crate::cluster::{ClusterId, ClusterSpec, NodeSpec};
use crate::engine::{Bind, Endpoint};
use crate::provision::{NamedVolume, NodeOptions};
use crate::template;

/// Where a node runs.
pub(super) struct Place<'a> {
    /// The directory of its files, on the engine's machine.
    dir: PathBuf,
    /// What serves them, if this machine does not.
    agent: Option<&'a Agent>,
    /// Its engine is on this machine.
    is_local: bool,
}

impl<'a> Place<'a> {
    pub(super) fn of(node: &NodeSpec, agents: &'a Agents, machines: &Machines) -> Self {
        let agent = agents.of(node.host);
        let dir = agent.map_or_else(|| node.dir.clone(), |agent| agent.node_dir(node));
        Self { dir, agent, is_local: machines.fleet.engine(node.host).info().local }
    }
}

/// How the container of one node is run.
pub(super) fn node_options(
    plan: &Plan,
    images: &Images,
    index: usize,
    variables: &template::Variables,
    endpoints: Vec<Endpoint>,
    place: &Place<'_>,
) -> Result<NodeOptions> {
    let recipe = plan.recipe(index).clone();
    let Program { mut command, env } = Program::render(&recipe, variables)?;
    let mut entrypoint = recipe.entrypoint;
    if recipe.image.is_none() {
        entrypoint.get_or_insert_with(|| images.own.argv.clone());
        command.get_or_insert_with(|| vec!["demo".into()]);
    }
    let file = |(number, file): (usize, &PlannedFile)| Bind {
        source: place.dir.join(FILES).join(number.to_string()),
        target: file.target.clone(),
        read_only: true,
    };
    let files: Vec<_> = recipe.files.iter().enumerate().map(file).collect();
    let (image, mut image_volumes) = images.recipes[plan.nodes[index].recipe].clone();
    image_volumes.extend(recipe.anonymous_volumes);
    Ok(NodeOptions {
        endpoints,
        image,
        entrypoint,
        command,
        env,
        dir: place.dir.clone(),
        etc_target: recipe.etc_target,
        var_target: recipe.var_target,
        volumes: recipe.mounts.into_iter().chain(files).collect(),
        image_volumes,
        named_volumes: recipe.volumes.iter().map(|volume| named_volume(plan, volume, place)).collect(),
        run: recipe.run,
        network: recipe.network,
    })
}

/// A named volume as the engine knows it. Its content lies in a directory that the mount shows, if one is known.
fn named_volume(plan: &Plan, volume: &PlannedVolume, place: &Place<'_>) -> NamedVolume {
    let PlannedVolume { name, external, labels, target, read_only, no_copy } = volume.clone();
    NamedVolume {
        directory: match place.agent {
            _ if external.is_some() => None,
            Some(agent) => Some(agent.volume_dir(&name)),
            None => place.is_local.then(|| plan.volume_data(&name)),
        },
        name,
        external,
        labels,
        target,
        read_only,
        no_copy,
    }
}

/// What the model is of.
pub(super) fn cluster_spec(
    plan: &Plan,
    id: &ClusterId,
    images: &Images,
    networks: &Networks,
    machines: &Machines,
) -> ClusterSpec {
    let node = |(index, endpoints): (usize, &Vec<NodeEndpoint>)| {
        let (name, own_name) = (plan.node_name(index), plan.own_name(index));
        let PlannedNode { service, aliases, published_port, depends_on, oneshot, stop_grace, log_limit, .. } =
            plan.nodes[index].clone();
        let called = |endpoint: &NodeEndpoint| match endpoint.called.as_str() {
            "" => "default".to_owned(),
            called => called.to_owned(),
        };
        let addresses = endpoints.iter().map(|endpoint| (called(endpoint), endpoint.address));
        NodeSpec {
            dir: plan.node_data(index),
            has_etc: plan.recipe(index).etc_target.is_some(),
            has_var: plan.recipe(index).var_target.is_some(),
            volumes: own_volumes(&plan.recipe(index).volumes),
            ip: endpoints[0].address,
            endpoints: if service.is_some() { addresses.collect() } else { vec![] },
            image: images.node(plan, index).to_owned(),
            host: machines.host_of(index),
            service,
            aliases,
            published_port,
            depends_on,
            oneshot,
            stop_grace,
            log_limit,
            probed: plan.recipe(index).readiness.is_some(),
            name,
            own_name,
        }
    };
    ClusterSpec {
        id: id.clone(),
        mountpoint: plan.paths.mountpoint.clone(),
        prefix: plan.prefix.clone(),
        prefixed_host_names: networks.prefixed_host_names,
        port: plan.port,
        volumes: plan
            .recipes
            .iter()
            .flat_map(|recipe| own_volumes(&recipe.volumes))
            .map(|name| (name.clone(), plan.volume_data(&name)))
            .collect(),
        roles: plan.roles.all.iter().map(|role| role.name.clone()).collect(),
        hosts: machines.specs(),
        nodes: networks.nodes.iter().enumerate().map(node).collect(),
    }
}

/// The names of the volumes among these that are ours.
fn own_volumes(volumes: &[PlannedVolume]) -> Vec<String> {
    let own = volumes.iter().filter(|volume| volume.external.is_none());
    own.map(|volume| volume.name.clone()).collect::<BTreeSet<_>>().into_iter().collect()
}
