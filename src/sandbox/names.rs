//! Answers, in a node's network, which name an address has.
//!
//! Docker's DNS answers that with the name of the sandbox's container, whatever aliases it has. The `/etc/hosts` that
//! sandbox and node share says `i001`. So what is asked of Docker's DNS over UDP comes here first (a NAT rule in the
//! sandbox), and what `/etc/hosts` does not answer is forwarded to Docker's unchanged.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::sync_channel;
use std::thread::Builder;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, recvfrom};
use simple_dns::rdata::{OPT, PTR, RData};
use simple_dns::{CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, ResourceRecord, TYPE};

use super::nft;

/// Where Docker's DNS is in the network namespace of each container, by its word in `/etc/resolv.conf`.
const DOCKERS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const DNS_PORT: u16 = 53;
/// How long an answer may be remembered, in seconds: as Docker says of its own.
const TTL: u32 = 600;
/// Most queries that were forwarded and have no answer yet. Beyond that the oldest is given up; its client asks again.
const MOST_WAITING: usize = 256;
/// Clients do not wait longer for an answer: the default of resolv.conf(5) is 5 s.
const QUERY_LIFETIME: Duration = Duration::from_secs(10);
/// The longest datagram. Only what is used of the buffer takes memory.
const LONGEST: usize = u16::MAX as usize;
/// In bytes: a line of a thousand nodes is some 30.
const LONGEST_HOSTS: u64 = 4 << 20;

/// Begins to answer. Where Docker's DNS is not in use, there is nothing to do.
///
/// # Errors
/// The system's: there is no NAT, say. Then Docker answers, as it does.
pub(crate) fn begin() -> io::Result<()> {
    if !fs::read_to_string("/etc/resolv.conf")?.lines().any(|line| line == format!("nameserver {DOCKERS}")) {
        return Ok(());
    }
    let (ready, begun) = sync_channel(1);
    // As little as its depth needs; all of it is never touched.
    Builder::new().name("names".into()).stack_size(128 << 10).spawn(move || {
        let redirected = UdpSocket::bind((DOCKERS, 0)).and_then(|clients| {
            nft::redirect_dns(DOCKERS, clients.local_addr()?.port())?;
            Ok(clients)
        });
        let clients = match redirected {
            Ok(clients) => clients,
            Err(error) => return drop(ready.send(Err(error))),
        };
        let _ = ready.send(Ok(()));
        let ended = catch_unwind(AssertUnwindSafe(|| serve(&clients)));
        // Better Docker's names than none.
        let left_to_docker = nft::end_redirecting_dns();
        eprintln!(
            "cthulhu sandbox: the engine's DNS answers for addresses from here on: {ended:?}, {left_to_docker:?}"
        );
    })?;
    begun.recv().map_err(io::Error::other)?
}

/// A query that was forwarded to Docker's DNS.
struct Waiting {
    client: SocketAddr,
    socket: UdpSocket,
    since: Instant,
}

fn serve(clients: &UdpSocket) -> io::Error {
    let mut waiting = VecDeque::<Waiting>::new();
    let mut buffer = Vec::with_capacity(LONGEST);
    loop {
        waiting.retain(|one| one.since.elapsed() < QUERY_LIFETIME);
        let ready = match wait(clients, &waiting) {
            Ok(ready) => ready,
            Err(error) => return error,
        };
        // From the end, so that those before keep their places.
        for at in (0..waiting.len()).rev().filter(|at| ready[at + 1]) {
            // Treat an error as no answer: the client asks again.
            if let Some(one) = waiting.remove(at)
                && receive(&one.socket, &mut buffer).is_ok()
            {
                let _ = clients.send_to(&buffer, one.client);
            }
        }
        if ready[0]
            && let Ok(client) = receive(clients, &mut buffer)
        {
            let query = &buffer[..];
            match answer(query, hosts) {
                Answer::This(answer) => drop(clients.send_to(&answer, client)),
                Answer::None => {}
                Answer::Dockers => {
                    if waiting.len() == MOST_WAITING {
                        waiting.pop_front();
                    }
                    waiting.extend(pass_on(query).map(|socket| Waiting { client, socket, since: Instant::now() }));
                }
            }
        }
    }
}

/// Takes a datagram, in place of what is in the buffer, and says who has sent it.
fn receive(socket: &UdpSocket, buffer: &mut Vec<u8>) -> io::Result<SocketAddr> {
    buffer.clear();
    let (_, _, sender) = recvfrom(socket, spare_capacity(buffer), RecvFlags::empty())?;
    Ok(sender.ok_or(io::ErrorKind::AddrNotAvailable)?.try_into()?)
}

/// Waits for a query or an answer, and says which of the sockets have one: that of the clients, then those of `waiting`.
fn wait(clients: &UdpSocket, waiting: &VecDeque<Waiting>) -> io::Result<Vec<bool>> {
    let sockets = std::iter::once(clients).chain(waiting.iter().map(|one| &one.socket));
    let mut polled: Vec<_> = sockets.map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
    let second = Timespec { tv_sec: 1, tv_nsec: 0 };
    let timeout = if waiting.is_empty() { None } else { Some(&second) };
    rustix::io::retry_on_intr(|| poll(&mut polled, timeout))?;
    Ok(polled.iter().map(|one| !one.revents().is_empty()).collect())
}

/// Each from a socket of its own: when the engine restarts, connection tracking would lead an old one to where its DNS was.
fn pass_on(query: &[u8]) -> io::Result<UdpSocket> {
    // What comes from this address is not led back here.
    let socket = UdpSocket::bind((DOCKERS, 0))?;
    socket.connect((DOCKERS, DNS_PORT))?;
    socket.send(query)?;
    Ok(socket)
}

/// The node can write it, so only as much is read as a cluster of thousands needs.
fn hosts() -> String {
    let mut hosts = vec![];
    let _ = File::open("/etc/hosts").and_then(|file| file.take(LONGEST_HOSTS).read_to_end(&mut hosts));
    String::from_utf8_lossy(&hosts).into_owned()
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    This(Vec<u8>),
    /// Docker's DNS has it.
    Dockers,
    /// It is no query.
    None,
}

/// What `hosts` (hosts(5)) answers, if the query asks for the name of an address in it.
fn answer(query: &[u8], hosts: impl FnOnce() -> String) -> Answer {
    let Ok(query) = Packet::parse(query) else { return Answer::Dockers };
    if query.has_flags(PacketFlag::RESPONSE) {
        return Answer::None;
    }
    named(&query, hosts).map_or(Answer::Dockers, Answer::This)
}

fn named(query: &Packet<'_>, hosts: impl FnOnce() -> String) -> Option<Vec<u8>> {
    let [question] = &query.questions[..] else { return None };
    let asked = (query.opcode(), question.qtype, question.qclass);
    if asked != (OPCODE::StandardQuery, QTYPE::TYPE(TYPE::PTR), QCLASS::CLASS(CLASS::IN)) {
        return None;
    }
    let address = address(&question.qname)?;
    let hosts = hosts();
    let name = name_of(address, &hosts)?;
    let mut reply = Packet::new_reply(query.id());
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if query.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    if query.opt().is_some() {
        // RFC 6891, 6.1.1: a server that understands it says so.
        *reply.opt_mut() = Some(OPT { opt_codes: vec![], udp_packet_size: LONGEST as u16, version: 0 });
    }
    reply.questions.push(question.clone());
    let pointer = RData::PTR(PTR(Name::new(name).ok()?));
    reply.answers.push(ResourceRecord::new(question.qname.clone(), CLASS::IN, TTL, pointer));
    reply.build_bytes_vec_compressed().ok()
}

/// The address that `2.0.30.172.in-addr.arpa` asks for (RFC 1035, 3.5).
fn address(name: &Name<'_>) -> Option<Ipv4Addr> {
    let name = name.to_string().to_ascii_lowercase();
    let reversed: Ipv4Addr = name.strip_suffix(".in-addr.arpa")?.parse().ok()?;
    let [d, c, b, a] = reversed.octets();
    Some(Ipv4Addr::new(a, b, c, d))
}

/// The name of an address is the first of its first line, as for the C library.
fn name_of(address: Ipv4Addr, hosts: &str) -> Option<&str> {
    hosts.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        (words.next()?.parse() == Ok(IpAddr::V4(address))).then(|| words.next())?
    })
}

#[cfg(test)]
mod tests {
    use simple_dns::{Question, RCODE};

    use super::*;

    const HOSTS: &str = "127.0.0.1\tlocalhost\n# 172.30.0.3 none\n172.30.0.3 i002 two # the second\n172.30.0.3 three\n";
    const ASKED: &str = "3.0.30.172.in-addr.arpa";

    fn query(name: &str, kind: TYPE) -> Packet<'_> {
        let mut query = Packet::new_query(4711);
        query.set_flags(PacketFlag::RECURSION_DESIRED);
        let name = Name::new_unchecked(name);
        query.questions.push(Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false));
        query
    }

    fn answered(query: &Packet<'_>) -> Answer {
        answer(&query.build_bytes_vec().unwrap(), || HOSTS.into())
    }

    #[test]
    fn an_address_of_hosts_is_answered_with_its_first_name() {
        for name in [ASKED, "3.0.30.172.IN-ADDR.ARPA"] {
            let mut query = query(name, TYPE::PTR);
            for extended in [false, true] {
                *query.opt_mut() = extended.then(|| OPT { opt_codes: vec![], udp_packet_size: 1232, version: 0 });
                let Answer::This(bytes) = answered(&query) else { panic!("{name}") };
                let reply = Packet::parse(&bytes).unwrap();
                assert_eq!((reply.id(), reply.rcode(), reply.opt().is_some()), (4711, RCODE::NoError, extended));
                assert!(reply.has_flags(PacketFlag::RESPONSE | PacketFlag::RECURSION_DESIRED));
                assert_eq!(reply.questions.len(), 1, "resolvers compare it with theirs");
                let RData::PTR(PTR(name)) = &reply.answers[0].rdata else { panic!("{reply:?}") };
                assert_eq!(name.to_string(), "i002");
            }
        }
    }

    #[test]
    fn everything_else_goes_on() {
        let asked = [
            ("4.0.30.172.in-addr.arpa", TYPE::PTR),
            ("30.172.in-addr.arpa", TYPE::PTR),
            ("3.0.30.172.ip6.arpa", TYPE::PTR),
            (ASKED, TYPE::A),
            ("i002", TYPE::A),
        ];
        for (name, kind) in asked {
            assert_eq!(answered(&query(name, kind)), Answer::Dockers, "{name}");
        }
        let mut two = query(ASKED, TYPE::PTR);
        two.questions.push(two.questions[0].clone());
        assert_eq!(answered(&two), Answer::Dockers);
        let whole = query(ASKED, TYPE::PTR).build_bytes_vec().unwrap();
        for length in 0..whole.len() {
            assert_eq!(answer(&whole[..length], || HOSTS.into()), Answer::Dockers, "{length} bytes of it");
        }
        assert_eq!(answer(&[0x7f; 600], || HOSTS.into()), Answer::Dockers);
    }

    #[test]
    fn a_reply_is_no_query() {
        // Else one that is sent to us from our own address would be answered for ever.
        let Answer::This(reply) = answered(&query(ASKED, TYPE::PTR)) else { panic!() };
        assert_eq!(answer(&reply, || HOSTS.into()), Answer::None);
    }
}
