//! From rules to the messages that put them in place of all that were there.

use std::io;
use std::net::Ipv4Addr;

use super::super::netlink::{Attr, Message, Protocol, Socket};
use super::super::plan::{Act, Hook, Rule, Whose};
use super::super::protocol::QueueBy;
use super::expression as ex;

/// `NFNL_SUBSYS_NFTABLES`, in the upper half of a message's type.
const SUBSYSTEM: u16 = 10;
// enum nf_tables_msg_types
const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
pub(crate) const GET_RULE: u16 = 7;
const DELETE_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const NEW_ELEMENTS: u16 = 12;
pub(crate) const GET_ELEMENTS: u16 = 13;
/// `NFNL_MSG_BATCH_BEGIN`, `NFNL_MSG_BATCH_END`.
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

/// `NLM_F_CREATE`, `NLM_F_APPEND`.
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

pub(crate) const TABLE: &str = "cthulhu";
const PROBE_TABLE: &str = "cthulhu-probe";
const NAMES_TABLE: &str = "cthulhu-names";

/// `NF_INET_PRE_ROUTING`, `NF_INET_LOCAL_OUT`.
const PRE_ROUTING: u32 = 0;
const LOCAL_OUT: u32 = 3;

/// Before connection tracking (-200), so that what is known of a connection makes no difference: `NF_IP_PRI_RAW`.
const PRIORITY: i32 = -300;

/// Before the engine's own rules for its DNS: `NF_IP_PRI_NAT_DST` - 10.
const NAT_PRIORITY: i32 = -110;

/// An anonymous set is removed with its rule: `NFT_SET_ANONYMOUS | NFT_SET_CONSTANT`.
const ANONYMOUS: u32 = 3;
const SET: &str = "__set%d";
/// nft's number for an IPv4 address as the type of a key; the kernel only remembers it.
const IPV4_KEY: u32 = 7;
/// Messages are 64 KiB at most, an element takes 16 bytes.
const ELEMENTS_AT_ONCE: usize = 2048;

/// Which packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// `NFPROTO_IPV4`.
    V4,
    /// `NFPROTO_IPV6`.
    V6,
}

impl Family {
    fn number(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }
}

pub(crate) fn message(operation: u16, flags: u16, family: Family, attrs: Vec<Attr>) -> Message {
    // struct nfgenmsg: family, version, number.
    Message { kind: SUBSYSTEM << 8 | operation, flags, header: vec![family.number(), 0, 0, 0], attrs }
}

fn batch(operation: u16) -> Message {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    Message { kind: operation, flags: 0, header: vec![0, 0, high, low], attrs: vec![] }
}

/// Sends a transaction: all of it holds at one moment, or none.
fn commit(socket: &mut Socket, messages: Vec<Message>) -> io::Result<()> {
    let last = messages.len();
    let mut all = vec![batch(BATCH_BEGIN)];
    all.extend(messages);
    all.push(batch(BATCH_END));
    socket.request(&all, |at| at == last)
}

pub(crate) fn chain(hook: Hook) -> &'static str {
    match hook {
        Hook::Input => "input",
        Hook::Output => "output",
        Hook::Sent => "sent",
    }
}

/// Leads what is asked of a DNS server on the loopback interface over UDP to another port there. What comes from the server's own
/// address it does not.
///
/// # Errors
/// The kernel's.
pub(crate) fn redirect_dns(server: Ipv4Addr, port: u16) -> io::Result<()> {
    let (family, name) = (Family::V4, "output");
    let expressions = [ex::comes_from_another(server), ex::goes_to(server, 53), ex::lead_to_port(port)].concat();
    let rule = vec![Attr::text(1, NAMES_TABLE), Attr::text(2, name), Attr::Nest(4, expressions)];
    let messages = vec![
        new_table(family, NAMES_TABLE),
        base_chain(family, NAMES_TABLE, name, "nat", LOCAL_OUT, NAT_PRIORITY),
        message(NEW_RULE, CREATE | APPEND, family, rule),
    ];
    commit(&mut Socket::open(Protocol::Netfilter)?, messages)
}

/// Ends what [`redirect_dns`] has begun.
///
/// # Errors
/// The kernel's.
pub(crate) fn end_redirecting_dns() -> io::Result<()> {
    let gone = message(DELETE_TABLE, 0, Family::V4, vec![Attr::text(1, NAMES_TABLE)]);
    commit(&mut Socket::open(Protocol::Netfilter)?, vec![gone])
}

fn new_chain(family: Family, table: &str, hook: Hook) -> Message {
    // At LOCAL_IN a packet that is held would have met connection tracking, which drops the
    // pings behind it: each of them is new to it, too, and only one of them can be confirmed.
    let (number, priority) = match hook {
        Hook::Input => (PRE_ROUTING, PRIORITY),
        Hook::Output => (LOCAL_OUT, PRIORITY),
        Hook::Sent => (LOCAL_OUT, PRIORITY + 1),
    };
    base_chain(family, table, chain(hook), "filter", number, priority)
}

fn base_chain(family: Family, table: &str, name: &str, kind: &str, hook: u32, priority: i32) -> Message {
    let priority = Attr::Bytes(2, priority.to_be_bytes().to_vec());
    let attrs = vec![
        Attr::text(1, table),
        Attr::text(3, name),
        Attr::Nest(4, vec![Attr::be32(1, hook), priority]),
        Attr::be32(5, ex::ACCEPT),
        Attr::text(7, kind),
    ];
    message(NEW_CHAIN, CREATE, family, attrs)
}

fn new_table(family: Family, table: &str) -> Message {
    message(NEW_TABLE, CREATE, family, vec![Attr::text(1, table)])
}

/// Replaces all our rules in a family.
pub(crate) fn replace(socket: &mut Socket, family: Family, rules: &[Rule], by: QueueBy) -> io::Result<()> {
    let mut messages = vec![new_table(family, TABLE)];
    messages.extend(Hook::ALL.map(|hook| new_chain(family, TABLE, hook)));
    messages.push(message(DELETE_RULE, 0, family, vec![Attr::text(1, TABLE)]));
    let mut sets = 0;
    for rule in rules {
        for made in made_of(rule, by) {
            let matching = match &made.whose {
                Matching::Set(addresses, _) => {
                    sets += 1;
                    messages.extend(set(family, sets, addresses));
                    sets
                }
                _ => 0,
            };
            messages.push(new_rule(family, TABLE, rule.hook, made.expressions(rule.hook, matching), made.is_target()));
        }
    }
    commit(socket, messages)
}

/// A rule of the kernel's: one of ours may take several.
pub(crate) struct Made {
    pub(crate) whose: Matching,
    rest: Vec<Attr>,
}

/// How a rule recognises whose packet it is.
pub(crate) enum Matching {
    /// It is not of the loopback interface.
    NotLoopback,
    /// It is of this one.
    One(Ipv4Addr),
    /// It is from this one, and goes to none of those.
    Astray(Ipv4Addr, Vec<Ipv4Addr>),
    /// It goes to a multicast group, or to all.
    Group,
    /// It is of one of these; or, the other way round, of none and not of loopback.
    Set(Vec<Ipv4Addr>, bool),
}

impl Made {
    /// Its expressions; a set is the one of that number in the transaction.
    pub(crate) fn expressions(&self, hook: Hook, set: u32) -> Vec<Attr> {
        let incoming = hook == Hook::Input;
        let mut all = match &self.whose {
            Matching::NotLoopback => ex::not_loopback(incoming),
            Matching::One(address) => vec![ex::peer(incoming), ex::is(&address.octets())],
            Matching::Astray(from, own) => {
                let mut all = vec![ex::peer(incoming), ex::is(&from.octets())];
                all.extend(ex::goes_to_none(own));
                all
            }
            Matching::Group => {
                let mut all = ex::not_loopback(incoming);
                all.extend(ex::goes_to_a_group());
                all
            }
            Matching::Set(_, inverted) => {
                let mut all = if *inverted { ex::not_loopback(incoming) } else { vec![] };
                all.extend([ex::peer(incoming), ex::is_in(SET, set, *inverted)]);
                all
            }
        };
        all.extend(self.rest.iter().cloned());
        all
    }

    fn is_target(&self) -> bool {
        let name = Attr::text(ex::NAME, "target");
        self.rest.iter().any(|attr| matches!(attr, Attr::Nest(_, inner) if inner.contains(&name)))
    }
}

/// The kernel's rules for one of ours.
pub(crate) fn made_of(rule: &Rule, by: QueueBy) -> Vec<Made> {
    let whose = || match &rule.whose {
        Whose::Anybodys => Matching::NotLoopback,
        Whose::Of(addresses) => match addresses[..] {
            [one] => Matching::One(one),
            _ => Matching::Set(addresses.clone(), false),
        },
        Whose::ManysFrom(from, own) => Matching::Astray(*from, own.clone()),
        Whose::Groups => Matching::Group,
        Whose::NotOf(addresses) if addresses.is_empty() => Matching::NotLoopback,
        Whose::NotOf(addresses) => Matching::Set(addresses.clone(), true),
    };
    let with = |rest: Vec<Vec<Attr>>| Made { whose: whose(), rest: rest.concat() };
    let one = |attr: Attr| vec![attr];
    match rule.act {
        Act::Drop => vec![with(vec![one(ex::verdict(ex::DROP))])],
        // Of two who reject each other, each has to hear that the other does.
        Act::Reject => vec![
            with(vec![ex::protocol(ex::TCP), ex::no_reset(), one(ex::reject(true))]),
            with(vec![ex::protocol(ex::TCP), one(ex::verdict(ex::ACCEPT))]),
            with(vec![ex::protocol(ex::ICMP), ex::is_unreachable(), one(ex::verdict(ex::ACCEPT))]),
            with(vec![one(ex::reject(false))]),
        ],
        Act::Lose(share) => vec![with(vec![ex::at_random(share), one(ex::verdict(ex::DROP))])],
        Act::Queue(number) => vec![with(vec![one(ex::queue(number, by))])],
        Act::LoseTo(share, number) => vec![with(vec![ex::at_random(share), one(ex::queue(number, by))])],
        Act::Duplicate(share) => vec![with(vec![ex::at_random(share), ex::duplicate()])],
        Act::DuplicateTo(share, address) => vec![with(vec![ex::at_random(share), ex::duplicate_to(address)])],
        Act::Classify(class) => vec![with(vec![ex::set_priority(super::super::tc::handle_of(class))])],
    }
}

fn new_rule(family: Family, table: &str, hook: Hook, expressions: Vec<Attr>, is_target: bool) -> Message {
    let mut attrs = vec![Attr::text(1, table), Attr::text(2, chain(hook)), Attr::Nest(4, expressions)];
    if is_target {
        // NFTA_RULE_COMPAT: of whichever protocol.
        attrs.push(Attr::Nest(5, vec![Attr::be32(1, 0), Attr::be32(2, 0)]));
    }
    message(NEW_RULE, CREATE | APPEND, family, attrs)
}

fn set(family: Family, number: u32, addresses: &[Ipv4Addr]) -> Vec<Message> {
    let made = vec![
        Attr::text(1, TABLE),
        Attr::text(2, SET),
        Attr::be32(3, ANONYMOUS),
        Attr::be32(4, IPV4_KEY),
        Attr::be32(5, 4),
        Attr::be32(10, number),
    ];
    let mut messages = vec![message(NEW_SET, CREATE, family, made)];
    for addresses in addresses.chunks(ELEMENTS_AT_ONCE) {
        let element = |address: &Ipv4Addr| {
            let key = Attr::Nest(1, vec![Attr::Bytes(ex::VALUE, address.octets().to_vec())]);
            Attr::Nest(ex::ELEMENT, vec![key])
        };
        let elements = Attr::Nest(3, addresses.iter().map(element).collect());
        let attrs = vec![Attr::text(1, TABLE), Attr::text(2, SET), elements, Attr::be32(4, number)];
        messages.push(message(NEW_ELEMENTS, CREATE, family, attrs));
    }
    messages
}

/// Whether the kernel takes a rule: in a table that is gone again by the end of the same transaction.
pub(crate) fn probe(socket: &mut Socket, act: Act, by: QueueBy) -> bool {
    let mut messages = vec![new_table(Family::V4, PROBE_TABLE)];
    for hook in Hook::ALL {
        let rule = Rule { hook, whose: Whose::Of(vec![Ipv4Addr::new(192, 0, 2, 1)]), act };
        messages.push(new_chain(Family::V4, PROBE_TABLE, hook));
        for made in made_of(&rule, by) {
            messages.push(new_rule(Family::V4, PROBE_TABLE, hook, made.expressions(hook, 0), made.is_target()));
        }
    }
    messages.push(message(DELETE_TABLE, 0, Family::V4, vec![Attr::text(1, PROBE_TABLE)]));
    commit(socket, messages).is_ok()
}
