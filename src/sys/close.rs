//! A close that tells its error.

use std::os::fd::{IntoRawFd, OwnedFd};

use rustix::io::Errno;

/// Closes `fd` and returns the error the file system kept for that moment.
///
/// # Errors
/// `EIO`, `ENOSPC` or `EDQUOT`, where the file system delays them to the close. The descriptor is gone either way.
pub fn close_reporting(fd: OwnedFd) -> Result<(), Errno> {
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

/// Marks every descriptor from `first` on to be closed on exec (close_range(2), Linux 5.11; nothing happens before).
pub fn close_on_exec_from(first: u32) {
    // SAFETY: only a flag of descriptors is changed; none is closed, so nobody's ownership is touched.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn closes_what_it_was_given() {
        // A pipe tells by its other end whether it is closed; a bare number may be another thread's by then.
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        assert!(writer.as_raw_fd() >= 0);
        close_reporting(writer).unwrap();
        let mut byte = [0u8; 1];
        assert_eq!(rustix::io::read(&reader, &mut byte).unwrap(), 0);
    }

    #[test]
    fn closes_path_descriptors() {
        let fd =
            rustix::fs::open("/", rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty())
                .unwrap();
        assert_eq!(close_reporting(fd), Ok(()));
    }
}
