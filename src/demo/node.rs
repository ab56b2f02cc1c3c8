//! A node at work: sockets, clock and signals around its [`View`].

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::net::{TcpListener, UdpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use super::config::Config;
use super::http;
use super::journal::Journal;
use super::view::{self, PeerChange, PeerReport, View};

/// What a heartbeat says before its sender's incarnation; text, so that packet captures can be read.
const HEARTBEAT: &str = "cthulhu-demo heartbeat ";

/// More clients at a time wait.
const MAX_CLIENTS: usize = 64;

/// More packets than can wait in the socket's buffer are not drained in one go.
const MAX_DRAIN: usize = 1024;

/// Runs the node until SIGTERM or SIGINT; the error is a sentence.
pub(super) async fn serve(config: &Config, journal: &Journal) -> Result<(), String> {
    // First of all: as pid 1 it would not even notice a signal before.
    let handler = |kind| signal(kind).map_err(|e| format!("cannot watch for signals: {e}"));
    let mut terminate = handler(SignalKind::terminate())?;
    let mut interrupt = handler(SignalKind::interrupt())?;

    let (own, port) = (config.own, config.port);
    let any = (Ipv4Addr::UNSPECIFIED, port);
    let listener = TcpListener::bind(any).await.map_err(|e| format!("cannot listen on TCP port {port}: {e}"))?;
    let socket = UdpSocket::bind(any).await.map_err(|e| format!("cannot listen on UDP port {port}: {e}"))?;
    journal.say(&format!("listening on {own}:{port}"));

    let node = Node::new(config, journal, socket);
    let clients = Arc::new(Semaphore::new(MAX_CLIENTS));
    let timer = tokio::time::sleep(Duration::ZERO);
    tokio::pin!(timer);
    let mut next_beat = Instant::now();
    let mut packet = [0; 64];
    loop {
        // Packets come last, so that a flood of them stops neither the clock nor the user.
        tokio::select! {
            biased;
            _ = terminate.recv() => {
                journal.say("stopping on SIGTERM");
                return Ok(());
            }
            _ = interrupt.recv() => {
                journal.say("stopping on SIGINT");
                return Ok(());
            }
            () = &mut timer => {
                let wake = node.pulse(&mut next_beat).await;
                timer.as_mut().reset(wake.into());
            }
            (stream, permit) = accept(&listener, &clients) => {
                let render = node.renderer();
                tokio::spawn(async move {
                    http::answer(stream, render, http::REQUEST_TIMEOUT).await;
                    drop(permit);
                });
            }
            Ok((length, from)) = node.socket.recv_from(&mut packet) => {
                node.heard(&packet[..length], from);
            }
        }
    }
}

/// The next client, once there is room for one.
async fn accept(
    listener: &TcpListener,
    clients: &Arc<Semaphore>,
) -> (tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit) {
    loop {
        if let Ok(permit) = clients.clone().acquire_owned().await
            && let Ok((stream, _)) = listener.accept().await
        {
            return (stream, permit);
        }
        // Out of descriptors, say: that passes, but not at once.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

struct Node<'a> {
    config: &'a Config,
    journal: &'a Journal,
    socket: UdpSocket,
    view: Arc<Mutex<View>>,
    heartbeat: String,
    interval: Duration,
    started: Instant,
}

impl<'a> Node<'a> {
    fn new(config: &'a Config, journal: &'a Journal, socket: UdpSocket) -> Self {
        let started = Instant::now();
        // Its start time distinguishes runs without any stored state.
        let incarnation = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Self {
            config,
            journal,
            socket,
            view: Arc::new(Mutex::new(View::new(&config.peers, started))),
            heartbeat: format!("{HEARTBEAT}{incarnation}"),
            interval: view::interval(config.peers.len()),
            started,
        }
    }

    /// Sends heartbeats if they are due, declares the silent lost, and returns when to be called again.
    async fn pulse(&self, next_beat: &mut Instant) -> Instant {
        // After a pause many packets wait in the socket: they are heard first, or every peer would be lost for nothing.
        // The yield lets the runtime notice them.
        tokio::task::yield_now().await;
        let mut packet = [0; 64];
        for _ in 0..MAX_DRAIN {
            match self.socket.try_recv_from(&mut packet) {
                Ok((length, from)) => self.heard(&packet[..length], from),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {}
            }
        }
        let now = Instant::now();
        if now >= *next_beat {
            self.beat();
            // Beats missed during a pause are not made up for.
            *next_beat = (*next_beat + self.interval).max(now + self.interval / 2);
        }
        let changes = self.view.lock().tick(now);
        self.tell(&changes);
        let loss = self.view.lock().next_loss();
        loss.map_or(*next_beat, |loss| loss.min(*next_beat))
    }

    fn beat(&self) {
        for &peer in &self.config.peers {
            // One that can't be sent is like one lost on the way.
            let to = SocketAddr::from((peer, self.config.port));
            let _ = self.socket.try_send_to(self.heartbeat.as_bytes(), to);
        }
    }

    fn heard(&self, packet: &[u8], from: SocketAddr) {
        let incarnation = std::str::from_utf8(packet).ok().and_then(|text| text.strip_prefix(HEARTBEAT)?.parse().ok());
        if let (Some(incarnation), IpAddr::V4(from)) = (incarnation, from.ip()) {
            let changes = self.view.lock().heard(from, incarnation, Instant::now());
            self.tell(&changes);
        }
    }

    fn tell(&self, changes: &[PeerChange]) {
        for change in changes {
            self.journal.say(&change.to_string());
        }
    }

    /// What a client sees, rendered when its request is there.
    fn renderer(&self) -> impl Fn() -> String + Send + 'static {
        let (own, master) = (self.config.own, self.config.master);
        let (view, started) = (self.view.clone(), self.started);
        move || {
            let now = Instant::now();
            let page = Page { own, master, uptime_ms: view::millis(now, started), peers: view.lock().report(now) };
            serde_json::to_string(&page).unwrap_or_default() + "\n"
        }
    }
}

/// A node's view as shown to users.
#[derive(Serialize)]
struct Page {
    #[serde(rename = "self")]
    own: Ipv4Addr,
    master: bool,
    uptime_ms: u64,
    peers: std::collections::BTreeMap<Ipv4Addr, PeerReport>,
}
