//! The engines of a cluster, one for each machine that its nodes run on, and which node runs where.
//!
//! There is no engine that stands for all of them: it would hide which one failed.

mod connect;
mod placement;
mod swarm;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use connect::{connect, connect_all, is_same, is_simulated};
pub(crate) use placement::{Placement, Room};

use crate::engine::Engine;

/// An engine as the user named it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostAddress {
    /// What the machine is called; without, by its own name.
    pub(crate) name: Option<String>,
    /// `unix://…`, `tcp://…`, `ssh://…`, `context:NAME` or `simulated:…`.
    pub(crate) address: String,
}

/// The engines of a cluster: at least one. A cheap handle.
#[derive(Clone)]
pub struct Fleet(Arc<[Arc<dyn Engine>]>);

impl From<Arc<dyn Engine>> for Fleet {
    /// One engine for all nodes.
    fn from(engine: Arc<dyn Engine>) -> Self {
        Self(Arc::new([engine]))
    }
}

impl<E: Engine> From<Arc<E>> for Fleet {
    fn from(engine: Arc<E>) -> Self {
        Self(Arc::new([engine]))
    }
}

impl From<Vec<Arc<dyn Engine>>> for Fleet {
    fn from(engines: Vec<Arc<dyn Engine>>) -> Self {
        Self(engines.into())
    }
}

impl Fleet {
    /// The engine of a machine.
    ///
    /// # Panics
    /// If there is no such machine.
    pub(crate) fn engine(&self, host: usize) -> &Arc<dyn Engine> {
        &self.0[host]
    }

    /// All engines, in order.
    pub(crate) fn engines(&self) -> &[Arc<dyn Engine>] {
        &self.0
    }

    /// How many engines there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Where they are reached, in order.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.engines().iter().map(|engine| engine.info().address.clone()).collect()
    }
}
