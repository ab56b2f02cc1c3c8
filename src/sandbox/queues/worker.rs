//! The thread: packets come, wait and go on.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::super::netlink::{Message, Protocol, Socket};
use super::heap::{Heap, Packet};
use super::nfqueue::{self, Arrived, Copied};
use super::policy::{Line, PacketFate, QueuePolicy};

/// Enough for what it calls; all of it is never touched.
const STACK: usize = 128 << 10;
/// What the kernel may have for us, in bytes, while we do not run: 50,000 packets. It takes them only then.
const BACKLOG: usize = 64 << 20;
/// Verdicts are sent at the latest when they take this number of bytes.
const BATCH: usize = 32 << 10;
/// So many packets are taken before we look again for what is due: some ten microseconds.
const ROUND: usize = 32;
/// More than there is room for: all that was there when we began, and an end even if there is always one more.
const ALL: usize = 100_000;
/// Room kept for verdicts while nothing happens, in bytes.
const KEPT: usize = 4 << 10;
/// For how long a queue that is no longer wanted is served: a packet may still be on its way through the earlier rules.
const GRACE: Duration = Duration::from_secs(1);

const NLMSG_ERROR: u16 = 2;
const NLM_F_ACK: u16 = 4;

struct Order {
    wanted: BTreeMap<u16, QueuePolicy>,
    done: SyncSender<io::Result<()>>,
}

/// The thread, seen from outside.
pub(super) struct Worker {
    /// `None` when it is to end.
    orders: Option<Sender<Order>>,
    /// Written to when there are orders.
    wakeup: OwnedFd,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Worker {
    /// Starts it, in the network namespace of the calling thread.
    pub(super) fn start() -> io::Result<Self> {
        let socket = Socket::open(Protocol::Netfilter)?;
        // This needs CAP_NET_ADMIN in the host's user namespace; the default is enough for a few packets.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, BACKLOG);
        let wakeup = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let heard = wakeup.try_clone()?;
        let (orders, receiver) = channel();
        let run = move || Loop { socket, wakeup: heard, orders: receiver, seq: 0, state: WorkerState::default() }.run();
        let thread = std::thread::Builder::new().name("queues".into()).stack_size(STACK).spawn(run)?;
        Ok(Self { orders: Some(orders), wakeup, thread: Some(thread) })
    }

    /// Has it serve these queues. `None` if it has ended.
    pub(super) fn set(&mut self, wanted: BTreeMap<u16, QueuePolicy>) -> Option<io::Result<()>> {
        let (done, answer) = sync_channel(1);
        self.orders.as_ref()?.send(Order { wanted, done }).ok()?;
        self.ring();
        // If the worker has ended, the order is dropped, and its `done` with it.
        answer.recv().ok()
    }

    /// Why it has ended.
    pub(super) fn failure(mut self) -> io::Error {
        match self.end() {
            Err(error) => error,
            Ok(()) => io::Error::other("the thread that holds packets has ended"),
        }
    }

    fn ring(&self) {
        // It fails only when it has rung 2^64 times unheard.
        let _ = rustix::io::write(&self.wakeup, &1u64.to_ne_bytes());
    }

    fn end(&mut self) -> io::Result<()> {
        self.orders = None;
        self.ring();
        let ended = self.thread.take().map_or(Ok(Ok(())), JoinHandle::join);
        ended.unwrap_or_else(|_| Err(io::Error::other("the thread that holds packets has panicked")))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // No caller is left.
        let _ = self.end();
    }
}

/// One queue that is ours.
struct Bound {
    policy: QueuePolicy,
    /// What those that have passed have taken of the rate.
    line: Line,
    /// It is no longer wanted, and given up then.
    closes: Option<Instant>,
}

#[derive(Default)]
struct WorkerState {
    bound: BTreeMap<u16, Bound>,
    heap: Heap,
    rng: Rng,
    /// Encoded verdicts that wait to be sent.
    verdicts: Vec<u8>,
}

impl WorkerState {
    fn take(&mut self, arrived: Arrived<'_>) {
        let Arrived { queue, id, payload, length } = arrived;
        let policy = self.bound.get(&queue).map(|bound| bound.policy).unwrap_or_default();
        let mut packet = Packet { queue, id, altered: None };
        match policy.draw(&mut self.rng) {
            PacketFate::Lost => self.verdict(packet, false),
            // As on a real network: receivers drop a packet with a wrong checksum.
            PacketFate::Passes { corrupt: true, .. } if payload.is_empty() => self.verdict(packet, false),
            PacketFate::Passes { wait, corrupt } => {
                if corrupt {
                    packet.altered = altered(payload, &mut self.rng);
                }
                // Not the moment at which this round began: it may have come since.
                let now = Instant::now();
                let line = self.bound.get_mut(&queue).zip(policy.rate);
                match line.map_or(Some(Duration::ZERO), |(bound, rate)| bound.line.take(now, length, rate)) {
                    Some(queues) => self.heap.push(now, packet, wait.map(|wait| wait.saturating_add(queues))),
                    None => self.verdict(packet, false),
                }
            }
        }
    }

    fn verdict(&mut self, packet: Packet, accept: bool) {
        nfqueue::verdict(packet, accept).encode(0, 0, &mut self.verdicts);
    }
}

/// The packet with one bit behind its IP header turned over; `None` if there is nothing.
fn altered(payload: &[u8], rng: &mut Rng) -> Option<Box<[u8]>> {
    let begin = nfqueue::behind_header(payload)?;
    let mut altered = Box::<[u8]>::from(payload);
    altered[rng.usize(begin..payload.len())] ^= 1 << rng.u8(..8);
    Some(altered)
}

struct Loop {
    socket: Socket,
    wakeup: OwnedFd,
    orders: Receiver<Order>,
    seq: u32,
    state: WorkerState,
}

impl Loop {
    fn run(mut self) -> io::Result<()> {
        // The default lets every timer be 50 µs late.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        loop {
            self.receive_some(ROUND)?;
            self.let_go()?;
            self.close()?;
            if self.wait()? && !self.handle_commands()? {
                break;
            }
        }
        for queue in self.state.bound.keys().copied().collect::<Vec<_>>() {
            self.drain(queue)?;
        }
        Ok(())
    }

    /// Sleeps until there is something to do. True if there are orders.
    fn wait(&mut self) -> io::Result<bool> {
        let closing = self.state.bound.values().filter_map(|bound| bound.closes).min();
        let next = self.state.heap.next().into_iter().chain(closing).min();
        let timeout = next.map(|next| next.saturating_duration_since(Instant::now()));
        let timeout = timeout.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut fds = [
            PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.wakeup.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => Ok(!fds[1].revents().is_empty()),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Handles the orders. False if there will be no more.
    fn handle_commands(&mut self) -> io::Result<bool> {
        rustix::io::read(&self.wakeup, &mut [0; 8])?;
        loop {
            match self.orders.try_recv() {
                Ok(order) => {
                    let result = self.set(&order.wanted);
                    // Who ordered it may have gone.
                    let _ = order.done.send(result);
                }
                Err(TryRecvError::Empty) => return Ok(true),
                Err(TryRecvError::Disconnected) => return Ok(false),
            }
        }
    }

    fn set(&mut self, wanted: &BTreeMap<u16, QueuePolicy>) -> io::Result<()> {
        let mut new = vec![];
        for (&queue, policy) in wanted {
            if self.state.bound.contains_key(&queue) {
                continue;
            }
            let bound = self.request(&nfqueue::bind(queue));
            if bound.is_ok() {
                new.push(queue);
            }
            if let Err(error) = bound.and_then(|()| self.request(&nfqueue::configure(queue, copied(policy)))) {
                // No rule hands anything to them yet.
                new.iter().try_for_each(|queue| self.request(&nfqueue::unbind(*queue)))?;
                return Err(error);
            }
        }
        self.state.bound.extend(
            new.iter().map(|queue| (*queue, Bound { policy: wanted[queue], line: Line::default(), closes: None })),
        );
        for queue in self.state.bound.keys().copied().collect::<Vec<_>>() {
            match wanted.get(&queue) {
                Some(policy) => self.change(queue, *policy)?,
                None => self.retire(queue)?,
            }
        }
        Ok(())
    }

    fn change(&mut self, queue: u16, policy: QueuePolicy) -> io::Result<()> {
        let Some(bound) = self.state.bound.get_mut(&queue) else {
            return Ok(());
        };
        bound.closes = None;
        let before = std::mem::replace(&mut bound.policy, policy);
        if before.rate != policy.rate {
            bound.line = Line::default();
        }
        if copied(&before) != copied(&policy) {
            self.request(&nfqueue::configure(queue, copied(&policy)))?;
        }
        if before != policy {
            self.state.heap.cap_deadline(queue, Instant::now() + policy.longest());
        }
        Ok(())
    }

    fn retire(&mut self, queue: u16) -> io::Result<()> {
        let Some(bound) = self.state.bound.get_mut(&queue).filter(|bound| bound.closes.is_none()) else {
            return Ok(());
        };
        *bound = Bound { policy: QueuePolicy::default(), line: Line::default(), closes: Some(Instant::now() + GRACE) };
        self.drain(queue)
    }

    /// Lets go what a queue holds, and what has come to it meanwhile.
    fn drain(&mut self, queue: u16) -> io::Result<()> {
        self.receive_some(ALL)?;
        for packet in self.state.heap.release(queue) {
            self.state.verdict(packet, true);
            self.flush(BATCH)?;
        }
        self.flush(1)
    }

    /// Gives up the queues that have not been wanted for long enough.
    fn close(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let due = |bound: &Bound| bound.closes.is_some_and(|closes| closes <= now);
        let closing: Vec<_> =
            self.state.bound.iter().filter(|(_, bound)| due(bound)).map(|(queue, _)| *queue).collect();
        for queue in closing {
            self.drain(queue)?;
            self.request(&nfqueue::unbind(queue))?;
            self.state.bound.remove(&queue);
        }
        Ok(())
    }

    /// Lets go what is due.
    fn let_go(&mut self) -> io::Result<()> {
        let now = Instant::now();
        while let Some(packet) = self.state.heap.pop(now) {
            self.state.verdict(packet, true);
            self.flush(BATCH)?;
        }
        self.flush(1)
    }

    /// Sends the verdicts if they take at least this number of bytes.
    fn flush(&mut self, least: usize) -> io::Result<()> {
        if self.state.verdicts.len() < least {
            return Ok(());
        }
        self.socket.send(&self.state.verdicts)?;
        self.state.verdicts.clear();
        self.state.verdicts.shrink_to(KEPT);
        Ok(())
    }

    /// Receives what there is, but at most this number of datagrams.
    fn receive_some(&mut self, most: usize) -> io::Result<()> {
        for _ in 0..most {
            if !self.receive()? {
                break;
            }
        }
        Ok(())
    }

    /// Takes one datagram; false if there is none.
    fn receive(&mut self) -> io::Result<bool> {
        self.receive_and(|_, _, _| {})
    }

    /// The same; what is no packet is handed on.
    fn receive_and(&mut self, mut other: impl FnMut(u16, u32, &[u8])) -> io::Result<bool> {
        let state = &mut self.state;
        let received = self.socket.try_receive(|kind, seq, payload| match nfqueue::arrived(kind, payload) {
            Some(arrived) => state.take(arrived),
            None => other(kind, seq, payload),
        });
        match received {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            // The kernel had more than there was room for, and has dropped it.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        self.flush(BATCH)?;
        Ok(true)
    }

    /// Sends a request and looks for its acknowledgement. Packets may come before it.
    fn request(&mut self, message: &Message) -> io::Result<()> {
        // So that there is room for it.
        self.receive_some(ALL)?;
        // 0 is what verdicts have; the kernel complains of those whose packet has gone.
        self.seq = self.seq.wrapping_add(1).max(1);
        let asked = self.seq;
        let mut bytes = vec![];
        message.encode(asked, NLM_F_ACK, &mut bytes);
        self.socket.send(&bytes)?;
        let mut answer = None;
        // The kernel answers before it returns from the sending.
        while answer.is_none() {
            let received = self.receive_and(|kind, seq, payload| {
                if kind == NLMSG_ERROR && seq == asked {
                    answer = payload.first_chunk().map(|code| i32::from_ne_bytes(*code).saturating_neg());
                }
            })?;
            if !received {
                break;
            }
        }
        match answer {
            Some(0) => Ok(()),
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Err(rustix::io::Errno::NOBUFS.into()),
        }
    }
}

/// How much of packets has to be copied.
fn copied(policy: &QueuePolicy) -> Copied {
    match policy {
        _ if !policy.corrupt.is_none() => Copied::Whole,
        _ if policy.rate.is_some() => Copied::Length,
        _ => Copied::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One whose thread does that.
    fn worker(run: impl FnOnce(Receiver<Order>) -> io::Result<()> + Send + 'static) -> Worker {
        let wakeup = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        let (orders, receiver) = channel();
        Worker { orders: Some(orders), wakeup, thread: Some(std::thread::spawn(move || run(receiver))) }
    }

    fn down() -> io::Error {
        rustix::io::Errno::NETDOWN.into()
    }

    #[test]
    fn a_thread_that_has_failed_is_told() {
        let mut failed = worker(|_| Err(down()));
        while failed.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            std::thread::yield_now();
        }
        assert!(failed.set(BTreeMap::new()).is_none());
        assert_eq!(failed.failure().raw_os_error(), down().raw_os_error());
    }

    #[test]
    fn a_thread_that_fails_over_an_order_is_told() {
        let mut failing = worker(|orders| {
            orders.recv().unwrap();
            Err(down())
        });
        assert!(failing.set(BTreeMap::new()).is_none());
        assert_eq!(failing.failure().raw_os_error(), down().raw_os_error());
    }

    #[test]
    fn a_thread_that_panics_is_told() {
        let mut panicking = worker(|_| panic!("as asked"));
        assert!(panicking.set(BTreeMap::new()).is_none());
        assert!(panicking.failure().to_string().contains("panicked"));
    }

    #[test]
    fn one_bit_behind_the_header_is_turned_over() {
        let mut rng = Rng::with_seed(1);
        let mut packet = vec![0; 40];
        packet[0] = 0x45;
        for _ in 0..1000 {
            let altered = altered(&packet, &mut rng).unwrap();
            assert_eq!(altered[..20], packet[..20]);
            assert_eq!(altered[20..].iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
        }
        assert_eq!(super::altered(&packet[..20], &mut rng), None);
    }
}
