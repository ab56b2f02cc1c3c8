//! The directories behind the nodes' bindmounts and logs.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::config::Config;
use super::place::{open_dir, private_dir};
use crate::cluster::ClusterSpec;
use crate::template::Nodes;

/// Makes `data` ready to begin fresh. What nodes wrote there as another user may not be ours to delete: it is moved
/// aside then.
///
/// # Errors
/// A sentence.
pub fn clear(data: &Path) -> Result<()> {
    if fs::symlink_metadata(data).is_err() || fs::remove_dir_all(data).is_ok() {
        return Ok(());
    }
    let aside = aside(data)?;
    fs::rename(data, &aside).with_context(|| format!("cannot remove {} nor move it aside", data.display()))
}

/// A free name beside a path.
fn aside(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().context("no name")?.to_string_lossy();
    let free = (1..).map(|nth| path.with_file_name(format!("{name}.old-{nth}")));
    free.into_iter().find(|path| fs::symlink_metadata(path).is_err()).context("no name to move it to")
}

/// Makes every node's directories, what goes into its `etc`, and its log file if it has none.
///
/// # Errors
/// A sentence.
pub fn prepare(spec: &ClusterSpec, data: &Path, config: Option<&Config>, nodes: &Nodes) -> Result<()> {
    private_dir(data)?;
    for (index, node) in spec.nodes.iter().enumerate() {
        // What is inside is open to every user of a container, so the way to it is closed to every user of the host.
        private_dir(&node.dir)?;
        let _ = fs::set_permissions(&node.dir, fs::Permissions::from_mode(0o700));
        for sub in ["etc", "var"] {
            open_dir(&node.dir.join(sub))?;
        }
        let etc = node.dir.join("etc");
        if !config.is_some_and(|config| config.has("config.json")) {
            replace(&etc.join("config.json"), spec.config_json(index).as_bytes(), 0o644)?;
        }
        if let Some(config) = config {
            config.write(&etc, &nodes.variables(index))?;
        }
        keep(&node.dir.join(format!("var/{}.log", node.name)), 0o666)?;
        keep(&node.dir.join("log"), 0o644)?;
    }
    Ok(())
}

/// Writes a file anew. What a node has put in its place, a link to somewhere else or a directory, is removed, never
/// followed.
fn replace(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let named = || format!("cannot write {}", path.display());
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        _ => fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            // What is in a directory of root's is not ours to delete, but its name is ours to change.
            let aside = aside(path).with_context(named)?;
            fs::rename(path, aside).or(Err(error)).with_context(named)?;
        }
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).open(path).with_context(named)?;
    file.write_all(content).with_context(named)?;
    file.set_permissions(fs::Permissions::from_mode(mode)).with_context(named)
}

/// Makes an empty file where there is no regular file; one that is there is left as it is.
fn keep(path: &Path, mode: u32) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() && meta.nlink() == 1 => Ok(()),
        _ => replace(path, &[], mode),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_a_node_planted_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        fs::write(&secret, "secret").unwrap();
        let before = fs::metadata(&secret).unwrap().permissions();
        let (link, hard) = (dir.path().join("link"), dir.path().join("hard"));
        for act in [|path: &Path| replace(path, b"new", 0o666), |path: &Path| keep(path, 0o666)] {
            let _ = fs::remove_file(&link);
            let _ = fs::remove_file(&hard);
            symlink(&secret, &link).unwrap();
            fs::hard_link(&secret, &hard).unwrap();
            act(&link).unwrap();
            act(&hard).unwrap();
            fs::create_dir_all(dir.path().join("dir/inner")).unwrap();
            symlink(dir.path(), dir.path().join("dir/inner/up")).unwrap();
            act(&dir.path().join("dir")).unwrap();
            assert!(fs::symlink_metadata(dir.path().join("dir")).unwrap().is_file());
            fs::remove_file(dir.path().join("dir")).unwrap();
            assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
            assert_eq!(fs::metadata(&secret).unwrap().permissions(), before);
        }
    }

    #[test]
    fn what_a_node_wrote_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        keep(&log, 0o644).unwrap();
        fs::write(&log, "a line").unwrap();
        keep(&log, 0o644).unwrap();
        assert_eq!(fs::read_to_string(&log).unwrap(), "a line");
    }
}
