//! Two network namespaces joined by a cable, and `cthulhu sandbox` in one of them.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};

use super::skip::skipped;

/// The other one, and the one with the sandbox.
pub const THERE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
pub const HERE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
/// Somebody who does not exist.
pub const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 3);
/// Nothing is expected to take so long.
pub const LONG: Duration = Duration::from_secs(120);

pub fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(format!("{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

pub fn ip(args: &str) {
    run("ip", &args.split_whitespace().collect::<Vec<_>>()).unwrap();
}

/// Two network namespaces, joined by a cable.
pub struct Pair {
    pub here: String,
    pub there: String,
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
    pub fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = |end: &str| format!("cthulhu-test-{}-{number}-{end}", std::process::id());
        let pair = Self { here: name("here"), there: name("there") };
        for name in [&pair.here, &pair.there] {
            if let Err(why) = run("ip", &["netns", "add", name]) {
                skipped(why);
                return None;
            }
            ip(&format!("-n {name} link set lo up"));
        }
        pair.join();
        Some(pair)
    }

    pub fn join(&self) {
        let Self { here, there } = self;
        ip(&format!("link add eth0 netns {here} type veth peer name eth0 netns {there}"));
        for (name, address) in [(here, HERE), (there, THERE)] {
            ip(&format!("-n {name} addr add {address}/24 dev eth0"));
            ip(&format!("-n {name} link set eth0 up"));
        }
    }

    pub fn cut_cable(&self) {
        ip(&format!("-n {} link del eth0", self.here));
    }

    /// Runs `body` on a thread in that namespace. Sockets stay where they were made.
    pub fn inside<T: Send>(name: &str, body: impl FnOnce() -> T + Send) -> T {
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

    pub fn here<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        Self::inside(&self.here, body)
    }

    pub fn there<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        Self::inside(&self.there, body)
    }

    /// Two UDP sockets that are connected to each other: there, here.
    pub fn udp(&self) -> (UdpSocket, UdpSocket) {
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
    pub fn tcp(&self) -> (TcpStream, TcpStream) {
        let listener = self.here(|| TcpListener::bind((HERE, 0)).unwrap());
        connected(&listener, || self.there(|| TcpStream::connect(listener.local_addr().unwrap()).unwrap()))
    }

    /// What `tc` shows of the classes here.
    pub fn classes(&self) -> String {
        run("tc", &["-n", &self.here, "class", "show", "dev", "eth0"]).unwrap()
    }

    pub fn disciplines(&self) -> String {
        run("tc", &["-n", &self.here, "qdisc", "show"]).unwrap()
    }
}

pub fn connected(listener: &TcpListener, connect: impl FnOnce() -> TcpStream) -> (TcpStream, TcpStream) {
    let client = connect();
    let server = listener.accept().unwrap().0;
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(LONG)).unwrap();
    }
    (client, server)
}

/// `cthulhu sandbox`, and what it has found.
pub struct Sandbox {
    pub child: Child,
    pub input: ChildStdin,
    pub output: BufReader<ChildStdout>,
    pub kernel: Value,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sandbox {
    pub fn new(pair: &Pair) -> Self {
        Self::under(pair, &[])
    }

    pub fn under(pair: &Pair, wrapper: &[&str]) -> Self {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &pair.here])
            .args(wrapper)
            .args([env!("CARGO_BIN_EXE_cthulhu"), "--internal", "sandbox"])
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

    pub fn ask(&mut self, request: &Value) -> Result<Value, String> {
        writeln!(self.input, "{request}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        match answer["ok"].as_bool().unwrap() {
            true => Ok(answer),
            false => Err(answer["error"].as_str().unwrap().to_owned()),
        }
    }

    pub fn apply(&mut self, desired: &Value) -> Result<(), String> {
        let request = json!({"op": "apply", "kernel": self.kernel, "desired": desired});
        self.ask(&request).map(drop)
    }

    /// Whether the kernel has what a test needs; says so if not.
    pub fn has(&self, what: &str) -> bool {
        let has = !matches!(self.kernel[what], Value::Null | Value::Bool(false));
        if !has {
            skipped(format!("this kernel has no {what}"));
        }
        has
    }
}
