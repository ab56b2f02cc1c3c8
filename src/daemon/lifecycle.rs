//! A cluster's life: starts it, waits for its end whichever way it comes, and takes it down.

use std::fs;
use std::io::Write;
use std::pin::pin;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::data::DataLock;
use super::names::new_id;
use super::panics::log_panics;
use super::paths::OwnMount;
use super::plan::Plan;
use super::report::{Report, Reporter, to_stderr};
use super::runtime::runtime;
use super::start::{Made, Running, start};
use super::teardown::take_down;
use super::{data, needs, own, start};
use crate::sys;
use crate::tree::Tree;

/// Runs a cluster from its start to its end.
///
/// `abandoned` resolves when the process that waits for the start is gone; or, for a cluster that lives no longer than
/// another process, when that one is.
///
/// # Errors
/// One sentence, also reported: why the start failed, or that something could not be removed.
pub(crate) async fn run(plan: &Plan, report: Reporter, abandoned: oneshot::Receiver<()>) -> Result<()> {
    log_panics();
    let done = run_reported(plan, &report, abandoned).await;
    if let Err(error) = &done {
        report(Report::Failed(format!("{error:#}")));
    }
    done
}

async fn run_reported(plan: &Plan, report: &Reporter, abandoned: oneshot::Receiver<()>) -> Result<()> {
    let mut told_to_end = told_to_end()?;
    // A daemon that may stay is never abandoned.
    let mut abandoned = pin!(async {
        if abandoned.await.is_err() {
            std::future::pending().await
        }
    });
    let lock = plan.paths.lock()?;
    if !plan.foreground {
        // Ours now: what an earlier daemon logged goes. By its name, as `cthulhu prune` may have removed the file that our
        // parent has opened.
        let log = own::append(&plan.paths.daemon_log());
        let _ = log.and_then(|log| log.set_len(0).and_then(|()| Ok(rustix::stdio::dup2_stderr(&log)?)));
    }
    let _ = fs::remove_file(plan.paths.failure());
    let data = DataLock::take(&plan.data)?.ok_or_else(|| anyhow!("{}", data_taken(plan)))?;
    let mountpoint = plan.paths.check_mountpoint()?.into();
    let made = Made {
        fleet: Default::default(),
        id: new_id()?,
        recorder: Default::default(),
        mountpoint,
        begun: Default::default(),
        cleared: Default::default(),
        mount: Default::default(),
        data: Arc::new(Mutex::new(data)),
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
                    made.forget(&plan.paths);
                    Err(failure)
                }
                Err(error) => Err(anyhow!("{failure:#}; and not all could be removed: {error:#}")),
            };
        }
    };
    report(Report::Ready(format!("{}{}", running.note, welcome(plan))));
    info!("the cluster is up");
    let Running { tree, watch, unmounted, provisioner, leases, kept_agents, note: _ } = running;
    let detached = detached(made.mount.get().cloned())?;
    tokio::select! {
        served = unmounted => match served {
            Ok(Err(error)) => error!(%error, "the FUSE connection failed"),
            _ => info!("unmounted"),
        },
        _ = detached => info!("unmounted; the mount is still in use"),
        () = told_to_end => info!("told to end"),
        () = abandoned => info!("the process that it was for is gone"),
    }
    let commands_run = tree.close();
    watch.end().await;
    made.end_history();
    join_logs(&tree).await;
    // Only what a terminal sends: a teardown ends by itself, and `cthulhu umount` beside it means no other thing.
    let mut again = self::told([SignalKind::interrupt(), SignalKind::quit()])?;
    drop((leases, kept_agents));
    let done = tokio::select! {
        done = take_down(plan, &made, Some(provisioner), commands_run) => done,
        () = &mut again => Err(anyhow!("told to end twice, before all was removed")),
    };
    if let Err(error) = &done {
        error!(%error, "not all could be removed");
        let _ = own::write(&plan.paths.failure(), &format!("{error:#}\n"));
    } else {
        made.forget(&plan.paths);
        info!("everything is gone");
    }
    drop(lock);
    done
}

/// Why the data directory cannot be used.
fn data_taken(plan: &Plan) -> String {
    let taken = data::taken(&plan.data);
    if plan.keeps_data {
        return format!("--data {taken}");
    }
    format!("{taken}, where an earlier cluster here kept its own: unmount that one first, or mount elsewhere")
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

/// Resolves when our mount is gone, though it may still be in use: by a shell in it, or a container whose mount
/// namespace has copied it.
fn detached(mount: Option<OwnMount>) -> Result<oneshot::Receiver<()>> {
    let (gone, detached) = oneshot::channel();
    std::thread::Builder::new().name("mounts".into()).spawn(move || {
        if let Err(error) = sys::wait_for_mounts(|| mount.as_ref().is_none_or(|mount| matches!(mount.now(), Ok(None))))
        {
            warn!(%error, "cannot watch the mounts");
            // The end of the FUSE connection shows an unmount too, unless the mount is still in use.
            std::mem::forget(gone);
            return;
        }
        let _ = gone.send(());
    })?;
    Ok(detached)
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

fn welcome(plan: &Plan) -> String {
    let at = plan.paths.mountpoint.display();
    let nodes = start::count(plan.nodes.len());
    let next = if plan.start { format!("cat {at}/status") } else { format!("echo start > {at}/control") };
    format!("{nodes} mounted at {at}\nnext: {next}   end: cthulhu umount {at}")
}

/// Runs a cluster in the foreground, reporting to stderr.
///
/// # Errors
/// As [`run`].
pub(crate) fn mount_in_foreground(plan: &Plan) -> Result<()> {
    needs::threads()?;
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
