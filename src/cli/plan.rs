//! From the arguments of mount to a typed plan.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::args::MountArgs;
use super::container::bytes;
use super::{environment, readiness};
use crate::control::DEFAULT_GRACE;
use crate::daemon::{ClusterPaths, NodeRecipe, Plan, PlannedNode, state_home};
use crate::engine::Bind;
use crate::provision::{NetworkRequest, clean_path};
use crate::sys;
use crate::watch::{DEFAULT_LOG_LIMIT, SMALLEST_LIMIT};

/// The mountpoint if none is named.
const DEFAULT_MOUNTPOINT: &str = "./cthulhu-fixture";
/// More is never possible: a Linux bridge holds 1,023 ports.
const MOST_NODES: usize = 1023;

/// Checks the arguments of mount and resolves what depends on the working directory.
///
/// # Errors
/// A sentence that names the argument.
pub(crate) fn plan(args: MountArgs) -> Result<Plan> {
    check_numbers(&args)?;
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
    let node = |index| PlannedNode { recipe: 0, published_port: args.publish.map(|base| base + index) };
    let recipe = recipe(&args, &paths.mountpoint)?;
    let mut plan = Plan {
        umask: sys::umask().unwrap_or(0o077),
        data,
        keeps_data: args.data.is_some(),
        nodes: (0..args.instances).map(|index| node(index as u16)).collect(),
        recipes: vec![recipe],
        port: args.port,
        network,
        prefix: args.prefix,
        start: args.start,
        allow_other: args.allow_other,
        foreground: args.foreground,
        timeout: args.timeout,
        stop_grace: args.stop_grace.map_or(DEFAULT_GRACE, whole_seconds),
        seed: args.seed,
        host: args.host,
        log_limit: args.log_limit.as_deref().map(log_limit).transpose()?.unwrap_or(DEFAULT_LOG_LIMIT),
        paths,
    };
    if let Some(dir) = &args.config {
        check_config_place(dir, &plan)?;
    }
    plan.check_templates()?;
    for config in plan.recipes.iter_mut().filter_map(|recipe| recipe.config.as_mut()) {
        *config = std::path::absolute(&config).context("--config")?;
    }
    Ok(plan)
}

fn check_numbers(args: &MountArgs) -> Result<()> {
    match args.instances {
        0 => bail!("-n 0: a cluster has at least one node"),
        n if n > MOST_NODES => {
            bail!("-n {n}: a cluster has at most {MOST_NODES} nodes, as many as a Linux bridge has ports")
        }
        _ => {}
    }
    if args.port == 0 {
        bail!("--port 0: a port is a number from 1 to 65535");
    }
    if let Some(base) = args.publish
        && (base == 0 || usize::from(base) + args.instances - 1 > usize::from(u16::MAX))
    {
        bail!("--publish {base}: the host ports for {} nodes do not fit between 1 and 65535", args.instances);
    }
    Ok(())
}

/// How every node is run.
fn recipe(args: &MountArgs, mountpoint: &Path) -> Result<NodeRecipe> {
    if args.image.as_deref().is_some_and(|image| image.trim().is_empty()) {
        bail!("-i: the name of the image is empty; leave the option out for the built-in demo node");
    }
    for target in [&args.etc_target, &args.var_target] {
        if !target.starts_with('/') {
            bail!("{target}: a path in a node is absolute");
        }
    }
    let recipe = NodeRecipe {
        image: args.image.clone(),
        entrypoint: args.entrypoint.clone().map(|program| vec![program]),
        command: args.command.clone(),
        env: environment::variables(&args.env_file, &args.env)?,
        config: args.config.clone(),
        mounts: args.volume.iter().map(|text| volume(text, mountpoint)).collect::<Result<_>>()?,
        etc_target: args.etc_target.clone(),
        var_target: args.var_target.clone(),
        run: args.container.run()?,
        network: args.container.network()?,
        readiness: readiness::readiness(args)?,
        pace: readiness::pace(args),
    };
    check_tmpfs(&recipe)?;
    Ok(recipe)
}

/// Engines mount one over the other.
fn check_tmpfs(recipe: &NodeRecipe) -> Result<()> {
    let mounts = recipe.mounts.iter().map(|mount| ("--volume", &mount.target));
    let targets =
        [("--etc-target", &recipe.etc_target), ("--var-target", &recipe.var_target)].into_iter().chain(mounts);
    for (option, target) in targets {
        if recipe.run.tmpfs.iter().any(|(path, _)| *path == clean_path(target)) {
            bail!("--tmpfs {target}: {option} mounts something there already; choose another path");
        }
    }
    Ok(())
}

/// Engines take a grace period in whole seconds: never less than the user asked for.
fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
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

/// Checks that reading the directory of `--config` touches neither our own mount nor what the nodes write.
fn check_config_place(dir: &Path, plan: &Plan) -> Result<()> {
    let shown = dir.display();
    let mountpoint = &plan.paths.mountpoint;
    let dir = outside(dir, mountpoint, "--config")?;
    if mountpoint.starts_with(&dir) {
        bail!("--config {shown}: the mountpoint lies in it");
    }
    let data = plan.data.canonicalize().unwrap_or_else(|_| plan.data.clone());
    if data.starts_with(&dir) || dir.starts_with(&data) {
        bail!("--config {shown}: what the nodes write is kept in {}, choose another directory", data.display());
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

pub(super) fn volume(text: &str, mountpoint: &Path) -> Result<Bind> {
    let wrong = || anyhow!("--volume {text}: the form is SRC:DST or SRC:DST:ro, with an absolute DST");
    let (rest, read_only) = text.strip_suffix(":ro").map_or((text, false), |rest| (rest, true));
    let (source, target) = rest.rsplit_once(':').ok_or_else(wrong)?;
    if source.is_empty() || !target.starts_with('/') {
        return Err(wrong());
    }
    // A node that had the mount in it would keep it, and wait for the daemon that waits for the node.
    let source = outside(Path::new(source), mountpoint, &format!("--volume {text}"))?;
    Ok(Bind { source, target: target.to_owned(), read_only })
}

/// Resolves a path that must be there and not in the mountpoint.
fn outside(path: &Path, mountpoint: &Path, what: &str) -> Result<PathBuf> {
    let inside = || anyhow!("{what}: {} lies in the mountpoint, which holds nothing but the cluster", path.display());
    // By its name first: to look at what is in a mount may hang.
    if std::path::absolute(path).with_context(|| what.to_owned())?.starts_with(mountpoint) {
        return Err(inside());
    }
    let resolved = path.canonicalize().with_context(|| format!("{what}: cannot use {}", path.display()))?;
    if resolved.starts_with(mountpoint) { Err(inside()) } else { Ok(resolved) }
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
    fn limits_and_volumes() {
        assert_eq!(log_limit("64k").unwrap(), 64 << 10);
        for wrong in ["0", "63k", "x"] {
            assert!(log_limit(wrong).unwrap_err().to_string().starts_with("--log-limit"), "{wrong}");
        }
        let good = volume("/tmp:/data:ro", Path::new("/mnt/x")).unwrap();
        assert_eq!((good.target.as_str(), good.read_only), ("/data", true));
        for wrong in ["", "/tmp", "/tmp:data", ":/data", "/no/such/dir:/data", "/tmp/none:/data", "/tmp:/a"] {
            assert!(volume(wrong, Path::new("/tmp")).is_err(), "{wrong}");
        }
    }
}
