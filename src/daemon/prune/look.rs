//! Finding what is left.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::engines::Engines;
use super::{Left, LeftCluster, LeftImage, LeftPlace};
use crate::daemon::answers::silent;
use crate::daemon::data::{self, Writer};
use crate::daemon::owner::Owner;
use crate::daemon::paths::{ClusterPaths, Record, our_mounts, places};
use crate::engine::{Engine, ListedImage};
use crate::fleet::{HostAddress, is_simulated};
use crate::provision::{Found, clusters};
use crate::selfimage;
use crate::sweep;
use crate::sys::{Asked, process_start_time};

/// What to look for.
#[derive(Clone, Debug, Default)]
pub(crate) struct PruneFilter {
    /// At these mountpoints only; everywhere if it is empty.
    pub(crate) mountpoints: Vec<PathBuf>,
    /// The user's engines; the usual one if there is none.
    pub(crate) hosts: Vec<HostAddress>,
    /// How long an engine may take to answer.
    pub(crate) engine_timeout: Duration,
}

impl PruneFilter {
    /// The places that are meant; `None` for all.
    fn wanted(&self) -> Result<Option<Vec<ClusterPaths>>> {
        if self.mountpoints.is_empty() {
            return Ok(None);
        }
        // Its parent directory may be gone by now.
        let paths = |at: &PathBuf| ClusterPaths::of(at).or_else(|_| ClusterPaths::exactly(std::path::absolute(at)?));
        self.mountpoints.iter().map(paths).collect::<Result<_>>().map(Some)
    }
}

/// Finds what is left. Changes nothing.
///
/// # Errors
/// A sentence: no home for state. Engines that do not answer are among [`Left::obstacles`].
pub(crate) async fn look(filter: &PruneFilter) -> Result<Left> {
    let wanted = filter.wanted()?;
    let wants = |mountpoint: &Path| {
        wanted.as_ref().is_none_or(|wanted| wanted.iter().any(|paths| paths.mountpoint == mountpoint))
    };
    let free: Vec<_> = places()?
        .into_iter()
        .filter(|paths| wanted.as_ref().is_none_or(|wanted| wanted.iter().any(|other| other.state == paths.state)))
        .filter(|paths| !paths.is_held())
        .collect();
    let held = held_clusters()?;
    let records: Vec<Record> = free.iter().filter_map(ClusterPaths::record).collect();
    let writers: Vec<_> = free.iter().flat_map(ClusterPaths::data).filter_map(|dir| data::last_writer(&dir)).collect();
    let recorded = records.iter().flat_map(Record::engines).chain(writers.iter().flat_map(Writer::engines));
    let recorded: Vec<_> = recorded.cloned().collect();
    let mut engines = Engines::find(&filter.hosts, &recorded, filter.engine_timeout).await;

    let (mut left, mut alive) = (vec![], HashSet::new());
    for engine in engines.different() {
        let info = engine.info();
        match clusters(engine.as_ref()).await {
            Ok(found) => {
                for found in found {
                    if !is_left(&found, &held, info.local) {
                        alive.insert(PathBuf::from(&found.mountpoint));
                    } else if is_ours(&found) && wants(Path::new(&found.mountpoint)) {
                        add(&mut left, found, &info.address);
                    }
                }
            }
            Err(error) => engines.lose(&info.address.clone(), error.to_string()),
        }
    }
    let mut obstacles: Vec<_> = engines.obstacles().collect();

    let mut dead = vec![];
    for (mountpoint, user) in our_mounts()? {
        let here = ClusterPaths::exactly(mountpoint.clone())?;
        if alive.contains(&mountpoint) || here.is_held() {
            continue;
        }
        let mine = user.is_none() || user == Some(uid()) || uid() == 0;
        if mine && wants(&mountpoint) && here.is_mounted() && here.ask_mount() == Asked::Silent {
            obstacles.push(silent(&mountpoint));
            alive.insert(mountpoint);
            continue;
        }
        if mine && here.is_dead_mount() {
            if wants(&mountpoint) && !dead.contains(&mountpoint) {
                dead.push(mountpoint);
            }
        } else {
            // It is served, so it is live.
            alive.insert(mountpoint);
        }
    }

    let living: HashSet<_> = alive.into_iter().filter_map(|at| Some(ClusterPaths::exactly(at).ok()?.state)).collect();
    let mut kept = vec![];
    // The data of this place may be in use at another one (--data).
    let is_used =
        |paths: &ClusterPaths| living.contains(&paths.state) || paths.data().iter().any(|data| data::is_taken(data));
    for paths in free.into_iter().filter(|paths| !is_used(paths)) {
        let record = paths.record();
        if let Some(record) = &record
            && let Some(engine) = record.engines().find(|engine| !is_simulated(engine) && engines.at(engine).is_none())
        {
            let at = record.mountpoint.display();
            obstacles.push(format!(
                "what is left of the cluster at {at} stays, as its engine {engine} cannot be asked; repeat cthulhu prune when it answers"
            ));
            continue;
        }
        let size = sweep::open(&paths.state).map(|dir| sweep::measure(dir.as_fd())).unwrap_or_default();
        kept.push(LeftPlace { paths, record, size });
    }

    let mut images = vec![];
    for engine in engines.usual().iter().filter(|_| wanted.is_none()) {
        match unused_images(engine).await {
            Ok(found) => images.extend(found),
            Err(error) => obstacles.push(format!("cannot look for images of other versions: {error:#}")),
        }
    }
    Ok(Left { engines, clusters: left, mounts: dead, places: kept, images, obstacles })
}

/// Adds what was found in an engine to what the same cluster has left in others.
fn add(left: &mut Vec<LeftCluster>, found: Found, engine: &str) {
    match left.iter_mut().find(|cluster| cluster.found.cluster == found.cluster) {
        Some(cluster) => {
            cluster.found.add(found);
            cluster.engines.push(engine.to_owned());
        }
        None => left.push(LeftCluster { found, engines: vec![engine.to_owned()] }),
    }
}

/// Ids of the clusters of this user whose places are held.
pub(super) fn held_clusters() -> Result<HashSet<String>> {
    let held = places()?.into_iter().filter(ClusterPaths::is_held);
    Ok(held.filter_map(|paths| Some(paths.record()?.id)).collect())
}

/// Whether a cluster is left over: its place is not locked, and every owner that its things name is gone.
pub(super) fn is_left(found: &Found, held: &HashSet<String>, local: bool) -> bool {
    let at = Path::new(&found.mountpoint);
    let is_held =
        held.contains(&found.cluster) || ClusterPaths::exactly(at.to_owned()).is_ok_and(|paths| paths.is_held());
    !is_held && Owner::all_gone(&found.owners, local)
}

fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether it is this user's to remove. Another user's is root's: that the owner is gone is certain only for who sees
/// all processes, and /proc may be mounted so that others' are hidden.
pub(in crate::daemon) fn is_ours(found: &Found) -> bool {
    match found.uid {
        Some(owner) if owner == uid() => true,
        Some(_) => uid() == 0,
        None => process_start_time(1).is_some(),
    }
}

/// Images of other versions of the program that no container uses.
async fn unused_images(engine: &Arc<dyn Engine>) -> Result<Vec<LeftImage>> {
    let own = tokio::task::spawn_blocking(selfimage::reference).await??;
    let used: HashSet<_> = engine.list(None).await?.into_iter().map(|listed| listed.image).collect();
    let all = engine.list_images(selfimage::REPOSITORY).await?;
    let is_ours = |image: &ListedImage| selfimage::is_reference(&image.reference) && image.reference != own;
    let unused = all.into_iter().filter(|image| is_ours(image) && !used.contains(&image.reference));
    Ok(unused.map(|ListedImage { reference, size }| LeftImage { engine: engine.clone(), reference, size }).collect())
}
