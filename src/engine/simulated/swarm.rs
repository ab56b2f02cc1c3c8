//! Several simulated engines in one swarm: they share its overlay networks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::net::Net;
use super::url::Address;
use super::{Mutex, SimulatedEngine};
use crate::engine::{EngineError, Result, Swarm};

/// What a swarm's engines share.
pub(super) struct SimulatedSwarm {
    /// The ids of all its engines in it, sorted.
    pub(crate) nodes: Vec<String>,
    /// Its networks, by id.
    pub(crate) overlays: Mutex<BTreeMap<String, Net>>,
}

/// An engine's membership.
#[derive(Clone)]
pub(super) struct Member {
    pub(crate) swarm: Arc<SimulatedSwarm>,
    pub(crate) is_manager: bool,
}

/// The error of a call that only a manager answers.
pub(super) fn no_manager() -> EngineError {
    EngineError::Refused(
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to \
         swarm and try again."
            .into(),
    )
}

/// The engines that these addresses stand for, in that order. They are machines `simulated1`, `simulated2`, … of one swarm,
/// except those with the option `swarm=none`; the first of them is its manager. One alone is as
/// [`SimulatedEngine::from_url`] gives it.
///
/// # Errors
/// [`EngineError::Refused`] for an address that cannot be understood.
pub fn engines(urls: &[&str]) -> Result<Vec<Arc<SimulatedEngine>>> {
    if let [url] = urls {
        return Ok(vec![Arc::new(SimulatedEngine::from_url(url)?)]);
    }
    let addresses = urls.iter().map(|url| Address::parse(url)).collect::<Result<Vec<_>>>()?;
    let named = || (1..).map(|number| format!("simulated{number}")).zip(&addresses);
    let nodes: Vec<_> = named().filter(|(_, address)| address.in_swarm).map(|(name, _)| node(&name)).collect();
    let manager = nodes.first().cloned();
    let swarm = Arc::new(SimulatedSwarm { nodes, overlays: Mutex::default() });
    let engine = |(name, address): (String, &Address)| {
        let is_manager = manager.as_ref() == Some(&node(&name));
        let member = address.in_swarm.then(|| Member { swarm: Arc::clone(&swarm), is_manager });
        Arc::new(SimulatedEngine::made(name, address, member))
    };
    Ok(named().map(engine).collect())
}

/// The id in a swarm of the engine on that machine.
fn node(name: &str) -> String {
    format!("node-{name}")
}

impl Member {
    /// What the engine on that machine says of itself.
    pub(crate) fn describe(&self, name: &str) -> Swarm {
        Swarm {
            cluster: if self.is_manager { "simulated-swarm".into() } else { String::new() },
            node: node(name),
            address: name.to_owned(),
            is_manager: self.is_manager,
            is_active: true,
            managers: self.swarm.nodes.first().map(|node| format!("{node}:2377")).into_iter().collect(),
        }
    }
}
