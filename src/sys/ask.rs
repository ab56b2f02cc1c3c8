//! Asking a file system whether it answers, so that one that doesn't cannot hold us.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

/// The answer of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Answers,
    /// It answered with an error; `ENOTCONN` or `ECONNABORTED` if it is FUSE and its daemon is gone.
    Fails(Errno),
    /// It has not answered in time.
    Silent,
}

/// Asks the file system at `path` for its statistics (statfs(2)) and waits at most `limit` for the answer.
///
/// A thread that waits for a hanging FUSE daemon cannot always be killed, and its process does not end before it. So a
/// child asks, which has no other descriptor of ours, and is left behind if it gets no answer.
///
/// # Errors
/// `EINVAL` for a path with a NUL byte; those of pipe(2) and fork(2).
pub(crate) fn ask(path: &Path, limit: Duration) -> io::Result<Asked> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let (answer, told) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: the child makes system calls only, which neither allocate nor take a lock, and leaves by _exit.
    let child = match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        // SAFETY: as above.
        0 => unsafe { asking(&path, told.as_raw_fd()) },
        child => child,
    };
    drop(told);
    let asked = read_answer(&answer, Instant::now() + limit)?;
    if asked == Asked::Silent {
        // SAFETY: a signal to a child that only we wait for, so its pid is still its own.
        unsafe { libc::kill(child, libc::SIGKILL) };
    } else {
        // SAFETY: as above; it has answered and is about to end.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    }
    Ok(asked)
}

/// The child's part: asks, and writes the error's number, or 0, to `told`.
///
/// # Safety
/// To be called in a child made by fork(2) only.
unsafe fn asking(path: &CStr, told: RawFd) -> ! {
    // SAFETY: system calls on descriptors and memory of this child alone.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::dup2(told, 0);
        // A reader of our output would wait for the child too, and a lock that it shares would stay taken.
        if libc::syscall(libc::SYS_close_range, 1, u32::MAX, 0) != 0 {
            (1..1024).for_each(|fd| _ = libc::close(fd));
        }
        let mut about = std::mem::zeroed::<libc::statfs>();
        let errno = if libc::statfs(path.as_ptr(), &raw mut about) == 0 { 0 } else { *libc::__errno_location() };
        libc::write(0, (&raw const errno).cast(), size_of_val(&errno));
        libc::_exit(0)
    }
}

fn read_answer(answer: &OwnedFd, deadline: Instant) -> io::Result<Asked> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(&mut [PollFd::new(answer, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Ok(Asked::Silent),
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    let mut errno = [0; size_of::<libc::c_int>()];
    Ok(match (rustix::io::read(answer, &mut errno)?, libc::c_int::from_ne_bytes(errno)) {
        // It was killed: this says nothing about the file system.
        (0, _) => Asked::Fails(Errno::IO),
        (_, 0) => Asked::Answers,
        (_, errno) => Asked::Fails(Errno::from_raw_os_error(errno)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_file_system_answers_or_says_why_not() {
        assert_eq!(ask(Path::new("/"), LONG).unwrap(), Asked::Answers);
        assert_eq!(ask(Path::new("/none/there"), LONG).unwrap(), Asked::Fails(Errno::NOENT));
        assert!(ask(Path::new("\0"), LONG).is_err());
    }

    #[test]
    fn silence_is_told_when_the_time_is_over() {
        let (answer, _told) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        assert_eq!(read_answer(&answer, Instant::now()).unwrap(), Asked::Silent);
    }

    #[test]
    fn a_child_that_was_killed_has_said_nothing() {
        let (answer, told) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        drop(told);
        assert_eq!(read_answer(&answer, Instant::now() + LONG).unwrap(), Asked::Fails(Errno::IO));
    }
}
