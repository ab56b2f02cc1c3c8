//! One process: it does an operation at a time, with one client after the other.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep, timeout};

use super::client::{Client, Trouble};
use super::generator::Generator;
use super::jobs::Jobs;
use super::operation::{Kind, Operation, Outcome};
use super::shared::{Phase, Shared};
use crate::text::plain;

/// How long to wait before a client that has ended or answered nonsense is started again: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long to wait before something is read back again.
const READ_AGAIN: Duration = Duration::from_millis(200);

pub(super) struct Process<'a> {
    shared: &'a Shared,
    /// From 0.
    nth: u64,
    /// What it is called in the history: another number after each operation whose end is unknown.
    id: u64,
    generator: Generator,
    client: Option<Client>,
    /// Clients that were of no more use, since the last sensible answer.
    failures: u32,
}

impl<'a> Process<'a> {
    /// Starts its first client.
    ///
    /// # Errors
    /// From starting it.
    pub(super) fn start(shared: &'a Shared, nth: u64) -> std::io::Result<Self> {
        let generator = Generator::new(shared.mix, shared.seed, nth);
        let mut process = Self { shared, nth, id: shared.first_id + nth, generator, client: None, failures: 0 };
        process.client = Some(process.new_client()?);
        Ok(process)
    }

    fn new_client(&self) -> std::io::Result<Client> {
        let options = &self.shared.options;
        Client::start(&options.client, &self.shared.environment(self.nth), &self.shared.groups)
    }

    /// Does operations until none are to be begun any more.
    ///
    /// # Errors
    /// A sentence: the workload cannot go on.
    pub(super) async fn work(&mut self) -> Result<()> {
        let shared = self.shared;
        while let Some(ready) = shared.unless(|phase| phase != Phase::Working, self.turn()).await {
            ready?;
            let operation = self.generator.next(&shared.registers.borrow());
            shared.keys.borrow_mut().insert(operation.key.clone());
            let outcome = self.perform(&operation).await?;
            shared.see(&operation, &outcome);
        }
        Ok(())
    }

    async fn turn(&mut self) -> Result<()> {
        self.ready().await?;
        self.shared.pace.turn().await;
        self.ready().await
    }

    /// Does what is to be done until all of it has succeeded, here or in another process, or `deadline` is over.
    ///
    /// # Errors
    /// A sentence: the workload cannot go on.
    pub(super) async fn finish(&mut self, jobs: &Jobs, deadline: Instant) -> Result<()> {
        let shared = self.shared;
        let is_interrupted = |phase| matches!(phase, Phase::Interrupted(_));
        while Instant::now() < deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            match shared.unless(is_interrupted, timeout(left, self.ready())).await {
                Some(Ok(ready)) => ready?,
                _ => return Ok(()),
            }
            let again = match jobs.take() {
                Some(operation) => {
                    let outcome = self.perform(&operation).await?;
                    jobs.give_back(operation, &outcome)
                }
                None => true,
            };
            if again && shared.unless(is_interrupted, sleep(READ_AGAIN)).await.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Has its client end.
    pub(super) async fn end(&mut self) {
        if let Some(client) = self.client.take() {
            client.end(false).await;
        }
    }

    /// Sees to it that there is a client that waits for an operation.
    async fn ready(&mut self) -> Result<()> {
        loop {
            match self.client.as_mut().map(Client::check) {
                Some(Ok(())) => return Ok(()),
                Some(Err(trouble)) => drop(self.lose(trouble).await),
                None => {}
            }
            self.shared.clients.check(&self.shared.options)?;
            if let Some(doublings) = self.failures.checked_sub(1) {
                sleep(BACKOFF.0.saturating_mul(1 << doublings.min(16)).min(BACKOFF.1)).await;
            }
            match self.new_client() {
                Ok(client) => self.client = Some(client),
                Err(error) => drop(self.note(&format!("cannot be started: {error}"), false)),
            }
        }
    }

    /// Has the client, which is ready, do an operation.
    async fn perform(&mut self, operation: &Operation) -> Result<Outcome> {
        let (shared, time) = (self.shared, self.shared.options.op_timeout);
        shared.journal.begin(self.id, operation)?;
        let began = Instant::now();
        let answer = match &mut self.client {
            Some(client) => {
                let interrupted = |phase| matches!(phase, Phase::Interrupted(_));
                shared.unless(interrupted, timeout(time, client.ask(operation))).await
            }
            None => Some(Ok(Err(Trouble::Ended(String::new())))),
        };
        let took = began.elapsed();
        let outcome = match answer {
            Some(Ok(Ok(outcome))) => {
                shared.clients.answered();
                self.failures = 0;
                outcome
            }
            Some(Ok(Err(trouble))) => Outcome::unknown(self.lose(trouble).await),
            Some(Err(_)) => {
                shared.clients.silent();
                self.kill(format!("no answer within {} s", time.as_secs_f64())).await
            }
            None => self.kill("the workload was interrupted".into()).await,
        };
        let outcome = shared.journal.end(self.id, operation, outcome, took)?;
        if outcome.kind == Kind::Info {
            self.id += shared.mix.processes;
        }
        shared.clients.check(&shared.options)?;
        Ok(outcome)
    }

    async fn kill(&mut self, why: String) -> Outcome {
        if let Some(client) = self.client.take() {
            client.end(true).await;
        }
        Outcome::unknown(why)
    }

    /// Ends a client that is of no more use. Returns why it is not.
    async fn lose(&mut self, trouble: Trouble) -> String {
        let client = self.client.take();
        let (how, nonsense) = match trouble {
            Trouble::Ended(rest) => {
                let how = match client {
                    Some(client) => client.end(false).await,
                    None => "is not there".into(),
                };
                let rest = if rest.is_empty() { rest } else { format!(" after “{}”", plain(&rest)) };
                (how + &rest, false)
            }
            Trouble::Nonsense(what) => {
                if let Some(client) = client {
                    client.end(true).await;
                }
                (what, true)
            }
        };
        self.note(&how, nonsense)
    }

    fn note(&mut self, how: &str, nonsense: bool) -> String {
        self.failures += 1;
        self.shared.clients.lost(self.nth, how, nonsense)
    }
}
