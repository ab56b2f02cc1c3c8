//! How nodes are run, from the arguments of mount.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::args::MountArgs;
use super::{environment, readiness};
use crate::daemon::{NodeRecipe, PlannedNode};
use crate::engine::Bind;
use crate::provision::{RequestedNetwork, clean_path};

/// What there is to run.
pub(super) struct Nodes {
    pub(super) recipes: Vec<NodeRecipe>,
    pub(super) nodes: Vec<PlannedNode>,
    pub(super) networks: Vec<RequestedNetwork>,
}

/// How every node is run.
pub(super) fn recipe(args: &MountArgs, mountpoint: &Path) -> Result<NodeRecipe> {
    let image = match &args.image[..] {
        [] => None,
        [image] if image.trim().is_empty() => {
            bail!("-i: the name of the image is empty; leave the option out for the built-in demo node")
        }
        [image] => Some(image.clone()),
        [_, more, ..] => bail!("-i {more}: nodes have one image; --group is for nodes that differ"),
    };
    for target in [&args.etc_target, &args.var_target].into_iter().flatten() {
        if !target.starts_with('/') {
            bail!("{target}: a path in a node is absolute");
        }
    }
    let recipe = NodeRecipe {
        image,
        never_pull: None,
        entrypoint: args.entrypoint.clone().map(|program| vec![program]),
        command: args.command.clone(),
        plain_command: None,
        env: environment::variables(&args.env_file, &args.env)?,
        config: args.config.clone(),
        initial: args.initial.clone(),
        mounts: args.volume.iter().map(|text| volume(text, mountpoint)).collect::<Result<_>>()?,
        etc_target: Some(args.etc_target.clone().unwrap_or_else(|| "/opt/app/etc".into())),
        var_target: Some(args.var_target.clone().unwrap_or_else(|| "/opt/app/var".into())),
        missing: vec![],
        volumes: vec![],
        anonymous_volumes: vec![],
        files: vec![],
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
    let own = [("--etc-target", &recipe.etc_target), ("--var-target", &recipe.var_target)];
    let own = own.into_iter().filter_map(|(option, target)| Some((option, target.as_ref()?)));
    for (option, target) in own.chain(mounts) {
        if recipe.run.tmpfs.iter().any(|(path, _)| *path == clean_path(target)) {
            bail!("--tmpfs {target}: {option} mounts something there already; choose another path");
        }
    }
    Ok(())
}

/// Engines take a grace period in whole seconds: never less than the user asked for.
pub(super) fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
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
pub(super) fn outside(path: &Path, mountpoint: &Path, what: &str) -> Result<PathBuf> {
    let inside = || anyhow!("{what}: {} lies in the mountpoint, which holds nothing but the cluster", path.display());
    // By its name first: to look at what is in a mount may hang.
    if std::path::absolute(path).with_context(|| what.to_owned())?.starts_with(mountpoint) {
        return Err(inside());
    }
    let resolved = path.canonicalize().with_context(|| format!("{what}: cannot use {}", path.display()))?;
    if resolved.starts_with(mountpoint) { Err(inside()) } else { Ok(resolved) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes() {
        let good = volume("/tmp:/data:ro", Path::new("/mnt/x")).unwrap();
        assert_eq!((good.target.as_str(), good.read_only), ("/data", true));
        for wrong in ["", "/tmp", "/tmp:data", ":/data", "/no/such/dir:/data", "/tmp/none:/data", "/tmp:/a"] {
            assert!(volume(wrong, Path::new("/tmp")).is_err(), "{wrong}");
        }
    }
}
