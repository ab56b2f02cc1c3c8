//! Finding what is left.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::engines::Engines;
use super::{Left, LeftCluster, LeftPlace};
use crate::daemon::owner::Owner;
use crate::daemon::place::{Place, our_mounts, places};
use crate::provision::{Found, clusters};
use crate::selfimage;
use crate::sweep;
use crate::sys::process_start_time;

/// What to look for.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// At these mountpoints only; everywhere if it is empty.
    pub mountpoints: Vec<PathBuf>,
    /// The user's engine; the usual one if `None`.
    pub host: Option<String>,
    /// How long an engine may take to answer.
    pub patience: Duration,
}

impl Wish {
    /// The places that are meant; `None` for all.
    fn wanted(&self) -> Result<Option<Vec<Place>>> {
        if self.mountpoints.is_empty() {
            return Ok(None);
        }
        // Its parent directory may be gone by now.
        let place = |path: &PathBuf| Place::of(path).or_else(|_| Place::exactly(std::path::absolute(path)?));
        self.mountpoints.iter().map(place).collect::<Result<_>>().map(Some)
    }
}

/// Finds what is left. Changes nothing.
///
/// # Errors
/// A sentence: no home for state. Engines that do not answer are among [`Left::obstacles`].
pub async fn look(wish: &Wish) -> Result<Left> {
    let wanted = wish.wanted()?;
    let wants = |mountpoint: &Path| {
        wanted.as_ref().is_none_or(|wanted| wanted.iter().any(|place| place.mountpoint == mountpoint))
    };
    let free: Vec<_> = places()?
        .into_iter()
        .filter(|place| wanted.as_ref().is_none_or(|wanted| wanted.iter().any(|other| other.state == place.state)))
        .filter(|place| !place.is_held())
        .collect();
    let recorded: Vec<_> = free.iter().filter_map(Place::record).map(|record| record.engine).collect();
    let mut engines = Engines::find(wish.host.as_deref(), &recorded, wish.patience).await;

    let (mut left, mut alive) = (vec![], HashSet::new());
    for engine in engines.reached().to_vec() {
        let info = engine.info();
        match clusters(engine.as_ref()).await {
            Ok(found) => {
                for found in found {
                    if !Owner::is_gone(&found.owner, info.local) {
                        alive.insert(PathBuf::from(&found.mountpoint));
                    } else if is_ours(&found) && wants(Path::new(&found.mountpoint)) {
                        left.push(LeftCluster { found, engine: info.address.clone() });
                    }
                }
            }
            Err(error) => engines.lose(&info.address.clone(), error.to_string()),
        }
    }
    let mut obstacles: Vec<_> = engines.obstacles().collect();

    let mut dead = vec![];
    for (mountpoint, user) in our_mounts()? {
        let here = Place::exactly(mountpoint.clone())?;
        if alive.contains(&mountpoint) || here.is_held() {
            continue;
        }
        let mine = user.is_none() || user == Some(uid()) || uid() == 0;
        if mine && here.is_dead_mount() {
            if wants(&mountpoint) && !dead.contains(&mountpoint) {
                dead.push(mountpoint);
            }
        } else {
            // Whoever serves it, it lives.
            alive.insert(mountpoint);
        }
    }

    let living: HashSet<_> = alive.into_iter().filter_map(|at| Some(Place::exactly(at).ok()?.state)).collect();
    let mut kept = vec![];
    for place in free.into_iter().filter(|place| !living.contains(&place.state)) {
        let record = place.record();
        if let Some(record) = &record
            && !record.engine.starts_with("simulated:")
            && engines.at(&record.engine).is_none()
        {
            let (at, engine) = (record.mountpoint.display(), &record.engine);
            obstacles.push(format!(
                "what is left of the cluster at {at} stays, as its engine {engine} cannot be asked; repeat cthulhu prune when it answers"
            ));
            continue;
        }
        let size = sweep::open(&place.state).map(|dir| sweep::measure(dir.as_fd())).unwrap_or_default();
        kept.push(LeftPlace { place, record, size });
    }

    let mut images = vec![];
    if let (None, Some(engine)) = (&wanted, engines.usual()) {
        match unused_images(engine.as_ref()).await {
            Ok(found) => images = found,
            Err(error) => obstacles.push(format!("cannot look for images of other versions: {error:#}")),
        }
    }
    Ok(Left { engines, clusters: left, mounts: dead, places: kept, images, obstacles })
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
async fn unused_images(engine: &dyn crate::engine::Engine) -> Result<Vec<(String, u64)>> {
    let own = tokio::task::spawn_blocking(selfimage::reference).await??;
    let used: HashSet<_> = engine.list(None).await?.into_iter().map(|listed| listed.image).collect();
    let all = engine.list_images(selfimage::REPOSITORY).await?;
    let unused = all.into_iter().filter(|image| image.reference != own && !used.contains(&image.reference));
    Ok(unused.map(|image| (image.reference, image.size)).collect())
}
