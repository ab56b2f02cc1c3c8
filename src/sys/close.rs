//! A close that returns its error.

use std::os::fd::{IntoRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::Errno;

/// Closes `fd` and returns the error the file system kept for that moment.
///
/// # Errors
/// `EIO`, `ENOSPC` or `EDQUOT`, where the file system delays them to the close. The descriptor is gone either way.
pub(crate) fn close_reporting(fd: OwnedFd) -> Result<(), Errno> {
    let raw = fd.into_raw_fd();
    // SAFETY: `into_raw_fd` gave up the ownership, so this is the only close of `raw`.
    if unsafe { libc::close(raw) } == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    match Errno::from_io_error(&error) {
        // Linux has closed the descriptor before it says EINTR.
        Some(Errno::INTR) => Ok(()),
        Some(errno) => Err(errno),
        None => Err(Errno::IO),
    }
}

/// Has a program start without the descriptors from `first` on (close_range(2), Linux 5.11; before, it gets them).
pub(crate) fn close_in_child_from(command: &mut Command, first: u32) {
    let mark = move || {
        // SAFETY: only a flag of descriptors is changed; exec closes them.
        unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
        Ok(())
    };
    // SAFETY: between fork and exec it makes one system call, which neither allocates nor takes a lock.
    unsafe { command.pre_exec(mark) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn closes_what_it_was_given() {
        // The other end of a pipe shows whether it is closed; the bare number may be another thread's by then.
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        assert!(writer.as_raw_fd() >= 0);
        close_reporting(writer).unwrap();
        let mut byte = [0u8; 1];
        assert_eq!(rustix::io::read(&reader, &mut byte).unwrap(), 0);
    }

    #[test]
    fn a_child_has_nothing_of_ours() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let inherited = rustix::io::fcntl_dupfd_cloexec(&file, 100).unwrap();
        rustix::io::fcntl_setfd(&inherited, rustix::io::FdFlags::empty()).unwrap();
        let there = |close: bool| {
            let mut command = Command::new("test");
            command.args(["-e", &format!("/proc/self/fd/{}", inherited.as_raw_fd())]);
            if close {
                close_in_child_from(&mut command, 3);
            }
            command.status().unwrap().success()
        };
        assert!(there(false) && !there(true));
        assert!(rustix::io::fcntl_getfd(&inherited).unwrap().is_empty(), "ours is as it was");
    }

    #[test]
    fn closes_path_descriptors() {
        let fd =
            rustix::fs::open("/", rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty())
                .unwrap();
        assert_eq!(close_reporting(fd), Ok(()));
    }
}
