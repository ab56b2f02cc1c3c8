//! Both sides of an agent, over a pair of sockets.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Runtime;

use super::RemoteMounts;
use super::client::RemoteFiles;
use super::protocol::Message;
use super::server::{Agent, Lease, Session};
use crate::engine::Attachment;
use crate::passthrough::{Answer, Descriptors, KernelNotifier, Passthrough, Request, Result, elsewhere};

mod connections;

/// Longer than any of these tests takes.
const LONG: Duration = Duration::from_secs(60);

/// An engine that runs an agent, and lets us attach to it.
pub(super) struct Host {
    pub(super) session: Arc<Session>,
    /// To the agent's stdin.
    stdin: UnixStream,
    attached: Arc<Mutex<Attached>>,
}

/// The present attachment, and what the engine does with what goes through.
#[derive(Default)]
struct Attached {
    /// Counts attachments and their ends.
    nth: u64,
    to_client: Option<UnixStream>,
    loses_answers: bool,
    /// Bytes of requests that are still let through.
    lets_through: Option<usize>,
}

impl Host {
    pub(super) fn new(dir: &Path, descriptors: Descriptors) -> Self {
        let us = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Self::acting_as(us, dir, descriptors)
    }

    pub(super) fn acting_as(acts_as: (u32, u32), dir: &Path, descriptors: Descriptors) -> Self {
        let agent = Agent { base: dir.to_owned(), acts_as, descriptors };
        let ((stdin, agents_stdin), (stdout, agents_stdout)) =
            (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        let session = Arc::new(Session::new(agent, Box::new(agents_stdout)).unwrap());
        let serving = session.clone();
        std::thread::spawn(move || serving.serve(agents_stdin, &Lease::new()));
        let attached: Arc<Mutex<Attached>> = Arc::default();
        let hands_on = attached.clone();
        std::thread::spawn(move || {
            pump(stdout, |piece| {
                let attached = hands_on.lock();
                if let (Some(mut client), false) = (attached.to_client.as_ref(), attached.loses_answers) {
                    let _ = client.write_all(piece);
                }
            });
        });
        Self { session, stdin, attached }
    }

    pub(super) fn attach(&self) -> Attachment {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (from_client, attached, mut stdin) =
            (theirs.try_clone().unwrap(), self.attached.clone(), self.stdin.try_clone().unwrap());
        let nth = self.attached.lock().nth + 1;
        *self.attached.lock() = Attached { nth, to_client: Some(theirs), ..Attached::default() };
        std::thread::spawn(move || {
            pump(from_client, |piece| {
                let mut attached = attached.lock();
                if attached.nth != nth {
                    return;
                }
                let length = attached.lets_through.map_or(piece.len(), |left| left.min(piece.len()));
                attached.lets_through = attached.lets_through.map(|left| left - length);
                let _ = stdin.write_all(&piece[..length]);
            });
        });
        ours.set_nonblocking(true).unwrap();
        let (stdout, stdin) = tokio::io::split(tokio::net::UnixStream::from_std(ours).unwrap());
        Attachment { stdin: Box::pin(stdin), stdout: Box::pin(stdout) }
    }

    /// From now on no answer gets through.
    pub(super) fn lose_answers(&self) {
        self.attached.lock().loses_answers = true;
    }

    /// From now on only so many bytes of requests get through.
    pub(super) fn lose_requests_after(&self, bytes: usize) {
        self.attached.lock().lets_through = Some(bytes);
    }

    /// Ends the attachment; the agent goes on.
    pub(super) fn cut(&self) {
        let mut attached = self.attached.lock();
        attached.nth += 1;
        if let Some(client) = attached.to_client.take() {
            client.shutdown(Shutdown::Both).unwrap();
        }
    }
}

fn pump(mut from: UnixStream, mut to: impl FnMut(&[u8])) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut piece) {
        to(&piece[..read]);
    }
}

/// The files of a directory, through an agent in this process.
pub(crate) struct Wire {
    runtime: Runtime,
    mounts: Arc<RemoteMounts>,
    files: Arc<RemoteFiles>,
    host: Host,
}

impl Wire {
    /// Also returns the number of the directory.
    pub(crate) fn new(dir: &Path, descriptors: Descriptors) -> (Self, u64) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mounts = Arc::new(RemoteMounts::default());
        let files = mounts.machine(LONG, runtime.handle().clone());
        let host = Host::new(dir, descriptors);
        let root = runtime.block_on(async {
            files.connect(host.attach()).await.unwrap();
            files.add_root(".").await.unwrap()
        });
        (Self { runtime, mounts, files, host }, root)
    }

    /// What performs the operations.
    pub(crate) fn far_end(&self) -> &Passthrough {
        &self.host.session.files.get().unwrap().1
    }

    pub(crate) fn perform(&self, request: Request<'_>) -> Result<Answer> {
        let (answer, answered) = mpsc::channel();
        // Handles of files say nothing of where they belong: the kernel names the file too.
        let at = match request {
            Request::Lookup { parent: ino, .. } | Request::Getattr { ino, .. } => elsewhere(ino),
            _ => None,
        };
        let send = move |done| answer.send(done).unwrap();
        match at {
            Some(at) => self.mounts.send(at, 0, request, send),
            None => self.files.send(None, 0, request, send),
        }
        answered.recv().unwrap()
    }

    pub(crate) fn forget(&self, ino: u64, count: u64) {
        self.files.send(None, 0, Request::Forget { ino, count }, drop);
        // What is sent later is seen later.
        self.runtime.block_on(self.files.ask(&Message::Beat)).unwrap();
    }

    pub(crate) fn connect(&self, kernel: Box<dyn KernelNotifier>) {
        self.mounts.connect(kernel);
    }
}
