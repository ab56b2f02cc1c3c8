//! From the arguments of mount to a typed plan.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use super::args::MountArgs;
use super::complain;
use super::container::{ContainerArgs, bytes};
use super::groups::{Group, groups};
use super::recipe::{Nodes, outside, recipe, whole_seconds};
use super::roles::planned;
use super::services::services;
use crate::compose;
use crate::control::{DEFAULT_GRACE, DEFAULT_START_TIMEOUT};
use crate::daemon::{ClusterPaths, NodeRecipe, Plan, PlannedEndpoint, PlannedNode, state_home};
use crate::engine::BRIDGE_PORTS;
use crate::provision::NetworkRequest;
use crate::sys;
use crate::watch::{DEFAULT_LOG_LIMIT, SMALLEST_LIMIT};

/// The mountpoint if none is named.
const DEFAULT_MOUNTPOINT: &str = "./cthulhu-fixture";

/// Checks the arguments of mount and resolves what depends on the working directory.
///
/// # Errors
/// A sentence that names the argument.
pub(crate) fn plan(args: MountArgs) -> Result<Plan> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !args.prefix.chars().all(good) || args.prefix.starts_with(['.', '-', '_']) || args.prefix.len() > 64 {
        bail!(
            "--prefix {}: a prefix has letters, digits, '_', '.' and '-', and begins with a letter or digit",
            args.prefix
        );
    }
    let paths = ClusterPaths::of(args.mountpoint.as_deref().unwrap_or(Path::new(DEFAULT_MOUNTPOINT)))?;
    let data = data_directory(args.data.as_deref(), &paths)?;
    let network = match (&args.network, &args.subnet) {
        (Some(name), _) if name == "bridge" => {
            bail!("the default bridge cannot pin addresses: leave --network out, and a network is made")
        }
        (Some(name), _) => NetworkRequest::Existing(name.clone()),
        (None, Some(subnet)) => NetworkRequest::Subnet(subnet.clone()),
        (None, None) => NetworkRequest::Any,
    };
    let Nodes { recipes, mut nodes, networks } = match args.files.file.is_empty() {
        true => numbered_or_grouped(&args, network, &paths.mountpoint)?,
        false => of_services(&args, &paths.mountpoint)?,
    };
    check_numbers(&args, nodes.len())?;
    if let Some(short) = nodes.iter().filter_map(|node| node.name.as_deref()).find(|name| name.len() == 1)
        && args.prefix.is_empty()
    {
        bail!("{short} is too short for a container's name, which has at least 2 characters: give --prefix P");
    }
    for (index, node) in nodes.iter_mut().enumerate() {
        node.published_port = args.publish.map(|base| base + index as u16);
    }
    let hosts = args.hosts.addresses()?;
    let (placement, capacities) = args.places.read(&hosts)?;
    let roles = planned(&args)?;
    let mut plan = Plan {
        umask: sys::umask().unwrap_or(0o077),
        data,
        keeps_data: args.data.is_some(),
        nodes,
        recipes,
        roles,
        port: args.port,
        networks,
        prefix: args.prefix,
        start: args.start,
        allow_other: args.allow_other,
        foreground: args.foreground,
        timeout: args.timeout,
        stop_grace: args.stop_grace.map_or(DEFAULT_GRACE, whole_seconds),
        start_timeout: args.start_timeout.unwrap_or(DEFAULT_START_TIMEOUT),
        seed: args.seed,
        hosts,
        placement,
        capacities,
        log_limit: args.log_limit.as_deref().map(log_limit).transpose()?.unwrap_or(DEFAULT_LOG_LIMIT),
        paths,
    };
    for (option, dir) in plan.recipes.iter().flat_map(NodeRecipe::template_directories) {
        check_place(option, dir, &plan)?;
    }
    plan.check_templates()?;
    for dir in plan.recipes.iter_mut().flat_map(|recipe| [&mut recipe.config, &mut recipe.initial]).flatten() {
        *dir = std::path::absolute(&dir)?;
    }
    Ok(plan)
}

/// Equal nodes, or groups of those.
fn numbered_or_grouped(args: &MountArgs, network: NetworkRequest, mountpoint: &Path) -> Result<Nodes> {
    let groups = groups(args)?;
    let networks = vec![network.into()];
    let endpoints = vec![PlannedEndpoint::default()];
    if groups.is_empty() {
        let nodes = vec![PlannedNode { endpoints, ..PlannedNode::default() }; args.instances];
        return Ok(Nodes { recipes: vec![recipe(args, mountpoint)?], nodes, networks });
    }
    let of_group = |group: &Group| recipe(&group.args, mountpoint).with_context(|| format!("the group {}", group.name));
    let recipes = groups.iter().map(of_group).collect::<Result<_>>()?;
    let nodes = groups.iter().enumerate().flat_map(|(recipe, group)| {
        let endpoints = endpoints.clone();
        group.nodes().map(move |node| PlannedNode { recipe, endpoints: endpoints.clone(), ..node })
    });
    Ok(Nodes { recipes, nodes: nodes.collect(), networks })
}

/// The services of Compose files.
fn of_services(args: &MountArgs, mountpoint: &Path) -> Result<Nodes> {
    let only_limits = ContainerArgs { memory: None, cpus: None, ..args.container.clone() };
    let elsewhere = [
        ("--user, --cap-add and other options of docker run", only_limits != ContainerArgs::default()),
        ("--entrypoint", args.entrypoint.is_some()),
        ("COMMAND", !args.command.is_empty()),
        ("--publish", args.publish.is_some()),
        ("--network", args.network.is_some()),
        ("--subnet", args.subnet.is_some()),
    ];
    if let Some((option, _)) = elsewhere.iter().find(|(_, is_given)| *is_given) {
        bail!("{option}: with -f, the file says that; a second -f can say it for tests");
    }
    let project = compose::load(&args.files.request(&args.image)?).map_err(|error| anyhow!("{error}"))?;
    let is_meant =
        |warning: &&compose::Remark| !args.restart_policies || !warning.text.contains(compose::RESTART_IS_NOT_APPLIED);
    for warning in project.warnings.iter().filter(is_meant) {
        complain(&format!("warning: {warning}"));
    }
    services(&project, args, mountpoint)
}

fn check_numbers(args: &MountArgs, nodes: usize) -> Result<()> {
    match nodes {
        0 => bail!("-n 0: a cluster has at least one node"),
        n if n > BRIDGE_PORTS => {
            bail!("-n {n}: a cluster has at most {BRIDGE_PORTS} nodes, as many as a Linux bridge has ports")
        }
        _ => {}
    }
    if args.port == 0 {
        bail!("--port 0: a port is a number from 1 to 65535");
    }
    if let Some(base) = args.publish
        && (base == 0 || usize::from(base) + nodes - 1 > usize::from(u16::MAX))
    {
        bail!("--publish {base}: the host ports for {nodes} nodes do not fit between 1 and 65535");
    }
    Ok(())
}

fn data_directory(chosen: Option<&Path>, paths: &ClusterPaths) -> Result<PathBuf> {
    let data = match chosen {
        Some(data) => std::path::absolute(data).context("--data")?,
        None => paths.state.join("data"),
    };
    if data.parent().is_none() {
        bail!("--data {}: choose a directory of its own", data.display());
    }
    if data.starts_with(&paths.mountpoint) {
        bail!("--data {}: it lies in the mountpoint, where the daemon cannot reach it", data.display());
    }
    if let Some(home) = own_state(&data) {
        bail!(
            "--data {}: what is in {} is cthulhu's own, and goes with cthulhu prune; choose another directory",
            data.display(),
            home.display()
        );
    }
    Ok(data)
}

/// Checks that reading a directory of templates touches neither our own mount nor what the nodes write.
fn check_place(option: &str, dir: &Path, plan: &Plan) -> Result<()> {
    let shown = dir.display();
    let mountpoint = &plan.paths.mountpoint;
    let dir = outside(dir, mountpoint, option)?;
    if mountpoint.starts_with(&dir) {
        bail!("{option} {shown}: the mountpoint lies in it");
    }
    let data = plan.data.canonicalize().unwrap_or_else(|_| plan.data.clone());
    if data.starts_with(&dir) || dir.starts_with(&data) {
        bail!("{option} {shown}: what the nodes write is kept in {}, choose another directory", data.display());
    }
    Ok(())
}

/// The home for state, if a data directory lies in it and is none of those that a cluster has left there, which have a lock.
fn own_state(data: &Path) -> Option<PathBuf> {
    let resolved = |path: &Path| {
        let there = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
        there.map_or(path.to_owned(), |(above, real)| {
            path.strip_prefix(above).map_or(real.clone(), |rest| real.join(rest))
        })
    };
    let home = state_home().ok()?;
    let below = resolved(data);
    let below: Vec<_> = below.strip_prefix(resolved(&home)).ok()?.iter().collect();
    let is_kept = matches!(below[..], [_, name] if name == "data" || name.to_string_lossy().starts_with("data.old-"));
    (!is_kept).then_some(home)
}

fn log_limit(text: &str) -> Result<u64> {
    let limit = bytes("--log-limit", text)?.unsigned_abs();
    if limit < SMALLEST_LIMIT {
        bail!("--log-limit {text}: at least {}k are kept", SMALLEST_LIMIT >> 10);
    }
    Ok(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_in_the_home_for_state_is_only_what_clusters_keep_there() {
        let home = state_home().unwrap();
        for kept in ["a-0123456789ab/data", "a-0123456789ab/data.old-1"] {
            assert_eq!(own_state(&home.join(kept)), None, "{kept}");
        }
        assert_eq!(own_state(&home.with_file_name("elsewhere")), None);
        for own in ["", "a-0123456789ab", "a-0123456789ab/mine", "a-0123456789ab/data/i001/var", "data"] {
            assert_eq!(own_state(&home.join(own)), Some(home.clone()), "{own}");
        }
    }

    #[test]
    fn limits() {
        assert_eq!(log_limit("64k").unwrap(), 64 << 10);
        for wrong in ["0", "63k", "x"] {
            assert!(log_limit(wrong).unwrap_err().to_string().starts_with("--log-limit"), "{wrong}");
        }
    }
}
