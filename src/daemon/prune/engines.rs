//! The engines in which something may be left.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::fleet::{HostAddress, connect, is_same, is_simulated};

/// Those that answer, and those that don't.
#[derive(Default)]
pub(crate) struct Engines {
    reached: Vec<Arc<dyn Engine>>,
    /// Address as it was asked for, and why not.
    missed: Vec<(String, String)>,
    /// How many of the first reached are the user's own, and no other cluster's.
    usual: usize,
}

impl Engines {
    /// The engines that the user means now, and those that records name.
    pub(crate) async fn find(hosts: &[HostAddress], recorded: &[String], engine_timeout: Duration) -> Self {
        let mut engines = Self::default();
        let named = hosts.iter().map(|host| Some(host.address.as_str()));
        for host in named.chain(hosts.is_empty().then_some(None)) {
            match connect(host, engine_timeout).await {
                Ok(engine) => {
                    engines.usual += 1;
                    engines.reached.push(engine);
                }
                Err(error) => engines.missed.push((host.unwrap_or_default().to_owned(), error.to_string())),
            }
        }
        for address in recorded {
            if is_simulated(address) || engines.at(address).is_some() || engines.has_missed(address) {
                continue;
            }
            match connect(Some(address), engine_timeout).await {
                Ok(engine) => engines.reached.push(engine),
                Err(error) => engines.missed.push((address.clone(), error.to_string())),
            }
        }
        engines
    }

    fn has_missed(&self, address: &str) -> bool {
        self.missed.iter().any(|(missed, _)| missed == address)
    }

    /// All that answer, without those that are another one reached in another way.
    pub(crate) fn different(&self) -> Vec<Arc<dyn Engine>> {
        let mut engines: Vec<Arc<dyn Engine>> = vec![];
        for engine in &self.reached {
            if !engines.iter().any(|other| is_same(other.info(), engine.info())) {
                engines.push(engine.clone());
            }
        }
        engines
    }

    /// The user's own that answer.
    pub(crate) fn usual(&self) -> &[Arc<dyn Engine>] {
        &self.reached[..self.usual]
    }

    /// The one at an address, if it answers.
    pub(crate) fn at(&self, address: &str) -> Option<&Arc<dyn Engine>> {
        self.reached.iter().find(|engine| engine.info().address == address)
    }

    /// One whose containers see the files of this machine.
    pub(crate) fn of_this_machine(&self) -> Option<&Arc<dyn Engine>> {
        self.reached.iter().find(|engine| engine.info().local).or(self.reached.first())
    }

    /// Why some don't answer, a sentence each.
    pub(crate) fn obstacles(&self) -> impl Iterator<Item = String> {
        self.missed.iter().map(|(_, why)| why.clone())
    }

    /// Takes one that has stopped to answer away.
    pub(crate) fn lose(&mut self, address: &str, why: String) {
        self.usual -= self.usual().iter().filter(|engine| engine.info().address == address).count();
        self.reached.retain(|engine| engine.info().address != address);
        self.missed.push((address.to_owned(), why));
    }
}
