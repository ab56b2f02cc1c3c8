//! What is left of clusters whose daemon is gone: [`look`] finds it and changes nothing, [`remove`] takes it away.
//!
//! A living cluster's things are never among it, whoever's it is. Alive is a cluster whose place in the state directory
//! is locked, whose owner's process is there, or of whose owner nobody here can tell.

mod engines;
mod look;
mod remove;
mod rubbish;

use std::path::PathBuf;

use super::place::{Place, Record};
use crate::provision::Found;
use crate::sweep::Size;
use engines::Engines;

pub use look::{Wish, look};
pub use remove::remove;

/// Everything that [`remove`] would remove.
pub struct Left {
    engines: Engines,
    /// In engines.
    pub clusters: Vec<LeftCluster>,
    /// Dead mounts.
    pub mounts: Vec<PathBuf>,
    /// In the state directory.
    pub places: Vec<LeftPlace>,
    /// Images of the program's other versions, with their bytes.
    pub images: Vec<(String, u64)>,
    /// What there may be and cannot be removed now, a sentence each.
    pub obstacles: Vec<String>,
}

/// What a cluster has left in an engine.
pub struct LeftCluster {
    /// What there is.
    pub found: Found,
    /// Address of the engine.
    pub engine: String,
}

/// A directory of the state directory.
pub struct LeftPlace {
    place: Place,
    /// Of its cluster, if that is not all gone.
    pub record: Option<Record>,
    /// How much lies in it.
    pub size: Size,
}

impl LeftPlace {
    /// Its path.
    pub fn path(&self) -> &std::path::Path {
        &self.place.state
    }
}

impl Left {
    /// Whether there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.clusters.is_empty() && self.mounts.is_empty() && self.places.is_empty() && self.images.is_empty()
    }
}
