//! Event streams, logs and attachments. None needs a task: the world writes, the reader's poll reads.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use futures_util::{StreamExt, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Shared;
use super::labels::carries;
use super::script::Gate;
use crate::engine::{Attachment, BoxStream, EngineError, Event, Labels, LogChunk, Result};
use crate::sync::{Mutex, mpsc, select, watch};

/// The error of every call while the engine is disconnected.
pub(super) fn unreachable() -> EngineError {
    EngineError::Unreachable("the simulated connection is down".to_owned())
}

/// All listeners to events.
#[derive(Default)]
pub(super) struct Bus {
    /// Each with the label asked for.
    subscribers: Vec<(String, mpsc::UnboundedSender<Result<Event>>)>,
    /// How many events will still be lost.
    losing: u64,
    /// Whether each event is delivered twice.
    twice: bool,
    /// What is kept back, if anything is, with the labels of its container.
    held: Option<Vec<(Labels, Event)>>,
}

impl Bus {
    /// A new listener to events of containers that carry `label`.
    pub(crate) fn subscribe(&mut self, label: &str) -> mpsc::UnboundedReceiver<Result<Event>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.subscribers.push((label.to_owned(), sender));
        receiver
    }

    /// Delivers an event of a container with these labels.
    pub(crate) fn publish(&mut self, labels: &Labels, event: &Event) {
        if self.losing > 0 {
            self.losing -= 1;
            return;
        }
        if let Some(held) = &mut self.held {
            held.push((labels.clone(), event.clone()));
            return;
        }
        self.send(labels, event);
    }

    fn send(&mut self, labels: &Labels, event: &Event) {
        let copies = if self.twice { 2 } else { 1 };
        self.subscribers.retain(|(label, sender)| {
            if !carries(labels, label) {
                return !sender.is_closed();
            }
            (0..copies).all(|_| sender.send(Ok(event.clone())).is_ok())
        });
    }

    /// Keeps events back from now on.
    pub(crate) fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Delivers what was kept back, as `arrange` leaves it, and keeps nothing back any more.
    pub(crate) fn deliver(&mut self, arrange: impl FnOnce(&mut Vec<Event>)) {
        let held = self.held.take().unwrap_or_default();
        let mut events = held.iter().map(|(_, event)| event.clone()).collect();
        arrange(&mut events);
        for event in events {
            if let Some((labels, _)) = held.iter().find(|(_, held)| held.container == event.container) {
                self.send(labels, &event);
            }
        }
    }

    /// Loses that many events more.
    pub(crate) fn lose(&mut self, count: u64) {
        self.losing += count;
    }

    /// Whether to deliver each event twice.
    pub(crate) fn duplicate(&mut self, twice: bool) {
        self.twice = twice;
    }

    /// Ends every stream with an error. What was kept back was on its way, and is lost.
    pub(crate) fn disconnect(&mut self) {
        if let Some(held) = &mut self.held {
            held.clear();
        }
        for (_, sender) in self.subscribers.drain(..) {
            // A listener that has gone needs no error.
            let _ = sender.send(Err(unreachable()));
        }
    }
}

/// The stream of what a channel receives.
pub(super) fn received<T: Send + 'static>(receiver: mpsc::UnboundedReceiver<T>) -> BoxStream<T> {
    stream::unfold(receiver, async |mut receiver| {
        let item = receiver.recv().await?;
        Some((item, receiver))
    })
    .boxed()
}

/// A container's output of all its runs.
pub(super) struct Journal {
    log: Mutex<Log>,
    /// Notified of every change.
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Log {
    /// What was written, oldest first.
    pieces: Vec<Piece>,
    /// The present or last run, counted from 1.
    run: u64,
    /// Whether that run lasts.
    open: bool,
}

impl Log {
    fn add(&mut self, time: i64, bytes: &[u8]) {
        let (run, bytes) = (self.run, bytes.to_vec());
        let chunk = LogChunk { time, bytes };
        self.pieces.push(Piece { run, chunk });
    }
}

struct Piece {
    run: u64,
    chunk: LogChunk,
}

/// What a follower finds next.
enum Next {
    Chunk(LogChunk),
    Nothing,
    End,
}

impl Default for Journal {
    fn default() -> Self {
        Self { log: Mutex::default(), changed: watch::channel(()).0 }
    }
}

impl Journal {
    /// Adds a piece of output.
    pub(crate) fn write(&self, time: i64, bytes: &[u8]) {
        self.log.lock().add(time, bytes);
        self.changed.send_replace(());
    }

    pub(crate) fn open(&self, time: i64) {
        let mut log = self.log.lock();
        log.run += 1;
        log.open = true;
        log.add(time, b"started\n");
        drop(log);
        self.changed.send_replace(());
    }

    /// Ends a run, its last line and its end in one step for followers.
    pub(crate) fn close(&self, time: i64, code: i64) {
        let mut log = self.log.lock();
        log.add(time, format!("exited {code}\n").as_bytes());
        log.open = false;
        drop(log);
        self.changed.send_replace(());
    }

    /// All output from `since` on.
    pub(crate) fn since(&self, since: i64) -> Vec<LogChunk> {
        let log = self.log.lock();
        let from = log.pieces.partition_point(|piece| piece.chunk.time < since);
        log.pieces[from..].iter().map(|p| p.chunk.clone()).collect()
    }

    /// The piece at `place`, for a follower of `run`.
    fn next(&self, place: usize, run: u64) -> Next {
        let log = self.log.lock();
        match log.pieces.get(place) {
            Some(piece) if piece.run <= run => Next::Chunk(piece.chunk.clone()),
            None if log.open && log.run == run => Next::Nothing,
            Some(_) | None => Next::End,
        }
    }
}

/// One who follows a log.
struct Follower {
    journal: Arc<Journal>,
    changed: watch::Receiver<()>,
    gate: watch::Receiver<Gate>,
    /// The piece to come.
    place: usize,
    /// The run after which it ends.
    run: u64,
    ended: bool,
}

/// The output from `since` on, until the present run ends.
pub(super) fn follow(journal: Arc<Journal>, since: i64, gate: watch::Receiver<Gate>) -> BoxStream<Result<LogChunk>> {
    let changed = journal.changed.subscribe();
    let (place, run) = {
        let log = journal.log.lock();
        let place = log.pieces.partition_point(|piece| piece.chunk.time < since);
        (place, log.run)
    };
    let follower = Follower { journal, changed, gate, place, run, ended: false };
    stream::unfold(follower, Follower::step).boxed()
}

impl Follower {
    async fn step(mut self) -> Option<(Result<LogChunk>, Self)> {
        while !self.ended {
            if !self.gate.borrow().connected {
                break;
            }
            match self.journal.next(self.place, self.run) {
                Next::Chunk(chunk) => {
                    self.place += 1;
                    return Some((Ok(chunk), self));
                }
                Next::End => return None,
                Next::Nothing => {}
            }
            let closed = select! {
                _ = self.changed.changed() => false,
                gate = self.gate.wait_for(|gate| !gate.connected) => gate.is_err(),
            };
            if closed {
                break;
            }
        }
        if self.ended {
            return None;
        }
        self.ended = true;
        Some((Err(unreachable()), self))
    }
}

/// The engine's side of a new attachment.
pub(super) struct Attached {
    pub(crate) container: String,
    pub(crate) key: u64,
    /// Where its output comes from.
    pub(crate) stdout: mpsc::UnboundedReceiver<Vec<u8>>,
}

/// Both ends for the one who attached.
pub(super) fn attachment(shared: Weak<Shared>, attached: Attached) -> Attachment {
    Attachment {
        stdin: Box::pin(Stdin { shared, container: attached.container, key: attached.key }),
        stdout: Box::pin(Stdout { receiver: attached.stdout, rest: VecDeque::new() }),
    }
}

/// Writes to a container's stdin, and closes it when dropped.
struct Stdin {
    shared: Weak<Shared>,
    container: String,
    key: u64,
}

impl Stdin {
    fn close(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.world.lock().end_input(&self.container, self.key);
        }
    }
}

impl Drop for Stdin {
    fn drop(&mut self) {
        self.close();
    }
}

impl AsyncWrite for Stdin {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = self.shared.upgrade().is_some_and(|shared| {
            let mut world = shared.world.lock();
            world.write_input(&self.container, self.key, bytes)
        });
        Poll::Ready(if taken { Ok(bytes.len()) } else { Err(io::ErrorKind::BrokenPipe.into()) })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        Poll::Ready(Ok(()))
    }
}

/// Reads a container's stdout; its end is the run's.
struct Stdout {
    receiver: mpsc::UnboundedReceiver<Vec<u8>>,
    /// Received but not read yet.
    rest: VecDeque<u8>,
}

impl AsyncRead for Stdout {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.receiver.poll_recv(context)) {
                Some(bytes) => self.rest = bytes.into(),
                None => return Poll::Ready(Ok(())),
            }
        }
        let (front, _) = self.rest.as_slices();
        let count = front.len().min(buffer.remaining());
        buffer.put_slice(&front[..count]);
        self.rest.drain(..count);
        Poll::Ready(Ok(()))
    }
}
