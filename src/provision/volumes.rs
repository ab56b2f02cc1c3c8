//! The volumes of an image (VOLUME), which a node keeps for as long as the mount lasts.
//!
//! An engine makes anonymous ones, which belong to one container. Ours have names, and so pass on to the node's next container; and
//! they have the cluster's labels, by which teardown finds them.

use super::Provisioner;
use crate::engine::{Bind, VolumeMount};

impl Provisioner {
    /// A node's volumes: for each path that its image declares and nothing of the user's is mounted on.
    pub(super) fn volumes(&self, index: usize, binds: &[Bind]) -> Vec<VolumeMount> {
        let (cluster, node) = (&self.cluster.spec().id, &self.cluster.node_spec(index).name);
        let paths = self.options.image_volumes.iter().enumerate();
        let free = paths.filter(|(_, path)| !binds.iter().any(|bind| clean(&bind.target) == clean(path)));
        free.map(|(nth, path)| VolumeMount { name: format!("cthulhu-{cluster}-{node}-{nth}"), target: clean(path) })
            .collect()
    }
}

/// A path as the engine compares it: by its words alone.
fn clean(path: &str) -> String {
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
