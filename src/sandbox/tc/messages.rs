//! The messages: `linux/rtnetlink.h`, `linux/pkt_sched.h`.

use std::io;
use std::time::Duration;

use super::super::netlink::{Attr, Message, Socket};
use super::super::plan::{Class, Netem};
use super::super::rates::{LARGEST, QUEUE_MS, bytes_a_second, waiting_room};
use crate::cluster::faults::{Rate, Share};

const NEW_QDISC: u16 = 36;
const DELETE_QDISC: u16 = 37;
pub(crate) const GET_QDISC: u16 = 38;
const NEW_CLASS: u16 = 40;
const DELETE_CLASS: u16 = 41;
pub(crate) const GET_CLASS: u16 = 42;
const GET_LINK: u16 = 18;

/// `NLM_F_CREATE`, `NLM_F_REPLACE`.
const CREATE: u16 = 0x400;
const REPLACE: u16 = 0x100;

/// `TCA_KIND`, `TCA_OPTIONS`.
pub(crate) const KIND: u16 = 1;
pub(crate) const OPTIONS: u16 = 2;

/// `TC_H_ROOT`.
const TO_ROOT: u32 = u32::MAX;
/// Our HTB is `1:`.
const ROOT: u32 = 1 << 16;

/// Times are counted in ticks of 64 ns (`PSCHED_SHIFT` is 6).
const TICK: u64 = 64;
/// An Ethernet frame with a full packet, in bytes.
const FRAME: u64 = 1514;

/// The full number of a class, which is also the priority of its packets.
pub(crate) fn handle_of(class: u16) -> u32 {
    ROOT | u32::from(class)
}

/// The number of the queue in a class.
pub(crate) fn queue_of(class: u16) -> u32 {
    u32::from(class) << 16
}

/// A queueing discipline, and where it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Qdisc {
    /// HTB, at the root.
    Root,
    /// netem at the root, alone.
    Alone(Netem),
    /// netem in a class that has this rate.
    Netem(u16, Netem, Option<Rate>),
    /// A plain queue in a class that has this rate.
    Fifo(u16, Option<Rate>),
}

/// `struct tcmsg`.
fn header(interface: u32, handle: u32, parent: u32) -> Vec<u8> {
    let mut header = vec![0; 4];
    for field in [interface, handle, parent, 0] {
        header.extend(field.to_ne_bytes());
    }
    header
}

fn number(kind: u16, value: u32) -> Attr {
    Attr::Bytes(kind, value.to_ne_bytes().to_vec())
}

/// Makes or changes a queueing discipline.
pub(crate) fn new_qdisc(interface: u32, qdisc: Qdisc) -> Message {
    let (handle, parent, kind, options) = match qdisc {
        Qdisc::Root => (ROOT, TO_ROOT, "htb", Attr::Nest(OPTIONS, htb())),
        Qdisc::Alone(netem) => (ROOT, TO_ROOT, "netem", Attr::Bytes(OPTIONS, netem_options(&netem, None))),
        Qdisc::Netem(class, netem, rate) => {
            (queue_of(class), handle_of(class), "netem", Attr::Bytes(OPTIONS, netem_options(&netem, rate)))
        }
        Qdisc::Fifo(class, rate) => {
            (queue_of(class), handle_of(class), "bfifo", Attr::Bytes(OPTIONS, fifo_options(rate)))
        }
    };
    Message {
        kind: NEW_QDISC,
        flags: CREATE | REPLACE,
        header: header(interface, handle, parent),
        attrs: vec![Attr::text(KIND, kind), options],
    }
}

/// `struct tc_fifo_qopt`: how many bytes may wait.
pub(crate) fn fifo_options(rate: Option<Rate>) -> Vec<u8> {
    (waiting_room(rate) as u32).to_ne_bytes().to_vec()
}

/// Takes the queueing discipline of a class away, or the one at the root.
pub(crate) fn delete_qdisc(interface: u32, class: Option<u16>) -> Message {
    let (handle, parent) = class.map_or((0, TO_ROOT), |class| (queue_of(class), handle_of(class)));
    Message { kind: DELETE_QDISC, flags: 0, header: header(interface, handle, parent), attrs: vec![] }
}

fn htb() -> Vec<Attr> {
    // struct tc_htb_glob: version, rate2quantum, the class of what is in none (0: none is needed), debug, direct_pkts.
    let glob = [3u32, 10, 0, 0, 0].iter().flat_map(|field| field.to_ne_bytes()).collect();
    // So many packets of no class may wait; an interface of a container's may say none.
    const DIRECT: u32 = 10_000;
    vec![Attr::Bytes(2, glob), number(5, DIRECT)]
}

/// Makes or changes a class.
pub(crate) fn new_class(interface: u32, class: u16, wanted: &Class) -> Message {
    Message {
        kind: NEW_CLASS,
        flags: CREATE | REPLACE,
        header: header(interface, handle_of(class), ROOT),
        attrs: vec![Attr::text(KIND, "htb"), Attr::Nest(OPTIONS, class_options(wanted))],
    }
}

/// Takes a class away, with its queue.
pub(crate) fn delete_class(interface: u32, class: u16) -> Message {
    Message { kind: DELETE_CLASS, flags: 0, header: header(interface, handle_of(class), ROOT), attrs: vec![] }
}

/// `struct tc_ratespec`: what is counted are Ethernet frames, from 32 bits a field.
fn rate_spec(class: &Class) -> Vec<u8> {
    const ETHERNET: u8 = 1;
    let bytes = u32::try_from(bytes_a_second(class.rate)).unwrap_or(u32::MAX);
    let mut spec = vec![0, ETHERNET, 0, 0, 0xff, 0xff, 0, 0];
    spec.extend(bytes.to_ne_bytes());
    spec
}

/// `struct tc_htb_opt` in the first attribute, and rates that are too large for it.
pub(crate) fn class_options(class: &Class) -> Vec<Attr> {
    let rate = bytes_a_second(class.rate);
    // What may pass at once: a hundredth of a second, at least one frame.
    let burst = (rate / 100).clamp(FRAME, LARGEST);
    let ticks = (burst * 1_000_000_000 / rate / TICK).clamp(1, u64::from(u32::MAX)) as u32;
    let spec = rate_spec(class);
    // struct tc_htb_opt: rate, ceiling, their bursts, quantum, level, prio.
    let mut options = [spec.clone(), spec].concat();
    for field in [ticks, ticks, LARGEST as u32, 0, 0] {
        options.extend(field.to_ne_bytes());
    }
    let mut attrs = vec![Attr::Bytes(1, options)];
    if u32::try_from(rate).is_err() {
        // TCA_HTB_RATE64, TCA_HTB_CEIL64
        attrs.extend([6, 7].map(|kind| Attr::Bytes(kind, rate.to_ne_bytes().to_vec())));
    }
    attrs
}

fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_nanos() / u128::from(TICK)).unwrap_or(u32::MAX)
}

/// A share of all, where `u32::MAX` is all of them.
pub(crate) fn probability(share: Share) -> u32 {
    (u64::from(share.in_millionths()) * u64::from(u32::MAX) / u64::from(Share::ALL.in_millionths())) as u32
}

/// How many packets may wait: what comes in the longest delay at the rate, or very many.
fn limit(netem: &Netem, rate: Option<Rate>) -> u32 {
    const MOST: u64 = 1_000_000;
    let delay = netem.delay.map_or(Duration::ZERO, |delay| delay.time + delay.jitter);
    let held = bytes_a_second(rate).saturating_mul(delay.as_millis() as u64 + QUEUE_MS) / 1000;
    (held / FRAME).clamp(1000, MOST) as u32
}

/// `struct tc_netem_qopt`, without what follows it.
pub(crate) fn netem_numbers(netem: &Netem, rate: Option<Rate>) -> Vec<u8> {
    let (time, jitter) = netem.delay.map_or((Duration::ZERO, Duration::ZERO), |delay| (delay.time, delay.jitter));
    let gap = u32::from(!netem.reorder.is_none());
    let numbers = [ticks(time), limit(netem, rate), 0, gap, probability(netem.duplicate), ticks(jitter)];
    numbers.iter().flat_map(|number| number.to_ne_bytes()).collect()
}

/// What follows it: all of netem's options, always, as a change keeps those that are not there.
pub(crate) fn netem_attrs(netem: &Netem) -> Vec<Attr> {
    let (time, jitter) = netem.delay.map_or((Duration::ZERO, Duration::ZERO), |delay| (delay.time, delay.jitter));
    let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX).to_ne_bytes().to_vec();
    let fields = |fields: &[u32]| fields.iter().flat_map(|field| field.to_ne_bytes()).collect::<Vec<u8>>();
    // With a rate of its own, netem lets no packet overtake another: with jitter it gets one that is no limit.
    let keeps_order = !jitter.is_zero() && netem.reorder.is_none();
    let own_rate = if keeps_order { u32::MAX } else { 0 };
    vec![
        // TCA_NETEM_CORR, REORDER, CORRUPT, RATE, LATENCY64, JITTER64
        Attr::Bytes(1, fields(&[0, 0, 0])),
        Attr::Bytes(3, fields(&[probability(netem.reorder), 0])),
        Attr::Bytes(4, fields(&[probability(netem.corrupt), 0])),
        Attr::Bytes(6, fields(&[own_rate, 0, 0, 0])),
        Attr::Bytes(10, nanos(time)),
        Attr::Bytes(11, nanos(jitter)),
    ]
}

fn netem_options(netem: &Netem, rate: Option<Rate>) -> Vec<u8> {
    let mut options = netem_numbers(netem, rate);
    netem_attrs(netem).iter().for_each(|attr| attr.encode(&mut options));
    options
}

/// The interfaces that are up, but for loopback.
pub(crate) fn interfaces(socket: &mut Socket) -> io::Result<Vec<u32>> {
    const UP: u32 = 1;
    const LOOPBACK: u32 = 8;
    let mut found = vec![];
    // struct ifinfomsg: family, type, index, flags, change.
    let all = Message { kind: GET_LINK, flags: 0, header: vec![0; 16], attrs: vec![] };
    socket.dump(&all, |_, payload| {
        let field =
            |at: usize| payload.get(at..at + 4).and_then(|field| field.try_into().ok()).map_or(0, u32::from_ne_bytes);
        let (index, flags) = (field(4), field(8));
        if flags & UP != 0 && flags & LOOPBACK == 0 {
            found.push(index);
        }
    })?;
    Ok(found)
}

/// A message that asks for all of an interface.
pub(crate) fn get(kind: u16, interface: u32) -> Message {
    Message { kind, flags: 0, header: header(interface, 0, 0), attrs: vec![] }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    #[test]
    fn shares_of_everything_are_of_32_bits() {
        assert_eq!(probability(Share::ALL), u32::MAX);
        assert_eq!(probability(Share::NONE), 0);
        assert_eq!(probability(Share::millionths(500_000).unwrap()), u32::MAX / 2);
    }

    #[test]
    fn rates_are_bytes_a_second() {
        let class = |bits| Class { rate: NonZeroU64::new(bits).map(Rate), netem: None };
        assert_eq!(rate_spec(&class(1_000_000))[8..], 125_000u32.to_ne_bytes());
        assert_eq!(class_options(&class(1_000_000)).len(), 1);
        assert_eq!(class_options(&class(100_000_000_000)).len(), 3, "more than 32 bits");
        assert_eq!(class_options(&Class::default()).len(), 3, "unlimited");
    }

    #[test]
    fn queues_have_room_and_an_end() {
        let slow = NonZeroU64::new(1_000_000).map(Rate);
        assert_eq!(limit(&Netem::default(), None), 1_000_000);
        assert_eq!(limit(&Netem::default(), slow), 1000);
        let second = crate::cluster::faults::Delay { time: Duration::from_secs(100), jitter: Duration::ZERO };
        assert_eq!(limit(&Netem { delay: Some(second), ..Netem::default() }, slow), 8289);
    }
}
