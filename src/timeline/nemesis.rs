//! What performed schedules of faults: their episodes.

use std::collections::BTreeMap;

use super::model::{Nemesis, Span};
use super::{count, rough};
use crate::control::ended_by;
use crate::history::NemesisEvent;

/// Collects the episodes of a history.
#[derive(Default)]
pub(crate) struct Gathering {
    heads: Vec<String>,
    /// Those whose end is still to come, each with whether it is in force until then.
    open: BTreeMap<u64, (Span, bool)>,
    episodes: Vec<Span>,
    healed: Option<i64>,
    quiet: Vec<Span>,
    errors: Vec<(i64, String)>,
}

impl Gathering {
    pub(crate) fn take(&mut self, at: i64, event: &NemesisEvent) {
        match event {
            NemesisEvent::Started { seed, episodes, .. } => {
                let seed = seed.map_or("a schedule of its own".into(), |seed| format!("seed {seed}"));
                let unit = if *episodes == 1 { "episode" } else { "episodes" };
                self.heads.push(format!("{seed}, {} {unit}", count(usize::try_from(*episodes).unwrap_or(usize::MAX))));
            }
            NemesisEvent::Begin { episode, words, resolved, late_ms, error } => {
                self.end_unrecorded(*episode, at, "the next of this number began");
                let text = resolved.as_ref().unwrap_or(words).clone();
                let mut detail = vec![format!("episode {episode}: {words}"), lateness("begun", *late_ms)];
                detail.extend(error.iter().cloned());
                self.failed(at, words, error.as_deref());
                let span = Span { from: at, to: at, text, detail: detail.join("\n") };
                self.open.insert(*episode, (span, error.is_none() && lasts(words)));
            }
            NemesisEvent::End { episode, words, late_ms, error } => {
                self.failed(at, words, error.as_deref());
                let mut detail = format!("ended by {words}, {}", lateness("", *late_ms).trim_start());
                detail.extend(error.iter().map(|error| format!("\n{error}")));
                self.end(*episode, at, &detail);
            }
            NemesisEvent::Healed { error } => {
                self.failed(at, "healing", error.as_deref());
                // Also what a performance that was killed has left open.
                if error.is_none() {
                    self.end_all(at, "healed");
                }
                self.healed = Some(at);
            }
            NemesisEvent::Over => self.over(at),
        }
    }

    fn failed(&mut self, at: i64, words: &str, error: Option<&str>) {
        self.errors.extend(error.map(|error| (at, format!("nemesis: {words}: {error}"))));
    }

    fn end(&mut self, episode: u64, at: i64, detail: &str) {
        if let Some((mut span, _)) = self.open.remove(&episode) {
            span.to = at;
            span.detail.push('\n');
            span.detail.push_str(detail);
            self.episodes.push(span);
        }
    }

    /// Ends an episode of whose end there is no line. One that is over at once, or has failed, was never in force.
    fn end_unrecorded(&mut self, episode: u64, at: i64, detail: &str) {
        match self.open.get(&episode) {
            Some((_, true)) => self.end(episode, at, detail),
            Some(_) => self.episodes.extend(self.open.remove(&episode).map(|(span, _)| span)),
            None => {}
        }
    }

    fn end_all(&mut self, at: i64, detail: &str) {
        for episode in self.open.keys().copied().collect::<Vec<_>>() {
            self.end_unrecorded(episode, at, detail);
        }
    }

    fn over(&mut self, at: i64) {
        if let Some(from) = self.healed.take() {
            let detail = format!("healed, then quiet for {}", rough(at - from));
            self.quiet.push(Span { from, to: at, text: "quiet".into(), detail });
        }
    }

    /// Ends what still holds; `None` if there was no schedule.
    pub(crate) fn finish(mut self, end: i64) -> Option<Nemesis> {
        self.end_all(end, "has no end in the history");
        self.over(end);
        self.episodes.sort_by_key(|span| span.from);
        let Self { heads, episodes, quiet, errors, .. } = self;
        let head = match heads.as_slice() {
            [.., last] if heads.len() > 3 => format!("{} schedules, the last of {last}", heads.len()),
            few => few.join("; then "),
        };
        (!heads.is_empty() || !episodes.is_empty()).then_some(Nemesis { head, episodes, quiet, errors })
    }
}

/// Whether what an episode does is in force until it is ended, if the schedule does not say for how long.
fn lasts(words: &str) -> bool {
    let first = words.split_whitespace().next().unwrap_or_default();
    let is_file = matches!(first, "partition" | "links") || first.ends_with("/net");
    // A signal that is sent is over at once.
    is_file || ended_by(first).is_some() && !(first == "kill" && words.contains(" -s"))
}

fn lateness(what: &str, ms: u64) -> String {
    if ms == 0 { format!("{what} in time") } else { format!("{what} {ms} ms late") }
}
