//! What the nodes' processes use, asked of the engines.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use parking_lot::Mutex;

use super::snapshot::{Node, Snapshot};
use crate::engine::{ContainerId, Engine, EngineError, Usage};
use crate::fleet::{connect, is_simulated};

/// So many questions at once.
const AT_ONCE: usize = 8;
/// How long the engine may take for an answer.
const STATS_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two samples of one shot.
const SAMPLE: Duration = Duration::from_millis(500);
/// Between two rounds on the screen.
const ROUND: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    /// Percent of one CPU since the sample before; `None` at the first.
    pub(crate) cpu: Option<f64>,
    /// Bytes.
    pub(crate) memory: Option<u64>,
}

/// What is known of all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Readings {
    pub(crate) of: HashMap<String, Reading>,
    /// Why there are none, in a sentence; empty if there is no reason.
    pub(crate) trouble: String,
    /// Who the engine is; empty until it has answered.
    pub(crate) engine: String,
}

/// Asks an engine again and again what its nodes use.
pub(crate) struct Meter {
    engine: Option<String>,
    /// Its place among the cluster's engines.
    host: usize,
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    containers: Vec<String>,
    samples: HashMap<String, (Instant, u64)>,
    readings: Readings,
}

impl Meter {
    /// For each of the engines at these addresses; one that can only say why if they are not known.
    pub(crate) fn of_all(engines: &[String]) -> Vec<Arc<Self>> {
        let meter = |(host, engine)| Arc::new(Self { engine, host, shared: Mutex::default() });
        match engines {
            [] => vec![meter((0, None))],
            known => known.iter().cloned().map(Some).enumerate().map(meter).collect(),
        }
    }

    /// Whose usage is asked for from now on.
    pub(crate) fn watch(&self, snapshot: &Snapshot) {
        let is_here = |node: &&Node| node.runs() && !node.container.is_empty() && node.host == self.host;
        let running = snapshot.nodes.iter().filter(is_here);
        self.shared.lock().containers = running.map(|node| node.container.clone()).collect();
    }

    /// What all of them know.
    pub(crate) fn readings_of(meters: &[Arc<Self>]) -> Readings {
        let mut all = Readings::default();
        for meter in meters {
            let readings = meter.readings();
            all.of.extend(readings.of);
            if all.engine.is_empty() {
                all.engine = readings.engine;
            }
            if all.trouble.is_empty() && !readings.trouble.is_empty() {
                let which = meter.engine.as_ref().filter(|_| meters.len() > 1);
                all.trouble = which.map_or(String::new(), |engine| format!("{engine}: ")) + &readings.trouble;
            }
        }
        all
    }

    fn readings(&self) -> Readings {
        self.shared.lock().readings.clone()
    }

    /// Takes two samples, for one shot.
    pub(crate) fn measure_once(&self) {
        self.block_on(async |engine| {
            self.round(engine).await;
            tokio::time::sleep(SAMPLE).await;
            self.round(engine).await;
        });
    }

    /// Measures for as long as `told` says that the screen is shown.
    pub(crate) fn measure(&self, told: impl Fn() -> bool) {
        loop {
            self.block_on(async |engine| {
                loop {
                    let failed = !self.round(engine).await;
                    if !told() || failed {
                        return;
                    }
                    tokio::time::sleep(ROUND).await;
                }
            });
            if !told() || self.cannot() {
                return;
            }
            // The engine is away: it is asked for again.
            std::thread::sleep(ROUND);
        }
    }

    /// Whether there is no engine to ask.
    fn cannot(&self) -> bool {
        self.engine.as_deref().is_none_or(is_simulated)
    }

    fn trouble(&self, trouble: String) {
        let mut shared = self.shared.lock();
        shared.samples.clear();
        shared.readings.of.clear();
        shared.readings.trouble = trouble;
    }

    /// Connects, and lets `work` ask.
    fn block_on(&self, work: impl AsyncFnOnce(&Arc<dyn Engine>)) {
        let Some(address) = &self.engine else {
            return self.trouble(
                "no cpu and memory: the cluster is another user's, or its state is not below this HOME".into(),
            );
        };
        if is_simulated(address) {
            return self.trouble("no cpu and memory: the engine is simulated inside the daemon".into());
        }
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return self.trouble(format!("no cpu and memory: {error}")),
        };
        runtime.block_on(async {
            match connect(Some(address), STATS_TIMEOUT).await {
                Ok(engine) => {
                    self.shared.lock().readings.engine = engine.info().description.clone();
                    work(&engine).await;
                }
                Err(error) => self.trouble(format!("no cpu and memory: {error}")),
            }
        });
    }

    /// One sample of each. False if the engine does not answer.
    async fn round(&self, engine: &Arc<dyn Engine>) -> bool {
        let containers = self.shared.lock().containers.clone();
        let ask = |container: String| {
            let engine = engine.clone();
            async move {
                let id = ContainerId(container.clone());
                let answer = tokio::time::timeout(STATS_TIMEOUT, engine.stats(&id)).await;
                (container, answer.unwrap_or(Err(EngineError::TimedOut(STATS_TIMEOUT))), Instant::now())
            }
        };
        let answers: Vec<_> = stream::iter(containers).map(ask).buffer_unordered(AT_ONCE).collect().await;
        let mut shared = self.shared.lock();
        let mut trouble = String::new();
        let mut samples = HashMap::new();
        let mut of = HashMap::new();
        for (container, answer, at) in answers {
            match answer {
                Ok(usage) => {
                    of.insert(container.clone(), reading(shared.samples.get(&container), usage, at));
                    samples.insert(container, (at, usage.cpu));
                }
                // One that has just gone is no trouble.
                Err(EngineError::NotFound(_) | EngineError::Conflict(_)) => {}
                Err(error) => trouble = format!("no cpu and memory: {error}"),
            }
        }
        let answered = trouble.is_empty();
        shared.samples = samples;
        shared.readings.of = of;
        shared.readings.trouble = trouble;
        answered
    }
}

fn reading(before: Option<&(Instant, u64)>, usage: Usage, at: Instant) -> Reading {
    // A counter that has gone back is another run's.
    let cpu = before.filter(|(_, cpu)| *cpu <= usage.cpu && usage.memory.is_some()).and_then(|(then, cpu)| {
        let passed = at.duration_since(*then).as_nanos();
        (passed > 0).then(|| (usage.cpu - cpu) as f64 / passed as f64 * 100.0)
    });
    Reading { cpu, memory: usage.memory }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_the_difference_of_two_samples() {
        let then = Instant::now();
        let usage = Usage { cpu: 700_000_000, memory: Some(5) };
        let after = then + Duration::from_secs(1);
        assert_eq!(reading(None, usage, after), Reading { cpu: None, memory: Some(5) });
        let cpu = reading(Some(&(then, 200_000_000)), usage, after).cpu.unwrap();
        assert!((cpu - 50.0).abs() < 0.001, "{cpu}");
        assert_eq!(reading(Some(&(then, 800_000_000)), usage, after).cpu, None);
    }

    #[test]
    fn why_there_is_nothing_is_told() {
        let nobody = Meter::of_all(&[]).remove(0);
        nobody.measure_once();
        assert!(nobody.readings().trouble.contains("another user's"));
        let nowhere = Meter::of_all(&["unix:///nowhere/docker.sock".into()]).remove(0);
        nowhere.measure_once();
        assert!(nowhere.readings().trouble.starts_with("no cpu and memory: "), "{}", nowhere.readings().trouble);
    }
}
