//! `cthulhu sandbox` in a network namespace of its own, joined to another one: what it is asked for, and what real sockets see of it.
//!
//! As root; else, and where namespaces cannot be made, each test says so and passes.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};

/// The other one, and the one with the sandbox.
const THERE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const HERE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
/// Somebody who does not exist.
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 3);
/// Nothing is expected to take so long.
const LONG: Duration = Duration::from_secs(120);

fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(format!("{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

fn ip(args: &str) {
    run("ip", &args.split_whitespace().collect::<Vec<_>>()).unwrap();
}

/// Two network namespaces, joined by a cable.
struct Pair {
    here: String,
    there: String,
}

impl Drop for Pair {
    fn drop(&mut self) {
        for name in [&self.here, &self.there] {
            let _ = run("ip", &["netns", "del", name]);
        }
    }
}

impl Pair {
    /// `None`, and a word of why, where they cannot be made.
    fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = |end: &str| format!("cthulhu-test-{}-{number}-{end}", std::process::id());
        let pair = Self { here: name("here"), there: name("there") };
        for name in [&pair.here, &pair.there] {
            if let Err(why) = run("ip", &["netns", "add", name]) {
                eprintln!("skipped: {why}");
                return None;
            }
            ip(&format!("-n {name} link set lo up"));
        }
        pair.join();
        Some(pair)
    }

    fn join(&self) {
        let Self { here, there } = self;
        ip(&format!("link add eth0 netns {here} type veth peer name eth0 netns {there}"));
        for (name, address) in [(here, HERE), (there, THERE)] {
            ip(&format!("-n {name} addr add {address}/24 dev eth0"));
            ip(&format!("-n {name} link set eth0 up"));
        }
    }

    fn cut_cable(&self) {
        ip(&format!("-n {} link del eth0", self.here));
    }

    /// Runs `body` on a thread in that namespace. Sockets stay where they were made.
    fn inside<T: Send>(name: &str, body: impl FnOnce() -> T + Send) -> T {
        let namespace = std::fs::File::open(format!("/run/netns/{name}")).unwrap();
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                use std::os::fd::AsFd;
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                body()
            });
            inside.join().unwrap()
        })
    }

    fn here<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        Self::inside(&self.here, body)
    }

    fn there<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        Self::inside(&self.there, body)
    }

    /// Two UDP sockets that are connected to each other: there, here.
    fn udp(&self) -> (UdpSocket, UdpSocket) {
        let there = self.there(|| UdpSocket::bind((THERE, 0)).unwrap());
        let here = self.here(|| UdpSocket::bind((HERE, 0)).unwrap());
        there.connect(here.local_addr().unwrap()).unwrap();
        here.connect(there.local_addr().unwrap()).unwrap();
        for socket in [&there, &here] {
            socket.set_read_timeout(Some(LONG)).unwrap();
            rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, 32 << 20).unwrap();
        }
        (there, here)
    }

    /// A TCP connection from there to here, both ends.
    fn tcp(&self) -> (TcpStream, TcpStream) {
        let listener = self.here(|| TcpListener::bind((HERE, 0)).unwrap());
        connected(&listener, || self.there(|| TcpStream::connect(listener.local_addr().unwrap()).unwrap()))
    }

    /// What `tc` shows of the classes here.
    fn classes(&self) -> String {
        run("tc", &["-n", &self.here, "class", "show", "dev", "eth0"]).unwrap()
    }

    fn disciplines(&self) -> String {
        run("tc", &["-n", &self.here, "qdisc", "show"]).unwrap()
    }
}

fn connected(listener: &TcpListener, connect: impl FnOnce() -> TcpStream) -> (TcpStream, TcpStream) {
    let client = connect();
    let server = listener.accept().unwrap().0;
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(LONG)).unwrap();
    }
    (client, server)
}

/// `cthulhu sandbox`, and what it has found.
struct Sandbox {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    kernel: Value,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sandbox {
    fn new(pair: &Pair) -> Self {
        Self::under(pair, &[])
    }

    fn under(pair: &Pair, wrapper: &[&str]) -> Self {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &pair.here])
            .args(wrapper)
            .args([env!("CARGO_BIN_EXE_cthulhu"), "sandbox"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut sandbox = Self { child, input, output, kernel: Value::Null };
        let mut kernel = sandbox.ask(&json!({"op": "probe"})).unwrap();
        kernel.as_object_mut().unwrap().remove("ok");
        sandbox.kernel = kernel;
        sandbox
    }

    fn ask(&mut self, request: &Value) -> Result<Value, String> {
        writeln!(self.input, "{request}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        match answer["ok"].as_bool().unwrap() {
            true => Ok(answer),
            false => Err(answer["error"].as_str().unwrap().to_owned()),
        }
    }

    fn apply(&mut self, desired: &Value) -> Result<(), String> {
        let request = json!({"op": "apply", "kernel": self.kernel, "desired": desired});
        self.ask(&request).map(drop)
    }

    /// Whether the kernel has what a test needs; says so if not.
    fn has(&self, what: &str) -> bool {
        let has = !matches!(self.kernel[what], Value::Null | Value::Bool(false));
        if !has {
            eprintln!("skipped: this kernel has no {what}");
        }
        has
    }
}

fn from(peer: Ipv4Addr, effects: Value) -> Value {
    json!({"from": [[{"node": peer}, effects]]})
}

fn to(peer: Ipv4Addr, effects: Value) -> Value {
    json!({"to": [[{"node": peer}, effects]]})
}

fn cut(how: &str) -> Value {
    json!({"cut": how})
}

fn delay() -> Value {
    json!({"delay": {"time": {"secs": 0, "nanos": 1_000_000}, "jitter": {"secs": 0, "nanos": 0}}})
}

fn receive(socket: &UdpSocket) -> io::Result<String> {
    let mut packet = [0; 64];
    let length = socket.recv(&mut packet)?;
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
    sandbox.apply(&json!({"from": [[{"node": NOBODY}, cut("drop")], [{"node": THERE}, cut("drop")]]})).unwrap();
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
    sandbox.apply(&json!({"to": [["host", cut("reject")]], "nodes": [NOBODY]})).unwrap();
    here.send(b"rejected").expect("no EPERM");
    assert_eq!(receive(&here).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    let refused = pair.here(|| TcpStream::connect_timeout(&address, LONG)).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    near.write_all(b"rejected").unwrap();
    assert_eq!(near.read(&mut [0; 9]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    far.set_nonblocking(true).unwrap();
    assert_eq!(far.read(&mut [0; 9]).unwrap_err().kind(), io::ErrorKind::WouldBlock, "nothing of it has left");
    comes(&there, &here, "from the host");
    sandbox.apply(&json!({"to": [["host", cut("reject")]], "nodes": [THERE]})).unwrap();
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
    impossible["to"] = json!([[{"node": THERE}, cut("drop")]]);
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
    let (client, mut server) = pair.tcp();
    let (closed_there, closed_here) = pair.tcp();
    let port = closed_here.local_addr().unwrap();
    // Closed here first: TIME-WAIT is here.
    drop(closed_here);
    assert_eq!((&closed_there).read(&mut [0; 1]).unwrap(), 0);
    drop(closed_there);
    let local = pair.here(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let (near, far) = connected(&local, || pair.here(|| TcpStream::connect(local.local_addr().unwrap()).unwrap()));

    sandbox.apply(&json!({"silent": true})).unwrap();
    here.send(b"dropped").expect("no EPERM");
    there.send(b"dropped").unwrap();
    (&server).write_all(b"dropped").expect("no EPERM");
    let aborted = sandbox.ask(&json!({"op": "abort"})).unwrap();
    assert!(aborted["sockets"].as_u64().unwrap() >= 1, "{aborted}");
    assert!(server.read(&mut [0; 1]).is_err(), "the socket is no more");
    (&near).write_all(b"x").unwrap();
    assert_eq!((&far).read(&mut [0; 1]).unwrap(), 1, "loopback is nobody's to cut");
    client.set_nonblocking(true).unwrap();
    assert_eq!((&client).read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::WouldBlock, "the peer hears nothing");
    // Twice is as once.
    let aborted = sandbox.ask(&json!({"op": "abort"})).unwrap();
    eprintln!("port {port}; left after the first time: {aborted}");

    sandbox.apply(&json!({})).unwrap();
    comes(&there, &here, "there");
    comes(&here, &there, "here");
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
            return eprintln!("skipped: {why}");
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
    sandbox.apply(&json!({"silent": true})).unwrap();
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
        assert_eq!(there.recv(&mut buffer).expect("nothing is lost"), 1000);
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
        let length = there.recv(&mut packet).unwrap();
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
        assert_eq!(there.recv(&mut buffer).unwrap_or_else(|error| panic!("after {number}: {error}")), 4);
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
        return eprintln!("skipped: {why}");
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
        let peer = |number: u32| json!([{"node": Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 98, 0, 1)) + number)}, cut("drop")]);
        let desired = json!({"from": (0..peers).map(peer).collect::<Vec<_>>()});
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
