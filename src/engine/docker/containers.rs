//! Making, running, listing and removing containers.
//!
//! What a request's body holds is in [`spec`]; what an inspection says is in [`inspection`](super::inspection).

use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::query_parameters::{
    CreateContainerOptions, KillContainerOptions, RemoveContainerOptions, StartContainerOptions, StopContainerOptions,
};
use tracing::warn;

use super::{error, raw, spec};
use crate::engine::{ContainerId, ContainerSpec, EngineError, Listed, Result};

/// How long a removal that someone else began may take.
const REMOVAL: Duration = Duration::from_secs(30);
/// How often to look whether it is over.
const LOOK: Duration = Duration::from_millis(20);

/// Creates a container. Its output goes to the first log driver that the engine takes, or to the engine's default.
pub(super) async fn create(docker: &Docker, spec: &ContainerSpec) -> Result<ContainerId> {
    let mut refusal = None;
    for driver in spec::LOG_DRIVERS.map(Some).into_iter().chain([None]) {
        let options = CreateContainerOptions { name: Some(spec.name.clone()), ..CreateContainerOptions::default() };
        let body = spec::body(spec, driver);
        match docker.create_container(Some(options), body).await.map_err(error::from_bollard) {
            Err(EngineError::Refused(why)) if driver.is_some() && is_about_logging(&why) => refusal = Some(why),
            created => {
                if let (Ok(_), None, Some(why)) = (&created, driver, refusal) {
                    warn!(container = %spec.name, %why, "the engine refuses a log driver; its default may lose output");
                }
                return Ok(ContainerId(created?.id));
            }
        }
    }
    Err(EngineError::Refused(refusal.unwrap_or_default()))
}

/// Whether an engine means the log driver or its options when it refuses to create a container.
fn is_about_logging(why: &str) -> bool {
    ["logger:", "log driver", "logging driver", "log opt", "log-opt", "max-buffer-size"]
        .iter()
        .any(|words| why.contains(words))
}

/// Starts it; one that runs already answers 304, which bollard takes for success.
pub(super) async fn start(docker: &Docker, id: &ContainerId) -> Result<()> {
    docker.start_container(&id.0, None::<StartContainerOptions>).await.map_err(error::from_bollard)
}

/// Stops it. The engine takes whole seconds: `grace` is rounded up.
pub(super) async fn stop(docker: &Docker, id: &ContainerId, grace: Duration) -> Result<()> {
    let seconds = grace.as_secs().saturating_add(u64::from(grace.subsec_nanos() > 0));
    let options = StopContainerOptions { signal: None, t: Some(i32::try_from(seconds).unwrap_or(i32::MAX)) };
    docker.stop_container(&id.0, Some(options)).await.map_err(error::from_bollard)
}

/// Sends a signal.
pub(super) async fn kill(docker: &Docker, id: &ContainerId, signal: &str) -> Result<()> {
    let options = KillContainerOptions { signal: signal.to_owned() };
    docker.kill_container(&id.0, Some(options)).await.map_err(error::from_bollard)
}

/// Removes it by force, with its anonymous volumes, and returns when it is gone.
pub(super) async fn remove(docker: &Docker, id: &ContainerId) -> Result<()> {
    let options = RemoveContainerOptions { v: true, force: true, ..RemoveContainerOptions::default() };
    match docker.remove_container(&id.0, Some(options)).await.map_err(error::from_bollard) {
        Err(EngineError::NotFound(_)) => Ok(()),
        Err(EngineError::Conflict(reason)) if reason.contains("already in progress") => gone(docker, id).await,
        other => other,
    }
}

/// Waits until a removal in progress is over.
async fn gone(docker: &Docker, id: &ContainerId) -> Result<()> {
    let begin = Instant::now();
    let target = format!("/containers/{}/json", raw::encode(&id.0));
    while begin.elapsed() < REMOVAL {
        match raw::text(docker, &target).await {
            Err(EngineError::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error),
            Ok(_) => tokio::time::sleep(LOOK).await,
        }
    }
    Err(EngineError::TimedOut(REMOVAL))
}

/// Lists containers, stopped ones too.
pub(super) async fn list(docker: &Docker, label: Option<&str>) -> Result<Vec<Listed>> {
    let target = format!("/containers/json?all=true&{}", raw::label_filter(label));
    let answer = raw::json(docker, &target).await?;
    let containers = answer.as_array().ok_or_else(|| raw::nonsense("the list of containers is no list"))?;
    Ok(containers.iter().map(listed).collect())
}

fn listed(container: &serde_json::Value) -> Listed {
    // A container that others link to has several names: its own is the one with a single slash.
    let names: Vec<&str> =
        container["Names"].as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect();
    let own = |name: &&&str| !name.trim_start_matches('/').contains('/');
    let name = names.iter().find(own).or(names.first()).map_or("", |name| name.trim_start_matches('/'));
    let state = container["State"].as_str().unwrap_or_default();
    Listed {
        id: ContainerId(raw::string(container, "Id")),
        name: name.to_owned(),
        image: raw::short_image(&raw::string(container, "Image")).to_owned(),
        labels: raw::labels(container),
        running: matches!(state, "running" | "paused" | "stopping"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_gives_the_own_name_and_copes_with_unknown_states() {
        let value = serde_json::json!({
            "Id": "ab", "Names": ["/other/alias", "/mine"], "Image": "localhost/x:1", "State": "stopped", "Labels": { "k": "v" }
        });
        let expected = Listed {
            id: ContainerId("ab".into()),
            name: "mine".into(),
            image: "x:1".into(),
            labels: vec![("k".into(), "v".into())],
            running: false,
        };
        assert_eq!(listed(&value), expected);
        assert!(listed(&serde_json::json!({ "Id": "ab", "State": "paused" })).running);
    }
}
