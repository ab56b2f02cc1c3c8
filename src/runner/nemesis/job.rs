//! A schedule to perform, and where it comes from.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use super::mounted::Mounted;
use super::perform::{Performance, perform};
use super::stop::Stop;
use crate::daemon::Owner;
use crate::history::NemesisEvent;
use crate::nemesis::{DrawOptions, Kind, MOST, Schedule, draw, kinds};

/// Where a schedule comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// It is given.
    Given(Schedule),
    /// It is drawn for the cluster.
    Drawn {
        seed: u64,
        /// Names of kinds; empty for all that are drawn by default and possible.
        faults: Vec<String>,
        every: Duration,
        lasting: Duration,
    },
}

/// What to perform.
#[derive(Clone, Debug)]
pub(crate) struct NemesisJob {
    pub(crate) source: Source,
    /// How long to be quiet after all is healed.
    pub(crate) quiet: Duration,
}

impl NemesisJob {
    /// The schedule for this cluster.
    ///
    /// # Errors
    /// A sentence: it cannot be performed there, and nothing was written.
    pub(crate) fn schedule(&self, cluster: &Mounted) -> Result<Schedule> {
        let surroundings = cluster.surroundings();
        let schedule = match &self.source {
            Source::Given(schedule) => schedule.clone(),
            Source::Drawn { seed, faults, every, lasting } => {
                let nodes = cluster.nodes();
                if lasting.as_millis() / every.as_millis().max(1) > MOST as u128 {
                    bail!("a schedule has at most {MOST} episodes: give less with --for, or more with --every");
                }
                if nodes.is_empty() {
                    bail!("all nodes are there to end: none is left for faults");
                }
                let kinds = chosen(faults, &nodes, |needs| surroundings.impossible.get(needs).map(String::as_str))?;
                let roles = surroundings.roles.keys().cloned().collect();
                draw(*seed, &DrawOptions { kinds, every: *every, lasting: *lasting, nodes, roles })
            }
        };
        if schedule.episodes.is_empty() {
            bail!("no episode fits into the time: give more with --for, or fewer seconds with --every");
        }
        surroundings.fits(&schedule).map_err(|why| anyhow!(why))?;
        Ok(schedule)
    }

    /// Gets ready to perform it on a cluster, and records that it begins.
    ///
    /// # Errors
    /// A sentence: it cannot be performed there, and nothing was written.
    pub(crate) fn prepare(&self, mountpoint: &Path) -> Result<Prepared> {
        let cluster = Mounted::at(mountpoint)?;
        let turn = cluster.turn()?;
        let schedule = self.schedule(&cluster)?;
        let (seed, episodes) = (schedule.seed, schedule.episodes.len() as u64);
        cluster.record(NemesisEvent::Started { seed, episodes, by: Some(Owner::this_process().to_string()) })?;
        Ok(Prepared { cluster, _turn: turn, schedule, quiet: self.quiet })
    }
}

/// A schedule that can be performed on a cluster.
pub(crate) struct Prepared {
    cluster: Mounted,
    /// Until it is dropped, no other nemesis is at work there.
    _turn: File,
    schedule: Schedule,
    quiet: Duration,
}

impl Prepared {
    /// The schedule, as it is written.
    pub(crate) fn text(&self) -> String {
        self.schedule.to_string()
    }

    /// Performs it from now on.
    ///
    /// # Errors
    /// A sentence: the mount has gone away.
    pub(crate) fn perform(&self, stop: &Stop, tell: &(dyn Fn(&str) + Sync)) -> Result<Performance> {
        perform(&self.cluster, &self.schedule, (Instant::now(), self.quiet), stop, tell)
    }
}

/// The kinds of these names.
fn chosen<'a>(
    names: &[String],
    nodes: &[String],
    why_not: impl Fn(&str) -> Option<&'a str>,
) -> Result<Vec<&'static Kind>> {
    let fits = |kind: &Kind| nodes.len() >= kind.least_nodes;
    if names.is_empty() {
        let possible = kinds().iter().filter(|kind| kind.by_default && fits(kind) && why_not(kind.needs).is_none());
        return Ok(possible.collect());
    }
    let kind = |name: &String| {
        let Some(kind) = kinds().iter().find(|kind| kind.name == name) else {
            let all: Vec<_> = kinds().iter().map(|kind| kind.name).collect();
            bail!("--faults: there is no '{}'; there are {}", crate::text::shown(name), all.join(", "));
        };
        if let Some(why) = why_not(kind.needs) {
            bail!("--faults: {name} is not possible here: {why}");
        }
        if !fits(kind) {
            bail!("--faults: {name} takes {} nodes", kind.least_nodes);
        }
        Ok(kind)
    };
    names.iter().map(kind).collect()
}
