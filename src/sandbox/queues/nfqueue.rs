//! The messages of NFQUEUE: `linux/netfilter/nfnetlink_queue.h`.

use super::super::netlink::{Attr, Message, find};
use super::heap::Packet;

/// `NFNL_SUBSYS_QUEUE`, in the upper half of a message's type.
const QUEUE: u16 = 3 << 8;
const PACKET: u16 = QUEUE;
const VERDICT: u16 = QUEUE | 1;
const CONFIG: u16 = QUEUE | 2;

/// Length of `struct nfgenmsg`: family, version, number of the queue.
const HEADER: usize = 4;

// enum nfqnl_attr_type
const PACKET_HDR: u16 = 1;
const VERDICT_HDR: u16 = 2;
const PAYLOAD: u16 = 10;
const CAP_LEN: u16 = 13;

// enum nfqnl_attr_config
const CFG_CMD: u16 = 1;
const CFG_PARAMS: u16 = 2;
const CFG_QUEUE_MAXLEN: u16 = 3;
const CFG_MASK: u16 = 4;
const CFG_FLAGS: u16 = 5;

const CMD_BIND: u8 = 1;
const CMD_UNBIND: u8 = 2;
const COPY_META: u8 = 1;
const COPY_PACKET: u8 = 2;
const FLAG_FAIL_OPEN: u32 = 1;
const FLAG_GSO: u32 = 4;

const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;

/// So many packets may wait in one queue; the kernel drops what comes then. 100 ms at 2 million a second.
const MAXLEN: u32 = 200_000;
/// So much of a packet is copied: with all around it, it has to fit into a datagram of 64 KiB.
const COPIED: u32 = 60_000;

/// A packet that the kernel hands us.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arrived<'a> {
    pub(super) queue: u16,
    pub(super) id: u32,
    /// From its IP header on. Empty unless asked for, or if it is too large to be copied whole.
    pub(super) payload: &'a [u8],
    /// Of all of it, in bytes; 0 if nothing of it was asked for.
    pub(super) length: usize,
}

/// How much of packets a queue is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copied {
    Nothing,
    Length,
    Whole,
}

/// Reads a message of the kernel's; `None` if it is not about a packet.
pub(super) fn arrived(kind: u16, payload: &[u8]) -> Option<Arrived<'_>> {
    let (header, attrs) = payload.split_at_checked(HEADER)?;
    if kind != PACKET {
        return None;
    }
    let id = find(attrs, PACKET_HDR)?.get(..4)?.try_into().ok()?;
    let cut_off = find(attrs, CAP_LEN).and_then(|length| length.try_into().ok()).map(u32::from_be_bytes);
    let copied = find(attrs, PAYLOAD).unwrap_or_default();
    Some(Arrived {
        queue: u16::from_be_bytes([header[2], header[3]]),
        id: u32::from_be_bytes(id),
        payload: if cut_off.is_none() { copied } else { &[] },
        length: cut_off.map_or(copied.len(), |length| length as usize),
    })
}

/// Makes a queue ours.
pub(super) fn bind(queue: u16) -> Message {
    message(CONFIG, queue, vec![command(CMD_BIND)])
}

/// Gives it up; the kernel drops what it holds.
pub(super) fn unbind(queue: u16) -> Message {
    message(CONFIG, queue, vec![command(CMD_UNBIND)])
}

/// How packets come to us: whole and finished with their checksums if so asked, else as large as the kernel has them.
pub(super) fn configure(queue: u16, copied: Copied) -> Message {
    let (copied, mode, flags) = match copied {
        Copied::Nothing => (0, COPY_META, FLAG_GSO),
        // The kernel gives the full length of a packet that it cuts off. No packet is shorter than an IP header.
        Copied::Length => (1, COPY_PACKET, FLAG_GSO),
        Copied::Whole => (COPIED, COPY_PACKET, 0),
    };
    let mut params = copied.to_be_bytes().to_vec();
    params.push(mode);
    let attrs = vec![
        Attr::Bytes(CFG_PARAMS, params),
        Attr::be32(CFG_QUEUE_MAXLEN, MAXLEN),
        Attr::be32(CFG_MASK, FLAG_FAIL_OPEN | FLAG_GSO),
        Attr::be32(CFG_FLAGS, flags),
    ];
    message(CONFIG, queue, attrs)
}

/// Lets a packet go on, or drops it.
pub(super) fn verdict(packet: Packet, accept: bool) -> Message {
    let mut header = (if accept { NF_ACCEPT } else { NF_DROP }).to_be_bytes().to_vec();
    header.extend(packet.id.to_be_bytes());
    let mut attrs = vec![Attr::Bytes(VERDICT_HDR, header)];
    attrs.extend(packet.altered.map(|altered| Attr::Bytes(PAYLOAD, altered.into_vec())));
    message(VERDICT, packet.queue, attrs)
}

fn command(command: u8) -> Attr {
    Attr::Bytes(CFG_CMD, vec![command, 0, 0, 0])
}

fn message(kind: u16, queue: u16, attrs: Vec<Attr>) -> Message {
    let [high, low] = queue.to_be_bytes();
    Message { kind, flags: 0, header: vec![0, 0, high, low], attrs }
}

/// Where in an IP packet its header ends; `None` if that is no IP packet, or has nothing behind its header.
pub(super) fn behind_header(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    let length = match first >> 4 {
        4 => usize::from(first & 15) * 4,
        6 => 40,
        _ => return None,
    };
    (length < packet.len()).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The part of a message behind `struct nlmsghdr`.
    fn body(message: &Message) -> Vec<u8> {
        let mut bytes = vec![];
        message.encode(1, 0, &mut bytes);
        bytes.split_off(16)
    }

    fn told(attrs: Vec<Attr>) -> Vec<u8> {
        body(&message(PACKET, 0x1234, attrs))
    }

    #[test]
    fn a_packet_is_read() {
        let header = Attr::Bytes(PACKET_HDR, vec![0, 1, 0, 2, 8, 0, 1]);
        let bytes = told(vec![header.clone(), Attr::be32(3, 7)]);
        assert_eq!(arrived(PACKET, &bytes), Some(Arrived { queue: 0x1234, id: 0x10002, payload: &[], length: 0 }));
        let bytes = told(vec![header.clone(), Attr::Bytes(PAYLOAD, vec![1, 2, 3])]);
        assert_eq!(arrived(PACKET, &bytes).unwrap().payload, [1, 2, 3]);
        let bytes = told(vec![header, Attr::be32(CAP_LEN, 65_000), Attr::Bytes(PAYLOAD, vec![1, 2, 3])]);
        let cut_off = arrived(PACKET, &bytes).unwrap();
        assert!(cut_off.payload.is_empty() && cut_off.length == 65_000, "only its length is of use");
    }

    #[test]
    fn other_messages_are_none() {
        let bytes = told(vec![Attr::Bytes(PACKET_HDR, vec![0, 1, 0, 2, 8, 0, 1])]);
        assert_eq!(arrived(2, &bytes), None, "NLMSG_ERROR");
        assert_eq!(arrived(PACKET, &bytes[..2]), None);
        assert_eq!(arrived(PACKET, &told(vec![])), None);
        assert_eq!(arrived(PACKET, &told(vec![Attr::Bytes(PACKET_HDR, vec![0, 1])])), None);
    }

    #[test]
    fn a_verdict_hands_back_what_was_altered() {
        let packet = Packet { queue: 5, id: 9, altered: Some(vec![7; 3].into()) };
        let bytes = body(&verdict(packet, true));
        assert_eq!(bytes[..4], [0, 0, 0, 5]);
        assert_eq!(find(&bytes[4..], VERDICT_HDR).unwrap(), [0, 0, 0, 1, 0, 0, 0, 9]);
        assert_eq!(find(&bytes[4..], PAYLOAD).unwrap(), [7; 3]);
        let bytes = body(&verdict(Packet { queue: 5, id: 9, altered: None }, false));
        assert_eq!(find(&bytes[4..], VERDICT_HDR).unwrap(), [0, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(find(&bytes[4..], PAYLOAD), None);
    }

    #[test]
    fn headers_end_where_they_say() {
        let mut packet = vec![0; 60];
        packet[0] = 0x45;
        assert_eq!(behind_header(&packet), Some(20));
        packet[0] = 0x4f;
        assert_eq!(behind_header(&packet), None, "options up to its end");
        packet[0] = 0x60;
        assert_eq!(behind_header(&packet), Some(40));
        assert_eq!(behind_header(&[]), None);
        assert_eq!(behind_header(&[0x15; 30]), None);
    }
}
