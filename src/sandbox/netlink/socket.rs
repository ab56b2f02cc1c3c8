//! A netlink socket: requests, their acknowledgements, dumps.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

use super::attribute::{Attr, padded};

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
/// Room for one datagram of the kernel's; a dump comes in datagrams of at most 32 KiB. Only what was once used of it takes
/// memory.
const DATAGRAM: usize = 64 << 10;
/// So much may be on its way to us or to the kernel, in bytes. A table of a thousand peers is some 100 KiB.
const BUFFER: usize = 4 << 20;

/// Which part of the kernel a socket speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Interfaces and queueing disciplines.
    Route,
    /// nftables and NFQUEUE.
    Netfilter,
    SockDiag,
}

#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) kind: u16,
    /// Flags besides `NLM_F_REQUEST`.
    pub(crate) flags: u16,
    /// The fixed part, padded to four bytes.
    pub(crate) header: Vec<u8>,
    /// What follows it.
    pub(crate) attrs: Vec<Attr>,
}

impl Message {
    /// Appends it as the kernel reads it.
    pub(crate) fn encode(&self, seq: u32, extra_flags: u16, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([0; 4]);
        out.extend(self.kind.to_ne_bytes());
        out.extend((self.flags | extra_flags | NLM_F_REQUEST).to_ne_bytes());
        out.extend(seq.to_ne_bytes());
        out.extend([0; 4]);
        out.extend(&self.header);
        self.attrs.iter().for_each(|attr| attr.encode(out));
        let length = (out.len() - start) as u32;
        out[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }
}

/// A socket. Closing one costs milliseconds (the kernel waits for a grace period), so keep it.
pub(crate) struct Socket {
    fd: OwnedFd,
    seq: u32,
    buffer: Vec<u8>,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Socket {
    /// Opens one in the network namespace of the calling thread.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn open(protocol: Protocol) -> io::Result<Self> {
        let protocol = match protocol {
            // NETLINK_ROUTE is 0, which is what none means.
            Protocol::Route => None,
            Protocol::Netfilter => Some(netlink::NETFILTER),
            Protocol::SockDiag => Some(netlink::SOCK_DIAG),
        };
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        rustix::net::bind(&fd, &netlink::SocketAddrNetlink::new(0, 0))?;
        // This needs CAP_NET_ADMIN; the default is enough for a few peers.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size_force(&fd, BUFFER);
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&fd, BUFFER);
        Ok(Self { fd, seq: 0, buffer: vec![] })
    }

    /// Sends messages in one datagram, in this order, and waits until the kernel has acknowledged each that `acks` says.
    ///
    /// # Errors
    /// The first error that the kernel reports, or the system's. What came before it in the datagram may have taken
    /// effect.
    pub(crate) fn request(&mut self, messages: &[Message], acks: impl Fn(usize) -> bool) -> io::Result<()> {
        let first = self.seq.wrapping_add(1);
        let mut bytes = vec![];
        let mut awaited = 0;
        for (at, message) in messages.iter().enumerate() {
            let ack = if acks(at) { NLM_F_ACK } else { 0 };
            awaited += usize::from(ack != 0);
            self.seq = self.seq.wrapping_add(1);
            message.encode(self.seq, ack, &mut bytes);
        }
        self.send(&bytes)?;
        while awaited > 0 {
            let mut failed = None;
            self.receive(|kind, seq, payload| {
                // Answers to an earlier request that was given up after its first error.
                if kind != NLMSG_ERROR || seq.wrapping_sub(first) >= messages.len() as u32 {
                    return;
                }
                match errno(payload) {
                    0 => awaited = awaited.saturating_sub(1),
                    errno => failed = failed.or(Some(errno)),
                }
            })?;
            if let Some(errno) = failed {
                return Err(io::Error::from_raw_os_error(errno));
            }
        }
        Ok(())
    }

    /// Asks for a dump and calls `each` with the type and the payload (after `nlmsghdr`) of every message of it.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn dump(&mut self, message: &Message, mut each: impl FnMut(u16, &[u8])) -> io::Result<()> {
        self.seq = self.seq.wrapping_add(1);
        let asked = self.seq;
        let mut bytes = vec![];
        message.encode(asked, NLM_F_DUMP, &mut bytes);
        self.send(&bytes)?;
        let mut end = None;
        while end.is_none() {
            self.receive(|kind, seq, payload| match kind {
                _ if seq != asked => {}
                NLMSG_DONE | NLMSG_ERROR => end = Some(errno(payload)),
                _ => each(kind, payload),
            })?;
        }
        match end {
            Some(errno) if errno != 0 => Err(io::Error::from_raw_os_error(errno)),
            _ => Ok(()),
        }
    }

    /// Sends bytes that are whole messages.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let sent = send(&self.fd, bytes, SendFlags::empty())?;
        if sent < bytes.len() { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
    }

    /// Waits for one datagram and calls `each` with type, number and payload (after `nlmsghdr`) of every message in it.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn receive(&mut self, each: impl FnMut(u16, u32, &[u8])) -> io::Result<()> {
        self.receive_with(RecvFlags::empty(), each)
    }

    /// The same without waiting: `WouldBlock` if there is none.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn try_receive(&mut self, each: impl FnMut(u16, u32, &[u8])) -> io::Result<()> {
        self.receive_with(RecvFlags::DONTWAIT, each)
    }

    fn receive_with(&mut self, flags: RecvFlags, mut each: impl FnMut(u16, u32, &[u8])) -> io::Result<()> {
        self.buffer.clear();
        self.buffer.reserve_exact(DATAGRAM);
        rustix::io::retry_on_intr(|| recv(&self.fd, spare_capacity(&mut self.buffer), flags))?;
        let mut rest = &self.buffer[..];
        while let Some(header) = rest.get(..HEADER) {
            let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
            let kind = u16::from_ne_bytes([header[4], header[5]]);
            let seq = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
            let Some(payload) = rest.get(HEADER..length) else {
                break;
            };
            each(kind, seq, payload);
            rest = rest.get(padded(length)..).unwrap_or_default();
        }
        Ok(())
    }
}

/// The errno of an acknowledgement, or of a dump's end; 0 for none.
fn errno(payload: &[u8]) -> i32 {
    let code = payload.get(..4).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
    code.saturating_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `RTM_GETLINK`: needs no privilege.
    const GETLINK: u16 = 18;

    fn links() -> Message {
        // struct ifinfomsg
        Message { kind: GETLINK, flags: 0, header: vec![0; 16], attrs: vec![] }
    }

    #[test]
    fn a_dump_tells_the_loopback_interface() {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        for _ in 0..2 {
            let mut names = vec![];
            // IFLA_IFNAME
            socket
                .dump(&links(), |_, payload| names.extend(super::super::find(&payload[16..], 3).map(<[u8]>::to_vec)))
                .unwrap();
            assert!(names.contains(&b"lo\0".to_vec()), "{names:?}");
        }
    }

    #[test]
    fn a_refusal_is_an_error_and_spoils_nothing() {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        // No such type of message.
        let wrong = Message { kind: 0xff0, flags: 0, header: vec![0; 16], attrs: vec![] };
        let error = socket.request(&[wrong.clone(), wrong], |_| true).unwrap_err();
        assert!(error.raw_os_error().is_some(), "{error}");
        let mut told = 0;
        socket.dump(&links(), |_, _| told += 1).unwrap();
        assert!(told > 0);
    }
}
