//! Removing what was found.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use super::rubbish::empty;
use super::{Left, LeftPlace};
use crate::daemon::owner::Owner;
use crate::daemon::place::Place;
use crate::engine::EngineError;
use crate::provision::remove_cluster;

/// Removes it, and tells of each thing that it could not remove, in a sentence.
pub async fn remove(left: Left) -> Vec<String> {
    let mut failures = vec![];
    // Clusters that are not all gone: who removed their records would lose them.
    let mut kept = HashSet::new();
    for cluster in &left.clusters {
        let (found, engine) = (&cluster.found, left.engines.at(&cluster.engine));
        let Some(engine) = engine.filter(|engine| Owner::is_gone(&found.owner, engine.info().local)) else { continue };
        if let Err(error) = remove_cluster(engine.as_ref(), &found.cluster).await {
            kept.insert(found.cluster.as_str());
            failures.push(format!("what is left of the cluster at {}: {}", found.mountpoint, explained(&error)));
        }
    }
    for mountpoint in &left.mounts {
        if let Err(why) = detach(mountpoint) {
            failures.push(format!("cannot detach the dead mount at {}: {why}", mountpoint.display()));
        }
    }
    for place in &left.places {
        if place.record.as_ref().is_some_and(|record| kept.contains(record.id.as_str())) {
            continue;
        }
        if let Err(why) = remove_place(place, &left).await {
            failures.push(why);
        }
    }
    if let Some(engine) = left.engines.usual() {
        for (image, _) in &left.images {
            match engine.remove_image(image).await {
                // Somebody has begun to use it.
                Ok(()) | Err(EngineError::Conflict(_)) => {}
                Err(error) => failures.push(format!("cannot remove the image {image}: {error}")),
            }
        }
    }
    failures
}

/// Detaches what is dead there, unless somebody is mounting there just now.
fn detach(mountpoint: &Path) -> Result<(), String> {
    let place = Place::exactly(mountpoint.to_owned()).map_err(|error| error.to_string())?;
    let lock = place.lock_to_prune();
    if lock.is_none() && place.is_held() {
        return Ok(());
    }
    match place.is_dead_mount().then(|| place.detach()) {
        // Another prune may have been quicker.
        Some(Err(error)) if place.is_dead_mount() => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn explained(error: &EngineError) -> String {
    match error {
        EngineError::Refused(why) | EngineError::Conflict(why) if why.contains("active endpoints") => {
            format!("{why}. A network with endpoints that it has not goes when the engine is started again")
        }
        _ => error.to_string(),
    }
}

/// Removes a directory of the state directory, all but what is not of our making.
async fn remove_place(left: &LeftPlace, all: &Left) -> Result<(), String> {
    let state = &left.place.state;
    // Somebody may have mounted there by now, or removes the same.
    let Some(lock) = left.place.lock_to_prune() else { return Ok(()) };
    if left.place.record().map(|record| record.id) != left.record.as_ref().map(|record| record.id.clone()) {
        return Ok(());
    }
    let cannot = |path: &Path, why: &dyn std::fmt::Display| format!("cannot remove {}: {why}", path.display());
    let entries = fs::read_dir(state).map_err(|error| cannot(state, &error))?;
    let entries: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    let is_data = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name == "data" || name.starts_with("data.old-"))
    };
    let (directories, files): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|path| fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir()));
    for data in directories.iter().filter(|path| is_data(path)) {
        empty(data, &all.engines).await.map_err(|why| cannot(data, &why))?;
        fs::remove_dir(data).map_err(|error| cannot(data, &error))?;
    }
    // The record and the lock last, so that what cannot be removed is found again.
    let is_last = |path: &Path| path.ends_with("cluster.json") || path.ends_with("lock");
    let (last, first): (Vec<_>, Vec<_>) = files.iter().partition(|path| is_last(path));
    for file in first.into_iter().chain(last) {
        fs::remove_file(file).map_err(|error| cannot(file, &error))?;
    }
    if left.record.as_ref().is_some_and(|record| record.made_mountpoint) {
        // Only if it is empty, as at the end of every mount.
        let _ = fs::remove_dir(&left.place.mountpoint);
    }
    let removed = fs::remove_dir(state);
    drop(lock);
    match removed {
        Ok(()) => Ok(()),
        // A mount there has begun.
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty && left.place.is_held() => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {
            Err(format!("{} stays: there is something in it that is not cthulhu's", state.display()))
        }
        Err(error) => Err(cannot(state, &error)),
    }
}
