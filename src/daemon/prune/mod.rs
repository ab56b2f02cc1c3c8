//! What is left of clusters whose daemon is gone: [`look`] finds it and changes nothing, [`remove`] takes it away.
//!
//! Never includes what belongs to a live cluster of any user. A cluster is live if its place in the state directory is
//! locked, if its owner's process exists, or if that cannot be found out.

mod engines;
mod look;
mod remove;

use std::path::PathBuf;
use std::sync::Arc;

use super::paths::{ClusterPaths, Record};
use crate::engine::Engine;
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
    /// Images of the program's other versions.
    pub(crate) images: Vec<LeftImage>,
    /// What there may be and cannot be removed now, a sentence each.
    pub(crate) obstacles: Vec<String>,
}

/// What a cluster has left in engines.
pub(crate) struct LeftCluster {
    pub(crate) found: Found,
    /// Addresses of the engines.
    pub(crate) engines: Vec<String>,
}

/// An image that no container uses.
pub(crate) struct LeftImage {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) reference: String,
    /// Bytes.
    pub(crate) size: u64,
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
