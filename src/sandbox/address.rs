//! Our own IPv4 addresses, as the kernel's routing table tells them.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;

/// The addresses of this network namespace, loopback ones left out, ascending.
///
/// The kernel keeps one local route an address, whatever its interface is called and whether it has a default route or a
/// neighbour. The thread's own file, because `/proc/net` is that of the process' first thread.
pub(super) fn own() -> io::Result<Vec<Ipv4Addr>> {
    Ok(parse(&std::fs::read_to_string("/proc/thread-self/net/fib_trie")?))
}

/// In `fib_trie` each leaf (`|-- 172.30.0.2`) is followed by what is known of it; `/32 host LOCAL` marks an address of ours.
fn parse(fib_trie: &str) -> Vec<Ipv4Addr> {
    let mut found = BTreeSet::new();
    let mut leaf = None;
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line.starts_with("+-- ") {
            leaf = None;
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(leaf.filter(|a: &Ipv4Addr| !a.is_loopback()));
        }
    }
    found.into_iter().collect()
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
}
