//! From addresses to engines.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::{Fleet, HostAddress};
use crate::engine::simulated::{self, SimulatedEngine};
use crate::engine::{Engine, EngineError, EngineInfo, docker};
use crate::sync::time;

/// What the address of a simulated engine begins with.
const SIMULATED: &str = "simulated:";

/// Whether an address is that of a simulated engine, which is in its daemon and ends with it.
pub(crate) fn is_simulated(address: &str) -> bool {
    address.starts_with(SIMULATED)
}

/// Connects to the engine that `host` names, or to the one that is there.
///
/// # Errors
/// The engine's.
pub(crate) async fn connect(host: Option<&str>, timeout: Duration) -> Result<Arc<dyn Engine>, EngineError> {
    if let Some(url) = host.filter(|url| is_simulated(url)) {
        return Ok(Arc::new(SimulatedEngine::from_url(url)?));
    }
    let connecting = time::timeout(timeout, docker::connect(host, timeout)).await;
    match connecting.unwrap_or(Err(EngineError::TimedOut(timeout))) {
        Ok(engine) => Ok(Arc::new(engine)),
        Err(EngineError::TimedOut(_)) => {
            let which = host.map_or("the engine".to_owned(), |host| format!("the engine at {host}"));
            let seconds = timeout.as_secs_f64();
            let advice = "see that it runs, or name another with --host";
            Err(EngineError::Unreachable(format!("{which} did not answer within {seconds} s: {advice}")))
        }
        Err(error) => Err(error),
    }
}

/// Connects to all engines of a cluster, or to the one that is there if none is named. Returns their machines' names
/// too.
///
/// # Errors
/// The first engine's, with its address; that two have the same name or are the same.
pub(crate) async fn connect_all(hosts: &[HostAddress], timeout: Duration) -> Result<(Fleet, Vec<String>), EngineError> {
    let addresses: Vec<_> = hosts.iter().map(|host| host.address.as_str()).collect();
    let engines = match &addresses[..] {
        [] | [_] => vec![connect(addresses.first().copied(), timeout).await?],
        several if several.iter().all(|address| is_simulated(address)) => {
            simulated::engines(several)?.into_iter().map(|engine| engine as Arc<dyn Engine>).collect()
        }
        several => {
            let connected = join_all(several.iter().map(|address| connect(Some(address), timeout))).await;
            connected.into_iter().collect::<Result<_, _>>()?
        }
    };
    let own = |nth: usize| engines[nth].info().name.clone();
    let named = |nth: usize| hosts.get(nth).and_then(|host| host.name.clone());
    let names: Vec<_> = (0..engines.len()).map(|nth| named(nth).unwrap_or_else(|| own(nth))).collect();
    for (nth, name) in names.iter().enumerate() {
        if let Some(other) = (0..nth).find(|other| is_same(engines[*other].info(), engines[nth].info())) {
            let (first, second) = (&addresses[other], &addresses[nth]);
            return Err(EngineError::Refused(format!("{first} and {second} are the same engine: name each one once")));
        }
        if let Some(other) = names[..nth].iter().position(|other| other == name) {
            let (first, second) = (&addresses[other], &addresses[nth]);
            return Err(EngineError::Refused(format!(
                "the machines of {first} and {second} are both called {name}: give them names of their own, as in --host a={first}"
            )));
        }
    }
    Ok((engines.into(), names))
}

/// Whether two engines are one, perhaps reached in two ways. Machines that were copied may have engines of one id, but have
/// different ones in a swarm.
pub(crate) fn is_same(one: &EngineInfo, other: &EngineInfo) -> bool {
    match (&one.swarm, &other.swarm) {
        (Some(one), Some(other)) => one.node == other.node,
        _ => !one.id.is_empty() && one.id == other.id && one.name == other.name,
    }
}
