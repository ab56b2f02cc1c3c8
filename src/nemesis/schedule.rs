//! The text of a schedule, a line for each episode:
//!
//! ```text
//! # cthulhu schedule 1, seed 7
//! at 1.2s for 2.4s crash @leader
//! at 5s for 3s partition isolate @leader
//! at 20s restart i002
//! ```

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use super::action::{Action, File};
use crate::text::{shown, time};

/// What the first line of a schedule begins with; the number is that of the format.
const HEAD: &str = "# cthulhu schedule 1";
/// Most episodes of a schedule.
pub(crate) const MOST: usize = 10_000;

/// A time in which something is done to a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Episode {
    /// When it begins, counted from the start of the schedule.
    pub(crate) at: Duration,
    /// How long it is in force; `None` if it has no end of its own: it is over at once, or lasts as long as the schedule.
    pub(crate) lasts: Option<Duration>,
    pub(crate) action: Action,
}

/// Faults and their times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// What it was drawn from.
    pub(crate) seed: Option<u64>,
    /// By the time at which they begin.
    pub(crate) episodes: Vec<Episode>,
}

/// What an episode needs for itself while it lasts. Two that overlap must not need the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Claim {
    Partition,
    Links,
    /// The `net` of this node.
    Net(String),
    /// The process of this node.
    Process(String),
    /// The `net` of a node that is known only when the episode begins.
    AnyNet,
    /// The processes of nodes that are known only when the episode begins, or of all.
    AnyProcess,
}

/// A claim, or all of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Wide {
    One(Claim),
    /// To the `net` of some node.
    SomeNet,
    /// To the process of some node.
    SomeProcess,
}

impl Claim {
    pub(super) fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::AnyNet, Self::Net(_)) | (Self::Net(_), Self::AnyNet) => true,
            (Self::AnyProcess, Self::Process(_)) | (Self::Process(_), Self::AnyProcess) => true,
            _ => self == other,
        }
    }

    /// What it counts as.
    fn widened(self) -> Vec<Wide> {
        match &self {
            Self::Net(_) | Self::AnyNet => vec![Wide::SomeNet, Wide::One(self)],
            Self::Process(_) | Self::AnyProcess => vec![Wide::SomeProcess, Wide::One(self)],
            Self::Partition | Self::Links => vec![Wide::One(self)],
        }
    }

    /// As what others must count that it meets.
    fn meets_in(&self) -> Vec<Wide> {
        let one = Wide::One(self.clone());
        match self {
            Self::AnyNet => vec![Wide::SomeNet],
            Self::AnyProcess => vec![Wide::SomeProcess],
            Self::Net(_) => vec![one, Wide::One(Self::AnyNet)],
            Self::Process(_) => vec![one, Wide::One(Self::AnyProcess)],
            Self::Partition | Self::Links => vec![one],
        }
    }
}

impl Episode {
    /// Until when it needs its node or file for itself.
    pub(super) fn ends(&self) -> Duration {
        match self.lasts {
            Some(lasts) => self.at + lasts,
            None if self.action.lasts_by_itself() => Duration::MAX,
            None => self.at,
        }
    }

    /// What it needs for itself. `nodes` are the nodes that a word stands for; none if that is not known yet.
    pub(crate) fn claims(&self, nodes: impl Fn(&str) -> Vec<String>) -> Vec<Claim> {
        match &self.action.file {
            File::Partition => vec![Claim::Partition],
            File::Links => vec![Claim::Links],
            File::Net(node) => match nodes(node).as_slice() {
                [] => vec![Claim::AnyNet],
                found => found.iter().cloned().map(Claim::Net).collect(),
            },
            File::Control => {
                let words: Vec<_> = self.action.nodes().iter().map(|word| nodes(word)).collect();
                if words.is_empty() || words.iter().any(Vec::is_empty) {
                    return vec![Claim::AnyProcess];
                }
                words.into_iter().flatten().map(Claim::Process).collect()
            }
        }
    }
}

/// A line of the schedule; [`Schedule::parse`] reads it back.
impl fmt::Display for Episode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {}", seconds(self.at))?;
        if let Some(lasts) = self.lasts {
            write!(f, " for {}", seconds(lasts))?;
        }
        write!(f, " {}", self.action)
    }
}

/// Seconds, to the millisecond, without zeros at the end: `1.25s`.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{}s", time.as_millis() as f64 / 1000.0)
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        if let Some(seed) = self.seed {
            write!(f, ", seed {seed}")?;
        }
        self.episodes.iter().try_for_each(|episode| write!(f, "\n{episode}"))?;
        f.write_str("\n")
    }
}

impl Schedule {
    /// These episodes, in the order in which they begin.
    pub(crate) fn new(seed: Option<u64>, mut episodes: Vec<Episode>) -> Self {
        episodes.sort_by_key(|episode| episode.at);
        Self { seed, episodes }
    }

    /// When the last episode begins or ends.
    pub(crate) fn end(&self) -> Duration {
        let ends = self.episodes.iter().map(|episode| episode.at + episode.lasts.unwrap_or_default());
        ends.max().unwrap_or_default()
    }

    /// Reads a text: `at TIME [for TIME] WHAT` on each line. Blank lines, and what follows `#`, say nothing, except for the
    /// seed in the first line.
    ///
    /// # Errors
    /// A sentence that begins with the number of the line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let head = text.lines().next().and_then(|line| line.strip_prefix(HEAD));
        let seed = head.and_then(|rest| rest.trim().strip_prefix(", seed ")?.trim().parse().ok());
        let mut lines: Vec<(usize, Episode)> = vec![];
        for (nth, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                lines.push((nth + 1, episode(line).map_err(|why| format!("line {}: {why}", nth + 1))?));
            }
        }
        if lines.is_empty() {
            return Err("the schedule is empty: write lines such as at 1s for 2s crash i001".into());
        }
        if lines.len() > MOST {
            return Err(format!("a schedule has at most {MOST} episodes, not {}", lines.len()));
        }
        lines.sort_by_key(|(_, episode)| episode.at);
        let (numbers, episodes): (Vec<_>, Vec<_>) = lines.into_iter().unzip();
        let schedule = Self { seed, episodes };
        // By words alone: what they stand for is looked at when there is a cluster.
        let by_word = |word: &str| if word.starts_with('@') { vec![] } else { vec![word.to_owned()] };
        match schedule.overlap(by_word) {
            None => Ok(schedule),
            Some((first, second)) => Err(schedule.collision(first, second, |nth| {
                format!("line {} ({})", numbers[nth], schedule.episodes[nth].action.shown())
            })),
        }
    }

    /// A sentence on two episodes that overlap, by their places.
    pub(super) fn collision(&self, first: usize, second: usize, name: impl Fn(usize) -> String) -> String {
        let hint = match self.episodes[first].ends() {
            Duration::MAX => "say with 'for' how long the first lasts",
            _ => "the first must have ended when the second begins",
        };
        let (first, second) = (name(first), name(second));
        format!("{second} overlaps {first}, and both may need the same node or file: {hint}")
    }

    /// Two episodes that overlap and need the same, by their places.
    pub(super) fn overlap(&self, nodes: impl Fn(&str) -> Vec<String>) -> Option<(usize, usize)> {
        // Of each claim, and of any claim to a process or a net: the episode that began last, and that which ends last.
        let mut last: HashMap<Wide, [usize; 2]> = HashMap::new();
        for (nth, later) in self.episodes.iter().enumerate() {
            let claims = later.claims(&nodes);
            for claim in &claims {
                let earlier = claim.meets_in().into_iter().filter_map(|wide| last.get(&wide)).flatten();
                let overlaps = |earlier: &&usize| {
                    let earlier = &self.episodes[**earlier];
                    earlier.ends() > later.at || earlier.at == later.at
                };
                if let Some(earlier) = earlier.copied().find(|earlier| overlaps(&earlier)) {
                    return Some((earlier, nth));
                }
            }
            for wide in claims.into_iter().flat_map(Claim::widened) {
                let [began, ends] = last.entry(wide).or_insert([nth, nth]);
                *began = nth;
                if later.ends() > self.episodes[*ends].ends() {
                    *ends = nth;
                }
            }
        }
        None
    }
}

/// Reads one line.
fn episode(line: &str) -> Result<Episode, String> {
    let duration = |word: &str| {
        time(word).ok_or_else(|| format!("'{}' is no time: write seconds, as in 1.5s, 500ms or 2m", shown(word)))
    };
    let how = || format!("write at TIME [for TIME] WHAT, as in at 1s for 2s crash i001, not '{}'", shown(line));
    let rest = line.strip_prefix("at ").ok_or_else(how)?.trim_start();
    let (at, rest) = rest.split_once(char::is_whitespace).ok_or_else(how)?;
    let (at, mut rest) = (duration(at)?, rest.trim_start());
    let mut lasts = None;
    if let Some(after) = rest.strip_prefix("for ") {
        let (word, after) = after.trim_start().split_once(char::is_whitespace).ok_or_else(how)?;
        lasts = Some(duration(word)?);
        rest = after.trim_start();
    }
    let action = Action::parse(rest)?;
    if lasts.is_some() && !action.has_end() {
        return Err(format!("{} is over at once: leave out 'for'", action.verb().unwrap_or_default()));
    }
    if lasts.is_some_and(|lasts| lasts.as_millis() == 0) {
        return Err("'for' takes a time above 0, at least 1ms".into());
    }
    let whole = |time: Duration| Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or_default());
    Ok(Episode { at: whole(at), lasts: lasts.map(whole), action })
}
