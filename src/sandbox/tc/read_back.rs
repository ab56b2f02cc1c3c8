//! What the kernel says that it has, against what it was told.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::super::netlink::{Attr, Socket, contains, find};
use super::super::plan::Class;
use super::messages::{GET_CLASS, GET_QDISC, KIND, OPTIONS, get, handle_of, netem_numbers, queue_of, rate_spec};

/// Length of `struct tcmsg`.
const HEADER: usize = 20;

/// Whether an interface has these classes, and the queues in them, as they are wanted.
pub fn check(socket: &mut Socket, interface: u32, wanted: &BTreeMap<u16, Class>) -> io::Result<()> {
    let classes = all(socket, GET_CLASS, interface)?;
    let queues = all(socket, GET_QDISC, interface)?;
    for (number, class) in wanted {
        let told = classes.get(&handle_of(*number)).map(Vec::as_slice).unwrap_or_default();
        // The rate, at the beginning of struct tc_htb_opt.
        let rate = find(find(told, OPTIONS).unwrap_or_default(), 1).unwrap_or_default();
        if !contains(told, &[Attr::text(KIND, "htb")]) || !is_rate(rate, &rate_spec(class)) {
            return Err(differs("class", *number));
        }
        let told = queues.get(&queue_of(*number)).map(Vec::as_slice).unwrap_or_default();
        let options = find(told, OPTIONS).unwrap_or_default();
        let as_wanted = match &class.netem {
            Some(netem) => {
                contains(told, &[Attr::text(KIND, "netem")]) && options.starts_with(&netem_numbers(netem, class.rate))
            }
            None => contains(told, &[Attr::text(KIND, "bfifo")]),
        };
        if !as_wanted {
            return Err(differs("queue", *number));
        }
    }
    Ok(())
}

/// The numbers of the classes in which packets wait.
pub fn waiting(socket: &mut Socket, interface: u32) -> io::Result<BTreeSet<u16>> {
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

/// The link layer is the kernel's to say; the rate is what counts.
fn is_rate(told: &[u8], wanted: &[u8]) -> bool {
    told.get(8..12).is_some_and(|rate| Some(rate) == wanted.get(8..12))
}

fn differs(what: &str, number: u16) -> io::Error {
    io::Error::other(format!("the kernel has taken the {what} and tells another one: number {number}"))
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
