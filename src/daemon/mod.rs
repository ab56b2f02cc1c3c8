//! The daemon room: wiring and life cycle. Brings a cluster up, waits for its end whichever way it comes, takes it down.
//!
//! It may touch every other room; none touches it.

mod background;
mod beneath;
mod config;
mod data;
#[cfg(fuzzing)]
pub mod fuzzed;
mod left;
mod needs;
mod options;
mod owner;
mod panics;
mod place;
mod program;
pub mod prune;
mod readiness;
mod report;
mod start;
mod umount;

use std::fs;
use std::io::Write;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

pub use background::{Attached, attached, mount_in_background, run_child, started};
pub use left::left_in_engine;
pub use needs::{fuse_device, on_path};
pub use options::Plan;
pub use panics::log_panics;
use place::{OwnMount, lock_data};
pub use place::{Place, Record, moved_to, records, state_home};
pub use report::to_stderr;
pub use start::connect;
pub use umount::umount;

use crate::cluster::ClusterId;
use crate::engine::EngineError;
use crate::provision::{Provisioner, remove_cluster};
use crate::sys;
use crate::tree::Tree;
use report::{Report, Reporter};
use start::{Made, Running, start};

/// After requests were cut off, a teardown is over when so many looks, [`ROUND`] apart, have found nothing. The slowest
/// request that can be under way then is a start: 300 to 400 ms on two busy cores.
const UNSETTLED_ROUNDS: u32 = 8;
const ROUND: Duration = Duration::from_millis(200);
/// How long a teardown that is done looks for what an earlier cluster at its place has left.
const EARLIER: Duration = Duration::from_secs(5);
/// A teardown is given up when so many rounds of it have failed.
const FAILURES: u32 = 3;

/// Runs a cluster from its start to its end.
///
/// `abandoned` resolves when whoever waits for the start is gone; or, for a cluster that lives no longer than another
/// process, when that one is.
///
/// # Errors
/// One sentence, also reported: why the start failed, or that something could not be removed.
pub async fn run(plan: &Plan, report: Reporter, abandoned: oneshot::Receiver<()>) -> Result<()> {
    log_panics();
    let done = run_reported(plan, &report, abandoned).await;
    if let Err(error) = &done {
        report(Report::Failed(format!("{error:#}")));
    }
    done
}

async fn run_reported(plan: &Plan, report: &Reporter, abandoned: oneshot::Receiver<()>) -> Result<()> {
    let mut told_to_end = told_to_end()?;
    // One that was told to stay is never abandoned.
    let mut abandoned = pin!(async {
        if abandoned.await.is_err() {
            std::future::pending().await
        }
    });
    let lock = plan.place.lock()?;
    if !plan.args.foreground {
        // Ours now: what an earlier daemon logged goes. By its name, as `cthulhu prune` may have removed the file that our
        // parent has opened.
        let log = fs::File::options().append(true).create(true).open(plan.place.daemon_log());
        let _ = log.and_then(|log| log.set_len(0).and_then(|()| Ok(rustix::stdio::dup2_stderr(&log)?)));
    }
    let _ = fs::remove_file(plan.place.failure());
    let _data = plan.args.data.is_some().then(|| lock_data(&plan.data)).transpose()?;
    let mountpoint = plan.place.check_mountpoint()?.into();
    let made = Made {
        engine: Default::default(),
        id: new_id()?,
        recorder: Default::default(),
        mountpoint,
        mount: Default::default(),
    };
    let started = tokio::select! {
        started = start(plan, &lock, &made, report) => started,
        () = &mut told_to_end => Err(anyhow!("interrupted before the cluster was up; what had been made is removed")),
        () = &mut abandoned => Err(anyhow!("nobody waits for the cluster any more; what had been made is removed")),
    };
    let running = match started {
        Ok(running) => running,
        Err(failure) => {
            made.end_history();
            return match take_down(plan, &made, None, true).await {
                Ok(()) => {
                    plan.place.remove_record();
                    Err(failure)
                }
                Err(error) => Err(anyhow!("{failure:#}; and not all could be removed: {error:#}")),
            };
        }
    };
    report(Report::Ready(format!("{}{}", running.note, welcome(plan))));
    info!("the cluster is up");
    let Running { tree, watch, unmounted, provisioner, note: _ } = running;
    let detached = detached(made.mount.get().cloned())?;
    tokio::select! {
        _ = unmounted => info!("unmounted"),
        _ = detached => info!("unmounted, and somebody still uses the mount"),
        () = told_to_end => info!("told to end"),
        () = abandoned => info!("the process that it was for is gone"),
    }
    let commands_run = tree.close();
    watch.end().await;
    made.end_history();
    join_logs(&tree).await;
    // Only what a terminal sends: a teardown ends by itself, and `cthulhu umount` beside it means no other thing.
    let mut again = self::told([SignalKind::interrupt(), SignalKind::quit()])?;
    let done = tokio::select! {
        done = take_down(plan, &made, Some(provisioner), commands_run) => done,
        () = &mut again => Err(anyhow!("told to end twice, before all was removed")),
    };
    if let Err(error) = &done {
        error!(%error, "not all could be removed");
        let _ = fs::write(plan.place.failure(), format!("{error:#}\n"));
    } else {
        plan.place.remove_record();
        info!("everything is gone");
    }
    drop(lock);
    done
}

/// Leaves each node's output in one file.
async fn join_logs(tree: &Tree) {
    let logs: Vec<_> = (0..tree.cluster().len()).map(|index| tree.log(index).clone()).collect();
    let joined = tokio::task::spawn_blocking(move || {
        for error in logs.iter().filter_map(|log| log.join().err()) {
            warn!(%error, "a node's log stays in two files, log.old and log");
        }
    });
    let _ = joined.await;
}

/// Resolves when our mount is gone, though somebody may still use it: a shell that stands in it, or a container whose mount
/// namespace has copied it.
fn detached(mount: Option<OwnMount>) -> Result<oneshot::Receiver<()>> {
    let (gone, detached) = oneshot::channel();
    std::thread::Builder::new().name("mounts".into()).spawn(move || {
        if let Err(error) = sys::wait_for_mounts(|| mount.as_ref().is_none_or(|mount| matches!(mount.now(), Ok(None))))
        {
            warn!(%error, "cannot watch the mounts");
            // The end of the FUSE connection tells an unmount too, as long as nobody else uses the mount.
            std::mem::forget(gone);
            return;
        }
        let _ = gone.send(());
    })?;
    Ok(detached)
}

/// Removes the mount, the containers, the network, and a mountpoint that was made. `unsettled` says that requests to
/// the engine were cut off: they may still be carried out.
async fn take_down(plan: &Plan, made: &Made, sandboxes: Option<Arc<Provisioner>>, unsettled: bool) -> Result<()> {
    let mount = made.mount.get().and_then(|mount| mount.now().ok().flatten());
    let detached = made.mount.get().map_or(Ok(()), OwnMount::detach);
    if let Err(error) = &detached {
        warn!(%error, "cannot detach the mount");
    }
    let engine = made.engine.lock().clone();
    let mut done = Ok(());
    if let Some(engine) = &engine {
        let quiet_rounds = if unsettled { UNSETTLED_ROUNDS } else { 1 };
        let (mut quiet, mut failures) = (0, 0);
        while quiet < quiet_rounds && failures < FAILURES {
            match remove_cluster(engine.as_ref(), &made.id.0).await {
                Ok(removed) => {
                    done = Ok(());
                    quiet = if removed == Default::default() { quiet + 1 } else { 0 };
                }
                Err(error) => {
                    done = Err(anyhow!("{}", what_is_left(&error, &plan.place)));
                    // A minute for one thing, or silence: it would be the same again.
                    failures += if matches!(error, EngineError::TimedOut(_)) { FAILURES } else { 1 };
                }
            }
            if quiet < quiet_rounds {
                tokio::time::sleep(ROUND).await;
            }
        }
    }
    drop(sandboxes);
    if let (Ok(()), Some(engine)) = (&done, engine) {
        // What a killed daemon had asked a busy engine for may have come when we had looked for it already.
        let again = start::remove_earlier(&plan.place, engine.as_ref(), |_| {});
        if !matches!(tokio::time::timeout(EARLIER, again).await, Ok(Ok(()))) {
            warn!("cannot look once more for what an earlier cluster here has left");
        }
    }
    if let (Ok(()), Err(error)) = (&done, detached) {
        let at = plan.place.mountpoint.display();
        done = Err(anyhow!("{error}; when that is unmounted, cthulhu umount {at} removes the dead mount"));
    }
    if made.mountpoint.load(Ordering::Relaxed) {
        // Only if it is empty: it may have been there before, with somebody's files in it by now.
        let _ = fs::remove_dir(mount.map_or_else(|| plan.place.mountpoint.clone(), |mount| mount.mountpoint));
    }
    done
}

/// Why a teardown failed, and how what is left goes away.
fn what_is_left(error: &EngineError, place: &Place) -> String {
    let at = place.mountpoint.display();
    match error {
        EngineError::Unreachable(_) | EngineError::TimedOut(_) => format!(
            "{error}; when it answers, cthulhu umount {at} removes the containers and the network that are left in it, \
             and so does the next mount there"
        ),
        _ => format!("{error}; cthulhu umount {at} tries again"),
    }
}

/// Resolves at the next signal that ends a program: SIGTERM, SIGINT, SIGHUP or SIGQUIT.
fn told_to_end() -> Result<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>> {
    told([SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()])
}

fn told<const N: usize>(kinds: [SignalKind; N]) -> Result<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>> {
    let mut signals = kinds.map(signal).into_iter().collect::<std::io::Result<Vec<_>>>()?;
    Ok(Box::pin(async move {
        let any = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
        futures_util::future::select_all(any).await;
    }))
}

/// A name that no other cluster has: twelve hexadecimal digits, drawn at random.
///
/// # Errors
/// /dev/urandom cannot be read.
pub fn new_id() -> Result<ClusterId> {
    let mut bytes = [0; 6];
    std::io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(ClusterId(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
}

fn welcome(plan: &Plan) -> String {
    let at = plan.place.mountpoint.display();
    let nodes = start::count(plan.args.instances);
    let next = if plan.args.start { format!("cat {at}/status") } else { format!("echo start > {at}/control") };
    format!("{nodes} mounted at {at}\nnext: {next}   end: cthulhu umount {at}")
}

/// Runs a cluster in the foreground, reporting to stderr.
///
/// # Errors
/// As [`run`].
pub fn mount_in_foreground(plan: &Plan) -> Result<()> {
    rustix::process::umask(rustix::fs::Mode::empty());
    let show = to_stderr();
    let report: Reporter = Arc::new(move |told| {
        show(told.clone());
        if let Report::Ready(text) = told {
            let _ = writeln!(std::io::stdout(), "{text}");
        }
    });
    let (_waiting, abandoned) = oneshot::channel();
    runtime()?.block_on(run(plan, report, abandoned))
}

/// The runtime of the engine side. Two threads: it waits more than it works.
///
/// # Errors
/// From the operating system.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
