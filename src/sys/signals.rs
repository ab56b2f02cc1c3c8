//! Signals, with the one thing that the standard ways of catching them leave out: whether the kernel sent them.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::Command;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) signal: i32,
    /// The kernel sent it: for ^C and the like, to the whole foreground group of a terminal. Else a process did.
    pub(crate) by_kernel: bool,
}

/// Signals that are caught for the rest of this process's life; programs that it starts get their defaults.
#[derive(Debug)]
pub(crate) struct Signals {
    pipe: File,
}

impl Signals {
    /// Catches them. Those that are ignored (nohup(1), the background of a script) stay ignored.
    ///
    /// # Errors
    /// Those of sigaction(2), pipe2(2), or of reading `/proc/self/status`.
    pub(crate) fn catch(signals: &[i32]) -> io::Result<Self> {
        let ignored = ignored()?;
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        // Never waits: a handler may run while there is no reader. 64 KiB are 30,000 signals.
        rustix::io::ioctl_fionbio(&writer, true)?;
        // Lives as long as the handlers.
        let writer: &'static OwnedFd = Box::leak(Box::new(writer));
        for &signal in signals.iter().filter(|&&signal| ignored & 1 << (signal - 1) == 0) {
            let handler = move |info: &libc::siginfo_t| {
                let bytes = [u8::try_from(signal).unwrap_or_default(), u8::from(info.si_code > 0)];
                let _ = rustix::io::write(writer, &bytes);
            };
            // SAFETY: the handler does nothing but write(2), by a system call that does not touch errno.
            unsafe { signal_hook_registry::register_sigaction(signal, handler) }?;
        }
        Ok(Self { pipe: File::from(reader) })
    }

    /// Waits for the next.
    ///
    /// # Errors
    /// Those of read(2).
    pub(crate) fn wait(&mut self) -> io::Result<Received> {
        let mut bytes = [0; 2];
        self.pipe.read_exact(&mut bytes)?;
        Ok(Received { signal: i32::from(bytes[0]), by_kernel: bytes[1] != 0 })
    }
}

/// Has children wait to be asked how they ended, also if our parent ignores SIGCHLD and the kernel would forget them.
///
/// # Errors
/// Those of sigaction(2).
pub(crate) fn wait_for_children() -> io::Result<()> {
    // SAFETY: the handler does nothing.
    unsafe { signal_hook_registry::register(libc::SIGCHLD, || {}) }?;
    Ok(())
}

/// The signals that this process ignores: bit n-1 for signal n.
fn ignored() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).ok_or_else(|| rustix::io::Errno::INVAL.into())
}

/// Has the program, once started, get `signal` when the thread that starts it ends, however that comes.
pub(crate) fn signal_at_our_end(command: &mut Command, signal: Signal) {
    use std::os::unix::process::CommandExt;

    let parent = getpid();
    let ask = move || {
        set_parent_process_death_signal(Some(signal))?;
        // We may be gone already.
        if getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
    };
    // SAFETY: between fork and exec it makes two system calls, and neither allocates nor takes a lock.
    unsafe { command.pre_exec(ask) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_process_from_the_kernel() {
        let mut signals = Signals::catch(&[libc::SIGUSR1, libc::SIGPIPE]).unwrap();
        rustix::process::kill_process(getpid(), Signal::USR1).unwrap();
        assert_eq!(signals.wait().unwrap(), Received { signal: libc::SIGUSR1, by_kernel: false });
        // Rust's runtime ignores SIGPIPE, and so it stays.
        assert_ne!(ignored().unwrap() & 1 << (libc::SIGPIPE - 1), 0);
    }

    #[test]
    fn a_child_ends_with_the_thread_that_started_it() {
        use std::os::unix::process::ExitStatusExt;

        let start = || {
            let mut command = Command::new("sleep");
            signal_at_our_end(command.arg("1000"), Signal::TERM);
            command.spawn().unwrap()
        };
        let mut child = std::thread::spawn(start).join().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
    }
}
