//! Compares the queueing disciplines and classes that the kernel reports with those that it was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;

use super::super::netlink::{Attr, Socket, contains, find};
use super::super::plan::Class;
use super::messages::{
    GET_CLASS, GET_QDISC, KIND, OPTIONS, class_options, fifo_options, get, handle_of, netem_attrs, netem_numbers,
    queue_of,
};

/// Length of `struct tcmsg`.
const HEADER: usize = 20;

/// Whether an interface has exactly these classes and queues.
pub(crate) fn check(socket: &mut Socket, interface: u32, wanted: &BTreeMap<u16, Class>) -> io::Result<()> {
    let classes = all(socket, GET_CLASS, interface)?;
    let queues = all(socket, GET_QDISC, interface)?;
    for (number, class) in wanted {
        let told = classes.get(&handle_of(*number)).map(Vec::as_slice).unwrap_or_default();
        let options = find(told, OPTIONS).unwrap_or_default();
        if !contains(told, &[Attr::text(KIND, "htb")]) || !class_options(class).iter().all(|attr| has(options, attr)) {
            return Err(differs("class", *number));
        }
        let told = queues.get(&queue_of(*number)).map(Vec::as_slice).unwrap_or_default();
        let options = find(told, OPTIONS).unwrap_or_default();
        let as_wanted = match &class.netem {
            Some(netem) => {
                let attrs = options.strip_prefix(netem_numbers(netem, class.rate).as_slice());
                contains(told, &[Attr::text(KIND, "netem")])
                    && attrs.is_some_and(|attrs| contains(attrs, &netem_attrs(netem)))
            }
            None => contains(told, &[Attr::text(KIND, "bfifo")]) && options == fifo_options(class.rate),
        };
        if !as_wanted {
            return Err(differs("queue", *number));
        }
    }
    Ok(())
}

/// The numbers of the classes in which packets wait.
pub(crate) fn waiting(socket: &mut Socket, interface: u32) -> io::Result<BTreeSet<u16>> {
    // TCA_STATS2, in it TCA_STATS_QUEUE: struct gnet_stats_queue, which begins with how many packets there are.
    const STATISTICS: u16 = 7;
    const QUEUE: u16 = 3;
    let queues = all(socket, GET_QDISC, interface)?;
    let waits = queues.into_iter().filter(|(_, told)| {
        let count = find(told, STATISTICS).and_then(|told| find(told, QUEUE)).and_then(|told| told.get(..4));
        count.is_some_and(|count| count != [0; 4])
    });
    Ok(waits.filter_map(|(handle, _)| u16::try_from(handle >> 16).ok()).collect())
}

/// Whether a class is reported with these options. The kernel sets a part of struct tc_htb_opt itself: the link layer
/// and the level.
fn has(options: &[u8], wanted: &Attr) -> bool {
    let Attr::Bytes(OPT, wanted) = wanted else {
        return contains(options, std::slice::from_ref(wanted));
    };
    // TCA_HTB_PARMS; the rates of two struct tc_ratespec; both bursts and the quantum.
    const OPT: u16 = 1;
    const OURS: [Range<usize>; 3] = [8..12, 20..24, 24..36];
    let told = find(options, OPT).unwrap_or_default();
    OURS.iter().all(|part| told.get(part.clone()).is_some_and(|told| *told == wanted[part.clone()]))
}

fn differs(what: &str, number: u16) -> io::Error {
    io::Error::other(format!("the kernel has accepted the {what} but reports another one: number {number}"))
}

/// The attributes of all classes, or queues, of an interface by their handles.
fn all(socket: &mut Socket, kind: u16, interface: u32) -> io::Result<BTreeMap<u32, Vec<u8>>> {
    let mut found = BTreeMap::new();
    socket.dump(&get(kind, interface), |_, payload| {
        let field = |at: usize| payload.get(at..at + 4).and_then(|field| field.try_into().ok()).map(u32::from_ne_bytes);
        if field(4) == Some(interface)
            && let (Some(handle), Some(attrs)) = (field(8), payload.get(HEADER..))
        {
            found.insert(handle, attrs.to_vec());
        }
    })?;
    Ok(found)
}
