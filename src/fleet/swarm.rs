//! The swarm that the engines of a cluster must share, so that one network reaches all of them.

use std::collections::HashSet;
use std::sync::Arc;

use super::Fleet;
use crate::engine::{Engine, EngineError};

const WHAT_TO_DO: &str = "run docker swarm init on one machine, and on the others the docker swarm join that it prints \
     (2377/tcp, 7946/tcp and udp, and 4789/udp must be open between them); or name a network that all of them have with \
     --network";

impl Fleet {
    /// The engine that makes networks for all: the only one, or a manager of the swarm that all of them are in. `names` are
    /// those of the machines.
    ///
    /// # Errors
    /// The engine's; a sentence if they share no swarm.
    pub(crate) async fn manager(&self, names: &[String]) -> Result<&Arc<dyn Engine>, EngineError> {
        if self.len() == 1 {
            return Ok(self.engine(0));
        }
        let is_manager = |engine: &&Arc<dyn Engine>| {
            engine.info().swarm.as_ref().is_some_and(|swarm| swarm.is_manager && swarm.is_active)
        };
        let Some(manager) = self.engines().iter().find(is_manager) else {
            let all = names.join(", ");
            return Err(EngineError::Refused(format!("none of {all} is a manager of a swarm: {WHAT_TO_DO}")));
        };
        let members: HashSet<_> = manager.swarm_nodes().await?.into_iter().collect();
        let is_member = |engine: &Arc<dyn Engine>| {
            let swarm = engine.info().swarm.as_ref();
            swarm.is_some_and(|swarm| swarm.is_active && members.contains(&swarm.node))
        };
        let others = self.engines().iter().zip(names).filter(|(engine, _)| !is_member(engine));
        let others: Vec<_> = others.map(|(_, name)| name.as_str()).collect();
        if others.is_empty() {
            return Ok(manager);
        }
        let mut all = self.engines().iter().zip(names);
        let its = all.find(|(engine, _)| Arc::ptr_eq(engine, manager)).map_or("", |(_, name)| name);
        let verb = if others.len() == 1 { "is" } else { "are" };
        let others = others.join(", ");
        Err(EngineError::Refused(format!("{others} {verb} not in the swarm of {its}: {WHAT_TO_DO}")))
    }
}
