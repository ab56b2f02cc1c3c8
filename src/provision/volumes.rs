//! The volumes of an image (VOLUME), which a node keeps for as long as the mount lasts.
//!
//! An engine makes anonymous ones, which belong to one container. Ours have names, and so pass on to the node's next container; and
//! they have the cluster's labels, by which teardown finds them.

use std::collections::HashSet;
use std::path::PathBuf;

use super::{Provisioner, cluster_labels};
use crate::engine::{Bind, EngineError, Labels, Result, VolumeMount};

/// A volume that has a name.
#[derive(Clone, Debug, Default)]
pub struct NamedVolume {
    /// What the user calls it.
    pub name: String,
    /// The engine's name of one that is not ours: it is used, and never made or removed.
    pub external: Option<String>,
    /// The user's labels.
    pub labels: Labels,
    /// The directory of its content on the engine's host; the engine chooses if there is none.
    pub directory: Option<PathBuf>,
    /// Absolute path in the node.
    pub target: String,
    /// Mounted read-only.
    pub read_only: bool,
    /// It does not get what the image has at that path.
    pub no_copy: bool,
}

impl Provisioner {
    /// A node's volumes: the named ones, and one for each path that its image declares, unless the user has mounted
    /// something there.
    pub(super) fn volumes(&self, index: usize) -> Vec<VolumeMount> {
        let named = self.options[index].named_volumes.iter().map(|volume| VolumeMount {
            name: self.engine_name(volume),
            target: clean(&volume.target),
            read_only: volume.read_only,
            no_copy: volume.no_copy,
        });
        named.chain(self.own_volumes(index)).collect()
    }

    /// Those that no other node uses.
    fn own_volumes(&self, index: usize) -> impl Iterator<Item = VolumeMount> {
        let options = &self.options[index];
        let binds = self.binds(index);
        let named = options.named_volumes.iter().map(|volume| &volume.target);
        let tmpfs = options.run.tmpfs.iter().map(|(path, _)| path);
        let taken = binds.iter().map(|bind| &bind.target).chain(named).chain(tmpfs);
        let mut taken: HashSet<_> = taken.map(|target| clean(target)).collect();
        let (cluster, node) = (&self.cluster.spec().id, &self.cluster.node_spec(index).name);
        let paths = options.image_volumes.iter().map(|path| clean(path)).enumerate();
        // Nor a path that is named twice.
        paths.filter(move |(_, path)| taken.insert(path.clone())).map(move |(nth, target)| VolumeMount {
            name: format!("cthulhu-{cluster}-{node}-{nth}"),
            target,
            ..VolumeMount::default()
        })
    }

    /// What the engine calls a named volume.
    fn engine_name(&self, volume: &NamedVolume) -> String {
        let cluster = &self.cluster.spec().id;
        // No node's name begins with a dash, so it is no node's own volume either.
        volume.external.clone().unwrap_or_else(|| format!("cthulhu-{cluster}--{}", volume.name))
    }

    /// Makes a node's volumes that are not there yet. `labels` are those of its container.
    pub(super) async fn make_volumes(&self, index: usize, labels: &Labels) -> Result<()> {
        for volume in self.own_volumes(index) {
            self.engine_of(index).create_volume(&volume.name, labels, None).await?;
        }
        let spec = self.cluster.spec();
        let shared = cluster_labels(&spec.id, &spec.mountpoint, &self.owner);
        for volume in self.options[index].named_volumes.iter().filter(|volume| volume.external.is_none()) {
            let labels = [volume.labels.as_slice(), shared.as_slice()].concat();
            self.engine_of(index)
                .create_volume(&self.engine_name(volume), &labels, volume.directory.as_deref())
                .await?;
        }
        Ok(())
    }

    /// The host directories that are mounted into a node.
    pub(super) fn binds(&self, index: usize) -> Vec<Bind> {
        let options = &self.options[index];
        let own = [("etc", &options.etc_target), ("var", &options.var_target)];
        let own = own.into_iter().filter_map(|(dir, target)| {
            let target = target.clone()?;
            Some(Bind { source: options.dir.join(dir), target, read_only: false })
        });
        own.chain(options.volumes.iter().cloned()).collect()
    }

    /// Removes a node's volumes. Its container is gone; the next one gets empty ones.
    ///
    /// # Errors
    /// The engine's.
    pub(crate) async fn remove_volumes(&self, index: usize) -> Result<()> {
        for volume in self.own_volumes(index) {
            self.remove_volume(index, &volume.name).await?;
        }
        Ok(())
    }

    /// Removes those of the cluster's named volumes that only these nodes use, whose containers are gone. Returns their
    /// names.
    ///
    /// # Errors
    /// The engine's.
    pub(crate) async fn remove_named_volumes(&self, nodes: &[usize]) -> Result<Vec<String>> {
        let mut removed = vec![];
        for name in self.cluster.spec().volumes.keys() {
            let uses = |index: &usize| self.cluster.node_spec(*index).volumes.contains(name);
            let users: Vec<_> = (0..self.cluster.len()).filter(uses).collect();
            // All of them are on one machine.
            if let Some(first) = users.first().filter(|_| users.iter().all(|index| nodes.contains(index))) {
                self.remove_volume(
                    *first,
                    &self.engine_name(&NamedVolume { name: name.clone(), ..NamedVolume::default() }),
                )
                .await?;
                removed.push(name.clone());
            }
        }
        Ok(removed)
    }

    async fn remove_volume(&self, index: usize, name: &str) -> Result<()> {
        match self.engine_of(index).remove_volume(name).await {
            Ok(()) | Err(EngineError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
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
