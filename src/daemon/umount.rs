//! Unmounting from outside: ends the daemon, or clears away what a dead one left.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::place::{Place, moved_to, records};
use super::start::remove_earlier;
use super::{connect, runtime};
use crate::sys;

/// How long to wait for an engine when a dead cluster is cleared away.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(15);

/// Ends the cluster at a place, and returns when everything is gone: where its data are kept, if it has any.
///
/// # Errors
/// A sentence.
pub fn umount(place: &Place, host: Option<&str>) -> Result<Option<PathBuf>> {
    let moved = if place.holder().is_none() { moved_to(&place.mountpoint)? } else { None };
    let place = moved.as_ref().unwrap_or(place);
    let record = records()?.into_iter().map(|(record, _)| record).find(|record| record.mountpoint == place.mountpoint);
    let kept = record.as_ref().map(|record| record.data.clone());
    let had_daemon = match place.holder() {
        Some(pid) => end_daemon(place, pid)?,
        None => false,
    };
    // One that has ended as it should has taken its record away.
    if had_daemon && !place.has_record() {
        return Ok(kept);
    }
    let was_mounted = place.is_dead_mount();
    if !was_mounted && !had_daemon && place.is_mounted() {
        let at = place.mountpoint.display();
        bail!(
            "the cluster at {at} lives, and was mounted by another user or with another HOME or XDG_STATE_HOME: \
             unmount it as it was mounted, or with fusermount3 -u {at}"
        );
    }
    if let Some(mount) = record.as_ref().and_then(|record| record.mount.as_ref()) {
        let at = place.mountpoint.display();
        mount.detach().with_context(|| format!("the dead mount of {at} cannot be removed"))?;
    }
    place.detach()?;
    if record.as_ref().is_some_and(|record| record.made_mountpoint) {
        // Only if it is empty, as at the end of every mount.
        let _ = fs::remove_dir(&place.mountpoint);
    }
    let host = host.map(str::to_owned).or(record.map(|record| record.engine));
    let removed = remove_left(place, host.as_deref()).with_context(|| {
        let at = place.mountpoint.display();
        format!("nothing is mounted at {at} any more, but what may be left of it in the engine cannot be removed")
    })?;
    place.remove_record();
    if !was_mounted && !removed && !had_daemon && kept.is_none() {
        bail!("no cluster is mounted at {}", place.mountpoint.display());
    }
    Ok(kept)
}

/// Returns whether there was a daemon to end, once it has ended.
fn end_daemon(place: &Place, pid: u32) -> Result<bool> {
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
        Err(error) => bail!("cannot end the daemon {pid} of {}: {error}", place.mountpoint.display()),
    }
    loop {
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    match fs::read_to_string(place.failure()) {
        Ok(why) => {
            bail!("the cluster at {} is unmounted, but not all is gone: {}", place.mountpoint.display(), why.trim())
        }
        Err(_) => Ok(true),
    }
}

fn remove_left(place: &Place, host: Option<&str>) -> Result<bool> {
    runtime()?.block_on(async {
        let engine = connect(host, ENGINE_TIMEOUT).await?;
        let any = Cell::new(false);
        remove_earlier(place, engine.as_ref(), |_| any.set(true)).await?;
        Ok(any.get())
    })
}
