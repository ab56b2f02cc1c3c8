//! Questions about processes.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

/// Signals that end no process by default: ignored, or stopping it until it is continued (signal(7)).
const NOT_FATAL: [libc::c_int; 8] = [
    libc::SIGCHLD,
    libc::SIGCONT,
    libc::SIGURG,
    libc::SIGWINCH,
    libc::SIGSTOP,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// Whether the thread `tid` will die before it runs on: it has a signal pending that ends its process, and neither
/// blocks, ignores nor handles it. A signal that ends the process through another thread is SIGKILL to this one. Also
/// true when the thread is gone. Thread 0, as the kernel calls a requester of another pid namespace, can't be looked
/// at: false.
///
/// # Errors
/// Those of reading `/proc/TID/status`; `EINVAL` when it has no signal masks.
pub(crate) fn is_about_to_die(tid: u32) -> io::Result<bool> {
    if tid == 0 {
        return Ok(false);
    }
    match std::fs::read_to_string(format!("/proc/{tid}/status")) {
        Ok(status) => fatal_pending(&status).ok_or_else(|| Errno::INVAL.into()),
        Err(error) if is_gone(&error) => Ok(true),
        Err(error) => Err(error),
    }
}

fn fatal_pending(status: &str) -> Option<bool> {
    let mask = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    let pending = mask("SigPnd:")? | mask("ShdPnd:")?;
    let survived = mask("SigBlk:")? | mask("SigIgn:")? | mask("SigCgt:")?;
    let not_fatal = NOT_FATAL.iter().fold(0u64, |set, signal| set | 1 << (signal - 1));
    Some(pending & !survived & !not_fatal != 0)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

/// This process's umask: the permissions that what it makes does not get.
///
/// # Errors
/// Those of reading `/proc/self/status`; `EINVAL` when it does not say (before Linux 4.7).
pub(crate) fn umask() -> io::Result<u32> {
    // umask(2) returns the value only by setting another, for all threads.
    let status = std::fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).ok_or_else(|| Errno::INVAL.into())
}

/// A descriptor that becomes readable when the process `pid` dies.
///
/// # Errors
/// `ESRCH` when there is no such process, `EINVAL` for pid 0 or a thread that leads no process, `ENOSYS` before
/// Linux 5.3.
pub(crate) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::INVAL)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// When the process started, in clock ticks since boot; with the pid it names a process for good. `None` when it is
/// gone, has ended and waits for its parent (a zombie), or cannot be read.
#[must_use]
pub(crate) fn process_start_time(pid: u32) -> Option<u64> {
    start_time(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// Whether the process is stopped, by a signal (SIGSTOP, ^Z) or a debugger.
#[must_use]
pub(crate) fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    fields_from_state(&stat).and_then(|mut fields| fields.next()).is_some_and(|state| matches!(state, "T" | "t"))
}

/// The fields of proc_pid_stat(5) from the third on, the state.
fn fields_from_state(stat: &[u8]) -> Option<impl Iterator<Item = &str>> {
    // The second field is the command in parentheses and may hold anything, parentheses too: count from the last one.
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    Some(std::str::from_utf8(&stat[end + 1..]).ok()?.split_ascii_whitespace())
}

fn start_time(stat: &[u8]) -> Option<u64> {
    let mut fields = fields_from_state(stat)?;
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(22 - 4)?.parse().ok()
}

/// The id of this boot, 36 characters; process start times and pids of another boot mean nothing.
///
/// # Errors
/// Those of reading `/proc/sys/kernel/random/boot_id`.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    /// Of a thread that blocks, ignores and handles what is named.
    fn status(pending: u64, shared: u64, [blocked, ignored, caught]: [u64; 3]) -> String {
        format!(
            "Name:\tx\nSigPnd:\t{pending:016x}\nShdPnd:\t{shared:016x}\nSigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n"
        )
    }

    #[test]
    fn only_fatal_signals_that_get_through_count() {
        for signal in 1..=64 {
            let bit = 1 << (signal - 1);
            let fatal = !NOT_FATAL.contains(&signal);
            for (pending, shared) in [(bit, 0), (0, bit)] {
                assert_eq!(fatal_pending(&status(pending, shared, [0; 3])), Some(fatal), "{signal}");
                for survived in [[bit, 0, 0], [0, bit, 0], [0, 0, bit]] {
                    assert_eq!(fatal_pending(&status(pending, shared, survived)), Some(false), "{signal}");
                }
                // What it survives of others does not help it.
                assert_eq!(fatal_pending(&status(pending, shared, [0, 0, !bit])), Some(fatal), "{signal}");
            }
        }
        assert_eq!(fatal_pending(&status(0, 0, [0; 3])), Some(false));
        assert_eq!(fatal_pending("Name:\tx\n"), None);
    }

    #[test]
    fn asks_the_live_kernel() {
        assert!(!is_about_to_die(std::process::id()).unwrap());
        assert!(!is_about_to_die(0).unwrap());
        assert!(is_about_to_die(u32::MAX).unwrap(), "a task that is gone");
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
    fn a_stopped_process_is_told_from_one_that_runs() {
        let mut child = sleeper();
        assert!(!is_stopped(child.id()) && !is_stopped(u32::MAX));
        let pid = Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        // The signal is on its way for a moment.
        let stopped = rustix::process::WaitOptions::UNTRACED;
        rustix::process::waitpid(Some(pid), stopped).unwrap();
        assert!(is_stopped(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn the_umask_is_what_a_shell_says() {
        let shell = Command::new("sh").args(["-c", "umask"]).output().unwrap();
        let said = String::from_utf8(shell.stdout).unwrap();
        assert_eq!(umask().unwrap(), u32::from_str_radix(said.trim(), 8).unwrap());
    }

    #[test]
    fn the_boot_id_is_a_uuid() {
        assert_eq!(boot_id().unwrap().len(), 36);
    }
}
