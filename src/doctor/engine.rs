//! The engine, and what is left in it.

use std::sync::Arc;
use std::time::Duration;

use super::{Finding, Verdict};
use crate::daemon::prune::{PruneFilter, look};
use crate::engine::{Engine, EngineError, Setup};
use crate::fleet::{HostAddress, connect};
use crate::provision::free_subnets;

/// How long it may take to answer.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(10);
/// Nodes that a network of the usual size has addresses for.
const NODES: usize = 253;

/// Connects to it.
///
/// # Errors
/// What to do.
pub(crate) async fn reach(host: Option<&str>) -> Result<(Arc<dyn Engine>, Finding), Finding> {
    match connect(host, ENGINE_TIMEOUT).await {
        Ok(engine) => {
            let info = engine.info();
            let (verdict, place) = match info.local {
                true => (Verdict::Ok, "on this machine"),
                false => (
                    Verdict::Note,
                    "on another machine, in a virtual one, or in a pid namespace out of sight: if it does not see this machine's \
                     files, bindmounts/ are files there",
                ),
            };
            let text = format!("{} at {}, {place}", info.description, info.address);
            Ok((engine.clone(), Finding::new("engine", verdict, text)))
        }
        Err(error) => {
            let advice = match &error {
                // It is somewhere else, so nothing that is installed here helps.
                EngineError::Unreachable(why) if why.contains("tcp://") || why.contains("http") => {
                    ". See that an engine listens there and that a firewall lets you through, or name another with DOCKER_HOST"
                }
                EngineError::Unreachable(_) => {
                    ". Start it (sudo systemctl start docker), or get one (sudo apt-get install docker.io), or name one with DOCKER_HOST"
                }
                _ => "",
            };
            Err(Finding::new("engine", Verdict::Problem, format!("{error}{advice}")))
        }
    }
}

/// How its clock goes.
pub(crate) async fn clock(engine: &dyn Engine) -> Finding {
    let finding = |verdict, text: String| Finding::new("clock", verdict, text);
    match engine.clock().await {
        Ok(clock) => finding(Verdict::Ok, format!("{}: {clock} against this machine's", engine.info().address)),
        Err(error) => finding(Verdict::Unknown, format!("{}: {error}", engine.info().address)),
    }
}

/// What the engine's set-up changes, a finding each.
pub(crate) fn setup(setup: &Setup) -> Vec<Finding> {
    let mut findings = vec![];
    let mut tell = |check, verdict, text: &str| findings.push(Finding::new(check, verdict, text));
    if setup.rootless {
        tell(
            "rootless",
            Verdict::Note,
            "the engine runs without root: this machine does not reach the nodes' addresses (--publish PORT works), and top and \
             docker stats may show the machine's figures instead of a node's",
        );
    }
    if setup.remaps_users {
        tell(
            "userns-remap",
            Verdict::Note,
            "root in a node is an ordinary user here: what it writes into bindmounts/ has that user's number (100000 and up), and \
             --privileged is refused",
        );
    }
    if setup.live_restore {
        tell("live-restore", Verdict::Ok, "on: nodes live on while the engine restarts");
    }
    let missing: Vec<_> = [(setup.limits_memory, "memory"), (setup.limits_cpu, "cpu")]
        .iter()
        .filter(|(has, _)| !has)
        .map(|(_, name)| *name)
        .collect();
    if !missing.is_empty() {
        let options: Vec<_> = missing.iter().map(|name| if *name == "cpu" { "--cpus" } else { "--memory" }).collect();
        let text = format!(
            "the engine has no control group for {}, so {} cannot work. On a rootless engine systemd has to delegate it \
             (Delegate=cpu memory pids in user@.service)",
            missing.join(" and "),
            options.join(" and ")
        );
        findings.push(Finding::new("limits", Verdict::Note, text));
    }
    if !setup.freezes {
        findings.push(Finding::new("pause", Verdict::Note, "the engine has no control groups, so `pause` fails"));
    }
    findings
}

/// Networks in which nodes cannot be reached.
pub(crate) async fn isolated(engine: &dyn Engine) -> Option<Finding> {
    let networks = engine.list_networks(None).await.ok()?;
    let names: Vec<_> = networks.into_iter().filter(|network| network.isolated).map(|network| network.name).collect();
    (!names.is_empty()).then(|| {
        let text = format!(
            "{}: gateway mode isolated, so this machine and nodes that are put there with --network do not reach each other",
            names.join(", ")
        );
        Finding::new("networks", Verdict::Note, text)
    })
}

/// Room for networks.
pub(crate) async fn subnets(engine: &dyn Engine) -> Finding {
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
pub(crate) async fn leftovers(hosts: &[HostAddress]) -> Finding {
    let finding = |verdict, text: String| Finding::new("leftovers", verdict, text);
    let filter = PruneFilter { mountpoints: vec![], hosts: hosts.to_vec(), engine_timeout: ENGINE_TIMEOUT };
    match look(&filter).await {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn words(setup: &Setup) -> Vec<(&'static str, Verdict, String)> {
        super::setup(setup).into_iter().map(|finding| (finding.check, finding.verdict, finding.text)).collect()
    }

    #[test]
    fn what_is_usual_needs_no_word() {
        assert!(words(&Setup::default()).is_empty());
    }

    #[test]
    fn what_is_unusual_is_told_with_what_it_changes() {
        let told = words(&Setup {
            rootless: true,
            remaps_users: true,
            live_restore: true,
            limits_memory: false,
            limits_cpu: false,
            freezes: false,
            desktop: false,
        });
        let checks: Vec<_> = told.iter().map(|(check, verdict, _)| (*check, *verdict)).collect();
        let notes = ["rootless", "userns-remap", "limits", "pause"].map(|check| (check, Verdict::Note));
        assert!(notes.iter().all(|note| checks.contains(note)) && checks.contains(&("live-restore", Verdict::Ok)));
        assert_eq!(checks.len(), 5);
        let text = |check: &str| &told.iter().find(|(name, ..)| *name == check).unwrap().2;
        assert!(text("limits").contains("memory and cpu") && text("limits").contains("--memory and --cpus"));
        assert!(text("rootless").contains("--publish"));
        let one = words(&Setup { limits_memory: false, ..Setup::default() });
        assert!(one.len() == 1 && one[0].2.contains("for memory, so --memory cannot"), "{one:?}");
    }
}
