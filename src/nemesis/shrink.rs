//! Makes a schedule smaller, as long as it goes on to fail.
//!
//! A test of a distributed system does not fail each time. So each candidate is tried as often as it takes to see a failure
//! with a certainty of 95 %, if it fails as often as the whole schedule; and what comes out is said as "k of n".

use std::collections::HashMap;
use std::time::Duration;

use super::action::{Action, File};
use super::schedule::{Episode, Schedule, seconds};

/// How often the whole schedule is tried first.
const FIRST_RUNS: u32 = 6;
/// How much more often if that says little.
const MORE_RUNS: u32 = 6;
/// What fails less often cannot be told from what does not fail, in a time that anybody waits.
const LEAST_RATE: f64 = 0.3;
/// How likely a candidate that still fails may be taken for one that does not.
const DOUBT: f64 = 0.05;
/// How often the result is tried.
const LAST_RUNS: u32 = 8;
/// How often one is tried that only saves time.
const LEAST_RUNS: u32 = 4;
/// By what times are divided, the smallest result first.
const PARTS: [u32; 2] = [4, 2];
/// The shortest time that anything is cut to.
const SHORTEST: Duration = Duration::from_millis(100);

/// How one run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Fails,
    Passes,
    /// It was not run, or did not come to a result.
    NoVerdict,
}

/// How often a schedule failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) failed: u32,
    pub(crate) of: u32,
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.failed, self.of)
    }
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, more: Self) {
        *self = Self { failed: self.failed + more.failed, of: self.of + more.of };
    }
}

/// What became of it.
#[derive(Debug, PartialEq)]
pub(crate) enum Shrunk {
    /// The smallest schedule found, and how often it failed.
    To(Schedule, Count),
    /// Why it was not tried; a sentence.
    Not(String),
}

/// Runs a schedule so often, side by side.
pub(crate) type Test<'a, E> = &'a mut dyn FnMut(&Schedule, u32) -> Result<Vec<Outcome>, E>;

/// How to shrink.
pub(crate) struct Shrinking<'a, E> {
    pub(crate) test: Test<'a, E>,
    /// Hears what is found on the way.
    pub(crate) tell: &'a mut dyn FnMut(String),
    /// How many runs are made side by side; at least one.
    pub(crate) jobs: u32,
    /// How often each candidate is tried; by how often the whole one fails, if `None`.
    pub(crate) tries: Option<u32>,
}

/// How often to try a candidate, so that one that fails at this rate is seen to fail.
fn tries(count: Count) -> u32 {
    // One failure less than was seen: a rate that is taken for too high makes a candidate pass too easily.
    let rate = f64::from(count.failed) / f64::from(count.of + 1);
    (DOUBT.ln() / (1.0 - rate).ln()).ceil().max(1.0) as u32
}

/// Makes a schedule as small as it gets.
///
/// # Errors
/// Those of `test`, which end it.
pub(crate) fn shrink<E>(schedule: &Schedule, shrinking: Shrinking<'_, E>) -> Result<Shrunk, E> {
    let Shrinking { test, tell, jobs, tries: wanted } = shrinking;
    let mut search = Search { test, tell, jobs, tries: 1, rate: 1.0, known: HashMap::new(), runs: 0 };
    let mut first = search.count(schedule, FIRST_RUNS, false)?;
    if first.of > 0 && first.failed <= FIRST_RUNS / 3 {
        first += search.count(schedule, MORE_RUNS, false)?;
    }
    if first.of == 0 {
        return Ok(Shrunk::Not(
            "no run came to a verdict: COMMAND must exit with 0, or with 1 where it finds a failure".into(),
        ));
    }
    (search.tell)(format!("the whole schedule fails in {first} runs"));
    search.rate = f64::from(first.failed) / f64::from(first.of);
    if search.rate < LEAST_RATE {
        let why = "that is too seldom to tell a smaller one that fails from one that does not";
        return Ok(Shrunk::Not(format!("it fails in {first} runs: {why}")));
    }
    search.tries = wanted.unwrap_or_else(|| tries(first));
    let calm = search.without_faults(schedule)?;
    (search.tell)(format!("without any fault it fails in {calm} runs"));
    if calm.failed > 0 && f64::from(calm.failed) >= search.rate * f64::from(calm.of) / 2.0 {
        return Ok(Shrunk::Not(format!("it fails without any fault too, in {calm} runs")));
    }
    (search.tell)(format!(
        "each smaller one is tried up to {} time{}",
        search.tries,
        if search.tries == 1 { "" } else { "s" }
    ));
    let mut smallest = search.fewer(schedule.clone())?;
    smallest = search.shorter(smallest)?;
    smallest = search.earlier(smallest)?;
    let last = search.count(&smallest, LAST_RUNS, false)?;
    (search.tell)(format!("{} runs in all", search.runs));
    Ok(Shrunk::To(smallest, last))
}

struct Search<'a, E> {
    test: Test<'a, E>,
    tell: &'a mut dyn FnMut(String),
    jobs: u32,
    tries: u32,
    /// How often the whole schedule fails, as a share.
    rate: f64,
    /// Whether candidates fail, by their text.
    known: HashMap<String, bool>,
    runs: u32,
}

impl<E> Search<'_, E> {
    /// Runs it so often, or until it has failed, if that is enough. What comes to no verdict does not count.
    fn count(&mut self, schedule: &Schedule, runs: u32, one_is_enough: bool) -> Result<Count, E> {
        let mut count = Count::default();
        let mut left = runs;
        while left > 0 && !(one_is_enough && count.failed > 0) {
            let now = left.min(self.jobs);
            left -= now;
            self.runs += now;
            for outcome in (self.test)(schedule, now)? {
                count.failed += u32::from(outcome == Outcome::Fails);
                count.of += u32::from(outcome != Outcome::NoVerdict);
            }
        }
        Ok(count)
    }

    /// How often it fails without any fault. The runs take as long: `heal` changes nothing there.
    fn without_faults(&mut self, schedule: &Schedule) -> Result<Count, E> {
        let heal = Episode { at: schedule.end(), lasts: None, action: Action::new(File::Control, "heal") };
        let calm = Schedule::new(None, vec![heal]);
        let mut count = self.count(&calm, self.tries, true)?;
        if count.failed > 0 {
            count += self.count(&calm, LEAST_RUNS, false)?;
        }
        Ok(count)
    }

    fn fails(&mut self, schedule: &Schedule) -> Result<bool, E> {
        let text = schedule.to_string();
        if let Some(known) = self.known.get(&text) {
            return Ok(*known);
        }
        let fails = self.count(schedule, self.tries, true)?.failed > 0;
        self.told(schedule, fails);
        self.known.insert(text, fails);
        Ok(fails)
    }

    /// As few episodes as it gets: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002.
    fn fewer(&mut self, schedule: Schedule) -> Result<Schedule, E> {
        let with = |episodes: Vec<Episode>| Schedule { seed: None, episodes };
        let mut episodes = schedule.episodes;
        let mut parts = 2;
        while episodes.len() > 1 {
            let size = episodes.len().div_ceil(parts);
            let mut smaller = None;
            let starts = || (0..episodes.len()).step_by(size);
            let part = |start: usize| episodes[start..(start + size).min(episodes.len())].to_vec();
            let rest = |start: usize| [&episodes[..start], &episodes[(start + size).min(episodes.len())..]].concat();
            let candidates = starts().map(|start| (part(start), 2));
            // With two parts, the rest of one is the other.
            let rests = starts().filter(|_| parts > 2).map(|start| (rest(start), parts - 1));
            for (candidate, next) in candidates.chain(rests) {
                if self.fails(&with(candidate.clone()))? {
                    smaller = Some((candidate, next.max(2)));
                    break;
                }
            }
            match smaller {
                Some((candidate, next)) => (episodes, parts) = (candidate, next),
                None if size == 1 => break,
                None => parts = (parts * 2).min(episodes.len()),
            }
        }
        Ok(with(episodes))
    }

    /// Cuts the times of the episodes to a quarter or a half.
    fn shorter(&mut self, mut schedule: Schedule) -> Result<Schedule, E> {
        for nth in 0..schedule.episodes.len() {
            let Some(lasts) = schedule.episodes[nth].lasts else { continue };
            for part in PARTS {
                let mut candidate = schedule.clone();
                candidate.episodes[nth].lasts = Some(whole(lasts / part).max(SHORTEST));
                if candidate != schedule && self.fails_as_often(&candidate)? {
                    schedule = candidate;
                    break;
                }
            }
        }
        Ok(schedule)
    }

    /// Cuts the times before the episodes, from the start or from the one before.
    fn earlier(&mut self, mut schedule: Schedule) -> Result<Schedule, E> {
        for nth in 0..schedule.episodes.len() {
            let before = if nth == 0 { Duration::ZERO } else { schedule.episodes[nth - 1].at };
            let gap = schedule.episodes[nth].at.saturating_sub(before);
            for part in PARTS {
                let by = gap.saturating_sub(whole(gap / part).max(SHORTEST));
                let mut candidate = schedule.clone();
                candidate.episodes[nth..].iter_mut().for_each(|episode| episode.at = episode.at.saturating_sub(by));
                // What would overlap now is no schedule.
                let is_one = Schedule::parse(&candidate.to_string()).is_ok();
                if candidate != schedule && is_one && self.fails_as_often(&candidate)? {
                    schedule = candidate;
                    break;
                }
            }
        }
        Ok(schedule)
    }

    /// Whether it fails about as often as the whole schedule: what only saves time must not make the failure seldom.
    fn fails_as_often(&mut self, schedule: &Schedule) -> Result<bool, E> {
        let count = self.count(schedule, self.tries.max(LEAST_RUNS), false)?;
        let does = f64::from(count.failed) >= (self.rate * f64::from(count.of)).floor() && count.failed > 0;
        self.told(schedule, does);
        Ok(does)
    }

    fn told(&mut self, schedule: &Schedule, fails: bool) {
        let count = schedule.episodes.len();
        let (end, verdict) = (seconds(schedule.end()), if fails { "fails" } else { "does not fail" });
        (self.tell)(format!("{count} episode{} in {end}: {verdict}", if count == 1 { "" } else { "s" }));
    }
}

/// In whole milliseconds, as a schedule is written.
fn whole(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or_default())
}
