//! The expressions of nftables' rules, as `linux/netfilter/nf_tables.h` numbers them.

use std::net::Ipv4Addr;

use super::super::netlink::Attr;
use super::super::protocol::QueueBy;
use crate::cluster::faults::Share;

/// `NFTA_LIST_ELEM`.
pub(crate) const ELEMENT: u16 = 1;
/// `NFTA_EXPR_NAME`, `NFTA_EXPR_DATA`.
pub(crate) const NAME: u16 = 1;
pub(crate) const DATA: u16 = 2;
/// `NFTA_DATA_VALUE`, `NFTA_DATA_VERDICT`.
pub(crate) const VALUE: u16 = 1;
const VERDICT: u16 = 2;
/// `NFTA_LOOKUP_SET`, `NFTA_LOOKUP_SREG`, `NFTA_LOOKUP_SET_ID`, `NFTA_LOOKUP_FLAGS`.
pub(crate) const LOOKUP_SET: u16 = 1;
const LOOKUP_SREG: u16 = 2;
pub(crate) const LOOKUP_SET_ID: u16 = 4;
const LOOKUP_FLAGS: u16 = 5;
/// `NFT_LOOKUP_F_INV`.
const INVERTED: u32 = 1;

/// `NFT_REG_VERDICT`, `NFT_REG_1`.
const TO_VERDICT: u32 = 0;
const REGISTER: u32 = 1;

/// `NF_DROP`, `NF_ACCEPT`.
pub(crate) const DROP: u32 = 0;
pub(crate) const ACCEPT: u32 = 1;

// enum nft_cmp_ops
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const LESS: u32 = 2;
const NOT_LESS: u32 = 5;

// enum nft_meta_keys
const PRIORITY: u32 = 2;
const IN_NAME: u32 = 6;
const OUT_NAME: u32 = 7;
const L4_PROTOCOL: u32 = 16;

/// `NFT_PAYLOAD_NETWORK_HEADER`, `NFT_PAYLOAD_TRANSPORT_HEADER`.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;

/// Where an IPv4 header has its addresses.
const SOURCE: u32 = 12;
const DESTINATION: u32 = 16;

/// IP protocol numbers.
pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
const UDP: u8 = 17;

/// `IFNAMSIZ`.
const INTERFACE_NAME: usize = 16;

fn expression(name: &str, data: Vec<Attr>) -> Attr {
    Attr::Nest(ELEMENT, vec![Attr::text(NAME, name), Attr::Nest(DATA, data)])
}

fn meta(key: u32) -> Attr {
    expression("meta", vec![Attr::be32(1, REGISTER), Attr::be32(2, key)])
}

fn compare(operation: u32, value: &[u8]) -> Attr {
    let value = Attr::Nest(3, vec![Attr::Bytes(VALUE, value.to_vec())]);
    expression("cmp", vec![Attr::be32(1, REGISTER), Attr::be32(2, operation), value])
}

fn load(base: u32, offset: u32, length: u32) -> Attr {
    let numbers = [REGISTER, base, offset, length];
    expression("payload", (1..).zip(numbers).map(|(kind, number)| Attr::be32(kind, number)).collect())
}

/// Loads this.
fn immediate(value: &[u8]) -> Attr {
    let value = Attr::Nest(2, vec![Attr::Bytes(VALUE, value.to_vec())]);
    expression("immediate", vec![Attr::be32(1, REGISTER), value])
}

/// Not of the loopback interface.
pub(crate) fn not_loopback(incoming: bool) -> Vec<Attr> {
    let mut name = [0; INTERFACE_NAME];
    name[..2].copy_from_slice(b"lo");
    vec![meta(if incoming { IN_NAME } else { OUT_NAME }), compare(NOT_EQUAL, &name)]
}

/// Loads the peer's address.
pub(crate) fn peer(incoming: bool) -> Attr {
    load(NETWORK, if incoming { SOURCE } else { DESTINATION }, 4)
}

/// What is loaded is this.
pub(crate) fn is(value: &[u8]) -> Attr {
    compare(EQUAL, value)
}

/// It goes to none of these addresses.
pub(crate) fn goes_to_none(addresses: &[Ipv4Addr]) -> Vec<Attr> {
    let not = |address: &Ipv4Addr| [load(NETWORK, DESTINATION, 4), compare(NOT_EQUAL, &address.octets())];
    addresses.iter().flat_map(not).collect()
}

/// It goes to a multicast group, or to all on the link (255.255.255.255): no other addresses are above the first group.
pub(crate) fn goes_to_a_group() -> Vec<Attr> {
    vec![load(NETWORK, DESTINATION, 4), compare(NOT_LESS, &[224, 0, 0, 0])]
}

/// What is loaded is in a set of the same transaction, or is not.
pub(crate) fn is_in(set: &str, id: u32, inverted: bool) -> Attr {
    let flags = if inverted { INVERTED } else { 0 };
    let attrs = vec![
        Attr::text(LOOKUP_SET, set),
        Attr::be32(LOOKUP_SREG, REGISTER),
        Attr::be32(LOOKUP_SET_ID, id),
        Attr::be32(LOOKUP_FLAGS, flags),
    ];
    expression("lookup", attrs)
}

/// It is of this protocol.
pub(crate) fn protocol(number: u8) -> Vec<Attr> {
    vec![meta(L4_PROTOCOL), is(&[number])]
}

/// A TCP segment without RST.
pub(crate) fn no_reset() -> Vec<Attr> {
    const FLAGS: u32 = 13;
    const RST: u8 = 4;
    let data = |kind, byte| Attr::Nest(kind, vec![Attr::Bytes(VALUE, vec![byte])]);
    let and = vec![Attr::be32(1, REGISTER), Attr::be32(2, REGISTER), Attr::be32(3, 1), data(4, RST), data(5, 0)];
    vec![load(TRANSPORT, FLAGS, 1), expression("bitwise", and), is(&[0])]
}

/// An ICMP message that says that something cannot be reached.
pub(crate) fn is_unreachable() -> Vec<Attr> {
    const DESTINATION_UNREACHABLE: u8 = 3;
    vec![load(TRANSPORT, 0, 1), is(&[DESTINATION_UNREACHABLE])]
}

/// Holds for that share of packets, at random.
pub(crate) fn at_random(share: Share) -> Vec<Attr> {
    const RANDOM: u32 = 1;
    const TO_NETWORK: u32 = 1;
    let numgen = [REGISTER, Share::ALL.in_millionths(), RANDOM];
    let numgen = (1..).zip(numgen).map(|(kind, number)| Attr::be32(kind, number)).collect();
    // The number drawn is the machine's, and comparing goes byte by byte.
    let swap = [REGISTER, REGISTER, TO_NETWORK, 4, 4];
    let swap = (1..).zip(swap).map(|(kind, number)| Attr::be32(kind, number)).collect();
    let hit = compare(LESS, &share.in_millionths().to_be_bytes());
    vec![expression("numgen", numgen), expression("byteorder", swap), hit]
}

/// The packet is dropped here, or accepted.
pub(crate) fn verdict(code: u32) -> Attr {
    let verdict = Attr::Nest(2, vec![Attr::Nest(VERDICT, vec![Attr::be32(1, code)])]);
    expression("immediate", vec![Attr::be32(1, TO_VERDICT), verdict])
}

/// It is rejected: its sender gets a reset for TCP, else "port unreachable".
pub(crate) fn reject(with_reset: bool) -> Attr {
    // NFT_REJECT_TCP_RST; NFT_REJECT_ICMP_UNREACH with ICMP_PORT_UNREACH
    let attrs = if with_reset { vec![Attr::be32(1, 1)] } else { vec![Attr::be32(1, 0), Attr::Bytes(2, vec![3])] };
    expression("reject", attrs)
}

/// The packet is handed to a queue; without a listener it is dropped there.
pub(crate) fn queue(number: u16, by: QueueBy) -> Attr {
    match by {
        QueueBy::Native => {
            let be16 = |kind, number: u16| Attr::Bytes(kind, number.to_be_bytes().to_vec());
            expression("queue", vec![be16(1, number), be16(2, 1), be16(3, 0)])
        }
        QueueBy::Target => {
            // struct xt_NFQ_info_v3: number, how many, flags; padded to eight bytes.
            let mut info = number.to_ne_bytes().to_vec();
            info.extend(1u16.to_ne_bytes());
            info.extend([0; 4]);
            expression("target", vec![Attr::text(1, "NFQUEUE"), Attr::be32(2, 3), Attr::Bytes(3, info)])
        }
    }
}

/// The packet is sent a second time, to its own destination.
pub(crate) fn duplicate() -> Vec<Attr> {
    vec![load(NETWORK, DESTINATION, 4), expression("dup", vec![Attr::be32(1, REGISTER)])]
}

/// The packet is sent a second time, to this neighbour alone, whatever its destination is.
pub(crate) fn duplicate_to(address: Ipv4Addr) -> Vec<Attr> {
    vec![immediate(&address.octets()), expression("dup", vec![Attr::be32(1, REGISTER)])]
}

/// The packet's priority, which is the class that it goes to, is this.
pub(crate) fn set_priority(priority: u32) -> Vec<Attr> {
    // Registers and meta data are the machine's, whatever the attributes around them are.
    vec![immediate(&priority.to_ne_bytes()), expression("meta", vec![Attr::be32(2, PRIORITY), Attr::be32(3, REGISTER)])]
}

/// It is not from this address.
pub(crate) fn comes_from_another(address: Ipv4Addr) -> Vec<Attr> {
    vec![load(NETWORK, SOURCE, 4), compare(NOT_EQUAL, &address.octets())]
}

/// It goes to this UDP port.
pub(crate) fn goes_to(address: Ipv4Addr, port: u16) -> Vec<Attr> {
    let mut all = vec![load(NETWORK, DESTINATION, 4), is(&address.octets())];
    all.extend(protocol(UDP));
    all.extend([load(TRANSPORT, 2, 2), is(&port.to_be_bytes())]);
    all
}

/// It and all of its connection go to another port there, and their answers come from where they went.
pub(crate) fn lead_to_port(port: u16) -> Vec<Attr> {
    // NFTA_NAT_TYPE: NFT_NAT_DNAT; NFTA_NAT_FAMILY: NFPROTO_IPV4; NFTA_NAT_REG_PROTO_MIN.
    let nat = vec![Attr::be32(1, 1), Attr::be32(2, 2), Attr::be32(5, REGISTER)];
    vec![immediate(&port.to_be_bytes()), expression("nat", nat)]
}
