//! Waits for a descriptor without a thread.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Returns when `fd` can be read.
///
/// # Errors
/// From epoll(7): `EPERM` for a file that is always readable.
pub(crate) async fn readable(fd: OwnedFd) -> io::Result<()> {
    // SAFETY: an OwnedFd keeps its descriptor open and the same until it is dropped, which AsyncFd does only after it
    // has taken it out of epoll.
    let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
    fd.readable().await.map(drop)
}
