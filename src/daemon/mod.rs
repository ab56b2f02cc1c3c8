//! The daemon room: wiring and life cycle. Brings a cluster up, waits for its end whichever way it comes, takes it down.
//!
//! It may touch every other room; none touches it.

mod background;
mod data;
mod options;
mod owner;
mod place;
mod report;
mod start;
mod umount;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

pub use background::{mount_in_background, run_child};
pub use options::Plan;
use place::lock_data;
pub use place::{Place, Record, records};
pub use report::to_stderr;
pub use start::connect;
pub use umount::umount;

use crate::cluster::ClusterId;
use crate::provision::{Provisioner, remove_cluster};
use crate::sys;
use report::{Report, Reporter};
use start::{Made, Running, start};

/// Runs a cluster from its start to its end.
///
/// `abandoned` resolves when whoever waits for the start is gone.
///
/// # Errors
/// One sentence, also reported: why the start failed, or that something could not be removed.
pub async fn run(plan: &Plan, report: Reporter, abandoned: oneshot::Receiver<()>) -> Result<()> {
    let done = run_reported(plan, &report, abandoned).await;
    if let Err(error) = &done {
        report(Report::Failed(format!("{error:#}")));
    }
    done
}

async fn run_reported(plan: &Plan, report: &Reporter, abandoned: oneshot::Receiver<()>) -> Result<()> {
    let mut told_to_end = told_to_end()?;
    let lock = plan.place.lock()?;
    let _ = fs::remove_file(plan.place.failure());
    let _data = plan.args.data.is_some().then(|| lock_data(&plan.data)).transpose()?;
    let mountpoint = plan.place.check_mountpoint(plan.makes_mountpoint)?;
    if let Err(error) = sys::raise_nofile_limit() {
        warn!(%error, "cannot raise the limit of open files");
    }
    let made = Made { engine: Default::default(), id: new_id()?, mountpoint };
    let started = tokio::select! {
        started = start(plan, &lock, &made, report) => started,
        () = &mut told_to_end => Err(anyhow!("interrupted before the cluster was up; what had been made is removed")),
        Ok(()) = abandoned => Err(anyhow!("nobody waits for the cluster any more; what had been made is removed")),
    };
    let running = match started {
        Ok(running) => running,
        Err(failure) => {
            let removed = take_down(plan, &made, None).await;
            plan.place.remove_record();
            return match removed {
                Ok(()) => Err(failure),
                Err(error) => Err(failure.context(format!("and not all could be removed: {error:#}"))),
            };
        }
    };
    report(Report::Ready(format!("{}{}", running.note, welcome(plan))));
    info!("the cluster is up");
    let Running { watch, unmounted, provisioner, note: _ } = running;
    tokio::select! {
        _ = unmounted => info!("unmounted"),
        () = told_to_end => info!("told to end"),
    }
    watch.stop();
    let done = take_down(plan, &made, Some(provisioner)).await;
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

/// Removes the mount, the containers, the network, and a mountpoint that was made.
async fn take_down(plan: &Plan, made: &Made, sandboxes: Option<Arc<Provisioner>>) -> Result<()> {
    if let Err(error) = plan.place.detach() {
        warn!(%error, "cannot detach the mount");
    }
    let engine = made.engine.lock().clone();
    let mut done = Ok(());
    if let Some(engine) = engine {
        // A request that was cut off may still be carried out: look again until nothing comes any more.
        for _ in 0..10 {
            match remove_cluster(engine.as_ref(), &made.id.0).await {
                Ok(removed) if removed == Default::default() => {
                    done = Ok(());
                    break;
                }
                Ok(_) => done = Ok(()),
                Err(error) => done = Err(anyhow!("{error}")),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    drop(sandboxes);
    if made.mountpoint {
        // Only if it is empty: it may have been there before, with somebody's files in it by now.
        let _ = fs::remove_dir(&plan.place.mountpoint);
    }
    done
}

/// Resolves at the first SIGTERM or SIGINT.
fn told_to_end() -> Result<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(Box::pin(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    }))
}

fn new_id() -> Result<ClusterId> {
    let mut bytes = [0; 6];
    std::io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(ClusterId(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
}

fn welcome(plan: &Plan) -> String {
    let at = plan.place.mountpoint.display();
    let count = plan.args.instances;
    let nodes = if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") };
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
            println!("{text}");
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
