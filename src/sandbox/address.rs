//! Our own addresses, as the kernel reports them.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;

/// The IPv4 addresses of this network namespace, loopback ones left out, ascending.
///
/// The kernel keeps one local route an address, whatever its interface is called and whether it has a default route or a
/// neighbour. The thread's own file, because `/proc/net` is that of the process' first thread.
pub(super) fn own() -> io::Result<Vec<Ipv4Addr>> {
    Ok(parse(&std::fs::read_to_string("/proc/thread-self/net/fib_trie")?))
}

/// The broadcast addresses of our networks, such as 172.30.255.255, without those of loopback.
pub(super) fn broadcast() -> io::Result<Vec<Ipv4Addr>> {
    Ok(marked(&std::fs::read_to_string("/proc/thread-self/net/fib_trie")?, "/32 link BROADCAST"))
}

fn parse(fib_trie: &str) -> Vec<Ipv4Addr> {
    marked(fib_trie, "/32 host LOCAL")
}

/// In `fib_trie` each leaf (`|-- 172.30.0.2`) is followed by what is known of it; `/32 host LOCAL` marks an address of ours.
fn marked(fib_trie: &str, mark: &str) -> Vec<Ipv4Addr> {
    let mut found = BTreeSet::new();
    let mut leaf = None;
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line.starts_with("+-- ") {
            leaf = None;
        } else if line.starts_with(mark) {
            found.extend(leaf.filter(|a: &Ipv4Addr| !a.is_loopback()));
        }
    }
    found.into_iter().collect()
}

/// Whether an interface other than loopback has an IPv6 address.
pub(super) fn has_ipv6() -> bool {
    ipv6_scopes(&if_inet6()).next().is_some()
}

/// Whether it has one by which others reach it as they do by IPv4: more than the link-local one that needs its interface named.
pub(super) fn is_reached_by_ipv6() -> bool {
    ipv6_scopes(&if_inet6()).any(|scope| scope == GLOBAL)
}

/// Of private ones (ULA) too: `IPV6_ADDR_SCOPE_GLOBAL` as `if_inet6` prints it.
const GLOBAL: &str = "00";

fn if_inet6() -> String {
    std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default()
}

/// The scopes of the IPv6 addresses, loopback's left out. A line is address, interface's number, prefix length, scope, flags, interface.
fn ipv6_scopes(if_inet6: &str) -> impl Iterator<Item = &str> {
    let others = if_inet6.lines().filter(|line| line.split_whitespace().last() != Some("lo"));
    others.filter_map(|line| line.split_whitespace().nth(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 4
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
     +-- 172.30.0.0/16 2 0 2
        +-- 172.30.0.0/30 2 0 2
           |-- 172.30.0.0
              /16 link UNICAST
           |-- 172.30.0.2
              /32 host LOCAL
        |-- 172.30.255.255
           /32 link BROADCAST
Local:
  +-- 0.0.0.0/0 3 0 4
     |-- 0.0.0.0
        /0 universe UNICAST
           |-- 172.30.0.2
              /32 host LOCAL
           |-- 10.1.2.3
              /32 host LOCAL
";

    #[test]
    fn local_routes_are_our_addresses() {
        let expected = [Ipv4Addr::new(10, 1, 2, 3), Ipv4Addr::new(172, 30, 0, 2)];
        assert_eq!(parse(SAMPLE), expected);
        assert_eq!(marked(SAMPLE, "/32 link BROADCAST"), [Ipv4Addr::new(172, 30, 255, 255)]);
    }

    #[test]
    fn no_network_no_addresses() {
        assert!(parse("").is_empty());
        assert!(parse("Main:\n  +-- 0.0.0.0/0 0 0 0\n/32 host LOCAL\n").is_empty());
    }

    #[test]
    fn the_real_file_can_be_read() {
        assert!(own().unwrap().iter().all(|a| !a.is_loopback()));
    }

    #[test]
    fn ipv6_addresses_have_scopes() {
        let lo = "00000000000000000000000000000001 01 80 10 80       lo\n";
        let link = "fe8000000000000000420afffe4d0002 0b 40 20 80     eth0\n";
        let private = "fd000077000000000000000000000004 0b 40 00 82     eth0\n";
        assert_eq!(ipv6_scopes(&format!("{lo}{link}{private}")).collect::<Vec<_>>(), ["20", GLOBAL]);
        assert!(ipv6_scopes("").next().is_none());
    }
}
