//! The engines in which something may be left.

use std::sync::Arc;
use std::time::Duration;

use crate::daemon::connect;
use crate::engine::Engine;

/// Those that answer, and those that don't.
#[derive(Default)]
pub(crate) struct Engines {
    reached: Vec<Arc<dyn Engine>>,
    /// Address as it was asked for, and why not.
    missed: Vec<(String, String)>,
    /// Whether the first reached is the user's own, and no other cluster's.
    has_usual: bool,
}

impl Engines {
    /// The engine that the user means now, and those that records name.
    pub(crate) async fn find(host: Option<&str>, recorded: &[String], engine_timeout: Duration) -> Self {
        let mut engines = Self::default();
        match connect(host, engine_timeout).await {
            Ok(engine) => {
                engines.has_usual = true;
                engines.reached.push(engine);
            }
            Err(error) => engines.missed.push((host.unwrap_or_default().to_owned(), error.to_string())),
        }
        for address in recorded {
            if address.starts_with("simulated:") || engines.at(address).is_some() || engines.has_missed(address) {
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

    /// All that answer.
    pub(crate) fn reached(&self) -> &[Arc<dyn Engine>] {
        &self.reached
    }

    /// The user's own, if it answers.
    pub(crate) fn usual(&self) -> Option<&Arc<dyn Engine>> {
        self.reached.first().filter(|_| self.has_usual)
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
        if self.usual().is_some_and(|engine| engine.info().address == address) {
            self.has_usual = false;
        }
        self.reached.retain(|engine| engine.info().address != address);
        self.missed.push((address.to_owned(), why));
    }
}
