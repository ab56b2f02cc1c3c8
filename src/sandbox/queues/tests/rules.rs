//! Rules that hand packets to queues, as short as can be.

use std::net::Ipv4Addr;

use super::super::super::netlink::{Attr, Message, Protocol, Socket};

const NFT: u16 = 10 << 8;
const NEWTABLE: u16 = NFT;
const NEWCHAIN: u16 = NFT | 3;
const NEWRULE: u16 = NFT | 6;
const DELRULE: u16 = NFT | 8;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;

pub(super) fn loopback_up() {
    const UP: u32 = 1;
    // struct ifinfomsg of the first interface: family, type, index, flags, which of them to change
    let mut header = vec![0; 4];
    [1, UP, UP].iter().for_each(|word| header.extend(word.to_ne_bytes()));
    let newlink = Message { kind: 16, flags: 0, header, attrs: vec![] };
    Socket::open(Protocol::Route).unwrap().request(&[newlink], |_| true).unwrap();
}

/// A table whose only chain hands what comes in from an address to a queue.
pub(super) struct Rules {
    socket: Socket,
}

impl Rules {
    pub(super) fn new() -> Self {
        Self { socket: Socket::open(Protocol::Netfilter).unwrap() }
    }

    /// Replaces the rules; the chain stays, or the kernel would drop what it has queued.
    pub(super) fn set(&mut self, from: &[(Ipv4Addr, u16)]) {
        // nft's own expression may be absent, or else the target of xtables.
        self.try_set(from, native).or_else(|_| self.try_set(from, target)).unwrap();
    }

    fn try_set(&mut self, from: &[(Ipv4Addr, u16)], queue: fn(u16) -> Attr) -> std::io::Result<()> {
        let hook = Attr::Nest(4, vec![Attr::be32(1, 1), Attr::Bytes(2, (-300i32).to_be_bytes().to_vec())]);
        let chain = vec![Attr::text(1, "t"), Attr::text(3, "in"), hook, Attr::text(7, "filter")];
        let mut messages = vec![
            message(0x10, 0, 0, 10, vec![]),
            message(NEWTABLE, NLM_F_CREATE, 2, 0, vec![Attr::text(1, "t")]),
            message(NEWCHAIN, NLM_F_CREATE, 2, 0, chain),
            message(DELRULE, 0, 2, 0, vec![Attr::text(1, "t"), Attr::text(2, "in")]),
        ];
        for (from, number) in from {
            // The source address into a register, compared.
            let load = [(1, 1), (2, 1), (3, 12), (4, 4)].map(|(kind, value)| Attr::be32(kind, value)).to_vec();
            let address = Attr::Nest(3, vec![Attr::Bytes(1, from.octets().to_vec())]);
            let compare = vec![Attr::be32(1, 1), Attr::be32(2, 0), address];
            let exprs = vec![expr("payload", load), expr("cmp", compare), queue(*number)];
            let compat = Attr::Nest(5, vec![Attr::be32(1, 0), Attr::be32(2, 0)]);
            let rule = vec![Attr::text(1, "t"), Attr::text(2, "in"), Attr::Nest(4, exprs), compat];
            messages.push(message(NEWRULE, NLM_F_CREATE | NLM_F_APPEND, 2, 0, rule));
        }
        messages.push(message(0x11, 0, 0, 10, vec![]));
        let last = messages.len() - 2;
        self.socket.request(&messages, |at| at == last)
    }
}

fn message(kind: u16, flags: u16, family: u8, resource: u16, attrs: Vec<Attr>) -> Message {
    let [high, low] = resource.to_be_bytes();
    Message { kind, flags, header: vec![family, 0, high, low], attrs }
}

fn expr(name: &str, data: Vec<Attr>) -> Attr {
    Attr::Nest(1, vec![Attr::text(1, name), Attr::Nest(2, data)])
}

fn native(number: u16) -> Attr {
    let be16 = |kind, value: u16| Attr::Bytes(kind, value.to_be_bytes().to_vec());
    expr("queue", vec![be16(1, number), be16(2, 1), be16(3, 0)])
}

fn target(number: u16) -> Attr {
    // struct xt_NFQ_info_v3
    let info = [number, 1, 0, 0].iter().flat_map(|half| half.to_ne_bytes()).collect();
    expr("target", vec![Attr::text(1, "NFQUEUE"), Attr::be32(2, 3), Attr::Bytes(3, info)])
}
