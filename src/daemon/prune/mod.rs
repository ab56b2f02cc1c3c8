//! What is left of clusters whose daemon is gone: [`look`] finds it and changes nothing, [`remove`] takes it away.
//!
//! Never includes what belongs to a live cluster of any user. A cluster is live if its place in the state directory is
//! locked, if its owner's process exists, or if that cannot be found out.

mod engines;
mod look;
mod remove;

use std::path::PathBuf;

use super::paths::{ClusterPaths, Record};
use crate::provision::Found;
use crate::sweep::Size;
use engines::Engines;

pub(crate) use look::{PruneFilter, look};
pub(crate) use remove::remove;

/// Everything that [`remove`] would remove.
pub(crate) struct Left {
    engines: Engines,
    /// In engines.
    pub(crate) clusters: Vec<LeftCluster>,
    /// Dead mounts.
    pub(crate) mounts: Vec<PathBuf>,
    /// In the state directory.
    pub(crate) places: Vec<LeftPlace>,
    /// Images of the program's other versions, with their bytes.
    pub(crate) images: Vec<(String, u64)>,
    /// What there may be and cannot be removed now, a sentence each.
    pub(crate) obstacles: Vec<String>,
}

/// What a cluster has left in an engine.
pub(crate) struct LeftCluster {
    pub(crate) found: Found,
    /// Address of the engine.
    pub(crate) engine: String,
}

/// A directory of the state directory.
pub(crate) struct LeftPlace {
    paths: ClusterPaths,
    /// Of its cluster, if that is not all gone.
    pub(crate) record: Option<Record>,
    pub(crate) size: Size,
}

impl LeftPlace {
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.paths.state
    }
}

impl Left {
    /// Whether there is nothing to remove.
    pub(crate) fn is_empty(&self) -> bool {
        self.clusters.is_empty() && self.mounts.is_empty() && self.places.is_empty() && self.images.is_empty()
    }
}
