//! The sockets of a network namespace, and their end: sock_diag(7).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::io::Errno;

use super::netlink::{Message, Protocol, Socket};

/// `SOCK_DIAG_BY_FAMILY`, `SOCK_DESTROY`.
const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;
const IPV4: u8 = 2;
const IPV6: u8 = 10;
const TCP: u8 = 6;
/// Whatever state they are in.
const ALL_STATES: u32 = u32::MAX;
/// Length of `struct inet_diag_sockid`: two ports, two addresses, interface, cookie.
const ID: usize = 48;
/// Where state, identity and inode are in `struct inet_diag_msg`. The inode is 0 when no process has the socket any more.
const STATE_AT: usize = 1;
const ID_AT: usize = 4;
const INODE_AT: usize = ID_AT + ID + 16;
/// `TCP_TIME_WAIT`: what is left of a connection that was closed here first.
const TIME_WAIT: u8 = 6;

/// `struct inet_diag_req_v2`.
fn message(kind: u16, family: u8, id: &[u8]) -> Message {
    let mut header = vec![family, TCP, 0, 0];
    header.extend(ALL_STATES.to_ne_bytes());
    header.extend(id);
    Message { kind, flags: 0, header, attrs: vec![] }
}

/// Destroys all TCP sockets that no process has any more and that are bound to no loopback address, and returns how many there were.
///
/// # Errors
/// The kernel's.
pub(crate) fn destroy_orphans(socket: &mut Socket) -> io::Result<u64> {
    let mut destroyed = 0;
    for family in [IPV4, IPV6] {
        let mut found = vec![];
        socket.dump(&message(BY_FAMILY, family, &[0; ID]), |_, payload| {
            if let Some(id) = payload.get(ID_AT..ID_AT + ID)
                && payload.get(INODE_AT..INODE_AT + 4) == Some(&[0; 4])
                && !is_loopback(family, id)
            {
                found.push((payload[STATE_AT], id.to_vec()));
            }
        })?;
        for (state, id) in found {
            match socket.request(&[message(DESTROY, family, &id)], |_| true) {
                Ok(()) => destroyed += 1,
                // It has gone by itself.
                Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {}
                // Older kernels leave these to their minute. Without a word from the peer they send nothing.
                Err(error) if state == TIME_WAIT && error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(destroyed)
}

fn is_loopback(family: u8, id: &[u8]) -> bool {
    let source = id.get(4..20).and_then(|source| <[u8; 16]>::try_from(source).ok()).unwrap_or_default();
    let address = match family {
        IPV4 => IpAddr::V4(Ipv4Addr::new(source[0], source[1], source[2], source[3])),
        _ => IpAddr::V6(Ipv6Addr::from(source)),
    };
    address.to_canonical().is_loopback()
}

/// Whether sockets can be destroyed: one that does not exist is not found, rather than not possible.
pub(crate) fn probe() -> bool {
    let tried = Socket::open(Protocol::SockDiag).and_then(|mut socket| {
        // INET_DIAG_NOCOOKIE: whichever socket has these ports.
        let mut id = [0; ID];
        id[ID - 8..].fill(0xff);
        socket.request(&[message(DESTROY, IPV4, &id)], |_| true)
    });
    tried.is_err_and(|error| error.raw_os_error() == Some(Errno::NOENT.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_known_in_both_families() {
        let id = |source: [u8; 16]| [&[0; 4][..], &source, &[0; 28]].concat();
        let mut v4 = [0; 16];
        v4[..4].copy_from_slice(&[127, 0, 0, 11]);
        assert!(is_loopback(IPV4, &id(v4)));
        v4[0] = 172;
        assert!(!is_loopback(IPV4, &id(v4)));
        assert!(is_loopback(IPV6, &id(Ipv6Addr::LOCALHOST.octets())));
        assert!(is_loopback(IPV6, &id(Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets())));
        assert!(!is_loopback(IPV6, &id(Ipv6Addr::UNSPECIFIED.octets())));
    }
}
