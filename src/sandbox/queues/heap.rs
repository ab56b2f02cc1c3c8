//! The packets that wait, ordered by the moment at which they go on. No I/O, no clock: time is handed in.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

/// Capacity that is kept when nothing waits.
const KEPT: usize = 64;

/// One packet of a queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Packet {
    pub(super) queue: u16,
    /// What the kernel calls it; unique within its queue.
    pub(super) id: u32,
    /// What to hand back in its place, if it was altered.
    pub(super) altered: Option<Box<[u8]>>,
}

/// Earliest first; of the same moment, in order of arrival.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Instant,
    arrival: u64,
    packet: Packet,
}

/// All packets that wait, of all queues.
#[derive(Default)]
pub(super) struct Heap {
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// When the last packet of a queue goes that is not to be overtaken by the next.
    last: BTreeMap<u16, Instant>,
    arrivals: u64,
}

impl Heap {
    /// Takes a packet that arrives `now`, to wait that long, or longer if one before it of its queue does. `None`: it does
    /// not wait, and overtakes them.
    pub(super) fn push(&mut self, now: Instant, packet: Packet, wait: Option<Duration>) {
        let due = match wait {
            None => now,
            Some(wait) => {
                let last = self.last.entry(packet.queue).or_insert(now);
                *last = (*last).max(now + wait);
                *last
            }
        };
        self.arrivals += 1;
        self.waiting.push(Reverse(Waiting { due, arrival: self.arrivals, packet }));
    }

    /// When the next packet is to go.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse(waiting)| waiting.due)
    }

    /// The next packet, if it is to go by `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Packet> {
        if self.next().is_none_or(|due| due > now) {
            return None;
        }
        let packet = self.waiting.pop().map(|Reverse(waiting)| waiting.packet);
        if self.waiting.is_empty() && self.waiting.capacity() > KEPT {
            self.waiting = BinaryHeap::with_capacity(KEPT);
        }
        packet
    }

    /// All packets of a queue, in the order in which they would have gone.
    pub(super) fn release(&mut self, queue: u16) -> Vec<Packet> {
        self.last.remove(&queue);
        let waiting = std::mem::take(&mut self.waiting).into_sorted_vec();
        let (released, kept): (Vec<_>, Vec<_>) =
            waiting.into_iter().rev().partition(|Reverse(waiting)| waiting.packet.queue == queue);
        self.waiting = kept.into();
        released.into_iter().map(|Reverse(waiting)| waiting.packet).collect()
    }

    /// Has no packet of a queue go later than `latest`. Their order stays.
    pub(super) fn cap_deadline(&mut self, queue: u16, latest: Instant) {
        if self.last.get(&queue).is_none_or(|last| *last <= latest) {
            return;
        }
        self.last.insert(queue, latest);
        let mut waiting = std::mem::take(&mut self.waiting).into_vec();
        for Reverse(waiting) in &mut waiting {
            if waiting.packet.queue == queue {
                waiting.due = waiting.due.min(latest);
            }
        }
        self.waiting = waiting.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(queue: u16, id: u32) -> Packet {
        Packet { queue, id, altered: None }
    }

    const MS: Duration = Duration::from_millis(1);

    #[derive(Clone, Debug)]
    enum Step {
        /// To that queue, to wait this number of milliseconds.
        Push(u16, Option<u64>),
        /// So many milliseconds go by.
        Sleep(u64),
        Release(u16),
        Hasten(u16, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0..3u16, prop_oneof![4 => (0..50u64).prop_map(Some), 1 => Just(None)])
                .prop_map(|(queue, wait)| Step::Push(queue, wait)),
            4 => (0..20u64).prop_map(Step::Sleep),
            1 => (0..3u16).prop_map(Step::Release),
            1 => (0..3u16, 0..50u64).prop_map(|(queue, wait)| Step::Hasten(queue, wait)),
        ]
    }

    /// What is known of a packet that was pushed.
    struct Pushed {
        queue: u16,
        /// Not before it, unless its queue was released or hastened.
        due: Instant,
        overtakes: bool,
    }

    proptest! {
        #[test]
        fn all_go_once_in_order_and_none_early(steps in proptest::collection::vec(step(), 0..200)) {
            let begin = Instant::now();
            let mut now = begin;
            let mut heap = Heap::default();
            let mut pushed: Vec<Pushed> = vec![];
            let mut gone: Vec<u32> = vec![];
            for step in steps.into_iter().chain([Step::Sleep(10_000)]) {
                match step {
                    Step::Push(queue, wait) => {
                        let due = now + MS * wait.unwrap_or(0) as u32;
                        heap.push(now, packet(queue, pushed.len() as u32), wait.map(|wait| MS * wait as u32));
                        pushed.push(Pushed { queue, due, overtakes: wait.is_none() });
                    }
                    Step::Sleep(time) => {
                        let until = now + MS * time as u32;
                        // As the thread does: it wakes when the next is due.
                        while let Some(next) = heap.next().filter(|next| *next <= until) {
                            now = now.max(next);
                            let packet = heap.pop(now).unwrap();
                            prop_assert!(pushed[packet.id as usize].due <= now, "early: {packet:?}");
                            gone.push(packet.id);
                        }
                        prop_assert!(heap.pop(until).is_none());
                        now = until;
                    }
                    Step::Release(queue) => {
                        let released = heap.release(queue);
                        prop_assert!(released.iter().all(|packet| packet.queue == queue));
                        gone.extend(released.iter().map(|packet| packet.id));
                        prop_assert!(heap.release(queue).is_empty());
                    }
                    Step::Hasten(queue, wait) => {
                        let latest = now + MS * wait as u32;
                        heap.cap_deadline(queue, latest);
                        pushed.iter_mut().filter(|p| p.queue == queue).for_each(|p| p.due = p.due.min(latest));
                    }
                }
            }
            prop_assert_eq!(heap.next(), None);
            let mut sorted = gone.clone();
            sorted.sort();
            prop_assert_eq!(sorted, (0..pushed.len() as u32).collect::<Vec<_>>(), "each goes exactly once");
            for queue in 0..3 {
                let ordered: Vec<_> = gone
                    .iter()
                    .filter(|id| pushed[**id as usize].queue == queue && !pushed[**id as usize].overtakes)
                    .collect();
                prop_assert!(ordered.is_sorted(), "queue {}: {:?}", queue, ordered);
            }
        }
    }

    #[test]
    fn one_that_overtakes_goes_first_and_holds_nobody_up() {
        let now = Instant::now();
        let mut heap = Heap::default();
        heap.push(now, packet(1, 1), Some(9 * MS));
        heap.push(now, packet(1, 2), None);
        heap.push(now, packet(1, 3), Some(2 * MS));
        assert_eq!(heap.pop(now).unwrap().id, 2);
        assert_eq!(heap.pop(now + 8 * MS), None);
        assert_eq!(heap.pop(now + 9 * MS).unwrap().id, 1);
        assert_eq!(heap.pop(now + 9 * MS).unwrap().id, 3);
    }

    #[test]
    fn queues_do_not_wait_for_each_other() {
        let now = Instant::now();
        let mut heap = Heap::default();
        heap.push(now, packet(1, 1), Some(9 * MS));
        heap.push(now, packet(2, 1), Some(MS));
        assert_eq!(heap.next(), Some(now + MS));
        assert_eq!(heap.pop(now + MS).unwrap().queue, 2);
    }

    #[test]
    fn room_for_many_is_given_back() {
        let now = Instant::now();
        let mut heap = Heap::default();
        (0..10_000).for_each(|id| heap.push(now, packet(1, id), Some(MS)));
        while heap.pop(now + MS).is_some() {}
        assert!(heap.waiting.capacity() <= KEPT);
        (0..10_000).for_each(|id| heap.push(now, packet(1, id), Some(MS)));
        assert_eq!(heap.release(1).len(), 10_000);
        assert!(heap.waiting.capacity() <= KEPT, "{}", heap.waiting.capacity());
    }
}
