//! What else held while operations went on.

use crate::cluster::State;
use crate::timeline::axis::SECOND;
use crate::timeline::incidents::reason;
use crate::timeline::model::Timeline;
use crate::timeline::verdicts::Anomaly;

/// So long before an operation, and after it, in ns.
const BEFORE: i64 = 5 * SECOND;
const AFTER: i64 = SECOND;
/// Most that is shown.
const MOST: usize = 15;

/// Something that held.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Circumstance {
    /// ns since the mount.
    pub(crate) from: i64,
    /// ns since the mount.
    pub(crate) to: i64,
    pub(crate) what: String,
}

/// What held shortly before the operations of an anomaly, or meanwhile, by time; and how much more there was.
pub(crate) fn around(timeline: &Timeline, anomaly: &Anomaly) -> (Vec<Circumstance>, usize) {
    let mut all = vec![];
    let mut add = |from, to, what| all.push(Circumstance { from, to, what });
    for episode in timeline.nemesis.iter().flat_map(|nemesis| &nemesis.episodes) {
        add(episode.from, episode.to, format!("nemesis: {}", episode.text));
    }
    for fault in &timeline.faults {
        add(fault.from, fault.to, format!("network: {}", fault.text));
    }
    for outage in &timeline.outages {
        add(outage.from, outage.to, outage.detail.clone());
    }
    for role in &timeline.roles {
        for held in &role.held {
            add(held.from, held.to, format!("{}: {}", role.name, held.sentence()));
        }
    }
    for node in &timeline.nodes {
        for stay in &node.stays {
            if stay.is_down() {
                add(stay.from, stay.to, format!("{} {}", node.name, reason(timeline, stay)));
            } else if stay.state == State::Paused {
                add(stay.from, stay.to, format!("{} paused", node.name));
            }
        }
        for span in &node.unhealthy {
            add(span.from, span.to, format!("{} unhealthy", node.name));
        }
    }
    let operations = anomaly.operations.iter().map(|(lane, index)| &timeline.lanes[*lane].operations[*index]);
    let times: Vec<(i64, i64)> =
        operations.map(|operation| (operation.from - BEFORE, operation.counts_at() + AFTER)).collect();
    all.retain(|one| times.iter().any(|(from, to)| one.from <= *to && one.to >= *from));
    all.sort_by_key(|one| one.from);
    let more = all.len().saturating_sub(MOST);
    all.truncate(MOST);
    (all, more)
}
