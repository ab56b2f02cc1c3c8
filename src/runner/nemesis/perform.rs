//! The performance of a schedule: each file and each node has a thread of its own, so that what one waits for does not make
//! others late.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use parking_lot::Mutex;
use rustix::io::Errno;

use super::heal::{InForce, heal, words};
use super::mounted::{Mounted, Resolved, WriteError};
use super::stop::{Ending, Stop};
use crate::history::NemesisEvent;
use crate::nemesis::{Action, Claim, File, Schedule, seconds};

/// How often to see whether the cluster is still mounted.
const LOOK: Duration = Duration::from_millis(500);

/// What came of a performance.
#[derive(Debug, Default)]
pub(crate) struct Performance {
    /// How late each write began, in ms, in no order.
    pub(crate) late: Vec<u64>,
    /// What went otherwise than the schedule says, a sentence each.
    pub(crate) errors: Vec<String>,
    /// Why not all is healed.
    pub(crate) not_healed: Option<String>,
}

struct Performing<'a> {
    cluster: &'a Mounted,
    schedule: &'a Schedule,
    stop: &'a Stop,
    tell: &'a (dyn Fn(&str) + Sync),
    began: Instant,
    in_force: Mutex<InForce>,
    /// What is over at once, though nodes may be down after it.
    endless: Mutex<Vec<Action>>,
    done: Mutex<Performance>,
}

/// Performs a schedule, which must fit the cluster: writes its lines at their times, heals what is left at its end, and then is
/// quiet for a time. `began` is when its times count from. `tell` hears of each line.
///
/// # Errors
/// A sentence: the mount has gone away.
pub(crate) fn perform(
    cluster: &Mounted,
    schedule: &Schedule,
    (began, quiet): (Instant, Duration),
    stop: &Stop,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Performance> {
    let performing = Performing {
        cluster,
        schedule,
        stop,
        tell,
        began,
        in_force: Mutex::default(),
        endless: Mutex::default(),
        done: Mutex::default(),
    };
    let went = thread::scope(|scope| {
        let start = |lane| thread::Builder::new().spawn_scoped(scope, || performing.lane(lane));
        let started: Vec<_> =
            lanes(schedule, |word| cluster.surroundings().nodes_of(word)).into_iter().map(start).collect();
        // What has begun by then is healed.
        if started.iter().any(Result::is_err) {
            stop.ask(Ending::Heal);
        }
        let ended = started.into_iter().map(|lane| {
            let lane = lane.context("cannot start a thread")?;
            lane.join()
                .unwrap_or_else(|_| Err(anyhow!("a part of the schedule was not performed: its thread has ended")))
        });
        ended.collect::<Vec<_>>().into_iter().collect::<Result<()>>()
    });
    let mut performance = performing.done.into_inner();
    if stop.asked() == Some(Ending::Leave) {
        return went.map(|()| performance);
    }
    // Nothing ends before the schedule does.
    wait_until(began + schedule.end(), cluster, stop)?;
    // All is healed also where the history cannot be written, which is an error after that.
    let mut recorded = went;
    let mut record = |event| {
        if let Err(error) = cluster.record(event)
            && recorded.is_ok()
        {
            recorded = Err(error);
        }
    };
    let left = (performing.in_force.into_inner(), performing.endless.into_inner());
    performance.not_healed = heal(cluster, schedule, left, stop, &mut record)?;
    if stop.asked() == Some(Ending::Leave) {
        return recorded.map(|()| performance);
    }
    let error = performance.not_healed.clone();
    tell(error.as_deref().unwrap_or("healed"));
    record(NemesisEvent::Healed { error });
    wait_until(Instant::now() + quiet, cluster, stop)?;
    record(NemesisEvent::Over);
    recorded.map(|()| performance)
}

/// Waits until that time, or until the performance is to stop. Returns whether to go on.
///
/// # Errors
/// A sentence: the mount has gone away.
fn wait_until(time: Instant, cluster: &Mounted, stop: &Stop) -> Result<bool> {
    loop {
        let next = time.min(Instant::now() + LOOK);
        if !stop.wait_until(next) {
            return Ok(false);
        }
        cluster.is_there()?;
        if next == time {
            return Ok(true);
        }
    }
}

/// The episodes by what they need for themselves, each set of them for one thread, by their places. `nodes` are those that a
/// word stands for; none for a role.
fn lanes(schedule: &Schedule, nodes: impl Fn(&str) -> Vec<String>) -> Vec<Vec<usize>> {
    let mut lanes: Vec<(BTreeSet<Claim>, Vec<usize>)> = vec![];
    for (nth, episode) in schedule.episodes.iter().enumerate() {
        let mut lane: (BTreeSet<_>, _) = (episode.claims(&nodes).into_iter().collect(), vec![nth]);
        lanes.retain_mut(|other| {
            let shares = !other.0.is_disjoint(&lane.0);
            if shares {
                lane.0.append(&mut other.0);
                lane.1.append(&mut other.1);
            }
            !shares
        });
        lanes.push(lane);
    }
    lanes.into_iter().map(|(_, episodes)| episodes).collect()
}

impl Performing<'_> {
    /// Performs some episodes, one step after the other. What cannot be recorded ends all lanes.
    fn lane(&self, lane: Vec<usize>) -> Result<()> {
        self.steps(lane).inspect_err(|_| self.stop.ask(Ending::Heal))
    }

    fn steps(&self, lane: Vec<usize>) -> Result<()> {
        let mut steps: Vec<(Duration, bool, usize)> = vec![];
        for nth in lane {
            let episode = &self.schedule.episodes[nth];
            steps.push((episode.at, true, nth));
            steps.extend(episode.lasts.map(|lasts| (episode.at + lasts, false, nth)));
        }
        // At one time, what ends comes before what begins.
        steps.sort();
        for (due, begins, nth) in steps {
            if !wait_until(self.began + due, self.cluster, self.stop)? {
                break;
            }
            let late = self.began.elapsed().saturating_sub(due);
            if begins {
                self.begin(nth, late)?;
            } else {
                self.end(nth, late)?;
            }
        }
        Ok(())
    }

    fn begin(&self, nth: usize, late: Duration) -> Result<()> {
        let action = &self.schedule.episodes[nth].action;
        let (resolved, error) = match self.write(action) {
            (action, Ok(roles)) => (Some(named(&action, &roles)), None),
            (action, Err(error)) => {
                let action = named(&action, &error.roles);
                ((!self.cluster.did_nothing(&action, &error)).then_some(action), Some(error.sentence))
            }
        };
        let lasts = self.schedule.episodes[nth].lasts.is_some() || action.lasts_by_itself();
        if let Some(done) = &resolved {
            match done.end().filter(|_| lasts) {
                Some(end) => drop(self.in_force.lock().insert(nth, end)),
                None => self.endless.lock().push(done.clone()),
            }
        }
        let resolved = resolved.filter(|resolved| resolved != action).map(|resolved| resolved.to_string());
        let shown = resolved.as_ref().map(|resolved| format!(" ({resolved})")).unwrap_or_default();
        let episode = &self.schedule.episodes[nth];
        let late_ms = self.told(nth, &format!("{action}{shown}"), (episode.at, late), error.as_deref());
        let (episode, words) = (nth as u64 + 1, action.to_string());
        self.cluster.record(NemesisEvent::Begin { episode, words, resolved, late_ms, error })
    }

    fn end(&self, nth: usize, late: Duration) -> Result<()> {
        let Some(end) = self.in_force.lock().remove(&nth) else { return Ok(()) };
        let error = self.write(&end).1.err().map(|error| error.sentence);
        let words = words(&end);
        let episode = &self.schedule.episodes[nth];
        let due = episode.at + episode.lasts.unwrap_or_default();
        let late_ms = self.told(nth, &words, (due, late), error.as_deref());
        if error.is_some() {
            // It is tried again at the end.
            self.in_force.lock().insert(nth, end);
        }
        self.cluster.record(NemesisEvent::End { episode: nth as u64 + 1, words, late_ms, error })
    }

    /// Writes what an action says, and returns it as it was written: with the nodes that last had a role, if it is not known
    /// who has it now.
    fn write(&self, action: &Action) -> (Action, Result<Resolved, WriteError>) {
        // The path of a net names a node.
        let last_known = || named(action, &self.cluster.roles());
        if matches!(action.file, File::Net(_)) {
            let action = last_known();
            let done = self.cluster.write(&action);
            return (action, done);
        }
        match self.cluster.write(action) {
            Err(error) if error.errno == Some(Errno::AGAIN) => {
                let known = last_known();
                if !known.roles().is_empty() {
                    return (action.clone(), Err(error));
                }
                (self.tell)(&format!("{}: the last known is used: {known}", error.sentence));
                self.done.lock().errors.push(format!("{}: the last known was used", error.sentence));
                let done = self.cluster.write(&known);
                (known, done)
            }
            done => (action.clone(), done),
        }
    }

    /// Tells of a write, and notes how late it began, which it returns in ms.
    fn told(&self, nth: usize, words: &str, (due, late): (Duration, Duration), error: Option<&str>) -> u64 {
        let error = error.map(|error| format!(": {error}")).unwrap_or_default();
        (self.tell)(&format!("{:>9}  {words}{error}", seconds(due + late)));
        let late_ms = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
        let mut done = self.done.lock();
        done.late.push(late_ms);
        if !error.is_empty() {
            done.errors.push(format!("episode {}: {words}{error}", nth + 1));
        }
        late_ms
    }
}

/// An action with the nodes that its roles stood for.
fn named(action: &Action, roles: &Resolved) -> Action {
    action.map_roles(|role| roles.get(role).filter(|nodes| !nodes.is_empty()).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_the_same_is_in_one_lane_however_much_there_is() {
        let line = |nth: usize| format!("at {}s for 1s i{:03}/net loss 5%\n", nth * 2, nth % 4 + 1);
        let schedule = Schedule::parse(&(0..10_000).map(line).collect::<String>()).unwrap();
        let began = Instant::now();
        let lanes = lanes(&schedule, |word| vec![word.to_owned()]);
        assert_eq!(lanes.iter().map(Vec::len).collect::<Vec<_>>(), [2500; 4]);
        // Of minutes, if each were held against each.
        assert!(began.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_node_is_the_same_by_each_of_its_names() {
        let schedule =
            Schedule::parse("at 0s for 1s crash i001\nat 1s for 1s pause kv\nat 0s for 1s crash i002\n").unwrap();
        let mut lanes = lanes(&schedule, |word| vec![if word == "kv" { "i001".into() } else { word.to_owned() }]);
        lanes.sort();
        assert_eq!(lanes, [vec![1], vec![2, 0]]);
    }
}
