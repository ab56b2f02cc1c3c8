//! Engines behind ssh: one `ssh -L` forwards a socket here to the engine's socket there.
//!
//! One forward carries any number of connections; `docker system dial-stdio` takes a session for each, and sshd allows ten.

use std::collections::VecDeque;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bollard::errors::Error;
use hyper::Uri;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tower_service::Service;

use super::transport::{Sending, Transport};
use crate::engine::{EngineError, Result};
use crate::sys;
use crate::text::harmless;

/// Where Docker listens.
const USUAL_SOCKET: &str = "/var/run/docker.sock";
/// How often ssh's socket is looked for while it connects.
const LOOK: Duration = Duration::from_millis(10);
/// The time between two attempts: after the first failure, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// How long ssh has to say why it failed.
const SAYS_WHY: Duration = Duration::from_millis(200);
/// Lines of ssh that are kept.
const LINES: usize = 3;
/// Most bytes in the path of a socket (sun_path, without the zero at its end).
const MAX_SOCKET_PATH: usize = 107;

/// What an `ssh://` address says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Destination {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    /// The engine's socket there.
    socket: String,
}

impl Destination {
    /// Reads what follows `ssh://`: `[USER@]HOST[:PORT][/SOCKET]`. The error says what is wrong.
    pub(crate) fn parse(rest: &str) -> std::result::Result<Self, String> {
        let (authority, socket) = rest.find('/').map_or((rest, USUAL_SOCKET), |at| rest.split_at(at));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let (host, port) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or("?"))),
            None => host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map(|port| port.parse().map_err(|_| format!("{port:?} is not a port"))).transpose()?;
        if host.is_empty() {
            return Err("it names no host".into());
        }
        if user.is_some_and(|user| user.is_empty() || user.contains(':')) {
            return Err("before @ there must be a user's name alone; ssh takes no password from an address".into());
        }
        if socket.contains(':') {
            return Err("ssh cannot forward to a socket with a colon in its path".into());
        }
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned(), port, socket: socket.to_owned() })
    }

    /// The command that forwards the socket `here`.
    fn command(&self, here: &Path) -> Command {
        let mut command = std::process::Command::new("ssh");
        command.args(["-N", "-T", "-a", "-x"]);
        for option in [
            "BatchMode=yes",
            "ConnectTimeout=10",
            "ServerAliveInterval=5",
            "ServerAliveCountMax=3",
            "ExitOnForwardFailure=yes",
            "StreamLocalBindUnlink=yes",
            // A connection that the user shares would neither end with us nor be ours to end.
            "ControlMaster=no",
            "ControlPath=none",
        ] {
            command.args(["-o", option]);
        }
        command.arg("-L").arg(format!("{}:{}", here.display(), self.socket));
        if let Some(user) = &self.user {
            command.args(["-l", user]);
        }
        if let Some(port) = self.port {
            command.args(["-p", &port.to_string()]);
        }
        command.args(["--", &self.host]);
        sys::signal_at_our_end(&mut command, Signal::TERM);
        let mut command = Command::from(command);
        // Signals that a terminal sends to us are not for it.
        command.process_group(0).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }
}

/// A transport to the engine there. ssh starts with the first request, and again with the next one after it has ended.
pub(super) fn transport(destination: Destination) -> Result<Transport> {
    let dir = PrivateDir::new()
        .map_err(|error| EngineError::Refused(format!("cannot make a directory for ssh's socket: {error}")))?;
    let (open, closed) = oneshot::channel();
    // At the end of a daemon, threads of its mount may still hold the forward; the runtime drops its tasks.
    let removal = Removal(dir.path.clone());
    tokio::spawn(async move {
        let _removal = removal;
        let _ = closed.await;
    });
    let forward = Forward { destination, dir, link: tokio::sync::Mutex::default(), said: Arc::default(), _open: open };
    let forward = Arc::new(forward);
    let of_errors = Arc::clone(&forward);
    let explain = move |sending: Sending| -> Sending {
        let (forward, since) = (Arc::clone(&of_errors), Instant::now());
        Box::pin(async move {
            match sending.await {
                // ssh was there, but could not connect to the engine's socket.
                Err(error) => match forward.said_since(since).await {
                    Some(said) => Err(Error::IOError { err: io::Error::other(forward.sentence(&said)) }),
                    None => Err(error),
                },
                answer => answer,
            }
        })
    };
    Ok(Transport::over(Connector(forward), "http://engine".into()).explained(explain))
}

/// Connects to the socket that ssh forwards.
#[derive(Clone)]
struct Connector(Arc<Forward>);

impl Service<Uri> for Connector {
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let forward = Arc::clone(&self.0);
        Box::pin(async move { forward.connect().await.map(TokioIo::new) })
    }
}

/// A socket that is forwarded while ssh runs.
struct Forward {
    destination: Destination,
    dir: PrivateDir,
    link: tokio::sync::Mutex<Link>,
    /// What ssh has said last, with the times.
    said: Arc<Mutex<VecDeque<(Instant, String)>>>,
    _open: oneshot::Sender<()>,
}

/// The ssh that runs, or the failures of those that did.
#[derive(Default)]
struct Link {
    ssh: Option<Ssh>,
    /// Failed attempts in a row.
    failures: u32,
    /// Until then, attempts fail for the reason of the last one.
    paused: Option<(Instant, String)>,
}

struct Ssh {
    child: Child,
    started: Instant,
    /// Reads what it says.
    reader: JoinHandle<()>,
    /// It has forwarded.
    is_up: bool,
}

impl Forward {
    async fn connect(&self) -> io::Result<UnixStream> {
        let socket = self.dir.socket();
        if let Ok(stream) = UnixStream::connect(&socket).await {
            return Ok(stream);
        }
        // Others that connect while ssh starts wait for it.
        let mut link = self.link.lock().await;
        loop {
            let connected = UnixStream::connect(&socket).await;
            match &mut link.ssh {
                Some(ssh) => match (ssh.child.try_wait()?, connected) {
                    (None, Ok(stream)) => {
                        ssh.is_up = true;
                        link.failures = 0;
                        return Ok(stream);
                    }
                    (None, Err(_)) => tokio::time::sleep(LOOK).await,
                    // The connection broke.
                    (Some(_), _) if ssh.is_up => link.ssh = None,
                    (Some(status), _) => return Err(io::Error::other(self.failed(&mut link, status).await)),
                },
                None => {
                    if let Some((until, why)) = &link.paused
                        && Instant::now() < *until
                    {
                        return Err(io::Error::other(why.clone()));
                    }
                    link.ssh = Some(self.start()?);
                }
            }
        }
    }

    fn start(&self) -> io::Result<Ssh> {
        let mut child = self.destination.command(&self.dir.socket()).spawn().map_err(|error| {
            io::Error::other(match error.kind() {
                io::ErrorKind::NotFound => "there is no ssh on this machine; install OpenSSH's client".to_owned(),
                _ => format!("cannot start ssh: {error}"),
            })
        })?;
        let reader = tokio::spawn(listen(child.stderr.take(), Arc::clone(&self.said)));
        Ok(Ssh { child, started: Instant::now(), reader, is_up: false })
    }

    /// ssh has ended before it forwarded: says why, and makes the next attempt wait.
    async fn failed(&self, link: &mut Link, status: ExitStatus) -> String {
        let Some(ssh) = link.ssh.take() else {
            return String::new();
        };
        // All that it said has been read, unless a child of its own holds its stderr open.
        let _ = tokio::time::timeout(SAYS_WHY, ssh.reader).await;
        let said = self.said_since(ssh.started).await;
        let why = self.sentence(&said.unwrap_or_else(|| format!("it ended with {status}")));
        let pause = FIRST_PAUSE.saturating_mul(1 << link.failures.min(8)).min(LONGEST_PAUSE);
        link.failures += 1;
        link.paused = Some((Instant::now() + pause, why.clone()));
        why
    }

    /// What ssh has said since that moment, in one line. If that is nothing yet, it has a moment to say it.
    async fn said_since(&self, since: Instant) -> Option<String> {
        let deadline = Instant::now() + SAYS_WHY;
        loop {
            let lines: Vec<_> =
                self.said.lock().iter().filter(|(at, _)| *at >= since).map(|(_, line)| line.clone()).collect();
            if !lines.is_empty() {
                return Some(lines.join("; "));
            }
            if Instant::now() >= deadline {
                return None;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn sentence(&self, said: &str) -> String {
        format!("ssh to {} for {}: {said}", self.destination.host, self.destination.socket)
    }
}

/// Keeps the last lines of what ssh says.
async fn listen(stderr: Option<impl AsyncRead + Unpin>, said: Arc<Mutex<VecDeque<(Instant, String)>>>) {
    let Some(stderr) = stderr else {
        return;
    };
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.trim().is_empty() {
            continue;
        }
        let mut said = said.lock();
        if said.len() == LINES {
            said.pop_front();
        }
        said.push_back((Instant::now(), harmless(line.trim())));
    }
}

/// A directory that only we may enter; it goes with us. Those that killed processes left are removed by the next one.
struct PrivateDir {
    path: PathBuf,
    /// Open and locked: it is in use.
    _lock: File,
    _removal: Removal,
}

/// Removes such a directory, if it is still there.
struct Removal(PathBuf);

impl Drop for Removal {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.0.join(SOCKET));
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// What the names of such directories begin with.
const PREFIX: &str = "cthulhu-ssh-";
const SOCKET: &str = "engine.sock";

impl PrivateDir {
    fn new() -> io::Result<Self> {
        let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
        let bases = [own, Some(std::env::temp_dir()), Some("/tmp".into())];
        let mut error = io::Error::from(io::ErrorKind::NotFound);
        for base in bases.into_iter().flatten() {
            match Self::within(&base) {
                Ok(dir) => return Ok(dir),
                Err(why) => error = io::Error::new(why.kind(), format!("{}: {why}", base.display())),
            }
        }
        Err(error)
    }

    fn within(base: &Path) -> io::Result<Self> {
        remove_stale(base);
        let path = base.join(format!("{PREFIX}{:016x}", fastrand::u64(..)));
        if path.join(SOCKET).as_os_str().len() > MAX_SOCKET_PATH {
            return Err(io::Error::other("its path is too long for a socket"));
        }
        DirBuilder::new().mode(0o700).create(&path)?;
        let lock = File::open(&path)?;
        lock.lock()?;
        Ok(Self { _removal: Removal(path.clone()), path, _lock: lock })
    }

    fn socket(&self) -> PathBuf {
        self.path.join(SOCKET)
    }
}

/// Removes directories of this user that no process has locked.
fn remove_stale(base: &Path) {
    let entries = std::fs::read_dir(base).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let path = entry.path();
        let is_ours = path
            .symlink_metadata()
            .is_ok_and(|about| about.is_dir() && about.uid() == rustix::process::geteuid().as_raw());
        if is_ours && File::open(&path).is_ok_and(|dir| dir.try_lock().is_ok()) {
            drop(Removal(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_up_to_four_parts() {
        let read = |text: &str| Destination::parse(text).unwrap();
        let whole = Destination {
            user: Some("me".into()),
            host: "h".into(),
            port: Some(2222),
            socket: "/run/podman/podman.sock".into(),
        };
        assert_eq!(read("me@h:2222/run/podman/podman.sock"), whole);
        assert_eq!(read("h"), Destination { user: None, host: "h".into(), port: None, socket: USUAL_SOCKET.into() });
        assert_eq!((read("[::1]").host.as_str(), read("[::1]:22").port), ("::1", Some(22)));
        for (text, part) in [
            ("", "no host"),
            ("me@", "no host"),
            ("me@/run/x", "no host"),
            ("h:ssh", "\"ssh\" is not a port"),
            ("h:", "is not a port"),
            ("[::1]22", "is not a port"),
            ("me:secret@h", "password"),
            ("@h", "user's name"),
            ("h/a:b", "colon"),
        ] {
            let why = Destination::parse(text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }

    #[test]
    fn what_a_killed_process_left_goes_and_what_is_used_stays() {
        let base = tempfile::tempdir().unwrap();
        let used = PrivateDir::within(base.path()).unwrap();
        let left = base.path().join(format!("{PREFIX}left"));
        std::fs::create_dir(&left).unwrap();
        std::fs::write(left.join(SOCKET), "").unwrap();
        let other = PrivateDir::within(base.path()).unwrap();
        assert!(!left.exists() && used.path.exists() && used.path != other.path);
        assert_eq!(used.path.metadata().unwrap().mode() & 0o777, 0o700);
        drop((used, other));
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn only_the_last_lines_count() {
        let said = Arc::default();
        let text = "one\n\ntwo\n\u{1b}[1mthree\nfour\n";
        listen(Some(text.as_bytes()), Arc::clone(&said)).await;
        let lines: Vec<_> = said.lock().iter().map(|(_, line)| line.clone()).collect();
        assert_eq!(lines, ["two", "\\u{1b}[1mthree", "four"]);
    }
}
