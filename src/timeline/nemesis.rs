//! What performed schedules of faults: their episodes.

use std::collections::BTreeMap;

use super::model::{Nemesis, Span};
use super::{count, rough};
use crate::history::NemesisEvent;

/// Collects the episodes of a history.
#[derive(Default)]
pub(crate) struct Gathering {
    heads: Vec<String>,
    open: BTreeMap<u64, Span>,
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
                self.end(*episode, at, "the next of this number began");
                let text = resolved.as_ref().unwrap_or(words).clone();
                let mut detail = vec![format!("episode {episode}: {words}"), lateness("begun", *late_ms)];
                detail.extend(error.iter().cloned());
                self.failed(at, words, error.as_deref());
                self.open.insert(*episode, Span { from: at, to: at, text, detail: detail.join("\n") });
            }
            NemesisEvent::End { episode, words, late_ms, error } => {
                self.failed(at, words, error.as_deref());
                let mut detail = format!("ended by {words}, {}", lateness("", *late_ms).trim_start());
                detail.extend(error.iter().map(|error| format!("\n{error}")));
                self.end(*episode, at, &detail);
            }
            NemesisEvent::Healed { error } => {
                self.failed(at, "healing", error.as_deref());
                self.healed = Some(at);
            }
            NemesisEvent::Over => self.over(at),
        }
    }

    fn failed(&mut self, at: i64, words: &str, error: Option<&str>) {
        self.errors.extend(error.map(|error| (at, format!("nemesis: {words}: {error}"))));
    }

    fn end(&mut self, episode: u64, at: i64, detail: &str) {
        if let Some(mut span) = self.open.remove(&episode) {
            span.to = at;
            span.detail.push('\n');
            span.detail.push_str(detail);
            self.episodes.push(span);
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
        for episode in self.open.keys().copied().collect::<Vec<_>>() {
            self.end(episode, end, "has no end in the history");
        }
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

fn lateness(what: &str, ms: u64) -> String {
    if ms == 0 { format!("{what} in time") } else { format!("{what} {ms} ms late") }
}
