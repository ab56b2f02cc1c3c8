use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use rustix::thread::CapabilitySet;

use super::super::{QueuePolicy, Queues};
use super::in_namespace;
use super::rules::Rules;
use crate::cluster::faults::{Delay, Share};

/// Any sender; the loopback interface has all of 127.0.0.0/8.
const SENDER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// No step is expected to take this long.
const LONG: Duration = Duration::from_secs(120);
/// After this silence nothing more comes.
const SILENCE: Duration = Duration::from_secs(10);
/// How often a busy machine may be late.
const TRIES: usize = 20;
const MS: Duration = Duration::from_millis(1);

fn delay(time: Duration, jitter: Duration) -> QueuePolicy {
    QueuePolicy { delay: Some(Delay { time, jitter }), ..QueuePolicy::default() }
}

fn percent(share: u32) -> Share {
    Share::millionths(share * 10_000).unwrap()
}

/// Queue 7, for what comes from [`SENDER`].
struct Way {
    queues: Queues,
    rules: Rules,
    from: UdpSocket,
    to: UdpSocket,
}

/// What came: the number of the packet, and how long it was on its way.
type Came = Vec<(u64, Duration)>;

impl Way {
    fn new(hold: QueuePolicy) -> Self {
        let to = UdpSocket::bind("127.0.0.1:0").unwrap();
        let from = UdpSocket::bind((SENDER, 0)).unwrap();
        from.connect(to.local_addr().unwrap()).unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&to, 16 << 20).unwrap();
        let mut way = Self { queues: Queues::default(), rules: Rules::new(), from, to };
        way.set(hold);
        way.rules.set(&[(SENDER, 7)]);
        way
    }

    fn set(&mut self, hold: QueuePolicy) {
        self.queues.set(&BTreeMap::from([(7, hold)])).unwrap();
    }

    /// Sends this number of packets of 200 bytes whose content reveals a flipped bit.
    fn send(&self, count: u64, pause: Duration, start: Instant) {
        for number in 0..count {
            let sent = start.elapsed().as_nanos() as u64;
            let mut packet = vec![number as u8; 200];
            packet[..8].copy_from_slice(&number.to_be_bytes());
            packet[8..16].copy_from_slice(&sent.to_be_bytes());
            packet[16..24].copy_from_slice(&(number ^ sent).to_be_bytes());
            self.from.send(&packet).unwrap();
            std::thread::sleep(pause);
        }
    }

    /// Receives packets until there were this many, or none came for a while.
    fn take(&self, most: u64, timeout: Duration, start: Instant) -> Came {
        self.to.set_read_timeout(Some(timeout)).unwrap();
        let mut came = vec![];
        let mut packet = [0; 300];
        while (came.len() as u64) < most {
            let Ok(length) = self.to.recv(&mut packet) else { break };
            let now = start.elapsed();
            let word = |at: usize| u64::from_be_bytes(packet[at..at + 8].try_into().unwrap());
            let (number, sent) = (word(0), word(8));
            assert_eq!(length, 200);
            assert_eq!(word(16), number ^ sent, "never is anything wrong delivered");
            assert!(packet[24..200].iter().all(|byte| *byte == number as u8), "never is anything wrong delivered");
            came.push((number, now - Duration::from_nanos(sent)));
        }
        came
    }

    /// Sends and takes at once.
    fn traffic(&self, count: u64, pause: Duration, timeout: Duration) -> Came {
        let start = Instant::now();
        std::thread::scope(|scope| {
            let taker = scope.spawn(|| self.take(count, timeout, start));
            self.send(count, pause, start);
            taker.join().unwrap()
        })
    }
}

fn in_order(came: &Came) -> bool {
    came.is_sorted_by_key(|(number, _)| *number)
}

/// Median and the 95th of a hundred, printed.
fn quantiles(asked: &str, came: &Came) -> (Duration, Duration) {
    let mut times: Vec<_> = came.iter().map(|(_, time)| *time).collect();
    times.sort();
    let (median, high) = (times[times.len() / 2], times[times.len() * 95 / 100]);
    eprintln!("{asked} asked: half of the packets took up to {median:.2?}, 95 of 100 up to {high:.2?}");
    (median, high)
}

#[test]
fn each_packet_waits_as_long_as_asked() {
    in_namespace("packets::each_packet_waits_as_long_as_asked", || {
        let mut way = Way::new(QueuePolicy::default());
        for time in [1, 5, 50] {
            let time = MS * time;
            way.set(delay(time, Duration::ZERO));
            // A busy machine may be late, but not every time.
            let in_time = (0..TRIES).any(|_| {
                let came = way.traffic(200, MS, LONG);
                assert_eq!(came.len(), 200);
                assert!(in_order(&came), "{came:?}");
                assert!(came.iter().all(|(_, took)| *took >= time), "{came:?}");
                quantiles(&format!("{time:?}"), &came).0 < time + 100 * MS
            });
            assert!(in_time);
        }
    });
}

#[test]
fn jitter_spreads_and_keeps_the_order() {
    in_namespace("packets::jitter_spreads_and_keeps_the_order", || {
        let way = Way::new(delay(20 * MS, 10 * MS));
        // So far apart that none waits for one before it.
        let shorter = (0..TRIES).any(|_| {
            let came = way.traffic(50, 25 * MS, LONG);
            assert_eq!(came.len(), 50);
            assert!(in_order(&came) && came.iter().all(|(_, took)| *took >= 10 * MS), "{came:?}");
            quantiles("20 ms ± 10 ms", &came);
            came.iter().any(|(_, took)| *took < 20 * MS)
        });
        assert!(shorter, "as likely as one side of a coin");
        let came = way.traffic(2000, Duration::ZERO, LONG);
        assert!(came.len() == 2000 && in_order(&came));
    });
}

#[test]
fn those_that_reorder_picks_overtake_and_the_others_do_not() {
    in_namespace("packets::those_that_reorder_picks_overtake_and_the_others_do_not", || {
        let way = Way::new(QueuePolicy { reorder: percent(20), ..delay(200 * MS, Duration::ZERO) });
        // All of them are on their way at once, so that the first who comes has overtaken all who wait.
        let came = way.traffic(1000, Duration::ZERO, LONG);
        assert_eq!(came.len(), 1000);
        // By the order, not the time alone: a packet that did not wait may be received late.
        let overtakes = |at: usize, number: u64| came[at..].iter().any(|(later, _)| *later < number);
        let (overtook, waited): (Vec<_>, Vec<_>) =
            came.iter().enumerate().partition(|(at, (number, took))| *took < 200 * MS || overtakes(*at, *number));
        let [waited, overtook] = [waited, overtook].map(|part| part.into_iter().map(|(_, one)| *one).collect::<Came>());
        assert!(in_order(&waited) && in_order(&overtook));
        assert!((100..=300).contains(&overtook.len()), "{} overtook", overtook.len());
        assert!(!in_order(&came));
    });
}

#[test]
fn a_share_is_lost() {
    in_namespace("packets::a_share_is_lost", || {
        let mut way = Way::new(QueuePolicy { loss: percent(50), ..QueuePolicy::default() });
        let came = way.traffic(2000, Duration::ZERO, SILENCE);
        // Six standard deviations.
        assert!((866..=1134).contains(&came.len()) && in_order(&came), "{}", came.len());
        way.set(QueuePolicy { loss: Share::ALL, ..QueuePolicy::default() });
        assert_eq!(way.traffic(100, Duration::ZERO, 100 * MS), []);
        way.set(QueuePolicy::default());
        assert_eq!(way.traffic(100, Duration::ZERO, LONG).len(), 100);
    });
}

#[test]
fn what_is_corrupted_reaches_nobody() {
    in_namespace("packets::what_is_corrupted_reaches_nobody", || {
        let mut way = Way::new(QueuePolicy { corrupt: percent(50), ..QueuePolicy::default() });
        // `take` looks at every byte.
        let came = way.traffic(2000, Duration::ZERO, SILENCE);
        assert!((866..=1134).contains(&came.len()) && in_order(&came), "{}", came.len());
        way.set(QueuePolicy { corrupt: Share::ALL, ..delay(MS, Duration::ZERO) });
        assert_eq!(way.traffic(100, Duration::ZERO, 100 * MS), []);
        let errors = std::fs::read_to_string("/proc/net/snmp").unwrap();
        let udp: Vec<_> = errors.lines().filter(|line| line.starts_with("Udp: ")).map(str::split_whitespace).collect();
        let [names, values] = udp.try_into().map_err(|_| errors.clone()).unwrap();
        let wrong = names.zip(values).find(|(name, _)| *name == "InCsumErrors").unwrap().1;
        // They did come, as wrong as on a wire.
        assert!(wrong.parse::<u64>().unwrap() > 800, "{errors}");
    });
}

#[test]
fn tcp_gets_through_a_corrupting_queue_unspoilt() {
    in_namespace("packets::tcp_gets_through_a_corrupting_queue_unspoilt", || {
        let way = Way::new(QueuePolicy { corrupt: percent(3), ..QueuePolicy::default() });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sent: Vec<u8> = (0..4 << 20u32).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| connect(SENDER, listener.local_addr().unwrap()).write_all(&sent).unwrap());
            let mut came = vec![];
            listener.accept().unwrap().0.read_to_end(&mut came).unwrap();
            assert!(came == sent);
        });
        drop(way);
    });
}

fn connect(from: Ipv4Addr, to: SocketAddr) -> std::net::TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let own = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&own, &SocketAddr::from((from, 0))).unwrap();
    connect(&own, &to).unwrap();
    own.into()
}

#[test]
fn what_a_queue_holds_is_let_go_when_it_is_no_longer_wanted() {
    in_namespace("packets::what_a_queue_holds_is_let_go_when_it_is_no_longer_wanted", || {
        let hour = delay(3600 * Duration::from_secs(1), Duration::ZERO);
        let mut way = Way::new(hour);
        let start = Instant::now();
        for round in 0..3 {
            way.send(500, Duration::ZERO, start);
            assert_eq!(way.take(1, 50 * MS, start), []);
            match round {
                0 => way.set(delay(MS, Duration::ZERO)),
                1 => way.queues.set(&BTreeMap::new()).unwrap(),
                // Dropped, as when the process ends.
                _ => way.queues = Queues::default(),
            }
            let came = way.take(500, LONG, start);
            assert!(came.len() == 500 && in_order(&came), "round {round}: {}", came.len());
            if round < 2 {
                way.set(hour);
            }
        }
    });
}

#[test]
fn a_queue_that_is_not_wanted_is_given_up_and_loses_nothing_that_comes_meanwhile() {
    in_namespace("packets::a_queue_that_is_not_wanted_is_given_up_and_loses_nothing_that_comes_meanwhile", || {
        let mut way = Way::new(delay(MS, Duration::ZERO));
        let mut other = Queues::default();
        let taken = other.set(&BTreeMap::from([(6, QueuePolicy::default()), (7, QueuePolicy::default())])).unwrap_err();
        assert!(taken.raw_os_error().is_some(), "{taken}");
        // Of its two, none is kept.
        way.queues.set(&BTreeMap::from([(6, QueuePolicy::default()), (7, QueuePolicy::default())])).unwrap();
        way.queues.set(&BTreeMap::new()).unwrap();
        assert_eq!(way.traffic(100, Duration::ZERO, LONG).len(), 100);
        way.rules.set(&[]);
        let start = Instant::now();
        while let Err(error) = other.set(&BTreeMap::from([(7, QueuePolicy::default())])) {
            assert!(start.elapsed() < LONG, "{error}");
            std::thread::sleep(10 * MS);
        }
        assert_eq!(way.traffic(100, Duration::ZERO, LONG).len(), 100);
    });
}

#[test]
fn nothing_wanted_no_thread() {
    let mut queues = Queues::default();
    queues.set(&BTreeMap::new()).unwrap();
    assert!(queues.worker.is_none());
}

#[test]
fn without_the_right_to_it_is_an_error() {
    // Capabilities are a thread's own.
    let without = std::thread::spawn(|| {
        let mut sets = rustix::thread::capabilities(None).unwrap();
        sets.effective.remove(CapabilitySet::NET_ADMIN);
        rustix::thread::set_capabilities(None, sets).unwrap();
        Queues::default().set(&BTreeMap::from([(7, QueuePolicy::default())])).unwrap_err()
    });
    let error = without.join().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
}
