//! Draws a schedule from a seed.

use std::time::Duration;

use super::action::{Action, File};
use super::schedule::{Episode, Schedule};
use crate::cluster::faults::SeededRng;

/// Between the end of one episode and the start of the next on the same node or file: what ends the first takes time, and
/// the second would be late.
const PAUSE: Duration = Duration::from_secs(1);

/// No episode is shorter.
const SHORTEST: Duration = Duration::from_millis(10);

/// What a schedule is drawn from.
#[derive(Clone, Debug)]
pub(crate) struct DrawOptions {
    /// The kinds of faults; not empty.
    pub(crate) kinds: Vec<&'static Kind>,
    /// Mean time between the starts of two episodes.
    pub(crate) every: Duration,
    /// When the last one has ended.
    pub(crate) lasting: Duration,
    /// The names of the nodes.
    pub(crate) nodes: Vec<String>,
    /// The names of the roles; half of the faults are aimed at them, if there are some.
    pub(crate) roles: Vec<String>,
}

/// A kind of fault that can be drawn.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// The word of `capabilities` that says whether it is possible; empty if it always is.
    pub(crate) needs: &'static str,
    /// Whether it is drawn if the user names no kinds.
    pub(crate) by_default: bool,
    /// How many nodes it takes.
    pub(crate) least_nodes: usize,
    draw: fn(&mut Drawing<'_>) -> Action,
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All kinds, as they are documented.
pub(crate) fn kinds() -> &'static [Kind] {
    &KINDS
}

const fn on_process(
    name: &'static str,
    needs: &'static str,
    by_default: bool,
    draw: fn(&mut Drawing<'_>) -> Action,
) -> Kind {
    Kind { name, needs, by_default, least_nodes: 1, draw }
}

const fn on_network(
    name: &'static str,
    needs: &'static str,
    by_default: bool,
    draw: fn(&mut Drawing<'_>) -> Action,
) -> Kind {
    Kind { name, needs, by_default, least_nodes: 2, draw }
}

static KINDS: [Kind; 13] = [
    on_network("partition", "drop", true, |drawing| drawing.partition()),
    on_network("oneway", "drop", true, |drawing| {
        let target = drawing.target();
        let link = if drawing.below(2) == 0 { format!("{target}>* drop") } else { format!("*>{target} drop") };
        Action::new(File::Links, link)
    }),
    on_process("crash", "crash", true, |drawing| drawing.command("crash")),
    on_process("kill", "", true, |drawing| drawing.command("kill")),
    on_process("pause", "", true, |drawing| drawing.command("pause")),
    on_process("stop", "", false, |drawing| drawing.command("stop")),
    on_process("restart", "", false, |drawing| drawing.command("restart")),
    on_network("delay", "delay", true, |drawing| {
        let words = format!("delay {} {}", drawing.one(&["20ms", "100ms", "400ms"]), drawing.one(&["5ms", "20ms"]));
        drawing.net(&words)
    }),
    on_network("loss", "loss", true, |drawing| {
        let words = format!("loss {}", drawing.one(&["5%", "20%", "50%"]));
        drawing.net(&words)
    }),
    on_network("duplicate", "duplicate", false, |drawing| drawing.net("duplicate 20%")),
    on_network("corrupt", "corrupt", false, |drawing| drawing.net("corrupt 5%")),
    on_network("reorder", "reorder", false, |drawing| drawing.net("delay 20ms reorder 30%")),
    on_network("rate", "rate", false, |drawing| {
        let words = format!("rate {}", drawing.one(&["100kbit", "1mbit", "10mbit"]));
        drawing.net(&words)
    }),
];

/// One episode, while it is drawn.
struct Drawing<'a> {
    rng: SeededRng,
    options: &'a DrawOptions,
}

impl Drawing<'_> {
    fn below(&mut self, bound: usize) -> usize {
        self.rng.below(bound as u64) as usize
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A time up to this one; long ones in steps that are easy to read.
    fn up_to(&mut self, most: Duration) -> Duration {
        let step = if most >= Duration::from_secs(1) { 100 } else { 1 };
        Duration::from_millis((step * self.below(most.as_millis() as usize / step + 1)) as u64)
    }

    /// A node, or a role; each is as likely if there are roles.
    fn target(&mut self) -> String {
        let (nodes, roles) = (&self.options.nodes, &self.options.roles);
        if !roles.is_empty() && self.below(2) == 0 {
            return format!("@{}", roles[self.below(roles.len())]);
        }
        nodes[self.below(nodes.len())].clone()
    }

    fn command(&mut self, verb: &str) -> Action {
        Action::new(File::Control, format!("{verb} {}", self.target()))
    }

    /// Impairments of what a node sends. A node with a role is named in `links`, which is looked up when it is written.
    fn net(&mut self, words: &str) -> Action {
        let target = self.target();
        if target.starts_with('@') {
            Action::new(File::Links, format!("{target}>* {words}"))
        } else {
            Action::new(File::Net(target), words)
        }
    }

    /// One node against all others, or two groups.
    fn partition(&mut self) -> Action {
        if self.below(3) > 0 || self.options.nodes.len() < 3 {
            return Action::new(File::Partition, format!("isolate {}", self.target()));
        }
        let mut nodes = self.options.nodes.clone();
        self.rng.shuffle(&mut nodes);
        let cut = 1 + self.below(nodes.len() - 1);
        let (one, other) = nodes.split_at_mut(cut);
        one.sort();
        other.sort();
        Action::new(File::Partition, format!("{} | {}", one.join(" "), other.join(" ")))
    }
}

/// The schedule of a seed. Each episode is drawn from the seed and its own number, so that none depends on another; but one
/// that would overlap an earlier one on the same node or file is left out.
pub(crate) fn draw(seed: u64, options: &DrawOptions) -> Schedule {
    let slots = options.lasting.as_millis() / options.every.as_millis().max(1);
    let mut episodes: Vec<Episode> = vec![];
    for slot in 0..u32::try_from(slots).unwrap_or(u32::MAX) {
        let mut drawing = Drawing { rng: SeededRng::stream(seed, u64::from(slot)), options };
        let at = options.every * slot + drawing.up_to(options.every / 2);
        let kind = drawing.one(&options.kinds);
        let lasts = options.every / 4 + drawing.up_to(options.every);
        let action = (kind.draw)(&mut drawing);
        let lasts = (action.has_end()).then(|| lasts.min(options.lasting.saturating_sub(at)));
        let episode = Episode { at, lasts, action };
        let busy = |earlier: &Episode| {
            let apart = earlier.ends().saturating_add(PAUSE) <= at;
            let claims = |episode: &Episode| episode.claims(known);
            !apart && claims(&episode).iter().any(|claim| claims(earlier).iter().any(|own| own.meets(claim)))
        };
        let is_long_enough = lasts.is_none_or(|lasts| lasts >= SHORTEST);
        if is_long_enough && !episodes.iter().any(busy) {
            episodes.push(episode);
        }
    }
    Schedule::new(Some(seed), episodes)
}

/// What a word stands for; a role is not known before it is used.
fn known(word: &str) -> Vec<String> {
    if word.starts_with('@') { vec![] } else { vec![word.to_owned()] }
}
