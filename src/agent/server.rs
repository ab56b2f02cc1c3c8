//! The agent's side: performs what it is asked on a few threads.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use tracing::error;

use super::frames::{self, Frames};
use super::protocol::{AT_ONCE, Message, Reply, UNASKED};
use crate::passthrough::{Descriptors, KernelNotifier, Life, Name, Passthrough, Request};
use crate::sweep::{self, Content, IfThere, Planted, Swept};
use crate::sys;

/// Threads that perform operations. Most of their time they wait for the disk.
const THREADS: usize = 8;
/// Descriptors for the agent's own work.
const OWN_DESCRIPTORS: u64 = 100;
/// Bytes that are read at a time.
const CHUNK: usize = 256 << 10;

/// What an agent serves, and how.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    /// Everything that it serves is below.
    pub(crate) base: PathBuf,
    /// User and group whose rights operations on files have: those of the daemon. As root, it has all, and new files
    /// belong to each caller.
    pub(crate) acts_as: (u32, u32),
    /// How many files it may know.
    pub(crate) descriptors: Descriptors,
}

impl Agent {
    /// One that uses all descriptors that this process may have.
    pub(crate) fn new(base: PathBuf, acts_as: (u32, u32)) -> Self {
        let limit = sys::raise_nofile_limit().unwrap_or_else(|_| sys::nofile_limit());
        Self { base, acts_as, descriptors: Descriptors::of_limit(limit.unwrap_or(u64::MAX), OWN_DESCRIPTORS) }
    }
}

/// When the agent last heard of the daemon.
#[derive(Debug)]
pub(super) struct Lease(Mutex<Instant>);

impl Lease {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    fn renew(&self) {
        *self.0.lock() = Instant::now();
    }

    /// Returns once nothing was heard for `length`.
    fn wait(&self, length: Duration) {
        loop {
            let left = length.saturating_sub(self.0.lock().elapsed());
            if left.is_zero() {
                return;
            }
            thread::sleep(left);
        }
    }
}

/// Serves requests on stdin until SIGTERM or SIGINT, or until nothing came for the time of the lease; then `expired` is
/// called. At the end of stdin it waits for the end of the lease: it cannot tell a daemon that is gone from a connection
/// that is lost. Call it before any runtime is built.
pub(crate) fn run(agent: &Agent, lease: Duration, expired: impl FnOnce()) -> ExitCode {
    let failed = |what: &str, error: io::Error| {
        eprintln!("cthulhu agent: {what}: {error}");
        ExitCode::FAILURE
    };
    let mut signals = match sys::Signals::catch(&[libc::SIGTERM, libc::SIGINT]) {
        Ok(signals) => signals,
        Err(error) => return failed("cannot watch for signals", error),
    };
    let end = move || {
        let _ = signals.wait();
        // What is in work has nothing to save.
        std::process::exit(0);
    };
    if let Err(error) = thread::Builder::new().name("signals".into()).spawn(end) {
        return failed("cannot start a thread", error);
    }
    // Modes arrive as they were asked for.
    rustix::process::umask(Mode::empty());
    let heard = Arc::new(Lease::new());
    let (agent, serving) = (agent.clone(), heard.clone());
    let served = thread::Builder::new().name("serve".into()).spawn(move || {
        let session = Session::new(agent, Box::new(io::stdout()));
        if let Err(error) = session.and_then(|session| session.serve(io::stdin().lock(), &serving)) {
            eprintln!("cthulhu agent: {error}");
        }
    });
    if let Err(error) = served {
        return failed("cannot start a thread", error);
    }
    heard.wait(lease);
    expired();
    ExitCode::SUCCESS
}

/// Serves the requests of `input` on what is below `base`, with our own rights.
///
/// # Errors
/// From opening the directory, and from reading.
pub fn serve(base: &Path, input: impl Read, output: Box<dyn Write + Send>) -> io::Result<()> {
    let us = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Session::new(Agent::new(base.to_owned(), us), output)?.serve(input, &Lease::new())
}

/// A decoded frame that waits for a thread.
type Job = Vec<u8>;

/// What the agent keeps from one connection to the next.
pub(super) struct Session {
    agent: Agent,
    base: OwnedFd,
    /// From the first connection on.
    pub(super) files: OnceLock<(Life, Passthrough)>,
    output: Arc<Mutex<Output>>,
}

struct Output {
    stream: Box<dyn Write + Send>,
    /// What was answered last: the number, and what gives back what the answer holds.
    answered: VecDeque<(u64, Vec<Request<'static>>)>,
}

impl Output {
    fn write(&mut self, frame: &[u8]) {
        // If nobody takes it, the lease decides.
        let _ = self.stream.write_all(frame).and_then(|()| self.stream.flush());
    }

    /// `frame` is the reply, encoded.
    fn answer(&mut self, number: u64, reply: &Reply, frame: &[u8]) {
        if self.answered.len() == AT_ONCE {
            self.answered.pop_front();
        }
        let held = if let Reply::File(Ok(answer)) = reply { answer.give_back() } else { vec![] };
        self.answered.push_back((number, held));
        self.write(frame);
    }
}

fn encoded(number: u64, reply: &Reply) -> Vec<u8> {
    // The leading zero byte ends what a broken connection has left of the last frame.
    let mut frame = vec![0];
    match frames::body(reply) {
        Ok(body) => frames::append(number, body, &mut frame),
        Err(error) => error!(%error, "an answer cannot be encoded"),
    }
    frame
}

/// The names that the agent would have the kernel forget.
struct Forgetting(Arc<Mutex<Output>>);

impl KernelNotifier for Forgetting {
    fn forget(&self, name: Name) {
        let frame = encoded(UNASKED, &Reply::Forget(name));
        self.0.lock().write(&frame);
    }
}

impl Session {
    /// # Errors
    /// From opening the base directory.
    pub(super) fn new(agent: Agent, output: Box<dyn Write + Send>) -> io::Result<Self> {
        let base = File::open(&agent.base)?.into();
        let output = Arc::new(Mutex::new(Output { stream: output, answered: VecDeque::new() }));
        Ok(Self { agent, base, files: OnceLock::new(), output })
    }

    /// Serves requests until the end of `input`.
    ///
    /// # Errors
    /// From reading.
    pub(super) fn serve(&self, mut input: impl Read, lease: &Lease) -> io::Result<()> {
        let (jobs, queue) = sync_channel(AT_ONCE);
        let queue = Mutex::new(queue);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                thread::Builder::new().name("files".into()).spawn_scoped(scope, || self.work(&queue))?;
            }
            // Ends the threads.
            let jobs = jobs;
            let mut frames = Frames::new(false);
            let (mut chunk, mut seen) = (vec![0; CHUNK], 0);
            loop {
                let read = match input.read(&mut chunk) {
                    Ok(0) => return Ok(()),
                    Ok(read) => read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                };
                for frame in frames.push(&chunk[..read]) {
                    lease.renew();
                    self.take(frame, &mut seen, &jobs);
                }
            }
        })
    }

    /// Takes the next frame. What must be in order, or never wait, is done at once.
    fn take(&self, frame: Vec<u8>, seen: &mut u64, jobs: &SyncSender<Job>) {
        let Some((number, message)) = frames::parse::<Message<'_>>(&frame) else { return };
        match message {
            Message::Hello { life, lost } => self.hello(number, life, &lost, *seen),
            Message::Beat => self.answer(number, &Reply::Done),
            Message::AddRoot { ref path, number: root } => {
                let added = self.add_root(path, root);
                let reply = added.map_or_else(|error| Reply::Failed(error.to_string()), |()| Reply::Done);
                self.answer(number, &reply);
            }
            Message::File(Request::Forget { ino, count }) => {
                if let Some((_, files)) = self.files.get() {
                    files.forget(ino, count);
                }
            }
            // Without threads there is nobody to answer.
            _ => drop(jobs.send(frame)),
        }
        *seen = number;
    }

    fn answer(&self, number: u64, reply: &Reply) {
        // Encoded before the others have to wait.
        let frame = encoded(number, reply);
        self.output.lock().answer(number, reply, &frame);
    }

    fn hello(&self, number: u64, life: Life, lost: &[u64], seen: u64) {
        let (life, files) = self.files.get_or_init(|| {
            let files = Passthrough::remote(life, self.agent.acts_as.0, self.agent.descriptors);
            files.connect(Box::new(Forgetting(self.output.clone())));
            (life, files)
        });
        // Held throughout: what is answered before this is given back here, what is answered after it by the daemon.
        let mut output = self.output.lock();
        let (mut open, mut held) = (vec![], vec![]);
        for lost in lost.iter().filter(|lost| **lost <= seen) {
            match output.answered.iter_mut().find(|(answered, _)| answered == lost) {
                Some((_, holds)) => held.append(holds),
                None => open.push(*lost),
            }
        }
        let reply = Reply::Hello { life: *life, seen, open };
        output.answer(number, &reply, &encoded(number, &reply));
        drop(output);
        for request in held {
            let _ = files.perform(&request);
        }
    }

    fn add_root(&self, path: &Path, number: u64) -> io::Result<()> {
        let (_, files) = self.files.get().ok_or(Errno::STALE)?;
        Ok(files.add_root_as(self.below(path)?, number)?)
    }

    /// Opens a directory below the base, through no link.
    fn below(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(&self.base, path, flags, Mode::empty(), resolve)
    }

    fn fill(&self, dir: &Path, planted: &[Planted]) -> Result<(), String> {
        let (user, group) = self.agent.acts_as;
        // What is made belongs to that user, as if the daemon had made it on its own machine.
        let _identity = (user != 0).then(|| sys::set_fs_ids(user, group)).transpose().map_err(|e| e.to_string())?;
        let content = Content::Directory { mode: 0o700 };
        let itself = Planted { path: dir.to_owned(), content, if_there: IfThere::Keep };
        let mut filled = sweep::fill(&self.agent.base, &[itself]);
        if filled.is_ok() {
            filled = sweep::fill(&self.agent.base.join(dir), planted);
        }
        filled.map_err(|error| format!("{error}: {}", error.why))
    }

    fn empty(&self, dir: &Path) -> io::Result<Swept> {
        let dir = rustix::fs::openat(self.below(dir)?, c".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        sweep::empty_open(&dir, Some(self.agent.acts_as))
    }

    fn work(&self, queue: &Mutex<Receiver<Job>>) {
        loop {
            // One thread waits for the next, the others for their turn.
            let Ok(frame) = queue.lock().recv() else { return };
            let Some((number, message)) = frames::parse::<Message<'_>>(&frame) else { continue };
            let performed = catch_unwind(AssertUnwindSafe(|| self.perform(message)));
            let reply = performed.unwrap_or(Reply::File(Err(libc::EIO)));
            self.answer(number, &reply);
        }
    }

    fn perform(&self, message: Message<'_>) -> Reply {
        let Some((_, files)) = self.files.get() else { return Reply::File(Err(Errno::STALE.raw_os_error())) };
        match message {
            Message::File(request) => {
                let (user, group) = self.agent.acts_as;
                let identity = (user != 0).then(|| sys::act_as_user(user, group)).transpose();
                let _identity = match identity {
                    Ok(identity) => identity,
                    Err(error) => return Reply::File(Err(error.raw_os_error().unwrap_or(libc::EPERM))),
                };
                Reply::File(files.perform(&request).map_err(Errno::raw_os_error))
            }
            Message::Fill { dir, planted } => match self.fill(&dir, &planted) {
                Ok(()) => Reply::Done,
                Err(why) => Reply::Failed(why),
            },
            Message::Empty { dir } => match self.empty(&dir) {
                Ok(swept) => Reply::Swept(swept),
                Err(why) => Reply::Failed(format!("{}: {why}", dir.display())),
            },
            Message::ForgetDeleted => {
                files.forget_deleted();
                Reply::Done
            }
            // Done already.
            Message::Hello { .. } | Message::Beat | Message::AddRoot { .. } => Reply::Done,
        }
    }
}
