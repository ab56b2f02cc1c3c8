//! Unmounting from outside: ends the daemon, or clears away what a dead one left.

use std::cell::Cell;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures_util::future::join_all;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::answers::no_answer;
use super::data;
use super::paths::SILENCE;
use super::paths::{ClusterPaths, Record, moved_to, records};
use super::runtime::runtime;
use super::start::remove_earlier;
use crate::fleet::{HostAddress, connect};
use crate::sys::{self, Asked};
use crate::text::harmless;

/// How long to wait for an engine when a dead cluster is cleared away.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(15);

/// What is kept of a cluster that is gone.
pub(crate) struct Kept {
    /// Where its data are.
    pub(crate) data: PathBuf,
    /// What some of its nodes wrote was on other machines, and is not among them.
    pub(crate) lacks_files: bool,
}

/// Ends the cluster at a place, and returns when everything is gone: what is kept, if anything is.
///
/// # Errors
/// A sentence.
pub(crate) fn umount(paths: &ClusterPaths, hosts: &[HostAddress]) -> Result<Option<Kept>> {
    let moved = if paths.holder().is_none() { moved_to(&paths.mountpoint)? } else { None };
    let paths = moved.as_ref().unwrap_or(paths);
    let record = records()?.into_iter().map(|(record, _)| record).find(|record| record.mountpoint == paths.mountpoint);
    let kept = record.as_ref().map(|record| Kept { data: record.data.clone(), lacks_files: record.files_elsewhere });
    let had_daemon = match paths.holder() {
        Some(pid) => end_daemon(paths, pid)?,
        None => false,
    };
    // One that has ended as it should has taken its record away.
    if had_daemon && !paths.has_record() {
        return Ok(kept);
    }
    let was_mounted = paths.is_dead_mount();
    if !was_mounted && !had_daemon && paths.is_mounted() {
        let at = paths.mountpoint.display();
        bail!(
            "the cluster at {at} lives, and was mounted by another user or with another HOME or XDG_STATE_HOME: \
             unmount it as it was mounted, or with fusermount3 -u {at}"
        );
    }
    if let Some(mount) = record.as_ref().and_then(|record| record.mount.as_ref()) {
        let at = paths.mountpoint.display();
        mount.detach().with_context(|| format!("the dead mount of {at} cannot be removed"))?;
    }
    paths.detach()?;
    if record.as_ref().is_some_and(|record| record.made_mountpoint) {
        // Only if it is empty, as at the end of every mount.
        let _ = fs::remove_dir(&paths.mountpoint);
    }
    let recorded: Vec<_> = record.iter().flat_map(Record::engines).cloned().collect();
    let named: Vec<_> = hosts.iter().map(|host| host.address.clone()).collect();
    let (engines, unasked) = match hosts {
        [] => (recorded, vec![]),
        _ => (named.clone(), recorded.into_iter().filter(|address| !named.contains(address)).collect()),
    };
    let removed = remove_left(paths, &engines).with_context(|| {
        let at = paths.mountpoint.display();
        format!("nothing is mounted at {at} any more, but what may be left of it in the engine cannot be removed")
    })?;
    if !unasked.is_empty() {
        eprintln!(
            "cthulhu: what may be left of it in {} stays, as --host names other engines",
            harmless(&unasked.join(", "))
        );
    }
    paths.remove_record();
    if let Some(record) = &record {
        data::forget(&record.data, &record.id);
    }
    if !was_mounted && !removed && !had_daemon && kept.is_none() {
        bail!("no cluster is mounted at {}", paths.mountpoint.display());
    }
    Ok(kept)
}

/// Returns whether there was a daemon to end, once it has ended.
fn end_daemon(paths: &ClusterPaths, pid: u32) -> Result<bool> {
    let gone = || anyhow!("no process {pid}");
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
    let pidfd = match sys::pidfd_open(pid) {
        Ok(pidfd) => pidfd,
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    match kill_process(raw, Signal::TERM) {
        Ok(()) => {}
        Err(Errno::SRCH) => return Ok(false),
        Err(error) => bail!("cannot end the daemon {pid} of {}: {error}", paths.mountpoint.display()),
    }
    await_end(paths, pid, &pidfd, true)?;
    match fs::read_to_string(paths.failure()) {
        Ok(why) => {
            bail!("the cluster at {} is unmounted, but not all is gone: {}", paths.mountpoint.display(), why.trim())
        }
        Err(_) => Ok(true),
    }
}

/// Returns when the daemon that was told to end has ended, however long that takes. With `told`, says on stderr when it
/// takes long.
///
/// # Errors
/// A sentence: it is stopped, or its mount does not answer, so that it will not end by itself.
pub(crate) fn await_end(paths: &ClusterPaths, pid: u32, pidfd: &OwnedFd, mut told: bool) -> Result<()> {
    let at = paths.mountpoint.display();
    let round = Timespec { tv_sec: SILENCE.as_secs().cast_signed(), tv_nsec: 0 };
    loop {
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&round)) {
            Ok(0) => {}
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        if sys::is_stopped(pid) {
            bail!("{}; it was asked to end, and does so when it continues", no_answer(&paths.mountpoint, Some(pid)));
        }
        let mount = paths.record().and_then(|record| record.mount);
        let mounted = mount.is_some_and(|mount| mount.now().is_ok_and(|now| now.is_some()));
        // The first thing that it does is to take the mount away.
        if mounted && paths.ask_mount() == Asked::Silent {
            bail!("{}", no_answer(&paths.mountpoint, Some(pid)));
        }
        if told {
            let at = harmless(&at.to_string());
            eprintln!(
                "cthulhu: the daemon of {at}, process {pid}, is still removing the cluster; if it does not end, kill -9 {pid}, and umount again"
            );
            told = false;
        }
    }
}

/// Removes what is left in these engines, or in the usual one. One that does not answer does not hold back the others.
fn remove_left(paths: &ClusterPaths, addresses: &[String]) -> Result<bool> {
    runtime()?.block_on(async {
        let addresses =
            if addresses.is_empty() { vec![None] } else { addresses.iter().map(|it| Some(&**it)).collect() };
        let connected = join_all(addresses.into_iter().map(|address| connect(address, ENGINE_TIMEOUT))).await;
        let (reached, missed): (Vec<_>, Vec<_>) = connected.into_iter().partition(Result::is_ok);
        let engines: Vec<_> = reached.into_iter().flatten().collect();
        let any = Cell::new(false);
        let removed = remove_earlier(paths, &engines, |_| any.set(true)).await;
        // What the others could not remove, a network, may be due to the one that is missed.
        missed.into_iter().try_for_each(|missed| missed.map(drop))?;
        removed.map(|()| any.get())
    })
}
