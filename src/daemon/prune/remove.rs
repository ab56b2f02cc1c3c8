//! Removing what was found.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use super::super::remove_contents::{Emptying, empty};
use super::look::{held_clusters, is_left};
use super::{Left, LeftImage, LeftPlace};
use crate::daemon::data::{self, DataLock};
use crate::daemon::paths::ClusterPaths;
use crate::engine::EngineError;
use crate::fleet::is_simulated;
use crate::provision::{NotRemoved, clusters, remove_cluster};

/// Removes it, and returns a sentence for each thing that could not be removed.
pub(crate) async fn remove(left: Left) -> Vec<String> {
    let mut failures = vec![];
    // Clusters that are not all gone: who removed their records would lose them.
    let mut kept = HashSet::new();
    for cluster in &left.clusters {
        let found = &cluster.found;
        let engines: Vec<_> = cluster.engines.iter().filter_map(|address| left.engines.at(address)).cloned().collect();
        let is_local = engines.iter().all(|engine| engine.info().local);
        // It was a while until the answer came.
        if !held_clusters().is_ok_and(|held| is_left(found, &held, is_local)) {
            continue;
        }
        if let Err(why) = remove_cluster(&engines, &found.cluster).await {
            kept.insert(found.cluster.as_str());
            failures.push(format!("what is left of the cluster at {}: {}", found.mountpoint, explained(&why)));
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
    for LeftImage { engine, reference, .. } in &left.images {
        match engine.remove_image(reference).await {
            // It is in use by now.
            Ok(()) | Err(EngineError::Conflict(_)) => {}
            Err(error) => failures.push(format!("cannot remove the image {reference}: {error}")),
        }
    }
    failures
}

/// Detaches dead mounts there, unless a mount is being made there right now.
fn detach(mountpoint: &Path) -> Result<(), String> {
    let paths = ClusterPaths::exactly(mountpoint.to_owned()).map_err(|error| error.to_string())?;
    let lock = paths.lock_to_prune();
    if lock.is_none() && paths.is_held() {
        return Ok(());
    }
    match paths.is_dead_mount().then(|| paths.detach()) {
        // Another prune may have been quicker.
        Some(Err(error)) if paths.is_dead_mount() => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn explained(left: &NotRemoved) -> String {
    match &left.error {
        EngineError::Refused(why) | EngineError::Conflict(why) if why.contains("active endpoints") => {
            format!("{why}. A network whose endpoints do not exist can be removed after a restart of the engine")
        }
        _ => left.to_string(),
    }
}

/// Removes a directory of the state directory, all but what is not of our making.
async fn remove_place(left: &LeftPlace, all: &Left) -> Result<(), String> {
    let state = &left.paths.state;
    // Another process may have mounted there by now, or be removing the same.
    let Some(lock) = left.paths.lock_to_prune() else { return Ok(()) };
    if left.paths.record().map(|record| record.id) != left.record.as_ref().map(|record| record.id.clone()) {
        return Ok(());
    }
    let cannot = |path: &Path, why: &dyn std::fmt::Display| format!("cannot remove {}: {why}", path.display());
    for data in left.paths.data() {
        let Some(taken) = DataLock::take(&data).map_err(|error| cannot(&data, &format!("{error:#}")))? else {
            // It is in use at another place (--data).
            return Ok(());
        };
        nobody_writes(&taken, all).await.map_err(|why| cannot(&data, &why))?;
        // Rename first: from now on nobody finds files at this path that are about to be removed.
        let aside = taken.move_aside().map_err(|error| format!("{error:#}"))?;
        empty(&aside, all.engines.of_this_machine(), &Emptying::default()).await.map_err(|why| cannot(&aside, &why))?;
        fs::remove_dir(&aside).map_err(|error| cannot(&aside, &error))?;
    }
    let entries = fs::read_dir(state).map_err(|error| cannot(state, &error))?;
    let entries = entries.flatten().map(|entry| entry.path());
    let files: Vec<_> = entries.filter(|path| fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_dir())).collect();
    if let Some(record) = &left.record {
        data::forget(&record.data, &record.id);
    }
    // The record and the lock last, so that what cannot be removed is found again.
    let is_last = |path: &Path| path.ends_with("cluster.json") || path.ends_with("lock");
    let (last, first): (Vec<_>, Vec<_>) = files.iter().partition(|path| is_last(path));
    for file in first.into_iter().chain(last) {
        fs::remove_file(file).map_err(|error| cannot(file, &error))?;
    }
    if left.record.as_ref().is_some_and(|record| record.made_mountpoint) {
        // Only if it is empty, as at the end of every mount.
        let _ = fs::remove_dir(&left.paths.mountpoint);
    }
    let removed = fs::remove_dir(state);
    drop(lock);
    match removed {
        Ok(()) => Ok(()),
        // A mount there has begun.
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty && left.paths.is_held() => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {
            Err(format!("{} stays: there is something in it that is not cthulhu's", state.display()))
        }
        Err(error) => Err(cannot(state, &error)),
    }
}

/// Sees to it that no node of the cluster that had the directory last is left in its engine.
async fn nobody_writes(data: &DataLock, all: &Left) -> Result<(), String> {
    let Some(last) = data.last_writer() else { return Ok(()) };
    let at = last.mountpoint.display();
    for address in last.engines().filter(|address| !is_simulated(address)) {
        let there = match all.engines.at(address) {
            Some(engine) => clusters(engine.as_ref()).await,
            None => Err(EngineError::Unreachable(address.clone())),
        };
        let there = there.map_err(|error| format!("nodes of the cluster at {at} may still write there: {error}"))?;
        if there.iter().any(|found| found.cluster == last.cluster && found.containers > 0) {
            let end = format!("end that first: cthulhu umount {at}");
            return Err(format!("nodes of the cluster at {at} may still write there; {end}"));
        }
    }
    Ok(())
}
