//! The daemon's side: the files of one machine, asked of its agent.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time;

use super::frames::{self, Frames};
use super::protocol::{AT_ONCE, Message, Reply};
use super::registry::Registry;
use crate::engine::Attachment;
use crate::passthrough::{self, Answer, Life, Request};
use crate::sweep::{Content, Planted, Swept};
use crate::sys::is_about_to_die;

/// How often to look whether a waiting caller is about to die: fuser answers no FUSE_INTERRUPT.
const LOOK: Duration = Duration::from_millis(100);
/// How often an agent hears of us at least. Its lease is longer.
const BEAT: Duration = Duration::from_secs(15);
/// Bytes that are read at a time.
const CHUNK: usize = 256 << 10;
/// Bytes of frames that are written at a time, if more wait.
const BATCH: usize = 256 << 10;

/// The directories of one machine, served by an agent there. See the [module](super).
pub struct RemoteFiles {
    registry: Arc<Registry<Self>>,
    itself: Weak<Self>,
    runtime: Handle,
    timeout: Duration,
    state: Mutex<State>,
    /// Somebody waits for an answer, or the connection is lost.
    news: Arc<Notify>,
    lost: Notify,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    /// The life of the agent that was connected last.
    life: Option<Life>,
    /// What the next agent becomes.
    next_life: Option<Life>,
    /// Number of the last frame.
    last: u64,
    waiting: HashMap<u64, Waiting>,
    /// Whose caller was answered without them. If the agent answers still, what the answer holds is given back.
    abandoned: HashSet<u64>,
    /// Frames that give something back, of which we do not know yet that they got there.
    kept: VecDeque<Outgoing>,
    /// Its roots: path below the agent's base, and number.
    roots: Vec<(String, u64)>,
}

struct Connection {
    sender: mpsc::UnboundedSender<Outgoing>,
    permits: Arc<Semaphore>,
    /// When the agent last said something.
    heard: Instant,
    /// End with it.
    _tasks: JoinSet<()>,
}

/// A frame on its way.
#[derive(Clone)]
struct Outgoing {
    number: u64,
    body: Vec<u8>,
    is_answered: bool,
}

struct Waiting {
    /// Thread id, 0 if there is none that could die.
    caller: u32,
    since: Instant,
    answer: Box<dyn FnOnce(passthrough::Result<Reply>) + Send>,
}

impl RemoteFiles {
    pub(super) fn new(registry: Arc<Registry<Self>>, timeout: Duration, runtime: Handle) -> Arc<Self> {
        Arc::new_cyclic(|itself| Self {
            registry,
            itself: itself.clone(),
            runtime,
            timeout,
            state: Mutex::default(),
            news: Arc::default(),
            lost: Notify::new(),
        })
    }

    /// Talks to an agent over this attachment from now on: to the same process as before, or to another one.
    ///
    /// # Errors
    /// It does not answer. There is no connection then.
    pub async fn connect(&self, attachment: Attachment) -> io::Result<()> {
        self.disconnect();
        let (mut stdin, mut stdout) = (attachment.stdin, attachment.stdout);
        let new_life = || self.itself.upgrade().and_then(|files| self.registry.new_life(&files));
        let (number, next_life, lost) = {
            let mut state = self.state.lock();
            state.next_life = state.next_life.or_else(new_life);
            (state.number(), state.next_life, state.abandoned.iter().copied().collect())
        };
        let next_life = next_life.ok_or_else(|| io::Error::other("too many agents were lost: mount again"))?;
        let mut frames = Frames::new(true);
        let greeting = async {
            // The zero byte ends what the agent may have got of a frame.
            let mut hello = vec![0];
            frames::append(number, frames::body(&Message::Hello { life: next_life, lost })?, &mut hello);
            stdin.write_all(&hello).await?;
            stdin.flush().await?;
            let mut chunk = vec![0; CHUNK];
            loop {
                let read = stdout.read(&mut chunk).await?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let mut said = None;
                let mut early = vec![];
                for frame in frames.push(&chunk[..read]) {
                    match frames::parse(&frame) {
                        // What came before is known to the agent to be lost, and given back by it.
                        Some((nth, Reply::Hello { life, seen, open })) if nth == number => {
                            said = Some((life, seen, open))
                        }
                        _ if said.is_some() => early.push(frame),
                        _ => {}
                    }
                }
                if let Some(said) = said {
                    return Ok((said, early));
                }
            }
        };
        let greeted: io::Result<_> = time::timeout(self.timeout, greeting).await?;
        let ((life, seen, open), early) = greeted?;
        let (sender, queue) = mpsc::unbounded_channel();
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        // Held until there is a connection: a task that found none would take it for lost, and end.
        let mut state = self.state.lock();
        let mut tasks = JoinSet::new();
        tasks.spawn_on(write(stdin, queue, permits.clone()), &self.runtime);
        tasks.spawn_on(read(self.itself.clone(), frames, early, stdout), &self.runtime);
        tasks.spawn_on(look_after(self.itself.clone()), &self.runtime);
        let is_new = life == next_life;
        if is_new {
            state.next_life = None;
        }
        if state.life.replace(life) == Some(life) {
            state.abandoned.retain(|number| open.contains(number));
            for kept in std::mem::take(&mut state.kept).into_iter().filter(|kept| kept.number > seen) {
                let kept = Outgoing { number: state.number(), ..kept };
                state.kept.push_back(kept.clone());
                let _ = sender.send(kept);
            }
        } else {
            state.abandoned.clear();
            state.kept.clear();
            // The agent takes them in order, so before anyone asks for them.
            for (path, root) in state.roots.clone() {
                let number = state.number();
                let body = frames::body(&Message::AddRoot { path: path.clone().into(), number: root })?;
                let answer = move |reply| match reply {
                    Ok(Reply::Done) => {}
                    other => tracing::warn!(path, ?other, "an agent does not serve a directory"),
                };
                state.wait(number, 0, Box::new(answer));
                let _ = sender.send(Outgoing { number, body, is_answered: true });
            }
        }
        state.connection = Some(Connection { sender, permits, heard: Instant::now(), _tasks: tasks });
        drop(state);
        self.news.notify_one();
        Ok(())
    }

    /// Ends the connection, if there is one. Who waits for an answer gets EHOSTDOWN.
    pub fn disconnect(&self) {
        let (connection, waiting) = {
            let mut state = self.state.lock();
            let waiting = std::mem::take(&mut state.waiting);
            state.abandoned.extend(waiting.keys());
            (state.connection.take(), waiting)
        };
        if connection.is_some() {
            self.lost.notify_waiters();
        }
        for waiting in waiting.into_values() {
            (waiting.answer)(Err(Errno::HOSTDOWN));
        }
    }

    /// Resolves when there is no connection.
    pub async fn disconnected(&self) {
        let lost = self.lost.notified();
        tokio::pin!(lost);
        lost.as_mut().enable();
        if self.state.lock().connection.is_some() {
            lost.await;
        }
    }

    /// Has a directory below the agent's base served, and returns its number in the mount. It keeps that, whichever agent
    /// serves it later.
    ///
    /// # Errors
    /// Why not.
    pub async fn add_root(&self, path: &str) -> Result<u64, String> {
        let files = self.itself.upgrade().ok_or("no more needed")?;
        let number = self.registry.new_root(&files);
        self.state.lock().roots.push((path.to_owned(), number));
        self.ask(&Message::AddRoot { path: path.into(), number }).await.map(|_| number)
    }

    /// Makes the directory `dir` below the agent's base, unless it is there, and plants that in it.
    ///
    /// # Errors
    /// A sentence.
    pub async fn fill(&self, dir: &str, planted: Vec<Planted>) -> Result<(), String> {
        /// Bytes of content in one request, if no single file has more.
        const AT_ONCE: usize = 1 << 20;
        let size = |planted: &Planted| match &planted.content {
            Content::File { content, .. } => content.len() + 100,
            _ => 100,
        };
        let (mut batch, mut batch_size) = (vec![], 0);
        for one in planted {
            if batch_size + size(&one) > AT_ONCE && !batch.is_empty() {
                let planted = std::mem::take(&mut batch);
                self.ask(&Message::Fill { dir: dir.into(), planted }).await?;
                batch_size = 0;
            }
            batch_size += size(&one);
            batch.push(one);
        }
        self.ask(&Message::Fill { dir: dir.into(), planted: batch }).await.map(drop)
    }

    /// Deletes everything in a directory below the agent's base.
    ///
    /// # Errors
    /// Why not everything could be deleted.
    pub async fn empty(&self, dir: &str) -> Result<(), String> {
        match self.ask(&Message::Empty { dir: dir.into() }).await? {
            Reply::Swept(Swept { left: 0, .. }) => Ok(()),
            Reply::Swept(Swept { left, why, .. }) => {
                Err(format!("{dir}: {} ({left} of what is in it)", why.unwrap_or_default()))
            }
            other => Err(format!("an agent answered nonsense: {other:?}")),
        }
    }

    /// Asks the kernel to forget files that were deleted without it.
    ///
    /// # Errors
    /// The agent does not answer.
    pub async fn forget_deleted(&self) -> Result<(), String> {
        self.ask(&Message::ForgetDeleted).await.map(drop)
    }

    pub(super) async fn ask(&self, message: &Message<'_>) -> Result<Reply, String> {
        let (answer, answered) = oneshot::channel();
        let body = frames::body(message).map_err(|error| error.to_string())?;
        self.post(None, 0, body, true, false, Box::new(move |reply| drop(answer.send(reply))));
        match answered.await {
            Ok(Ok(Reply::Failed(why))) => Err(why),
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(errno)) => Err(io::Error::from(errno).to_string()),
            Err(_) => Err("nobody answers".into()),
        }
    }

    /// Sends an operation; `answer` gets its result, at the latest when the agent is lost. `life` is who must perform it.
    pub(super) fn send(
        &self,
        life: Option<Life>,
        caller: u32,
        request: Request<'_>,
        answer: impl FnOnce(passthrough::Result<Answer>) + Send + 'static,
    ) {
        let Ok(body) = frames::body(&Message::File(request)) else { return answer(Err(Errno::INVAL)) };
        let is_answered = !matches!(request, Request::Forget { .. });
        let answer = move |reply| {
            answer(match reply {
                Ok(Reply::File(done)) => done.map_err(Errno::from_raw_os_error),
                Ok(_) => Err(Errno::IO),
                Err(errno) => Err(errno),
            });
        };
        self.post(life, caller, body, is_answered, request.gives_back(), Box::new(answer));
    }

    fn post(
        &self,
        life: Option<Life>,
        caller: u32,
        body: Vec<u8>,
        is_answered: bool,
        gives_back: bool,
        answer: Box<dyn FnOnce(passthrough::Result<Reply>) + Send>,
    ) {
        let mut state = self.state.lock();
        if life.is_some() && state.life != life {
            drop(state);
            return answer(Err(Errno::STALE));
        }
        let number = state.number();
        let frame = Outgoing { number, body, is_answered };
        if gives_back {
            state.kept.push_back(frame.clone());
        }
        let sent = state.connection.as_ref().is_some_and(|connection| connection.sender.send(frame).is_ok());
        let waits = sent && is_answered;
        if waits {
            state.wait(number, caller, answer);
            // The first has somebody look after it.
            if state.waiting.len() == 1 {
                self.news.notify_one();
            }
            return;
        }
        drop(state);
        answer(if sent { Ok(Reply::Done) } else { Err(Errno::HOSTDOWN) });
    }

    /// Takes what the agent says.
    fn take(&self, frame: &[u8]) {
        let Some((number, reply)) = frames::parse::<Reply>(frame) else {
            tracing::warn!("an agent's answer makes no sense");
            return self.disconnect();
        };
        if let Reply::Forget(name) = reply {
            return self.registry.forget(name);
        }
        let (waiting, held) = {
            let mut state = self.state.lock();
            if let Some(connection) = &mut state.connection {
                connection.heard = Instant::now();
                connection.permits.add_permits(1);
            }
            // The agent has seen what was sent before.
            while state.kept.front().is_some_and(|kept| kept.number < number) {
                state.kept.pop_front();
            }
            let held = match &reply {
                Reply::File(Ok(answer)) if state.abandoned.remove(&number) => answer.give_back(),
                _ => vec![],
            };
            (state.waiting.remove(&number), held)
        };
        if let Some(waiting) = waiting {
            (waiting.answer)(Ok(reply));
        }
        for request in held {
            self.send(None, 0, request, drop);
        }
    }

    /// Answers those who are about to die. Returns whether anyone waits, and whether the agent should be asked if it is
    /// there.
    fn look(&self) -> Looked {
        let (dying, looked) = {
            let mut state = self.state.lock();
            let Some(connection) = &state.connection else { return Looked::Gone };
            let silent = connection.heard.elapsed();
            if silent > self.timeout && state.waiting.values().any(|waiting| waiting.since.elapsed() > self.timeout) {
                return Looked::Silent;
            }
            let is_dying = |waiting: &Waiting| {
                waiting.caller != 0
                    && waiting.since.elapsed() >= LOOK
                    && is_about_to_die(waiting.caller).unwrap_or(false)
            };
            let dying: Vec<_> = state.waiting.extract_if(|_, waiting| is_dying(waiting)).collect();
            state.abandoned.extend(dying.iter().map(|(number, _)| number));
            (dying, if state.waiting.is_empty() { Looked::Idle } else { Looked::Waits(silent) })
        };
        for (_, waiting) in dying {
            (waiting.answer)(Err(Errno::INTR));
        }
        looked
    }

    fn beat(&self) {
        if let Ok(body) = frames::body(&Message::Beat) {
            self.post(None, 0, body, true, false, Box::new(drop));
        }
    }
}

enum Looked {
    /// There is no connection.
    Gone,
    /// The agent does not answer.
    Silent,
    /// Nobody waits.
    Idle,
    /// Somebody waits; the agent has said nothing for that time.
    Waits(Duration),
}

impl State {
    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn wait(&mut self, number: u64, caller: u32, answer: Box<dyn FnOnce(passthrough::Result<Reply>) + Send>) {
        self.waiting.insert(number, Waiting { caller, since: Instant::now(), answer });
    }
}

/// Writes frames as they come.
async fn write(
    mut stdin: Pin<Box<dyn AsyncWrite + Send>>,
    mut queue: mpsc::UnboundedReceiver<Outgoing>,
    permits: Arc<Semaphore>,
) {
    let mut out = vec![];
    while let Some(frame) = queue.recv().await {
        let mut next = Some(frame);
        while let Some(Outgoing { number, body, is_answered }) = next {
            if is_answered {
                if permits.available_permits() == 0 && send(&mut stdin, &mut out).await.is_err() {
                    return;
                }
                // Each answer gives one back.
                let Ok(permit) = permits.acquire().await else { return };
                permit.forget();
            }
            frames::append(number, body, &mut out);
            next = if out.len() < BATCH { queue.try_recv().ok() } else { None };
        }
        // A failure is seen where answers are read.
        if send(&mut stdin, &mut out).await.is_err() {
            return;
        }
    }
}

async fn send(stdin: &mut Pin<Box<dyn AsyncWrite + Send>>, out: &mut Vec<u8>) -> io::Result<()> {
    stdin.write_all(out).await?;
    stdin.flush().await?;
    out.clear();
    out.shrink_to(2 * BATCH);
    Ok(())
}

/// Takes what the agent says until the connection ends.
async fn read(
    files: Weak<RemoteFiles>,
    mut frames: Frames,
    early: Vec<Vec<u8>>,
    mut stdout: Pin<Box<dyn AsyncRead + Send>>,
) {
    let mut chunk = vec![0; CHUNK];
    {
        let Some(files) = files.upgrade() else { return };
        early.iter().for_each(|frame| files.take(frame));
    }
    loop {
        let read = stdout.read(&mut chunk).await.unwrap_or(0);
        let Some(files) = files.upgrade() else { return };
        if read == 0 {
            return files.disconnect();
        }
        for frame in frames.push(&chunk[..read]) {
            files.take(&frame);
        }
    }
}

/// Keeps the agent's lease, and looks after those who wait.
async fn look_after(files: Weak<RemoteFiles>) {
    let mut beaten = time::Instant::now();
    loop {
        let Some(there) = files.upgrade() else { return };
        let rest = match there.look() {
            Looked::Gone => return,
            Looked::Silent => return there.disconnect(),
            Looked::Idle => None,
            Looked::Waits(silent) => Some(silent),
        };
        let beat = BEAT.min(there.timeout / 3);
        if beaten.elapsed() >= BEAT || rest.is_some_and(|silent| silent > beat && beaten.elapsed() > beat) {
            beaten = time::Instant::now();
            there.beat();
        }
        let news = there.news.clone();
        drop(there);
        if rest.is_some() {
            time::sleep(LOOK).await;
        } else {
            let _ = time::timeout_at(beaten + BEAT, news.notified()).await;
        }
    }
}
