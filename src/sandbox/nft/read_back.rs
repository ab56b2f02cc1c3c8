//! Compares the rules that the kernel reports with those that it was sent.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;

use super::super::netlink::{Attr, Socket, contains, find, iter};
use super::super::plan::{Hook, Rule};
use super::super::protocol::QueueBy;
use super::expression as ex;
use super::transaction::{Family, GET_ELEMENTS, GET_RULE, Made, Matching, TABLE, chain, made_of, message};

/// Length of `struct nfgenmsg`.
const HEADER: usize = 4;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const SET_ELEMENTS: u16 = 3;

/// Whether the kernel has these rules of a family, these alone, and in this order. Sets are of IPv4 addresses.
pub(crate) fn check(socket: &mut Socket, family: Family, rules: &[Rule], by: QueueBy) -> io::Result<()> {
    for hook in Hook::ALL {
        let told = told(socket, family, hook)?;
        let wanted: Vec<Made> =
            rules.iter().filter(|rule| rule.hook == hook).flat_map(|rule| made_of(rule, by)).collect();
        if told.len() != wanted.len() {
            return Err(differs(&format!("{} rules of {} in {}", told.len(), wanted.len(), chain(hook))));
        }
        for (place, (told, wanted)) in told.iter().zip(&wanted).enumerate() {
            if !is_as_wanted(socket, hook, told, wanted)? {
                return Err(differs(&format!("rule {} in {}", place + 1, chain(hook))));
            }
        }
    }
    Ok(())
}

fn differs(what: &str) -> io::Error {
    io::Error::other(format!("the kernel has accepted the rules but reports others: {what}"))
}

/// The expressions of each rule of a chain of ours.
fn told(socket: &mut Socket, family: Family, hook: Hook) -> io::Result<Vec<Vec<u8>>> {
    let ours = [Attr::text(RULE_TABLE, TABLE), Attr::text(RULE_CHAIN, chain(hook))];
    let mut rules = vec![];
    socket.dump(&message(GET_RULE, 0, family, ours.to_vec()), |_, payload| {
        let attrs = payload.get(HEADER..).unwrap_or_default();
        // Older kernels report all that there are.
        if contains(attrs, &ours) {
            rules.push(find(attrs, RULE_EXPRESSIONS).unwrap_or_default().to_vec());
        }
    })?;
    Ok(rules)
}

fn is_as_wanted(socket: &mut Socket, hook: Hook, told: &[u8], wanted: &Made) -> io::Result<bool> {
    let expressions: Vec<&[u8]> = iter(told).map(|(_, expression)| expression).collect();
    let wanted_expressions = wanted.expressions(hook, 0);
    let same = expressions.len() == wanted_expressions.len()
        && expressions.iter().zip(&wanted_expressions).all(|(told, wanted)| is_expression(told, wanted));
    let Matching::Set(addresses, _) = &wanted.whose else {
        return Ok(same);
    };
    let is_lookup = |told: &&&[u8]| contains(told, &[Attr::text(ex::NAME, "lookup")]);
    let set = expressions.iter().find(is_lookup).and_then(|told| find(find(told, ex::DATA)?, ex::LOOKUP_SET));
    match set {
        Some(set) if same => Ok(elements(socket, set)? == addresses.iter().copied().collect()),
        _ => Ok(false),
    }
}

/// The kernel gives a set a name and a number of its own.
fn is_expression(told: &[u8], wanted: &Attr) -> bool {
    let Attr::Nest(_, wanted) = wanted else {
        return false;
    };
    let is_lookup = wanted.contains(&Attr::text(ex::NAME, "lookup"));
    wanted.iter().all(|attr| match attr {
        Attr::Nest(ex::DATA, data) if is_lookup => {
            let of_set = |attr: &&Attr| !matches!(attr, Attr::Bytes(ex::LOOKUP_SET | ex::LOOKUP_SET_ID, _));
            let rest: Vec<Attr> = data.iter().filter(of_set).cloned().collect();
            find(told, ex::DATA).is_some_and(|told| contains(told, &rest))
        }
        attr => contains(told, std::slice::from_ref(attr)),
    })
}

fn elements(socket: &mut Socket, set: &[u8]) -> io::Result<BTreeSet<Ipv4Addr>> {
    let mut found = BTreeSet::new();
    let wanted = message(GET_ELEMENTS, 0, Family::V4, vec![Attr::text(1, TABLE), Attr::Bytes(2, set.to_vec())]);
    socket.dump(&wanted, |_, payload| {
        let attrs = payload.get(HEADER..).unwrap_or_default();
        let elements = find(attrs, SET_ELEMENTS).unwrap_or_default();
        let address = |(_, element): (u16, &[u8])| -> Option<Ipv4Addr> {
            let octets: [u8; 4] = find(find(element, 1)?, ex::VALUE)?.try_into().ok()?;
            Some(octets.into())
        };
        found.extend(iter(elements).filter_map(address));
    })?;
    Ok(found)
}
