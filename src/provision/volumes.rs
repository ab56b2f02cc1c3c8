//! The volumes of an image (VOLUME), which a node keeps for as long as the mount lasts.
//!
//! An engine makes anonymous ones, which belong to one container. Ours have names, and so pass on to the node's next container; and
//! they have the cluster's labels, by which teardown finds them.

use super::Provisioner;
use crate::engine::{Bind, EngineError, Result, VolumeMount};

impl Provisioner {
    /// A node's volumes: one for each path that its image declares, unless the user has mounted something there.
    pub(super) fn volumes(&self, index: usize) -> Vec<VolumeMount> {
        let (binds, tmpfs) = (self.binds(index), &self.options[index].run.tmpfs);
        let targets = || binds.iter().map(|bind| &bind.target).chain(tmpfs.iter().map(|(path, _)| path));
        let (cluster, node) = (&self.cluster.spec().id, &self.cluster.node_spec(index).name);
        let paths = self.options[index].image_volumes.iter().enumerate();
        let free = paths.filter(|(_, path)| !targets().any(|target| clean(target) == clean(path)));
        let mount = |(nth, path): (usize, &String)| VolumeMount {
            name: format!("cthulhu-{cluster}-{node}-{nth}"),
            target: clean(path),
            ..VolumeMount::default()
        };
        free.map(mount).collect()
    }

    /// The host directories that are mounted into a node.
    pub(super) fn binds(&self, index: usize) -> Vec<Bind> {
        let (node, options) = (self.cluster.node_spec(index), &self.options[index]);
        let bind =
            |dir: &str, target: &str| Bind { source: node.dir.join(dir), target: target.to_owned(), read_only: false };
        let own = [bind("etc", &options.etc_target), bind("var", &options.var_target)];
        own.into_iter().chain(options.volumes.iter().cloned()).collect()
    }

    /// Removes a node's volumes. Its container is gone; the next one gets empty ones.
    ///
    /// # Errors
    /// The engine's.
    pub(crate) async fn remove_volumes(&self, index: usize) -> Result<()> {
        for volume in self.volumes(index) {
            match self.engine.remove_volume(&volume.name).await {
                Ok(()) | Err(EngineError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A path as the engine compares it: by its words alone.
pub(crate) fn clean(path: &str) -> String {
    let mut parts = vec![];
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_by_where_they_lead() {
        for (path, cleaned) in
            [("/data", "/data"), ("/data/", "/data"), ("//a/./b/../c", "/a/c"), ("/../x", "/x"), ("/", "/")]
        {
            assert_eq!(clean(path), cleaned);
        }
    }
}
