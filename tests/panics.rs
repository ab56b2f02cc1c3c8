//! A panic of ours, in a request that is served and in a command that runs, through a real mount: its caller gets EIO, the
//! mount lives on, and the log says what and where.
//!
//! It is thrown where the tree tells the kernel of a change, with the lock of the tree's files held.

mod common;
#[path = "common/skip.rs"]
mod skip;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Fixture, eventually};
use cthulhu::daemon::log_panics;
use cthulhu::passthrough::{Descriptors, Passthrough};
use cthulhu::tree::{Ino, KernelNotifier, Wake};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

/// Panics once for each flag that is set.
#[derive(Default)]
struct Fuse {
    when_told: AtomicBool,
    when_flushed: AtomicBool,
}

struct Bomb(Arc<Fuse>);

impl KernelNotifier for Bomb {
    fn invalidate(&self, _inos: Vec<Ino>) {
        if self.0.when_told.swap(false, Ordering::SeqCst) {
            panic!("bomb in a handler");
        }
    }

    fn wake(&self, wake: Wake) {
        wake();
    }

    fn flushed(&self) -> BoxFuture<'static, ()> {
        let explodes = self.0.when_flushed.swap(false, Ordering::SeqCst);
        Box::pin(async move {
            if explodes {
                panic!("bomb in a {}", "command");
            }
        })
    }
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn has(&self, message: &str) {
        let text = String::from_utf8(self.0.lock().clone()).unwrap();
        let line = text.lines().find(|line| line.contains(message)).unwrap_or_else(|| panic!("no {message} in {text}"));
        assert!(line.contains("tests/panics.rs:"), "no place: {line}");
    }
}

/// A mount that is detached at the end, whatever happens.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = cthulhu::sys::detach_mount(&self.0);
    }
}

impl Mounted {
    /// One file operation, off the runtime's threads: it waits for them.
    async fn read(&self, path: &str) -> std::io::Result<String> {
        let path = self.0.join(path);
        deadline(move || std::fs::read_to_string(path)).await
    }

    async fn write(&self, path: &str, line: &'static str) -> std::io::Result<()> {
        let path = self.0.join(path);
        deadline(move || std::fs::File::options().write(true).open(path)?.write_all(line.as_bytes())).await
    }
}

async fn deadline<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let work = tokio::task::spawn_blocking(work);
    tokio::time::timeout(Duration::from_secs(120), work).await.expect("it hangs").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_an_eio_and_a_line_in_the_log_and_no_more() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    log_panics();

    let f = Fixture::new(2, Duration::from_secs(30)).await;
    let bombs = Arc::new(Fuse::default());
    f.tree.connect(Box::new(Bomb(bombs.clone())));
    let dir = tempfile::tempdir().unwrap();
    let passthrough = Arc::new(Passthrough::new(None, Descriptors::of_limit(1024, 48)));
    let runtime = tokio::runtime::Handle::current();
    let serving =
        match cthulhu::fuse::mount(&f.tree, passthrough, Arc::default(), dir.path(), "cthulhu-test", false, runtime) {
            Ok(mounted) => mounted,
            Err(error) => return skip::skipped(format!("cannot mount here: {error}")),
        };
    let serving = std::thread::spawn(move || serving.serve());
    let m = Mounted(dir.path().to_owned());
    let is_eio = |done: std::io::Result<()>| assert_eq!(done.unwrap_err().raw_os_error(), Some(libc::EIO));

    // In the thread that serves the request.
    bombs.when_told.store(true, Ordering::SeqCst);
    is_eio(m.write("i001/control", "nonsense\n").await);
    log.has("bomb in a handler");
    assert_eq!(m.read("i001/name").await.unwrap(), "i001\n");
    let again = m.write("i001/control", "nonsense\n").await.unwrap_err();
    assert_eq!(again.raw_os_error(), Some(libc::EINVAL));
    m.write("control", "start\n").await.unwrap();
    assert_eq!(m.read("i001/state").await.unwrap(), "running\n");

    // In the task that runs a command.
    bombs.when_flushed.store(true, Ordering::SeqCst);
    is_eio(m.write("i001/control", "stop\n").await);
    log.has("bomb in a command");
    assert_eq!(m.read("i001/state").await.unwrap(), "exited\n");
    m.write("i001/control", "start\n").await.unwrap();
    assert!(!f.tree.close(), "a command that has panicked counts as under way");

    // In what follows the engine's events, and in a command, while news is told: what was left out is told again.
    bombs.when_told.store(true, Ordering::SeqCst);
    f.engine.die("i001", 7).unwrap();
    eventually("told", || f.read("i001/state").as_deref() == Ok("exited\n")).await;
    eventually("told whole", || f.read("i001/exit_code").as_deref() == Ok("7\n")).await;
    assert!(f.read("status").unwrap().lines().nth(1).unwrap().contains("exited"));
    f.engine.die("i002", 8).unwrap();
    eventually("told", || f.read("i002/exit_code").as_deref() == Ok("8\n")).await;

    drop(m);
    deadline(move || serving.join()).await.unwrap().unwrap();
}
