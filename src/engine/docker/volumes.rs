//! Volumes of the engine's default driver.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bollard::Docker;
use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::RemoveVolumeOptions;

use super::{error, raw};
use crate::engine::{EngineError, Labels, ListedVolume, Result};

/// Creates a volume. The engine answers the same when it has one of that name.
///
/// Its driver `local` mounts whatever options describe when a container begins to use the volume: a directory, by bind.
/// Unlike a bind mount of the container, an empty one then gets what the image has there.
pub(super) async fn create(docker: &Docker, name: &str, labels: &Labels, directory: Option<&Path>) -> Result<()> {
    let bind = |directory: &Path| {
        let options = [("type", "none".into()), ("o", "bind".into()), ("device", directory.to_string_lossy())];
        options.into_iter().map(|(key, value): (_, Cow<str>)| (key.to_owned(), value.into_owned())).collect()
    };
    let request = VolumeCreateRequest {
        name: Some(name.to_owned()),
        driver_opts: directory.map(bind),
        labels: Some(labels.iter().cloned().collect::<HashMap<_, _>>()),
        ..VolumeCreateRequest::default()
    };
    docker.create_volume(request).await.map(drop).map_err(error::from_bollard)
}

pub(super) async fn list(docker: &Docker, label: Option<&str>) -> Result<Vec<ListedVolume>> {
    Ok(read(&raw::json(docker, &format!("/volumes?{}", raw::label_filter(label))).await?))
}

/// Where its content lies on the engine's host.
pub(super) async fn mountpoint(docker: &Docker, name: &str) -> Result<PathBuf> {
    let volume = raw::json(docker, &format!("/volumes/{}", raw::encode(name))).await?;
    match volume["Mountpoint"].as_str() {
        Some(path) if path.starts_with('/') => Ok(path.into()),
        _ => Err(raw::nonsense("a volume without a mountpoint")),
    }
}

/// If there are none, the list is missing.
fn read(answer: &serde_json::Value) -> Vec<ListedVolume> {
    let volumes = answer["Volumes"].as_array().into_iter().flatten();
    volumes.map(|volume| ListedVolume { name: raw::string(volume, "Name"), labels: raw::labels(volume) }).collect()
}

/// Removes a volume; one that is gone is no error.
pub(super) async fn remove(docker: &Docker, name: &str) -> Result<()> {
    match docker.remove_volume(name, None::<RemoveVolumeOptions>).await.map_err(error::from_bollard) {
        Err(EngineError::NotFound(_)) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_may_hold_nothing() {
        assert!(read(&serde_json::json!({ "Volumes": null, "Warnings": null })).is_empty());
        let one = read(&serde_json::json!({ "Volumes": [{ "Name": "v", "Labels": { "k": "x" } }] }));
        assert_eq!(one, [ListedVolume { name: "v".into(), labels: vec![("k".into(), "x".into())] }]);
    }
}
