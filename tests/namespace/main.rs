//! `cthulhu sandbox` in a network namespace of its own, joined to another one: what it is asked for, and what real sockets see of it.
//!
//! As root; else, and where namespaces cannot be made, each test says SKIPPED and passes.

mod harness;
#[path = "../common/skip.rs"]
mod skip;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use harness::{HERE, LONG, NOBODY, Pair, Sandbox, THERE, connected, run};
use serde_json::{Value, json};
use skip::skipped;

/// A group of one peer.
fn group(peer: impl serde::Serialize, impairments: Value) -> Value {
    json!({"peers": [peer], "impairments": impairments})
}

fn from(peer: Ipv4Addr, effects: Value) -> Value {
    json!({"ingress": [group(peer, effects)]})
}

fn to(peer: Ipv4Addr, effects: Value) -> Value {
    json!({"egress": [group(peer, effects)]})
}

fn cut(how: &str) -> Value {
    json!({"cut": how})
}

fn delay() -> Value {
    json!({"delay": {"time_us": 1000, "jitter_us": 0}})
}

/// Receives a packet. A wait with a deadline may be interrupted, and then goes on.
fn receive_into(socket: &UdpSocket, packet: &mut [u8]) -> io::Result<usize> {
    loop {
        match socket.recv(packet) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            received => return received,
        }
    }
}

fn receive(socket: &UdpSocket) -> io::Result<String> {
    let mut packet = [0; 64];
    let length = receive_into(socket, &mut packet)?;
    Ok(String::from_utf8(packet[..length].to_vec()).unwrap())
}

/// What is sent comes, and nothing that was sent before it: the cable keeps the order.
fn comes(from: &UdpSocket, to: &UdpSocket, word: &str) {
    from.send(word.as_bytes()).unwrap();
    assert_eq!(receive(to).unwrap(), word);
}

#[test]
fn drop_is_one_way_until_something_else_is_desired() {
    let Some(pair) = Pair::new() else { return };
    let mut sandbox = Sandbox::new(&pair);
    let (there, here) = pair.udp();
    comes(&there, &here, "before");
    for _ in 0..2 {
        sandbox.apply(&from(THERE, cut("drop"))).unwrap();
        there.send(b"dropped").unwrap();
        comes(&here, &there, "the other way");
    }
    sandbox.apply(&from(NOBODY, cut("drop"))).unwrap();
    comes(&there, &here, "another peer's");
    sandbox.apply(&json!({"ingress": [{"peers": [NOBODY, THERE], "impairments": cut("drop")}]})).unwrap();
    there.send(b"dropped").unwrap();
    sandbox.apply(&json!({})).unwrap();
    comes(&there, &here, "healed");
}

#[test]
fn reject_is_an_answer() {
    let Some(pair) = Pair::new() else { return };
    let mut sandbox = Sandbox::new(&pair);
    if !sandbox.has("reject") {
        return;
    }
    let (there, here) = pair.udp();
    let (mut client, _server) = pair.tcp();
    let listener = pair.here(|| TcpListener::bind((HERE, 0)).unwrap());
    let address = listener.local_addr().unwrap();
    sandbox.apply(&from(THERE, cut("reject"))).unwrap();
    there.send(b"rejected").unwrap();
    assert_eq!(receive(&there).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    let refused = pair.there(|| TcpStream::connect_timeout(&address, LONG)).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    client.write_all(b"rejected").unwrap();
    assert_eq!(client.read(&mut [0; 9]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    sandbox.apply(&json!({})).unwrap();
    comes(&there, &here, "healed");
}

#[test]
fn the_host_rejects_what_has_been_sent() {
    let Some(pair) = Pair::new() else { return };
    let mut sandbox = Sandbox::new(&pair);
    if !(sandbox.has("reject") && sandbox.has("queue")) {
        return;
    }
    let (there, here) = pair.udp();
    let listener = pair.there(|| TcpListener::bind((THERE, 0)).unwrap());
    let address = listener.local_addr().unwrap();
    let (mut near, mut far) = connected(&listener, || pair.here(|| TcpStream::connect(address).unwrap()));
    // Whoever is no node is the host.
    sandbox.apply(&json!({"egress": [group("host", cut("reject"))], "nodes": [NOBODY]})).unwrap();
    here.send(b"rejected").expect("no EPERM");
    assert_eq!(receive(&here).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    let refused = pair.here(|| TcpStream::connect_timeout(&address, LONG)).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    near.write_all(b"rejected").unwrap();
    assert_eq!(near.read(&mut [0; 9]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    far.set_nonblocking(true).unwrap();
    assert_eq!(far.read(&mut [0; 9]).unwrap_err().kind(), io::ErrorKind::WouldBlock, "nothing of it has left");
    comes(&there, &here, "from the host");
    sandbox.apply(&json!({"egress": [group("host", cut("reject"))], "nodes": [THERE]})).unwrap();
    comes(&here, &there, "to a node");
    sandbox.apply(&json!({})).unwrap();
    comes(&here, &there, "healed");
}

#[test]
fn as_many_are_lost_as_asked() {
    let Some(pair) = Pair::new() else { return };
    let mut sandbox = Sandbox::new(&pair);
    if !sandbox.has("numgen") {
        return;
    }
    let (there, here) = pair.udp();
    sandbox.apply(&from(THERE, json!({"loss": 300_000}))).unwrap();
    for number in 0..10_000 {
        // The kernel's backlog holds 1,000, and drops the others as if the rule had.
        if number % 100 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(there.send(b"perhaps").unwrap(), 7);
    }
    sandbox.apply(&json!({})).unwrap();
    there.send(b"end").unwrap();
    let mut came = 0;
    while receive(&here).unwrap() != "end" {
        came += 1;
    }
    // Five standard deviations.
    assert!((7000 - 230..=7000 + 230).contains(&came), "{came} of 10,000 came");
}

#[test]
fn what_is_impossible_leaves_what_was() {
    let Some(pair) = Pair::new() else { return };
    let mut other = Sandbox::new(&pair);
    if !other.has("queue") {
        return;
    }
    // Without netem packets wait in a queue; two cannot listen to the same.
    let mut sandbox = Sandbox::new(&pair);
    for sandbox in [&mut other, &mut sandbox] {
        sandbox.kernel["netem"] = false.into();
    }
    other.apply(&from(THERE, delay())).unwrap();
    let (there, here) = pair.udp();
    sandbox.apply(&from(THERE, cut("drop"))).unwrap();
    let mut impossible = from(THERE, delay());
    impossible["egress"] = json!([group(THERE, cut("drop"))]);
    let why = sandbox.apply(&impossible).unwrap_err();
    assert!(why.contains("NFQUEUE") && !why.contains("put back"), "{why}");
    there.send(b"dropped").unwrap();
    sandbox.apply(&json!({})).unwrap();
    comes(&there, &here, "healed");
    drop(other);
}

#[test]
fn silence_is_both_ways_and_leaves_no_socket_of_the_dead() {
    let Some(pair) = Pair::new() else { return };
    let mut sandbox = Sandbox::new(&pair);
    if !(sandbox.has("queue") && sandbox.has("sock_destroy")) {
        return;
    }
    let (there, here) = pair.udp();
    let (client, server) = pair.tcp();
    let (held_there, held_here) = pair.tcp();
    let (closed_there, closed_here) = pair.tcp();
    // Closed here first: TIME-WAIT is here.
    drop(closed_here);
    assert_eq!((&closed_there).read(&mut [0; 1]).unwrap(), 0);
    drop(closed_there);
    let local = pair.here(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let (near, far) = connected(&local, || pair.here(|| TcpStream::connect(local.local_addr().unwrap()).unwrap()));

    sandbox.apply(&json!({"blackholed": true})).unwrap();
    here.send(b"dropped").expect("no EPERM");
    there.send(b"dropped").unwrap();
    (&server).write_all(b"dropped").expect("no EPERM");
    // As when its process dies: what it has not sent waits in the kernel.
    drop(server);
    let sockets = |answer: &Value| answer["sockets"].as_u64().unwrap();
    let aborted = sandbox.ask(&json!({"op": "abort"})).unwrap();
    assert!(sockets(&aborted) >= 1, "{aborted}");
    let aborted = sandbox.ask(&json!({"op": "abort"})).unwrap();
    assert_eq!(sockets(&aborted), 0, "the first time has left some: {aborted}");
    (&near).write_all(b"x").unwrap();
    assert_eq!((&far).read(&mut [0; 1]).unwrap(), 1, "loopback is nobody's to cut");

    sandbox.apply(&json!({})).unwrap();
    comes(&there, &here, "there");
    comes(&here, &there, "here");
    (&held_here).write_all(b"y").unwrap();
    assert_eq!((&held_there).read(&mut [0; 1]).unwrap(), 1, "a socket that a process has stays");
    client.set_nonblocking(true).unwrap();
    assert_eq!((&client).read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::WouldBlock, "the peer hears nothing");
}

#[test]
fn silence_is_in_all_families() {
    let Some(pair) = Pair::new() else { return };
    let mut sandbox = Sandbox::new(&pair);
    if !sandbox.has("queue") {
        return;
    }
    let addresses = [(&pair.here, "fd00::2"), (&pair.there, "fd00::1")];
    for (name, address) in addresses {
        let added = run("ip", &["-n", name, "addr", "add", &format!("{address}/64"), "dev", "eth0", "nodad"]);
        if let Err(why) = added {
            return skipped(why);
        }
    }
    let there = pair.there(|| UdpSocket::bind("[fd00::1]:0").unwrap());
    let here = pair.here(|| UdpSocket::bind("[fd00::2]:0").unwrap());
    there.connect(here.local_addr().unwrap()).unwrap();
    here.connect(there.local_addr().unwrap()).unwrap();
    for socket in [&there, &here] {
        socket.set_read_timeout(Some(LONG)).unwrap();
    }
    comes(&there, &here, "before");
    sandbox.apply(&json!({"blackholed": true})).unwrap();
    there.send(b"dropped").unwrap();
    here.send(b"dropped").expect("no EPERM");
    sandbox.apply(&json!({})).unwrap();
    comes(&there, &here, "there");
    comes(&here, &there, "here");
}

#[test]
fn classes_come_and_go_and_follow_the_interface() {
    let Some(pair) = Pair::new() else { return };
    let mut sandbox = Sandbox::new(&pair);
    if !sandbox.has("htb") {
        return;
    }
    let rate = |peer, bits: u64| to(peer, json!({ "rate": bits }));
    let count = |classes: String| classes.lines().count();
    sandbox.apply(&rate(THERE, 1_000_000)).unwrap();
    assert!(pair.classes().contains("rate 1Mbit"), "{}", pair.classes());
    sandbox.apply(&rate(THERE, 2_000_000)).unwrap();
    assert!(pair.classes().contains("rate 2Mbit") && count(pair.classes()) == 1, "{}", pair.classes());
    // Another peer's in its place: nothing waits in the first one's.
    sandbox.apply(&rate(NOBODY, 3_000_000)).unwrap();
    assert!(pair.classes().contains("rate 3Mbit") && count(pair.classes()) == 1, "{}", pair.classes());

    // The engine gives another interface: the same state is brought about there.
    pair.cut_cable();
    pair.join();
    assert_eq!(count(pair.classes()), 0);
    sandbox.apply(&rate(NOBODY, 3_000_000)).unwrap();
    assert!(pair.classes().contains("rate 3Mbit"), "{}", pair.classes());
    pair.cut_cable();
    pair.join();
    sandbox.apply(&json!({})).unwrap();
    let (there, here) = pair.udp();
    comes(&here, &there, "healed");
}

#[test]
fn what_waits_for_a_rate_runs_off_and_then_no_class_is_left() {
    let Some(pair) = Pair::new() else { return };
    let mut sandbox = Sandbox::new(&pair);
    if !sandbox.has("htb") {
        return;
    }
    // Ten frames of a kilobyte take some 80 ms each: most of them wait when it is over.
    sandbox.apply(&to(THERE, json!({ "rate": 100_000 }))).unwrap();
    let (there, here) = pair.udp();
    for _ in 0..10 {
        here.send(&[7; 1000]).unwrap();
    }
    sandbox.apply(&json!({})).unwrap();
    let mut buffer = [0; 2000];
    for _ in 0..10 {
        assert_eq!(receive_into(&there, &mut buffer).expect("nothing is lost"), 1000);
    }
    // The sandbox looks every 100 ms.
    let deadline = Instant::now() + LONG;
    while !pair.classes().is_empty() {
        assert!(Instant::now() < deadline, "{}", pair.classes());
        std::thread::sleep(Duration::from_millis(20));
    }
    // And once more from the beginning.
    sandbox.apply(&to(THERE, json!({ "rate": 100_000 }))).unwrap();
    assert!(pair.classes().contains("rate 100Kbit"), "{}", pair.classes());
    sandbox.apply(&json!({})).unwrap();
    assert_eq!(pair.classes(), "", "nothing waited");
}

#[test]
fn another_rate_does_not_wait_for_the_debts_of_the_one_before() {
    let Some(pair) = Pair::new() else { return };
    let mut sandbox = Sandbox::new(&pair);
    if !sandbox.has("htb") {
        return;
    }
    sandbox.apply(&to(THERE, json!({ "rate": 1000 }))).unwrap();
    let (there, here) = pair.udp();
    // Two pass and leave a debt of seconds, for which the third waits.
    for word in ["first", "second", "third"] {
        here.send(format!("{word:<1000}").as_bytes()).unwrap();
    }
    sandbox.apply(&to(THERE, json!({ "rate": 100_000_000 }))).unwrap();
    here.send(b"fourth").unwrap();
    let mut packet = [0; 1000];
    let mut came = || {
        let length = receive_into(&there, &mut packet).unwrap();
        String::from_utf8_lossy(&packet[..length]).trim().to_owned()
    };
    assert_eq!([came(), came(), came(), came()], ["first", "second", "fourth", "third"]);
}

#[test]
fn faults_of_others_that_come_and_go_cost_nobody_a_packet() {
    let Some(pair) = Pair::new() else { return };
    let mut sandbox = Sandbox::new(&pair);
    if !sandbox.has("htb") {
        return;
    }
    const PACKETS: u32 = 10_000;
    let (there, here) = pair.udp();
    let sender = std::thread::spawn(move || {
        for number in 0..PACKETS {
            here.send(&number.to_ne_bytes()).unwrap();
            std::thread::sleep(Duration::from_micros(50));
        }
    });
    while !sender.is_finished() {
        sandbox.apply(&to(NOBODY, json!({ "rate": 1_000_000 }))).unwrap();
        sandbox.apply(&json!({})).unwrap();
    }
    sender.join().unwrap();
    let mut buffer = [0; 8];
    for number in 0..PACKETS {
        assert_eq!(receive_into(&there, &mut buffer).unwrap_or_else(|error| panic!("after {number}: {error}")), 4);
        assert_eq!(buffer[..4], number.to_ne_bytes(), "none is lost, and none overtakes another");
    }
}

#[test]
fn what_a_node_takes_away_is_made_anew_or_not_missed() {
    let Some(pair) = Pair::new() else { return };
    let mut sandbox = Sandbox::new(&pair);
    if !sandbox.has("htb") {
        return;
    }
    let meddle = || run("tc", &["-n", &pair.here, "qdisc", "del", "dev", "eth0", "root"]).unwrap();
    let rate = |bits: u64| to(THERE, json!({ "rate": bits }));
    sandbox.apply(&rate(1_000_000)).unwrap();
    meddle();
    sandbox.apply(&rate(2_000_000)).unwrap();
    assert!(pair.classes().contains("rate 2Mbit"), "{}", pair.classes());
    meddle();
    sandbox.apply(&json!({})).unwrap();
    assert_eq!(pair.classes(), "");
    sandbox.apply(&rate(1_000_000)).unwrap();
    assert!(pair.classes().contains("rate 1Mbit"), "{}", pair.classes());
}

#[test]
fn trying_leaves_nothing_behind() {
    let Some(pair) = Pair::new() else { return };
    let sandbox = Sandbox::new(&pair);
    eprintln!("{}", sandbox.kernel);
    // HTB that every sandbox begins with, without a class; nothing on loopback, where it is tried.
    let disciplines = pair.disciplines();
    assert!(
        disciplines.lines().all(|line| line.contains(" noqueue ") || line.contains("qdisc htb 1: dev eth0")),
        "{disciplines}"
    );
    assert_eq!(pair.classes(), "");
    let queues = pair.here(|| std::fs::read_to_string("/proc/thread-self/net/netfilter/nfnetlink_queue"));
    assert_eq!(queues.unwrap_or_default(), "");
}

#[test]
fn without_capabilities_nothing_is_possible() {
    let Some(pair) = Pair::new() else { return };
    if let Err(why) = run("setpriv", &["--bounding-set=-all", "--inh-caps=-all", "true"]) {
        return skipped(why);
    }
    let mut sandbox = Sandbox::under(&pair, &["setpriv", "--bounding-set=-all", "--inh-caps=-all"]);
    let kernel = sandbox.kernel.as_object().unwrap();
    assert!(
        kernel.len() >= 8 && kernel.values().all(|value| matches!(value, Value::Null | Value::Bool(false))),
        "{kernel:?}"
    );
    sandbox.apply(&json!({})).unwrap();
    let why = sandbox.apply(&from(THERE, cut("drop"))).unwrap_err();
    assert!(why.contains("not permitted"), "{why}");
}

#[test]
fn many_peers_are_cut_at_once() {
    let Some(pair) = Pair::new() else { return };
    let mut sandbox = Sandbox::new(&pair);
    for peers in [5, 50, 1000] {
        let peer = |number: u32| Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 98, 0, 1)) + number);
        let peers_cut = json!({"peers": (0..peers).map(peer).collect::<Vec<_>>(), "impairments": cut("drop")});
        let desired = json!({"ingress": [peers_cut]});
        let mut times: Vec<Duration> = (0..51)
            .map(|_| {
                sandbox.apply(&json!({})).unwrap();
                let start = Instant::now();
                sandbox.apply(&desired).unwrap();
                start.elapsed()
            })
            .collect();
        times.sort();
        eprintln!("{peers} peers: half of the changes took up to {:?}, all up to {:?}", times[25], times[50]);
    }
}
