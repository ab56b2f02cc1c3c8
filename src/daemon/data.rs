//! The directories behind the nodes' bindmounts and logs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::place::{open_dir, private_dir};
use crate::cluster::ClusterSpec;

/// Makes `data` ready to begin fresh. What nodes wrote there as another user may not be ours to delete: it is moved
/// aside then.
///
/// # Errors
/// A sentence.
pub fn clear(data: &Path) -> Result<()> {
    if fs::symlink_metadata(data).is_err() || fs::remove_dir_all(data).is_ok() {
        return Ok(());
    }
    let aside = (1..).map(|nth| data.with_extension(format!("old-{nth}"))).find(|path| !path.exists());
    let aside = aside.context("no name to move it to")?;
    fs::rename(data, &aside).with_context(|| format!("cannot remove {} nor move it aside", data.display()))
}

/// Makes every node's directories, its config.json, and its log file if it has none.
///
/// # Errors
/// A sentence.
pub fn prepare(spec: &ClusterSpec, data: &Path) -> Result<()> {
    private_dir(data)?;
    for (index, node) in spec.nodes.iter().enumerate() {
        // What is inside is open to every user of a container, so the way to it is closed to every user of the host.
        private_dir(&node.dir)?;
        let _ = fs::set_permissions(&node.dir, fs::Permissions::from_mode(0o700));
        for sub in ["etc", "var"] {
            open_dir(&node.dir.join(sub))?;
        }
        write(&node.dir.join("etc/config.json"), Some(spec.config_json(index).as_bytes()), 0o644)?;
        write(&node.dir.join(format!("var/{}.log", node.name)), None, 0o666)?;
        write(&node.dir.join("log"), None, 0o644)?;
    }
    Ok(())
}

fn write(path: &Path, content: Option<&[u8]>, mode: u32) -> Result<()> {
    let named = || format!("cannot write {}", path.display());
    match content {
        Some(bytes) => fs::write(path, bytes).with_context(named)?,
        None => drop(fs::File::options().append(true).create(true).open(path).with_context(named)?),
    }
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(mode));
    Ok(())
}
