//! What happens to the packets of one queue, and the random choices for each of them.

use std::time::{Duration, Instant};

use fastrand::Rng;

use super::super::rates::waiting_room;
use crate::cluster::faults::{Delay, Rate, Share};

/// What happens to the packets of one queue. The default is nothing: they pass as they come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueuePolicy {
    /// They wait, and keep their order.
    pub(crate) delay: Option<Delay>,
    /// A bit behind the IP header is not what it was; checksums stay, so that the receiver's notice it as on a wire.
    pub(crate) corrupt: Share,
    /// They do not wait, and so overtake those before them.
    pub(crate) reorder: Share,
    /// They go nowhere.
    pub(crate) loss: Share,
    /// No more than that passes; those that find too many waiting are lost.
    pub(crate) rate: Option<Rate>,
}

/// An Ethernet header, in bytes: the queueing disciplines of the kernel count it.
const ETHERNET: u64 = 14;

/// A line of some rate, that packets go over one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Line {
    free: Option<Instant>,
}

impl Line {
    /// How long a packet of that many bytes which comes `now` waits until the line is free; `None` if so much waits that it is lost.
    pub(super) fn take(&mut self, now: Instant, bytes: usize, rate: Rate) -> Option<Duration> {
        let begins = self.free.map_or(now, |free| free.max(now));
        let waits = begins - now;
        if waits > longest(rate) {
            return None;
        }
        self.free = Some(begins + lasts(bytes as u64 + ETHERNET, rate));
        Some(waits)
    }
}

/// How long this number of bytes takes at a rate.
fn lasts(bytes: u64, Rate(bits): Rate) -> Duration {
    Duration::from_nanos(u64::try_from(u128::from(bytes) * 8_000_000_000 / u128::from(bits.get())).unwrap_or(u64::MAX))
}

/// How long a packet may wait for a rate.
fn longest(rate: Rate) -> Duration {
    lasts(waiting_room(Some(rate)), rate)
}

/// What happens to one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PacketFate {
    Lost,
    Passes {
        /// `None`: it passes at once, before any that wait.
        wait: Option<Duration>,
        corrupt: bool,
    },
}

impl QueuePolicy {
    /// The longest that a packet may wait.
    pub(super) fn longest(&self) -> Duration {
        let rate = self.rate.map_or(Duration::ZERO, longest);
        self.delay.map_or(rate, |delay| delay.time.saturating_add(delay.jitter).saturating_add(rate))
    }

    pub(super) fn draw(&self, rng: &mut Rng) -> PacketFate {
        if hits(self.loss, rng) {
            return PacketFate::Lost;
        }
        let corrupt = hits(self.corrupt, rng);
        let wait = if hits(self.reorder, rng) { None } else { Some(self.wait(rng)) };
        PacketFate::Passes { wait, corrupt }
    }

    fn wait(&self, rng: &mut Rng) -> Duration {
        let Some(Delay { time, jitter }) = self.delay else {
            return Duration::ZERO;
        };
        let least = time.saturating_sub(jitter);
        let spread = time.saturating_add(jitter).saturating_sub(least);
        least + Duration::from_nanos(rng.u64(..=u64::try_from(spread.as_nanos()).unwrap_or(u64::MAX)))
    }
}

fn hits(share: Share, rng: &mut Rng) -> bool {
    !share.is_none() && rng.u32(..Share::ALL.in_millionths()) < share.in_millionths()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(millionths: u32) -> Share {
        Share::millionths(millionths).unwrap()
    }

    #[test]
    fn the_default_policy_changes_nothing() {
        let mut rng = Rng::with_seed(1);
        for _ in 0..1000 {
            let lot = QueuePolicy::default().draw(&mut rng);
            assert_eq!(lot, PacketFate::Passes { wait: Some(Duration::ZERO), corrupt: false });
        }
    }

    #[test]
    fn a_line_takes_as_much_as_its_rate_and_lets_so_many_wait() {
        let rate = Rate(std::num::NonZeroU64::new(1_000_000).unwrap());
        let mut line = Line::default();
        let begin = Instant::now();
        let bytes = 1250 - ETHERNET as usize;
        let waits: Vec<_> = std::iter::from_fn(|| line.take(begin, bytes, rate)).collect();
        // Ten milliseconds each, and 256 KiB may wait.
        assert!(waits.iter().enumerate().all(|(at, wait)| *wait == Duration::from_millis(10) * at as u32));
        assert_eq!(waits.len(), (256 << 10) / 1250 + 1);
        let later = begin + Duration::from_millis(15);
        assert_eq!(
            line.take(later, bytes, rate),
            Some(waits.len() as u32 * Duration::from_millis(10) - Duration::from_millis(15))
        );
        let idle = begin + Duration::from_secs(60);
        assert_eq!(line.take(idle, bytes, rate), Some(Duration::ZERO));
        let policy = QueuePolicy { rate: Some(rate), ..QueuePolicy::default() };
        assert!(waits.iter().all(|wait| *wait <= policy.longest()));
    }

    #[test]
    fn all_is_all() {
        let mut rng = Rng::with_seed(2);
        let delay = Some(Delay { time: Duration::from_secs(1), jitter: Duration::ZERO });
        let all = QueuePolicy { delay, corrupt: Share::ALL, reorder: Share::ALL, ..QueuePolicy::default() };
        let lost = QueuePolicy { loss: Share::ALL, ..all };
        for _ in 0..1000 {
            assert_eq!(all.draw(&mut rng), PacketFate::Passes { wait: None, corrupt: true });
            assert_eq!(lost.draw(&mut rng), PacketFate::Lost);
        }
    }

    #[test]
    fn shares_are_kept_within_three_standard_deviations() {
        let mut rng = Rng::with_seed(3);
        for millionths in [1000, 50_000, 300_000, 999_000] {
            let (count, p) = (100_000, f64::from(millionths) / 1e6);
            let hit = (0..count).filter(|_| hits(share(millionths), &mut rng)).count() as f64;
            let mean = f64::from(count) * p;
            assert!((hit - mean).abs() <= 3.0 * (mean * (1.0 - p)).sqrt(), "{hit} of {mean}");
        }
    }

    #[test]
    fn jitter_is_even_around_the_time() {
        let mut rng = Rng::with_seed(4);
        let delay = Some(Delay { time: Duration::from_millis(50), jitter: Duration::from_millis(20) });
        let policy = QueuePolicy { delay, ..QueuePolicy::default() };
        let mut waits: Vec<_> = (0..10_001).map(|_| policy.wait(&mut rng)).collect();
        waits.sort();
        assert!(waits[0] >= Duration::from_millis(30) && waits[0] < Duration::from_millis(31));
        assert!(waits[10_000] <= policy.longest() && waits[10_000] > Duration::from_millis(69));
        for (at, expected) in [(2500, 40), (5000, 50), (7500, 60)] {
            assert!(waits[at].abs_diff(Duration::from_millis(expected)) < Duration::from_millis(1), "{:?}", waits[at]);
        }
    }
}
