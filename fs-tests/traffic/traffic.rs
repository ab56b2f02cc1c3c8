//! An agent that runs in every node of the tests of network faults, and does with real sockets what it is told.
//!
//! It is told over TCP port 7000, a line a request, a line an answer; `fs-tests/traffic.py` asks. Datagrams come to UDP
//! port 7001, connections of other agents to TCP port 7002. Only std is used, so that plain rustc builds it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

const CONTROL: u16 = 7000;
const DATAGRAMS: u16 = 7001;
const CONNECTIONS: u16 = 7002;
/// Kind, id, sequence number, time of sending, and the sum at the end.
const LEAST: usize = 1 + 8 + 4 + 8 + 8;

type Answer = Result<String, String>;

/// What has come of one stream of numbered packets, or of one flood of bytes.
#[derive(Default)]
struct Stream {
    seen: HashSet<u32>,
    duplicates: u64,
    /// Came after one with a higher number.
    late: u64,
    highest: Option<u32>,
    /// For the first of those: number, highest number so far, how long it was on its way in ns, how long the one before it.
    overtaken: Vec<[u64; 4]>,
    bytes: u64,
    packets: u64,
    /// Bytes of a flood that are not what was sent in their place.
    wrong: u64,
    first: u64,
    last: u64,
    /// Time from sending to receiving, in ns, in order of arrival.
    delays: Vec<u64>,
}

/// One connection, at either of its ends.
struct Held {
    writer: TcpStream,
    text: String,
    /// `open`, or how it ended: `fin`, or the name of the error.
    state: String,
}

#[derive(Default)]
struct Heard {
    /// All that have ever come, and those not yet told.
    tokens: HashSet<u64>,
    untold: BTreeSet<u64>,
    /// Datagrams that are not what any agent has sent.
    bad: u64,
    streams: HashMap<u64, Stream>,
    held: HashMap<String, Held>,
}

struct Agent {
    heard: Mutex<Heard>,
    news: Condvar,
    socket: UdpSocket,
}

#[repr(C)]
struct Timespec {
    seconds: i64,
    nanos: i64,
}

unsafe extern "C" {
    fn clock_gettime(clock: i32, time: *mut Timespec) -> i32;
}

/// CLOCK_MONOTONIC in ns: the same for all containers of one kernel, which std's Instant doesn't give out.
fn now() -> u64 {
    let mut time = Timespec { seconds: 0, nanos: 0 };
    // SAFETY: a valid pointer to a struct of the layout that 64-bit Linux has.
    unsafe { clock_gettime(1, &mut time) };
    time.seconds as u64 * 1_000_000_000 + time.nanos as u64
}

/// FNV-1a.
fn sum(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

fn packet(kind: u8, id: u64, number: u32, size: usize) -> Vec<u8> {
    let mut data = vec![kind];
    data.extend(id.to_be_bytes());
    data.extend(number.to_be_bytes());
    data.extend(now().to_be_bytes());
    data.resize(size.max(LEAST) - 8, 0xa5);
    let sum = sum(&data);
    data.extend(sum.to_be_bytes());
    data
}

fn kind(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "refused".into(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "reset".into(),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "timeout".into(),
        _ => format!("errno-{}", error.raw_os_error().unwrap_or(0)),
    }
}

fn number<T: std::str::FromStr>(word: Option<&str>) -> Result<T, String> {
    word.and_then(|word| word.parse().ok()).ok_or_else(|| "a number is missing or wrong".into())
}

fn word<'a>(words: &mut impl Iterator<Item = &'a str>) -> Result<&'a str, String> {
    words.next().ok_or_else(|| "a word is missing".into())
}

fn main() -> io::Result<()> {
    let socket = UdpSocket::bind(("0.0.0.0", DATAGRAMS))?;
    let agent = Arc::new(Agent { heard: Mutex::default(), news: Condvar::new(), socket });
    let connections = TcpListener::bind(("0.0.0.0", CONNECTIONS))?;
    let control = TcpListener::bind(("0.0.0.0", CONTROL))?;
    let receiver = agent.clone();
    thread::spawn(move || receiver.receive());
    let acceptor = agent.clone();
    thread::spawn(move || {
        for stream in connections.incoming().flatten() {
            let agent = acceptor.clone();
            thread::spawn(move || agent.serve(stream));
        }
    });
    println!("listening");
    for stream in control.incoming().flatten() {
        let agent = agent.clone();
        thread::spawn(move || agent.obey(stream));
    }
    Ok(())
}

impl Agent {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().expect("no thread panics with the lock")
    }

    /// Takes in all datagrams.
    fn receive(&self) {
        let mut buffer = [0; 65_536];
        loop {
            let Ok((length, _)) = self.socket.recv_from(&mut buffer) else { continue };
            self.datagram(&buffer[..length], now());
        }
    }

    fn datagram(&self, data: &[u8], at: u64) {
        let mut heard = self.heard();
        let Some((body, tail)) = data.split_last_chunk::<8>().filter(|_| data.len() >= LEAST) else {
            heard.bad += 1;
            return;
        };
        let eight = |from: usize| u64::from_be_bytes(body[from..from + 8].try_into().expect("eight bytes"));
        if sum(body) != u64::from_be_bytes(*tail) {
            heard.bad += 1;
            return;
        }
        let id = eight(1);
        match body[0] {
            b'T' => {
                heard.tokens.insert(id);
                heard.untold.insert(id);
            }
            b'S' => {
                let number = u32::from_be_bytes(body[9..13].try_into().expect("four bytes"));
                let stream = heard.streams.entry(id).or_default();
                stream.take(data.len() as u64, at);
                let delay = at.saturating_sub(eight(13));
                if let Some(highest) = stream.highest.filter(|highest| *highest > number) {
                    stream.late += 1;
                    if stream.overtaken.len() < 5 {
                        let before = stream.delays.last().copied().unwrap_or_default();
                        stream.overtaken.push([number.into(), highest.into(), delay, before]);
                    }
                }
                stream.delays.push(delay);
                stream.highest = stream.highest.max(Some(number));
                stream.duplicates += u64::from(!stream.seen.insert(number));
            }
            _ => heard.bad += 1,
        }
        drop(heard);
        self.news.notify_all();
    }

    /// What another agent has connected for is in its first line.
    fn serve(&self, stream: TcpStream) {
        let Ok(writer) = stream.try_clone() else { return };
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        if reader.read_line(&mut line).is_err() {
            return;
        }
        match line.trim_end().split_once(' ') {
            Some(("hold", name)) => self.hold(name, writer, reader),
            Some(("flood", id)) => {
                let Ok(id) = id.parse() else { return };
                let (mut buffer, mut at) = (vec![0; 65_536], 0);
                while let Ok(length @ 1..) = reader.read(&mut buffer) {
                    let wrong = (at..).zip(&buffer[..length]).filter(|(at, byte)| **byte != flooded(*at)).count();
                    at += length as u64;
                    let mut heard = self.heard();
                    let stream = heard.streams.entry(id).or_default();
                    stream.take(length as u64, now());
                    stream.wrong += wrong as u64;
                    drop(heard);
                    self.news.notify_all();
                }
            }
            _ => {}
        }
    }

    /// Reads from a connection until it ends.
    fn hold(&self, name: &str, writer: TcpStream, mut reader: impl Read) {
        self.heard().held.insert(name.into(), Held { writer, text: String::new(), state: "open".into() });
        self.news.notify_all();
        let mut buffer = [0; 4096];
        loop {
            let result = reader.read(&mut buffer);
            let mut heard = self.heard();
            let Some(held) = heard.held.get_mut(name) else { return };
            match result {
                Ok(0) => held.state = "fin".into(),
                Ok(length) => held.text.push_str(&String::from_utf8_lossy(&buffer[..length])),
                Err(error) => held.state = kind(&error),
            }
            let over = held.state != "open";
            drop(heard);
            self.news.notify_all();
            if over {
                return;
            }
        }
    }

    /// Answers requests, a line each, until the other side goes.
    fn obey(self: Arc<Self>, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let Ok(mut writer) = stream.try_clone() else { return };
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            let mut words = line.split(' ');
            let answer = match self.request(words.next().unwrap_or_default(), &mut words, &writer) {
                Ok(answer) => format!("{answer}\n"),
                Err(sentence) => format!("wrong: {line}: {sentence}\n"),
            };
            if writer.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn request<'a>(
        self: &Arc<Self>,
        verb: &str,
        words: &mut impl Iterator<Item = &'a str>,
        asker: &TcpStream,
    ) -> Answer {
        match verb {
            "asker" => asker.peer_addr().map(|address| address.ip().to_string()).map_err(|error| error.to_string()),
            "send" => self.send(words),
            "await" => self.arrived(words),
            "seen" => Ok(std::mem::take(&mut self.heard().untold)
                .iter()
                .fold(String::new(), |all, one| format!("{all} {one}"))),
            "stream" => stream(words),
            "got" => {
                let id = number(words.next())?;
                Ok(self.heard().got(id))
            }
            "delays" => {
                let id = number(words.next())?;
                let heard = self.heard();
                let delays = heard.streams.get(&id).map_or(&[][..], |stream| &stream.delays);
                Ok(delays.iter().fold(String::new(), |all, one| format!("{all} {one}")))
            }
            "until" => {
                let (id, millis, packets, bytes) = (
                    number(words.next())?,
                    number(words.next())?,
                    number::<u64>(words.next())?,
                    number::<u64>(words.next())?,
                );
                self.wait(millis, |heard| {
                    heard.streams.get(&id).is_some_and(|stream| stream.packets >= packets && stream.bytes >= bytes)
                });
                Ok(self.heard().got(id))
            }
            "counter" => counter(word(words)?, word(words)?),
            "connect" => self.connect(word(words)?, word(words)?, number(words.next())?),
            "say" => {
                let name = word(words)?;
                let text: Vec<&str> = words.collect();
                let mut heard = self.heard();
                let held = heard.held.get_mut(name).ok_or("no such connection")?;
                // A line is far less than a socket takes at once, so this never waits.
                Ok(held
                    .writer
                    .write_all(format!("{}\n", text.join(" ")).as_bytes())
                    .map_or_else(|error| kind(&error), |()| "sent".into()))
            }
            "hear" => {
                let (name, millis) = (word(words)?, number(words.next())?);
                let text = words.collect::<Vec<_>>().join(" ");
                self.wait(millis, |heard| {
                    heard.held.get(name).is_some_and(|held| held.state != "open" || held.text.contains(&text))
                });
                self.heard().told(name)
            }
            "ended" => {
                let (name, millis) = (word(words)?, number(words.next())?);
                self.wait(millis, |heard| heard.held.get(name).is_some_and(|held| held.state != "open"));
                self.heard().told(name)
            }
            "close" => {
                let held = self.heard().held.remove(word(words)?).ok_or("no such connection")?;
                let _ = held.writer.shutdown(Shutdown::Both);
                Ok("closed".into())
            }
            "via" => via(word(words)?, &words.collect::<Vec<_>>().join(" ")),
            "knock" => knock(word(words)?, number(words.next())?),
            "connecting" => connecting(word(words)?, number(words.next())?, number(words.next())?),
            "flood" => flood(word(words)?, number(words.next())?, number(words.next())?),
            _ => Err("no such request".into()),
        }
    }

    /// Waits for something to have been heard, for so many ms at most.
    fn wait(&self, millis: u64, enough: impl Fn(&Heard) -> bool) {
        let _ = self.news.wait_timeout_while(self.heard(), Duration::from_millis(millis), |heard| !enough(heard));
    }

    /// `send TOKEN ADDRESS...`: a datagram each. Tells what could not be sent.
    fn send<'a>(&self, words: &mut impl Iterator<Item = &'a str>) -> Answer {
        let mut failed = String::new();
        while let Some(token) = words.next() {
            let data = packet(b'T', number(Some(token))?, 0, LEAST);
            let to = word(words)?;
            if let Err(error) = self.socket.send_to(&data, to) {
                let _ = write!(failed, " {to}: {}", kind(&error));
            }
        }
        Ok(format!("sent{failed}"))
    }

    /// `await MS TOKEN...`: until all have come. Tells which have not.
    fn arrived<'a>(&self, words: &mut impl Iterator<Item = &'a str>) -> Answer {
        let millis = number(words.next())?;
        let wanted = words.map(|word| number(Some(word))).collect::<Result<Vec<u64>, _>>()?;
        self.wait(millis, |heard| wanted.iter().all(|token| heard.tokens.contains(token)));
        let heard = self.heard();
        let missing = wanted.iter().filter(|token| !heard.tokens.contains(token));
        Ok(missing.fold(String::new(), |all, one| format!("{all} {one}")))
    }

    /// `connect NAME ADDRESS MS`: opens a connection that both ends know as NAME.
    fn connect(self: &Arc<Self>, name: &str, to: &str, millis: u64) -> Answer {
        let to = to.parse().map_err(|_| "no address")?;
        let mut stream = match TcpStream::connect_timeout(&to, Duration::from_millis(millis)) {
            Ok(stream) => stream,
            Err(error) => return Ok(kind(&error)),
        };
        let _ = stream.set_nodelay(true);
        let started = stream.write_all(format!("hold {name}\n").as_bytes()).and_then(|()| stream.try_clone());
        let writer = match started {
            Ok(writer) => writer,
            Err(error) => return Ok(kind(&error)),
        };
        let (agent, name) = (self.clone(), name.to_string());
        self.heard().held.remove(&name);
        let known = name.clone();
        thread::spawn(move || agent.hold(&name, writer, stream));
        self.wait(10_000, |heard| heard.held.contains_key(&known));
        Ok("accepted".into())
    }
}

impl Stream {
    fn take(&mut self, bytes: u64, at: u64) {
        if self.packets == 0 {
            self.first = at;
        }
        self.last = at;
        self.packets += 1;
        self.bytes += bytes;
    }
}

impl Heard {
    /// All that is known of a stream, as JSON. Times in ns.
    fn got(&self, id: u64) -> String {
        let none = Stream::default();
        let stream = self.streams.get(&id).unwrap_or(&none);
        format!(
            "{{\"packets\": {}, \"distinct\": {}, \"duplicates\": {}, \"late\": {}, \"overtaken\": {:?}, \"bytes\": {}, \"wrong\": {}, \"first\": {}, \"last\": {}, \"bad\": {}}}",
            stream.packets,
            stream.seen.len(),
            stream.duplicates,
            stream.late,
            stream.overtaken,
            stream.bytes,
            stream.wrong,
            stream.first,
            stream.last,
            self.bad
        )
    }

    /// State and text of a connection.
    fn told(&self, name: &str) -> Answer {
        match self.held.get(name) {
            Some(held) => Ok(format!("{} {}", held.state, held.text.replace('\n', "/"))),
            None => Ok("none ".into()),
        }
    }
}

/// The byte of a flood at a place: no piece of it is like another.
fn flooded(at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// A value of /proc/net/snmp, as of `Tcp` `RetransSegs`, or of /proc/net/netstat, as of `TcpExt` `TCPOFOQueue`.
fn counter(group: &str, name: &str) -> Answer {
    let file = if group.ends_with("Ext") { "/proc/net/netstat" } else { "/proc/net/snmp" };
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(group)?.strip_prefix(": "));
    let (names, values) = lines.next().zip(lines.next()).ok_or("no such group")?;
    let mut pairs = names.split(' ').zip(values.split(' '));
    pairs.find(|pair| pair.0 == name).map(|pair| pair.1.into()).ok_or_else(|| "no such counter".into())
}

/// `stream ID ADDRESS COUNT SIZE BURST MICROS`: numbered packets of SIZE bytes, BURST at once and then a pause of MICROS; 0:
/// as many as the socket takes. What a late clock has missed is not caught up with: a receiver could not take it.
fn stream<'a>(words: &mut impl Iterator<Item = &'a str>) -> Answer {
    let (id, to) = (number(words.next())?, word(words)?);
    let (count, size, burst): (u32, _, u32) = (number(words.next())?, number(words.next())?, number(words.next())?);
    let pause = Duration::from_micros(number(words.next())?);
    // Of its own: one that waits for a slow link would hold back all others.
    let socket = UdpSocket::bind("0.0.0.0:0").map_err(|error| error.to_string())?;
    let mut failed = 0;
    for number in 0..count {
        if burst > 0 && number % burst == 0 {
            thread::sleep(pause);
        }
        failed += u32::from(socket.send_to(&packet(b'S', id, number, size), to).is_err());
    }
    Ok(format!("{{\"sent\": {}, \"failed\": {failed}}}", count - failed))
}

/// Sends from a connected UDP socket until it hears that it is not wanted. Once a second: kernels limit such answers.
/// `denied` comes first if a send was not permitted.
fn knock(to: &str, millis: u64) -> Answer {
    let end = Instant::now() + Duration::from_millis(millis);
    let mut denied = "";
    let mut knocking = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(to)?;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            match socket.send(&packet(b'T', 0, 0, LEAST)) {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => denied = "denied ",
                sent => drop(sent?),
            }
            socket.set_read_timeout(Some(left.min(Duration::from_secs(1))))?;
            match socket.recv(&mut [0; 64]) {
                Ok(_) => return Ok("answered"),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
        Ok("timeout")
    };
    let end = knocking().map_or_else(|error| kind(&error), Into::into);
    Ok(format!("{denied}{end}"))
}

/// Opens and closes so many connections, one after the other. How long each took to be there, in ns.
fn connecting(to: &str, count: usize, millis: u64) -> Answer {
    let to = to.parse().map_err(|_| "no address")?;
    let mut took = String::new();
    for _ in 0..count {
        let begin = now();
        match TcpStream::connect_timeout(&to, Duration::from_millis(millis)) {
            Ok(_) => drop(write!(took, " {}", now() - begin)),
            Err(error) => return Err(kind(&error)),
        }
    }
    Ok(took)
}

/// Sends so many bytes over a connection of its own; returns when the receiver has closed it, having read them all.
fn flood(to: &str, bytes: usize, id: u64) -> Answer {
    let flooding = || {
        let mut stream = TcpStream::connect(to)?;
        stream.write_all(format!("flood {id}\n").as_bytes())?;
        let data: Vec<u8> = (0..bytes as u64).map(flooded).collect();
        stream.write_all(&data)?;
        stream.shutdown(Shutdown::Write)?;
        stream.read(&mut [0; 1])
    };
    Ok(flooding().map_or_else(|error| kind(&error), |_| "sent".into()))
}

/// Has another agent answer a request: for when the way between the host and that one is cut.
fn via(to: &str, request: &str) -> Answer {
    let asking = || {
        let mut stream = TcpStream::connect(to)?;
        stream.write_all(format!("{request}\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok::<_, io::Error>(answer.trim_end_matches('\n').to_string())
    };
    asking().map_err(|error| error.to_string())
}
