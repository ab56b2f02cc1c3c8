//! The engine, and what is left in it.

use std::sync::Arc;
use std::time::Duration;

use super::{Finding, Verdict};
use crate::daemon::connect;
use crate::daemon::prune::{Wish, look};
use crate::engine::{Engine, EngineError};
use crate::provision::free_subnets;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Nodes that a network of the usual size has addresses for.
const NODES: usize = 253;

/// Connects to it.
///
/// # Errors
/// What to do.
pub async fn reach(host: Option<&str>) -> Result<(Arc<dyn Engine>, Finding), Finding> {
    match connect(host, PATIENCE).await {
        Ok(engine) => {
            let info = engine.info();
            let place =
                if info.local { "on this machine" } else { "on another machine, or in a pid namespace out of sight" };
            let text = format!("{} at {}, {place}", info.description, info.address);
            Ok((engine.clone(), Finding::new("engine", Verdict::Ok, text)))
        }
        Err(error) => {
            let advice = match &error {
                EngineError::Unreachable(_) => {
                    ". Start it (sudo systemctl start docker), or get one (sudo apt-get install docker.io), or name one with DOCKER_HOST"
                }
                _ => "",
            };
            Err(Finding::new("engine", Verdict::Problem, format!("{error}{advice}")))
        }
    }
}

/// Room for networks.
pub async fn subnets(engine: &dyn Engine) -> Finding {
    let finding = |verdict, text: String| Finding::new("subnets", verdict, text);
    match free_subnets(engine, NODES).await {
        Ok((0, _)) => {
            finding(Verdict::Problem, "none is free: docker network prune, or name one with --subnet CIDR".into())
        }
        Ok((free, of)) => {
            finding(Verdict::Ok, format!("{free} of {of} are free, each for a cluster of up to {NODES} nodes"))
        }
        Err(error) => finding(Verdict::Problem, format!("the engine does not list its networks: {error}")),
    }
}

/// What dead clusters have left.
pub async fn leftovers(host: Option<&str>) -> Finding {
    let finding = |verdict, text: String| Finding::new("leftovers", verdict, text);
    let wish = Wish { mountpoints: vec![], host: host.map(str::to_owned), patience: PATIENCE };
    match look(&wish).await {
        Err(error) => finding(Verdict::Unknown, format!("{error:#}")),
        Ok(left) if left.is_empty() && left.obstacles.is_empty() => finding(Verdict::Ok, "none".into()),
        Ok(left) => {
            let kept = left.places.iter().filter(|place| place.record.is_none()).count();
            let parts = [
                (left.clusters.len(), "cluster in the engine", "clusters in the engine"),
                (left.mounts.len(), "dead mount", "dead mounts"),
                (left.places.len() - kept, "record of a cluster", "records of clusters"),
                (kept, "directory that is kept of an earlier cluster", "directories that are kept of earlier clusters"),
                (
                    left.images.len(),
                    "unused image of another version of cthulhu",
                    "unused images of other versions of cthulhu",
                ),
            ];
            let words = |(number, one, many): &(usize, &str, &str)| {
                format!("{number} {}", if *number == 1 { one } else { many })
            };
            let parts = parts.iter().filter(|(number, ..)| *number > 0).map(words);
            let parts: Vec<_> = parts.chain(left.obstacles).collect();
            finding(Verdict::Note, format!("{}; to see and remove them: cthulhu prune", parts.join(", ")))
        }
    }
}
