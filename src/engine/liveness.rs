//! Waiting for an engine that may have fallen silent.

use std::time::Duration;

use super::{Engine, EngineError, Result};
use crate::sync::{select, time};

/// How long a call may take before the engine is asked whether it still answers, and then how often.
const DOUBT: Duration = Duration::from_secs(5);

/// Awaits a call as long as the engine answers pings, however long the call takes.
///
/// # Errors
/// The call's; or, when a ping is not answered within `silence`, [`EngineError::TimedOut`]; or why that failed.
pub(crate) async fn while_it_answers<T>(
    engine: &dyn Engine,
    silence: Duration,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    select! {
        biased;
        done = call => done,
        error = falls_silent(engine, silence) => Err(error),
    }
}

/// Resolves when the engine does not answer a ping within `silence`. Asks every few seconds: not for one that is idle.
pub(crate) async fn falls_silent(engine: &dyn Engine, silence: Duration) -> EngineError {
    loop {
        time::sleep(DOUBT).await;
        let answer = time::timeout(silence, engine.ping()).await;
        if let Err(error) = answer.unwrap_or(Err(EngineError::TimedOut(silence))) {
            return error;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::simulated::{Op, SimulatedEngine};

    #[tokio::test(start_paused = true)]
    async fn a_slow_call_is_awaited_and_a_silent_engine_is_not() {
        let engine = SimulatedEngine::new();
        engine.delay(Op::List, Duration::from_secs(600));
        let list = || while_it_answers(&engine, Duration::from_secs(10), engine.list(None));
        assert_eq!(list().await, Ok(vec![]));
        engine.hang(Op::Ping);
        let began = tokio::time::Instant::now();
        assert_eq!(list().await, Err(EngineError::TimedOut(Duration::from_secs(10))));
        assert!(began.elapsed() < Duration::from_secs(16));
    }
}
