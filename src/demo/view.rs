//! A node's view of its peers: a pure state machine, fed with heartbeats and the time.
//!
//! A peer is `unknown` until it is first heard, `up` while it is heard, and `down` after [`SILENCE`] intervals without a
//! heartbeat. Each heartbeat carries its sender's incarnation, a number that grows with each of its runs.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde::Serialize;

/// Intervals of silence after which a peer counts as lost.
pub(crate) const SILENCE: u32 = 5;

/// Time between two heartbeats to each peer: 200 ms up to 40 peers, 5 ms a peer beyond, so that a node sends (and
/// hears) at most 200 packets a second. All nodes have as many peers, so all come to the same interval.
pub(crate) fn interval(peers: usize) -> Duration {
    let spread = u32::try_from(peers).map_or(Duration::MAX, |n| Duration::from_millis(5) * n);
    spread.max(Duration::from_millis(200))
}

/// Something worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerChange {
    /// Heard for the first time, or again.
    Found(Ipv4Addr),
    /// Silent for too long.
    Lost(Ipv4Addr),
    /// Heard with a new incarnation: its state of before is gone.
    Restarted(Ipv4Addr),
}

impl fmt::Display for PeerChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (peer, what) = match self {
            Self::Found(peer) => (peer, "found"),
            Self::Lost(peer) => (peer, "lost"),
            Self::Restarted(peer) => (peer, "restarted"),
        };
        write!(f, "peer {peer} {what}")
    }
}

/// What is believed of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PeerState {
    /// Never heard.
    Unknown,
    /// Heard recently.
    Up,
    /// Heard once, silent now.
    Down,
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    state: PeerState,
    since: Instant,
    /// When it was last heard, and its incarnation then.
    seen: Option<(Instant, u64)>,
}

/// One peer as shown to users. Both times are ages, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PeerReport {
    /// What is believed of it.
    pub(crate) state: PeerState,
    /// For how long that has been so.
    pub(crate) since_ms: u64,
    /// How long ago it was last heard; null if never.
    pub(crate) last_seen_ms: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct View {
    peers: BTreeMap<Ipv4Addr, Peer>,
    silence_limit: Duration,
}

impl View {
    /// Knows nothing yet of these peers.
    pub(crate) fn new(peers: &[Ipv4Addr], now: Instant) -> Self {
        let unknown = Peer { state: PeerState::Unknown, since: now, seen: None };
        Self {
            peers: peers.iter().map(|&peer| (peer, unknown)).collect(),
            silence_limit: interval(peers.len()) * SILENCE,
        }
    }

    /// A heartbeat came. One from a stranger says nothing.
    pub(crate) fn heard(&mut self, from: Ipv4Addr, incarnation: u64, now: Instant) -> Vec<PeerChange> {
        let mut changes = Vec::new();
        let Some(peer) = self.peers.get_mut(&from) else {
            return changes;
        };
        let before = peer.seen.map(|(_, incarnation)| incarnation);
        // A packet of its last run may arrive late. But should its clock have been set back, it really is the new run:
        // then nothing newer is heard, the peer is lost, and after that we believe it.
        if peer.state == PeerState::Up && before.is_some_and(|before| incarnation < before) {
            return changes;
        }
        if peer.state != PeerState::Up {
            peer.state = PeerState::Up;
            peer.since = now;
            changes.push(PeerChange::Found(from));
        }
        if before.is_some_and(|before| incarnation != before) {
            peer.since = now;
            changes.push(PeerChange::Restarted(from));
        }
        peer.seen = Some((now, incarnation));
        changes
    }

    pub(crate) fn tick(&mut self, now: Instant) -> Vec<PeerChange> {
        let mut changes = Vec::new();
        for (&address, peer) in &mut self.peers {
            if let (PeerState::Up, Some((seen, _))) = (peer.state, peer.seen)
                && now.saturating_duration_since(seen) >= self.silence_limit
            {
                peer.state = PeerState::Down;
                peer.since = now;
                changes.push(PeerChange::Lost(address));
            }
        }
        changes
    }

    /// When the first peer will be lost, unless it is heard before.
    pub(crate) fn next_loss(&self) -> Option<Instant> {
        let up = self.peers.values().filter(|peer| peer.state == PeerState::Up);
        up.filter_map(|peer| peer.seen).map(|(seen, _)| seen + self.silence_limit).min()
    }

    /// Every peer, as shown to users.
    pub(crate) fn report(&self, now: Instant) -> BTreeMap<Ipv4Addr, PeerReport> {
        let report = |peer: &Peer| PeerReport {
            state: peer.state,
            since_ms: millis(now, peer.since),
            last_seen_ms: peer.seen.map(|(seen, _)| millis(now, seen)),
        };
        self.peers.iter().map(|(&address, peer)| (address, report(peer))).collect()
    }
}

/// Whole milliseconds from `then` to `now`.
pub(super) fn millis(now: Instant, then: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(then).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 3);
    const B: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 4);

    fn view() -> (View, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        let at = move |ms| start + Duration::from_millis(ms);
        (View::new(&[A, B], start), at)
    }

    #[test]
    fn found_lost_found() {
        let (mut view, at) = view();
        assert_eq!(view.tick(at(60_000)), [], "never heard is not lost");
        assert_eq!(view.heard(A, 1, at(60_000)), [PeerChange::Found(A)]);
        assert_eq!(view.heard(A, 1, at(60_200)), []);
        assert_eq!(view.next_loss(), Some(at(61_200)));
        assert_eq!(view.tick(at(61_199)), []);
        assert_eq!(view.tick(at(61_200)), [PeerChange::Lost(A)]);
        assert_eq!(view.tick(at(61_300)), [], "lost once");
        assert_eq!(view.next_loss(), None);
        assert_eq!(view.heard(A, 1, at(70_000)), [PeerChange::Found(A)]);
        let report = view.report(at(70_050));
        assert_eq!(report[&A].state, PeerState::Up);
        assert_eq!((report[&A].since_ms, report[&A].last_seen_ms), (50, Some(50)));
        assert_eq!(report[&B].state, PeerState::Unknown);
        assert_eq!((report[&B].since_ms, report[&B].last_seen_ms), (70_050, None));
    }

    #[test]
    fn a_restart_is_noticed_quick_or_slow() {
        let (mut view, at) = view();
        view.heard(A, 10, at(0));
        assert_eq!(view.heard(A, 20, at(300)), [PeerChange::Restarted(A)]);
        assert_eq!(view.tick(at(1300)), [PeerChange::Lost(A)]);
        let both = [PeerChange::Found(A), PeerChange::Restarted(A)];
        assert_eq!(view.heard(A, 30, at(2000)), both);
        assert_eq!(view.heard(A, 30, at(2200)), []);
    }

    #[test]
    fn a_late_packet_of_the_last_run_says_nothing() {
        let (mut view, at) = view();
        view.heard(A, 10, at(0));
        view.heard(A, 20, at(100));
        assert_eq!(view.heard(A, 10, at(900)), []);
        assert_eq!(view.tick(at(1100)), [PeerChange::Lost(A)]);
        // Its clock was set back: after the silence its lower number is believed.
        let both = [PeerChange::Found(A), PeerChange::Restarted(A)];
        assert_eq!(view.heard(A, 10, at(1200)), both);
    }

    #[test]
    fn strangers_are_not_heard() {
        let (mut view, at) = view();
        assert_eq!(view.heard(Ipv4Addr::LOCALHOST, 1, at(0)), []);
        assert_eq!(view.report(at(0)).len(), 2);
    }

    #[test]
    fn no_node_sends_more_than_200_packets_a_second() {
        assert_eq!(interval(0), Duration::from_millis(200));
        assert_eq!(interval(40), Duration::from_millis(200));
        assert_eq!(interval(99), Duration::from_millis(495));
        for peers in 1..2000_usize {
            assert!(peers as f64 / interval(peers).as_secs_f64() < 200.01);
        }
    }

    #[test]
    fn lines_are_as_documented() {
        assert_eq!(PeerChange::Found(A).to_string(), "peer 172.30.0.3 found");
        assert_eq!(PeerChange::Lost(A).to_string(), "peer 172.30.0.3 lost");
        assert_eq!(PeerChange::Restarted(A).to_string(), "peer 172.30.0.3 restarted");
    }
}
