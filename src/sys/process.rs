//! Questions about processes.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

/// Whether a signal that should end a wait (KILL, INT, TERM, QUIT, HUP) is pending for the thread `tid` and neither
/// blocked nor ignored by it. Also true when the thread is gone. Thread 0, as the kernel calls a requester of another
/// pid namespace, can't be looked at: false.
///
/// # Errors
/// Those of reading `/proc/TID/status`; `EINVAL` when it has no signal masks.
pub fn pending_signals(tid: u32) -> io::Result<bool> {
    if tid == 0 {
        return Ok(false);
    }
    match std::fs::read_to_string(format!("/proc/{tid}/status")) {
        Ok(status) => deadly_pending(&status).ok_or_else(|| Errno::INVAL.into()),
        Err(error) if is_gone(&error) => Ok(true),
        Err(error) => Err(error),
    }
}

fn deadly_pending(status: &str) -> Option<bool> {
    let mask = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    let pending = mask("SigPnd:")? | mask("ShdPnd:")?;
    let deadly = [libc::SIGKILL, libc::SIGINT, libc::SIGTERM, libc::SIGQUIT, libc::SIGHUP]
        .iter()
        .fold(0u64, |set, signal| set | 1 << (signal - 1));
    Some(pending & !mask("SigBlk:")? & !mask("SigIgn:")? & deadly != 0)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

/// A descriptor that becomes readable when the process `pid` dies.
///
/// # Errors
/// `ESRCH` when there is no such process, `EINVAL` for pid 0 or a thread that leads no process, `ENOSYS` before
/// Linux 5.3.
pub fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::INVAL)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// When the process started, in clock ticks since boot; with the pid it names a process for good. `None` when it is
/// gone, has ended and waits for its parent (a zombie), or cannot be read.
#[must_use]
pub fn process_start_time(pid: u32) -> Option<u64> {
    start_time(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

fn start_time(stat: &[u8]) -> Option<u64> {
    // The second field is the command in parentheses and may hold anything, parentheses too: count from the last one.
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let text = std::str::from_utf8(&stat[end + 1..]).ok()?;
    let mut fields = text.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(22 - 4)?.parse().ok()
}

/// The id of this boot, 36 characters; process start times and pids of another boot mean nothing.
///
/// # Errors
/// Those of reading `/proc/sys/kernel/random/boot_id`.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    fn status(pending: u64, shared: u64, blocked: u64, ignored: u64) -> String {
        format!(
            "Name:\tx\nSigPnd:\t{pending:016x}\nShdPnd:\t{shared:016x}\nSigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\n"
        )
    }

    #[test]
    fn only_deadly_signals_that_get_through_count() {
        let int = 1 << (libc::SIGINT - 1);
        let usr1 = 1 << (libc::SIGUSR1 - 1);
        assert_eq!(deadly_pending(&status(0, 0, 0, 0)), Some(false));
        assert_eq!(deadly_pending(&status(int, 0, 0, 0)), Some(true));
        assert_eq!(deadly_pending(&status(0, int, 0, 0)), Some(true));
        assert_eq!(deadly_pending(&status(0, int, int, 0)), Some(false));
        assert_eq!(deadly_pending(&status(int, 0, 0, int)), Some(false));
        assert_eq!(deadly_pending(&status(usr1, usr1, 0, 0)), Some(false));
        assert_eq!(deadly_pending("Name:\tx\n"), None);
    }

    #[test]
    fn asks_the_live_kernel() {
        assert!(!pending_signals(std::process::id()).unwrap());
        assert!(!pending_signals(0).unwrap());
        assert!(pending_signals(u32::MAX).unwrap(), "a task that is gone");
    }

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").stdout(Stdio::null()).spawn().unwrap()
    }

    #[test]
    fn a_pidfd_tells_of_the_death() {
        let mut child = sleeper();
        let fd = pidfd_open(child.id()).unwrap();
        let ready = |timeout: Duration| {
            let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
            let timeout = rustix::event::Timespec {
                tv_sec: i64::try_from(timeout.as_secs()).unwrap(),
                tv_nsec: i64::from(timeout.subsec_nanos()),
            };
            rustix::event::poll(&mut fds, Some(&timeout)).unwrap() == 1
        };
        assert!(!ready(Duration::ZERO));
        child.kill().unwrap();
        let asked = Instant::now();
        assert!(ready(Duration::from_secs(120)), "{:?}", asked.elapsed());
        child.wait().unwrap();
        assert!(pidfd_open(0).is_err());
    }

    #[test]
    fn start_times_survive_hostile_names() {
        let tail = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        for name in ["cat", "a b", "a) S 1 (b", ") 1 2 3", ""] {
            assert_eq!(start_time(format!("12 ({name}) {tail}\n").as_bytes()), Some(4711), "{name}");
        }
        assert_eq!(start_time(b"12 (cat) S 1"), None);
        assert_eq!(start_time(b""), None);
        let own = process_start_time(std::process::id());
        assert!(own.is_some());
        assert_eq!(own, process_start_time(std::process::id()));
        assert_eq!(process_start_time(u32::MAX), None);
    }

    #[test]
    fn the_boot_id_is_a_uuid() {
        assert_eq!(boot_id().unwrap().len(), 36);
    }
}
