//! Which faults were in force while an operation was under way.

use std::collections::BTreeSet;

use indexmap::IndexSet;

use super::findings::{NEVER, Span};
use super::value::cut;
use crate::cluster::State;
use crate::history::{ClusterEvent, HistoryEvent, SandboxPhase};

/// Most faults that are named.
const MOST_NAMED: usize = 8;
/// Most characters of one.
const LONGEST: usize = 120;

/// All faults of a history: what they are called, and from which line to which they were in force.
#[derive(Debug, Default)]
pub(super) struct InForce {
    texts: IndexSet<String>,
    /// Those of the last `fault` line.
    links: BTreeSet<usize>,
    /// All that are in force now, with the line since when.
    now: Vec<(usize, u32)>,
    over: Vec<(usize, Span)>,
    /// The lines that have changed what is in force.
    changes: Vec<u32>,
}

impl InForce {
    /// Takes the event of a line.
    pub(super) fn take(&mut self, at: u32, event: &HistoryEvent) {
        let before = (self.now.len(), self.over.len());
        match event {
            HistoryEvent::Fault(event) => {
                let links: BTreeSet<usize> =
                    event.links.iter().map(|text| self.texts.insert_full(cut(text, LONGEST)).0).collect();
                for gone in self.links.difference(&links).copied().collect::<Vec<_>>() {
                    self.ends(at, gone);
                }
                self.now.extend(links.difference(&self.links).map(|link| (*link, at)));
                self.links = links;
            }
            HistoryEvent::State(event) => {
                for (state, name) in [(State::Paused, "paused"), (State::Exited, "exited"), (State::Missing, "missing")]
                {
                    self.holds(at, format!("{} {name}", event.node), event.to == state);
                }
            }
            HistoryEvent::Sandbox(event) => {
                self.holds(at, format!("{} sandbox lost", event.node), event.phase == SandboxPhase::Lost);
            }
            HistoryEvent::Cluster(ClusterEvent::EngineLost(of)) => self.holds(at, engine(of.host.as_deref()), true),
            HistoryEvent::Cluster(ClusterEvent::EngineBack(of)) => self.holds(at, engine(of.host.as_deref()), false),
            _ => {}
        }
        if before != (self.now.len(), self.over.len()) {
            self.changes.push(at);
        }
    }

    /// The same number for lines between which nothing has changed.
    pub(super) fn period(&self, line: u32) -> usize {
        self.changes.partition_point(|change| *change < line)
    }

    fn holds(&mut self, at: u32, text: String, holds: bool) {
        match (self.texts.get_index_of(&text), holds) {
            (Some(known), false) => self.ends(at, known),
            (Some(known), true) if self.now.iter().any(|(text, _)| *text == known) => {}
            (_, true) => {
                let text = self.texts.insert_full(text).0;
                self.now.push((text, at));
            }
            (None, false) => {}
        }
    }

    fn ends(&mut self, at: u32, text: usize) {
        if let Some(index) = self.now.iter().position(|(now, _)| *now == text) {
            let (text, begin) = self.now.remove(index);
            self.over.push((text, Span { begin, end: at }));
        }
    }

    /// The faults in force during some of these operations, in the order in which they began; of many, the first, and how
    /// many more.
    pub(super) fn during(&self, operations: &[Span]) -> Vec<String> {
        let open = self.now.iter().map(|(text, begin)| (*text, Span { begin: *begin, end: NEVER }));
        let mut found: Vec<(u32, usize)> = open
            .chain(self.over.iter().copied())
            .filter(|(_, fault)| operations.iter().any(|one| one.begin < fault.end && fault.begin < one.end))
            .map(|(text, fault)| (fault.begin, text))
            .collect();
        found.sort_unstable();
        let mut names: IndexSet<&String> = found.iter().map(|(_, text)| &self.texts[*text]).collect();
        // A node that crashed has exited, which says less.
        let crashed: Vec<String> = names
            .iter()
            .filter_map(|name| name.strip_suffix(" crashed"))
            .map(|node| format!("{node} exited"))
            .collect();
        names.retain(|name| !crashed.contains(name));
        let more = names.len().saturating_sub(MOST_NAMED);
        let mut names: Vec<String> = names.into_iter().take(MOST_NAMED).cloned().collect();
        if more > 0 {
            names.push(format!("…and {more} more"));
        }
        names
    }
}

fn engine(host: Option<&str>) -> String {
    host.map_or_else(|| "engine lost".to_owned(), |host| format!("engine of {host} lost"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::HistoryLine;

    #[test]
    fn faults_are_in_force_from_their_line_to_the_next() {
        let mut in_force = InForce::default();
        let state = |node: &str, to: &str| {
            format!(r#"{{"state":{{"node":"{node}","from":"running","to":"{to}","cause":"exit"}}}}"#)
        };
        for (at, line) in [
            (10, r#"{"fault":{"links":["a>b drop","b>a drop"]}}"#.to_owned()),
            (20, r#"{"fault":{"links":["b>a drop","c crashed"]}}"#.to_owned()),
            (21, state("c", "exited")),
            (25, state("b", "paused")),
            (30, r#"{"fault":{"links":[]}}"#.to_owned()),
            (35, state("b", "running")),
            (40, r#"{"cluster":{"phase":"engine lost"}}"#.to_owned()),
        ] {
            in_force.take(at, &HistoryLine::parse(&line).unwrap().event);
        }
        let during = |begin, end| in_force.during(&[Span { begin, end }]).join(", ");
        assert_eq!(during(1, 9), "");
        assert_eq!(during(11, 12), "a>b drop, b>a drop");
        assert_eq!(during(22, 23), "b>a drop, c crashed");
        assert_eq!(during(5, 27), "a>b drop, b>a drop, c crashed, b paused");
        assert_eq!(during(31, 32), "c exited, b paused");
        assert_eq!(during(41, NEVER), "c exited, engine lost");
        let periods: Vec<usize> = (9..50).map(|line| in_force.period(line)).collect();
        let changes = periods.windows(2).zip(9..).filter(|(pair, _)| pair[0] != pair[1]).map(|(_, line)| line);
        assert_eq!(changes.collect::<Vec<_>>(), [10, 20, 21, 25, 30, 35, 40]);
    }

    #[test]
    fn of_many_faults_the_first_are_named() {
        let mut in_force = InForce::default();
        let links: Vec<String> = (0..100).map(|n| format!("\"i{n:03}>* drop\"")).collect();
        let line = format!(r#"{{"fault":{{"links":[{}]}}}}"#, links.join(","));
        in_force.take(1, &HistoryLine::parse(&line).unwrap().event);
        let named = in_force.during(&[Span { begin: 2, end: 3 }]);
        assert_eq!((named.len(), named[8].as_str()), (9, "…and 92 more"));
    }
}
