//! Making, running, listing and removing containers.
//!
//! What a request's body holds is in [`spec`]; what an inspection says is in [`inspection`](super::inspection).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::query_parameters::{
    CreateContainerOptions, KillContainerOptions, RemoveContainerOptions, StartContainerOptions, StopContainerOptions,
};
use tracing::warn;

use super::{error, images, raw, spec};
use crate::engine::{ContainerId, ContainerSpec, EngineError, Listed, Result};

/// How long a removal that someone else began may take.
const REMOVAL: Duration = Duration::from_secs(30);
/// How often to look whether it is over.
const LOOK: Duration = Duration::from_millis(20);

/// Creates a container. Its output goes to the first log driver that the engine takes, or to the engine's default. What the
/// engine warns of comes with it.
pub(super) async fn create(docker: &Docker, spec: &ContainerSpec) -> Result<(ContainerId, Vec<String>)> {
    let api = spec::api(docker);
    let mut refusal = None;
    for driver in spec::LOG_DRIVERS.map(Some).into_iter().chain([None]) {
        let platform = spec.run.platform.clone().unwrap_or_default();
        let options = CreateContainerOptions { name: Some(spec.name.clone()), platform };
        let body = spec::body(spec, driver, api);
        let docker = spec::with_old_mac(spec, &body, api).map_or(docker.clone(), |body| raw::with_body(docker, body));
        match docker.create_container(Some(options), body).await.map_err(error::from_bollard) {
            Err(EngineError::Refused(why)) if driver.is_some() && is_about_logging(&why) => refusal = Some(why),
            created => {
                if let (Ok(_), None, Some(why)) = (&created, driver, refusal) {
                    warn!(container = %spec.name, %why, "the engine refuses a log driver; its default may lose output");
                }
                let created = created?;
                return Ok((ContainerId(created.id), created.warnings));
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
    match docker.start_container(&id.0, None::<StartContainerOptions>).await.map_err(error::from_bollard) {
        Err(EngineError::Refused(why)) => Err(EngineError::Refused(match cause(&why) {
            Some(cause) => format!("{cause}: {why}"),
            None => why,
        })),
        started => started,
    }
}

/// What a refusal to start a container is about, if it names neither the option nor what it was for.
fn cause(why: &str) -> Option<&'static str> {
    const CAUSES: [(&str, &str); 4] = [
        ("with capabilities: [[gpu]]", "the engine has no runtime for GPUs (--gpus)"),
        ("/proc/sys/", "a kernel parameter cannot be set (--sysctl)"),
        ("rlimit", "a limit of its processes cannot be set (--ulimit)"),
        ("tmpfs", "a file system in memory cannot be mounted (--tmpfs)"),
    ];
    CAUSES.iter().find(|(words, _)| why.contains(words)).map(|(_, cause)| *cause)
}

/// Stops it. The engine takes whole seconds: `grace` is rounded up.
pub(super) async fn stop(docker: &Docker, id: &ContainerId, grace: Duration) -> Result<()> {
    let seconds = grace.as_secs().saturating_add(u64::from(grace.subsec_nanos() > 0));
    let options = StopContainerOptions { signal: None, t: Some(i32::try_from(seconds).unwrap_or(i32::MAX)) };
    docker.stop_container(&id.0, Some(options)).await.map_err(error::from_bollard)
}

pub(super) async fn kill(docker: &Docker, id: &ContainerId, signal: &str) -> Result<()> {
    let options = KillContainerOptions { signal: signal.to_owned() };
    docker.kill_container(&id.0, Some(options)).await.map_err(error::from_bollard)
}

/// Removes it by force, with its anonymous volumes, and returns when the engine no longer knows it.
///
/// Another client may be removing it, or the engine itself after a restart. That removal can fail and leave the
/// container "dead", so it is requested again until it is done.
///
/// `kills_gently` is whether the engine removes by SIGTERM and a wait of ten seconds, as podman does.
pub(super) async fn remove(docker: &Docker, id: &ContainerId, kills_gently: bool) -> Result<()> {
    let begin = Instant::now();
    // The removal reports the same errors; or the container does not run.
    if kills_gently && matches!(kill(docker, id, "SIGKILL").await, Err(EngineError::Conflict(_))) {
        let thawed = docker.unpause_container(&id.0).await;
        if thawed.is_ok() {
            let _ = kill(docker, id, "SIGKILL").await;
        }
    }
    loop {
        let options = RemoveContainerOptions { v: true, force: true, ..RemoveContainerOptions::default() };
        match docker.remove_container(&id.0, Some(options)).await.map_err(error::from_bollard) {
            Err(EngineError::NotFound(_)) => return Ok(()),
            Err(EngineError::Conflict(reason)) if is_being_removed(&reason) => {}
            other => return other,
        }
        if begin.elapsed() > REMOVAL {
            return Err(EngineError::TimedOut(REMOVAL));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether an engine refuses because a removal has already begun.
fn is_being_removed(reason: &str) -> bool {
    reason.contains("already in progress") || reason.contains("is being removed")
}

/// Lists containers, stopped ones too.
pub(super) async fn list(docker: &Docker, label: Option<&str>) -> Result<Vec<Listed>> {
    let target = format!("/containers/json?all=true&{}", raw::label_filter(label));
    let answer = raw::json(docker, &target).await?;
    let containers = answer.as_array().ok_or_else(|| raw::nonsense("the list of containers is no list"))?;
    let mut known = Vec::with_capacity(containers.len());
    let mut images = HashMap::new();
    for answer in containers {
        let mut container = listed(answer);
        if container.name.is_empty() && !is_known(docker, &container.id).await? {
            continue;
        }
        let image = raw::string(answer, "ImageID");
        if label.is_some() && !image.is_empty() {
            if !images.contains_key(&image) {
                images.insert(image.clone(), images::labels(docker, &image).await?);
            }
            container.image_labels = images[&image].clone();
        }
        known.push(container);
    }
    Ok(known)
}

/// Whether the engine knows a container that it lists without a name.
///
/// Docker 20.10 lists some containers that it removed itself when it restarted, as "dead" and without a name, until its next
/// restart. Every request about one of them is answered with "No such container".
async fn is_known(docker: &Docker, id: &ContainerId) -> Result<bool> {
    match raw::text(docker, &format!("/containers/{}/json", raw::encode(&id.0))).await {
        Ok(_) => Ok(true),
        Err(EngineError::NotFound(_)) => Ok(false),
        Err(error) => Err(error),
    }
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
        image_labels: None,
        running: matches!(state, "running" | "paused" | "stopping"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake;
    use super::*;

    /// An engine that is asked to remove a container that it is removing already, as often as `busy` says.
    async fn removing(busy: usize, last: (u16, &'static str)) -> (Result<()>, Vec<String>) {
        let tries = std::sync::atomic::AtomicUsize::new(0);
        let engine = fake::engine(move |method, _| match method {
            "DELETE" if tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < busy => {
                fake::answer(409, r#"{"message":"removal of container c1 is already in progress"}"#)
            }
            _ => fake::answer(last.0, last.1),
        });
        let result = remove(&engine.docker, &ContainerId("c1".into()), false).await;
        (result, engine.asked())
    }

    #[tokio::test]
    async fn a_removal_that_somebody_else_began_is_waited_for() {
        let (result, asked) = removing(3, (404, r#"{"message":"No such container: c1"}"#)).await;
        assert_eq!(result, Ok(()));
        assert_eq!(asked.len(), 4, "{asked:?}");
        // It failed and left the container dead: ours goes through.
        let (result, asked) = removing(3, (204, "")).await;
        assert_eq!((result, asked.len()), (Ok(()), 4));
        let (result, _) = removing(1, (500, r#"{"message":"device or resource busy"}"#)).await;
        assert_eq!(result, Err(EngineError::Refused("device or resource busy".into())));
        let (result, _) = removing(1, (409, r#"{"message":"cannot remove: it is locked"}"#)).await;
        assert!(matches!(result, Err(EngineError::Conflict(_))), "{result:?}");
    }

    #[tokio::test]
    async fn an_engine_that_kills_gently_is_told_to_kill() {
        let frozen = std::sync::atomic::AtomicBool::new(true);
        let engine = fake::engine(move |method, target| match (method, target) {
            ("POST", target) if target.contains("/unpause") => {
                frozen.store(false, std::sync::atomic::Ordering::Relaxed);
                fake::answer(204, "")
            }
            ("POST", _) if frozen.load(std::sync::atomic::Ordering::Relaxed) => {
                fake::answer(409, r#"{"message":"can only kill running containers. c1 is in state paused"}"#)
            }
            _ => fake::answer(204, ""),
        });
        remove(&engine.docker, &ContainerId("c1".into()), true).await.unwrap();
        let asked = engine.asked();
        let ends = ["/kill?signal=SIGKILL", "/unpause", "/kill?signal=SIGKILL"];
        assert!(asked.len() == 4 && ends.iter().zip(&asked).all(|(end, line)| line.ends_with(end)), "{asked:?}");
        assert!(asked[3].starts_with("DELETE "), "{asked:?}");
        let stopped = fake::engine(|method, _| match method {
            "DELETE" => fake::answer(204, ""),
            _ => fake::answer(500, r#"{"message":"container state improper"}"#),
        });
        assert_eq!(remove(&stopped.docker, &ContainerId("c1".into()), true).await, Ok(()));
    }

    #[tokio::test]
    async fn a_refusal_to_start_names_the_option_that_it_is_about() {
        let told = async |refusal: &str| {
            let message = format!("{{\"message\":\"{refusal}\"}}");
            let engine = fake::engine(move |_, _| fake::answer(500, &message));
            start(&engine.docker, &ContainerId("c1".into())).await.unwrap_err().to_string()
        };
        for (refusal, cause) in [
            (
                "could not select device driver '' with capabilities: [[gpu]]",
                "the engine has no runtime for GPUs (--gpus): ",
            ),
            ("open /proc/sys/net/no/such: no such file or directory", "a kernel parameter cannot be set (--sysctl): "),
            (
                "error setting rlimit type 7: operation not permitted",
                "a limit of its processes cannot be set (--ulimit): ",
            ),
            ("invalid tmpfs option [x]", "a file system in memory cannot be mounted (--tmpfs): "),
            ("exec: no such file", ""),
        ] {
            assert_eq!(told(refusal).await, format!("{cause}{refusal}"));
        }
    }

    #[tokio::test]
    async fn the_platform_is_part_of_the_request() {
        let engine = fake::engine(|_, _| fake::answer(201, r#"{"Id":"c1","Warnings":[]}"#));
        let mut spec = ContainerSpec { name: "n".into(), ..ContainerSpec::default() };
        spec.run.platform = Some("linux/arm64".into());
        create(&engine.docker, &spec).await.unwrap();
        let asked = engine.asked();
        assert!(asked[0].contains("platform=linux%2Farm64"), "{asked:?}");
    }

    #[tokio::test]
    async fn a_listing_leaves_out_what_the_engine_no_longer_knows() {
        let row =
            |id: &str, names: &str| format!(r#"{{"Id":"{id}","Names":{names},"State":"dead","Labels":{{"k":"v"}}}}"#);
        let rows = format!("[{},{},{}]", row("a", r#"["/x"]"#), row("ghost", "null"), row("b", "[]"));
        let engine = fake::engine(move |_, target| match target {
            _ if target.contains("/containers/json?") => fake::answer(200, &rows),
            _ if target.ends_with("/containers/b/json") => fake::answer(200, "{}"),
            _ => fake::answer(404, r#"{"message":"No such container"}"#),
        });
        let found: Vec<_> =
            list(&engine.docker, Some("k=v")).await.unwrap().into_iter().map(|listed| listed.id.0).collect();
        assert_eq!(found, ["a", "b"]);
        let broken = fake::engine(|_, target| match target.contains("/containers/json?") {
            true => fake::answer(200, r#"[{"Id":"ghost","Names":null}]"#),
            false => fake::answer(500, r#"{"message":"out of order"}"#),
        });
        assert_eq!(list(&broken.docker, None).await, Err(EngineError::Refused("out of order".into())));
    }

    #[tokio::test]
    async fn a_listing_by_a_label_tells_the_images_own_labels() {
        let row = |id: &str, image: &str| format!(r#"{{"Id":"{id}","Names":["/{id}"],"ImageID":"{image}"}}"#);
        let rows =
            format!("[{},{},{},{}]", row("a", "sha256:1"), row("b", "sha256:1"), row("c", "gone"), row("d", "x"));
        let engine = fake::engine(move |_, target| match target {
            _ if target.contains("/containers/json?") => fake::answer(200, &rows),
            _ if target.ends_with("/images/sha256:1/json") => {
                fake::answer(200, r#"{"Config":{"Labels":{"k":"v","a":"b"}}}"#)
            }
            _ if target.ends_with("/images/x/json") => fake::answer(200, r#"{"Config":{"Labels":null}}"#),
            _ => fake::answer(404, r#"{"message":"No such image"}"#),
        });
        let labels = |found: Vec<Listed>| found.into_iter().map(|listed| listed.image_labels).collect::<Vec<_>>();
        let image = Some(vec![("a".to_owned(), "b".to_owned()), ("k".to_owned(), "v".to_owned())]);
        let found = labels(list(&engine.docker, Some("k")).await.unwrap());
        assert_eq!(found, [image.clone(), image, None, Some(vec![])]);
        assert_eq!(engine.asked().len(), 4, "each image once: {:?}", engine.asked());
        assert_eq!(labels(list(&engine.docker, None).await.unwrap()), [None, None, None, None]);
        assert_eq!(engine.asked().len(), 5);
    }

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
            image_labels: None,
            running: false,
        };
        assert_eq!(listed(&value), expected);
        assert!(listed(&serde_json::json!({ "Id": "ab", "State": "paused" })).running);
    }
}
