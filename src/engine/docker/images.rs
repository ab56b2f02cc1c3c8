//! Images: whether one is there, which there are, pulling one, making one from an archive, removing one.
//!
//! Errors of a pull come inside its stream; each is turned into a sentence that names the image.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::{CreateImageOptions, RemoveImageOptions};
use futures_util::{StreamExt, TryStreamExt};

use super::{error, raw};
use crate::engine::{BoxStream, EngineError, Labels, ListedImage, PullProgress, Result};

/// Whether the image is there.
pub(super) async fn present(docker: &Docker, reference: &str) -> Result<bool> {
    match raw::text(docker, &format!("/images/{}/json", raw::encode(reference))).await {
        Ok(_) => Ok(true),
        Err(EngineError::NotFound(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The paths that it declares as volumes.
pub(super) async fn volumes(docker: &Docker, reference: &str) -> Result<Vec<String>> {
    Ok(declared(&raw::json(docker, &format!("/images/{}/json", raw::encode(reference))).await?))
}

/// Its own labels, which all containers made of it have too; `None` if it is gone.
pub(super) async fn labels(docker: &Docker, reference: &str) -> Result<Option<Labels>> {
    match raw::json(docker, &format!("/images/{}/json", raw::encode(reference))).await {
        Ok(image) => Ok(Some(raw::labels(&image["Config"]))),
        Err(EngineError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn declared(image: &serde_json::Value) -> Vec<String> {
    let mut paths: Vec<_> =
        image["Config"]["Volumes"].as_object().into_iter().flatten().map(|(path, _)| path.clone()).collect();
    paths.sort();
    paths
}

/// Pulls an image, without credentials. Asked for at the first poll.
pub(super) fn pull(docker: &Docker, reference: &str) -> BoxStream<Result<PullProgress>> {
    let (name, tag) = split(reference);
    let options = CreateImageOptions {
        from_image: Some(name.to_owned()),
        tag: Some(tag.to_owned()),
        ..CreateImageOptions::default()
    };
    let reference = reference.to_owned();
    let mut layers = Layers::default();
    let steps = docker.create_image(Some(options), None, None);
    let steps = steps.map(move |step| match step {
        Ok(step) => Ok(layers.take(&step)),
        Err(error) => Err(explain(&reference, error::from_bollard(error))),
    });
    steps.boxed()
}

/// Makes an image of a tar archive.
pub(super) async fn import(docker: &Docker, reference: &str, archive: Vec<u8>) -> Result<()> {
    // The tag in the name: podman 4.3 does not read the other parameter, and takes `latest`.
    let (name, tag) = split(reference);
    let options = CreateImageOptions {
        from_src: Some("-".to_owned()),
        repo: Some(format!("{name}:{tag}")),
        ..CreateImageOptions::default()
    };
    let body = bollard::body_full(archive.into());
    let steps = docker.create_image(Some(options), Some(body), None);
    steps.try_for_each(|_| std::future::ready(Ok(()))).await.map_err(error::from_bollard)
}

/// The images of a name.
pub(super) async fn list(docker: &Docker, name: &str) -> Result<Vec<ListedImage>> {
    let answer = raw::json(docker, "/images/json").await?;
    let images = answer.as_array().ok_or_else(|| raw::nonsense("the list of images is no list"))?;
    Ok(tagged(images, name))
}

fn tagged(images: &[serde_json::Value], name: &str) -> Vec<ListedImage> {
    let mut found = Vec::new();
    for image in images {
        let size = image["Size"].as_u64().unwrap_or(0);
        for tag in image["RepoTags"].as_array().into_iter().flatten().filter_map(|tag| tag.as_str()) {
            let short = raw::short_image(tag);
            if split(short).0 == name {
                found.push(ListedImage { reference: short.to_owned(), size });
            }
        }
    }
    found.sort_by(|a, b| a.reference.cmp(&b.reference));
    found
}

/// Removes a name, and the image with its last one; not one that a container uses.
pub(super) async fn remove(docker: &Docker, reference: &str) -> Result<()> {
    let removed = docker.remove_image(reference, None::<RemoveImageOptions>, None).await;
    match removed.map_err(error::from_bollard) {
        Ok(_) | Err(EngineError::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Name and tag (or digest, which the engine takes in the tag's place); `latest` if there is neither.
fn split(reference: &str) -> (&str, &str) {
    if let Some((name, digest)) = reference.split_once('@') {
        return (name, digest);
    }
    match reference.rsplit_once(':') {
        // A colon before the last slash belongs to a registry's port.
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (reference, "latest"),
    }
}

/// What a failed pull means.
fn explain(reference: &str, error: EngineError) -> EngineError {
    const MISSING: &[&str] = &["not found", "manifest unknown", "pull access denied", "does not exist", "unauthorized"];
    match error {
        EngineError::NotFound(reason) => EngineError::NotFound(sentence(reference, &reason)),
        EngineError::Refused(reason) if MISSING.iter().any(|part| reason.contains(part)) => {
            EngineError::NotFound(sentence(reference, &reason))
        }
        EngineError::Refused(reason) => EngineError::Refused(sentence(reference, &reason)),
        EngineError::Conflict(reason) => EngineError::Conflict(sentence(reference, &reason)),
        other => other,
    }
}

fn sentence(reference: &str, reason: &str) -> String {
    format!("cannot pull image {reference}: {reason}")
}

/// How far each layer is: bytes done, bytes in all.
#[derive(Default)]
struct Layers(HashMap<String, (u64, u64)>);

impl Layers {
    /// Takes in one message and sums up. Only downloads count, as layers are unpacked while others still come.
    fn take(&mut self, info: &CreateImageInfo) -> PullProgress {
        let step = info.status.clone().unwrap_or_default();
        let detail = info.progress_detail.as_ref();
        let bytes = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
        let total = bytes(detail.and_then(|detail| detail.total));
        if let Some(id) = &info.id {
            match step.as_str() {
                "Downloading" => {
                    let done = bytes(detail.and_then(|detail| detail.current));
                    self.0.insert(id.clone(), (done, total.max(done)));
                }
                "Download complete" | "Verifying Checksum" | "Extracting" | "Pull complete" => {
                    let layer = self.0.entry(id.clone()).or_default();
                    layer.1 = layer.1.max(total);
                    layer.0 = layer.1;
                }
                _ => {}
            }
        }
        let done = self.0.values().map(|layer| layer.0).sum();
        PullProgress { step, done, total: self.0.values().map(|layer| layer.1).sum() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ProgressDetail;

    #[test]
    fn references_are_split_where_the_engine_splits_them() {
        assert_eq!(split("redis"), ("redis", "latest"));
        assert_eq!(split("redis:7"), ("redis", "7"));
        assert_eq!(split("host:5000/redis"), ("host:5000/redis", "latest"));
        assert_eq!(split("host:5000/a/redis:7"), ("host:5000/a/redis", "7"));
        assert_eq!(split("redis@sha256:12"), ("redis", "sha256:12"));
    }

    #[test]
    fn images_are_found_by_their_name_alone() {
        let images = serde_json::json!([
            { "RepoTags": ["x:2", "x:1", "y:1"], "Size": 7 },
            { "RepoTags": ["localhost/x:3", "docker.io/library/x:4"], "Size": 8 },
            { "RepoTags": ["xx:1", "registry/x:1"] }, { "RepoTags": null },
        ]);
        let found = tagged(images.as_array().unwrap(), "x");
        let found: Vec<_> = found.iter().map(|image| (image.reference.as_str(), image.size)).collect();
        assert_eq!(found, [("x:1", 7), ("x:2", 7), ("x:3", 8), ("x:4", 8)]);
    }

    #[test]
    fn the_volumes_of_an_image_may_be_absent() {
        for none in [serde_json::json!({}), serde_json::json!({ "Config": { "Volumes": null } })] {
            assert!(declared(&none).is_empty());
        }
        let two = serde_json::json!({ "Config": { "Volumes": { "/data": {}, "/conf": {} } } });
        assert_eq!(declared(&two), ["/conf", "/data"]);
    }

    #[test]
    fn progress_is_summed_over_layers() {
        let info = |id: &str, status: &str, current, total| CreateImageInfo {
            id: Some(id.into()),
            status: Some(status.into()),
            progress_detail: Some(ProgressDetail { current, total }),
            ..CreateImageInfo::default()
        };
        let mut layers = Layers::default();
        let first = layers.take(&info("latest", "Pulling from library/redis", None, None));
        assert_eq!((first.done, first.total), (0, 0));
        layers.take(&info("a", "Downloading", Some(10), Some(100)));
        let sum = layers.take(&info("b", "Downloading", Some(5), Some(50)));
        assert_eq!((sum.done, sum.total), (15, 150));
        layers.take(&info("a", "Download complete", None, None));
        let sum = layers.take(&info("a", "Extracting", Some(1), Some(100)));
        assert_eq!((sum.step.as_str(), sum.done, sum.total), ("Extracting", 105, 150));
    }

    #[test]
    fn a_failed_pull_names_the_image() {
        let error = explain("x:1", EngineError::Refused("manifest unknown".into()));
        assert_eq!(error, EngineError::NotFound("cannot pull image x:1: manifest unknown".into()));
        assert!(matches!(explain("x:1", EngineError::Refused("disk full".into())), EngineError::Refused(_)));
    }
}
