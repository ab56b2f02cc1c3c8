//! From the services of Compose files to recipes, nodes and networks of a plan.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

use super::args::MountArgs;
use super::groups::{self, Group};
use super::recipe::{self, Nodes};
use crate::cluster::{Condition, Dependency};
use crate::compose::{self, FileContent, MountKind, NetworkDef, Place, Project, Service};
use crate::daemon::{NodeRecipe, PlannedEndpoint, PlannedFile, PlannedNode, PlannedVolume, Readiness, Variable};
use crate::engine::{Bind, RestartPolicy, RunOptions};
use crate::provision::{NetworkRequest, RequestedNetwork};

/// In bytes. A file of a config or secret is small; a large one belongs in a volume or bind.
const LARGEST_FILE: u64 = 4 << 20;

/// All nodes of a project. `args` say what holds for all of them, and what for those of one service.
///
/// # Errors
/// A sentence that names the place in a file, or the option.
pub(super) fn services(project: &Project, args: &MountArgs, mountpoint: &Path) -> Result<Nodes> {
    if let Some(refusal) = project.refusals.first() {
        let more = project.refusals.len() - 1;
        match more {
            0 => bail!("{refusal}"),
            _ => bail!("{refusal}; and {more} more: cthulhu compose check lists them"),
        }
    }
    let groups: Vec<_> =
        project.services.iter().map(|service| Group::new(&service.name, service.replicas, args)).collect();
    let groups = groups::with_options(groups, args)?;
    let mut nodes: Vec<PlannedNode> = vec![];
    let mut recipes = vec![];
    for (service, group) in project.services.iter().zip(&groups) {
        recipes.push(recipe_of(service, &group.args, mountpoint)?);
        let endpoints = endpoints(service, &project.networks);
        nodes.extend(group.nodes().map(|node| PlannedNode {
            recipe: recipes.len() - 1,
            aliases: service.container_name.iter().cloned().collect(),
            endpoints: endpoints.clone(),
            stop_grace: service.stop_grace_period.map(recipe::whole_seconds),
            oneshot: service.extension.oneshot,
            log_limit: service.extension.log_limit,
            ..node
        }));
    }
    if nodes.is_empty() {
        bail!("there is no service to run: every one has no nodes, or a profile that is off");
    }
    let names: Vec<_> = nodes.iter().filter_map(|node| node.name.clone()).collect();
    groups::check_names(&names)?;
    add_links(project, &mut nodes);
    add_dependencies(project, &mut nodes);
    describe_volumes(project, &mut recipes);
    Ok(Nodes { recipes, nodes, networks: project.networks.iter().map(network).collect() })
}

fn recipe_of(service: &Service, args: &MountArgs, mountpoint: &Path) -> Result<NodeRecipe> {
    let at = |place: &Place| format!("{place}: service '{}'", service.name);
    let of_args = recipe::recipe(&MountArgs { image: vec![], ..args.clone() }, mountpoint);
    let of_args = of_args.with_context(|| at(&service.place))?;
    let image = service.image.clone().ok_or_else(|| anyhow!("{}: it has no image", at(&service.place)))?;
    let named =
        |(name, value): &(String, String)| Variable { name: name.clone(), value: value.clone(), is_template: false };
    let run = service.run.clone();
    let mut recipe = NodeRecipe {
        image: Some(image),
        never_pull: never_pull(service),
        entrypoint: service.entrypoint.clone(),
        command: of_args.command,
        env: service.env.iter().map(named).chain(of_args.env).collect(),
        run: RunOptions {
            memory: of_args.run.memory.or(run.memory),
            nano_cpus: of_args.run.nano_cpus.or(run.nano_cpus),
            restart: if args.restart_policies { service.restart } else { RestartPolicy::No },
            user: of_args.run.user.or(run.user.clone()),
            ..run
        },
        network: service.network.clone(),
        readiness: of_args.readiness.or_else(|| readiness(&service.extension)),
        etc_target: of_args.etc_target.filter(|_| args.config.is_some() || args.etc_target.is_some()),
        var_target: of_args.var_target.filter(|_| args.initial.is_some() || args.var_target.is_some()),
        ..of_args
    };
    if recipe.command.is_empty() {
        recipe.plain_command = service.command.clone();
    }
    for mount in &service.mounts {
        match &mount.kind {
            MountKind::Bind { bind, create } => {
                let (bind, is_missing) = host_path(bind, *create, mountpoint).with_context(|| at(&mount.place))?;
                recipe.missing.extend(is_missing.then(|| bind.source.clone()));
                recipe.mounts.push(bind);
            }
            MountKind::Volume { volume: None, target, .. } => recipe.anonymous_volumes.push(target.clone()),
            MountKind::Volume { volume: Some(name), target, read_only, no_copy } => {
                recipe.volumes.push(PlannedVolume {
                    name: name.clone(),
                    external: None,
                    labels: vec![],
                    target: target.clone(),
                    read_only: *read_only,
                    no_copy: *no_copy,
                });
            }
        }
    }
    for file in &service.files {
        let content = content(&file.content).with_context(|| at(&file.place))?;
        let owner = (file.uid.is_some() || file.gid.is_some()).then(|| (file.uid.unwrap_or(0), file.gid.unwrap_or(0)));
        recipe.files.push(PlannedFile { content, target: file.target.clone(), owner, mode: file.mode });
    }
    Ok(recipe)
}

/// Adds what is said of the volumes in recipes at the top of a file.
fn describe_volumes(project: &Project, recipes: &mut [NodeRecipe]) {
    let known: HashMap<_, _> = project.volumes.iter().map(|volume| (&volume.name, volume)).collect();
    for volume in recipes.iter_mut().flat_map(|recipe| &mut recipe.volumes) {
        if let Some(known) = known.get(&volume.name) {
            volume.external.clone_from(&known.external);
            volume.labels.clone_from(&known.labels);
        }
    }
}

/// Why a missing image is not pulled, and what to do.
fn never_pull(service: &Service) -> Option<String> {
    let (place, name) = (&service.place, &service.name);
    match &service.build {
        Some(context) => Some(format!(
            "{place}: service '{name}' is built (build: {context}): run docker compose build, or name another with --image {name}=IMAGE"
        )),
        None => service.never_pull.then(|| format!("{place}: service '{name}' has pull_policy: never")),
    }
}

fn readiness(extension: &compose::Extension) -> Option<Readiness> {
    let port = extension.ready_port.map(Readiness::Port);
    port.or_else(|| extension.ready_log.clone().map(Readiness::Log))
}

/// A bind whose source does not lie in the mountpoint; and whether that is missing, and has to be made.
fn host_path(bind: &Bind, create: bool, mountpoint: &Path) -> Result<(Bind, bool)> {
    if bind.source.starts_with(mountpoint) {
        bail!("{} lies in the mountpoint, which holds nothing but the cluster", bind.source.display());
    }
    let is_missing = |path: &Path| std::fs::symlink_metadata(path).is_err();
    if create && is_missing(&bind.source) {
        // What is there of the way to it leads to where it will be.
        let there = bind.source.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"));
        recipe::outside(there, mountpoint, "a bind")?;
        return Ok((bind.clone(), true));
    }
    let source = recipe::outside(&bind.source, mountpoint, "a bind")?;
    Ok((Bind { source, ..bind.clone() }, false))
}

fn content(content: &FileContent) -> Result<Vec<u8>> {
    let path = match content {
        FileContent::Text(text) => return Ok(text.clone().into_bytes()),
        FileContent::Path(path) => path,
    };
    let meta = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if !meta.is_file() || meta.len() > LARGEST_FILE {
        bail!("{} is no file of at most {} MiB; mount it as a volume", path.display(), LARGEST_FILE >> 20);
    }
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn network(network: &NetworkDef) -> RequestedNetwork {
    let request = match (&network.external, &network.subnet) {
        (Some(name), _) => NetworkRequest::Existing(name.clone()),
        (None, Some(subnet)) => NetworkRequest::Subnet(subnet.clone()),
        (None, None) => NetworkRequest::Any,
    };
    RequestedNetwork {
        called: network.name.clone(),
        request,
        internal: network.internal,
        gateway: network.gateway,
        ip_range: network.ip_range.clone(),
        labels: network.labels.clone(),
    }
}

fn endpoints(service: &Service, networks: &[NetworkDef]) -> Vec<PlannedEndpoint> {
    let place = |name: &str| networks.iter().position(|network| network.name == name);
    let endpoint = |network: &compose::ServiceNetwork| {
        Some(PlannedEndpoint {
            network: place(&network.network)?,
            address: network.address,
            aliases: network.aliases.clone(),
        })
    };
    service.networks.iter().filter_map(endpoint).collect()
}

/// The nodes of a service.
fn of_service(nodes: &[PlannedNode], service: &str) -> Vec<usize> {
    let is_its = |node: &PlannedNode| node.service.as_deref() == Some(service);
    nodes.iter().enumerate().filter(|(_, node)| is_its(node)).map(|(index, _)| index).collect()
}

/// What one service calls another is a name of that in every network: DNS answers all alike.
fn add_links(project: &Project, nodes: &mut [PlannedNode]) {
    for link in project.services.iter().flat_map(|service| &service.links) {
        for index in of_service(nodes, &link.service) {
            for endpoint in &mut nodes[index].endpoints {
                if link.alias != link.service && !endpoint.aliases.contains(&link.alias) {
                    endpoint.aliases.push(link.alias.clone());
                }
            }
        }
    }
}

fn add_dependencies(project: &Project, nodes: &mut [PlannedNode]) {
    for service in &project.services {
        let depends_on: Vec<_> = service
            .depends_on
            .iter()
            .map(|dependency| Dependency {
                service: dependency.service.clone(),
                nodes: of_service(nodes, &dependency.service),
                condition: match dependency.condition {
                    compose::Condition::Started => Condition::Started,
                    compose::Condition::Healthy => Condition::Healthy,
                    compose::Condition::CompletedSuccessfully => Condition::CompletedSuccessfully,
                },
                required: dependency.required,
            })
            .collect();
        for dependency in depends_on.iter().filter(|one| one.condition == Condition::CompletedSuccessfully) {
            dependency.nodes.iter().for_each(|&index| nodes[index].oneshot = true);
        }
        for index in of_service(nodes, &service.name) {
            nodes[index].depends_on.clone_from(&depends_on);
        }
    }
}
