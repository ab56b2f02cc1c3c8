//! Waits for a process to end, by its pidfd.

use std::io;

use rustix::io::Errno;

use crate::sys;

/// Returns when the process has ended; at once if there is none.
///
/// # Errors
/// From pidfd_open(2) (ENOSYS before Linux 5.3) or epoll.
pub(crate) async fn ended(pid: i32) -> io::Result<()> {
    let Ok(pid) = u32::try_from(pid) else {
        return Ok(());
    };
    match sys::pidfd_open(pid) {
        Ok(pidfd) => sys::readable(pidfd).await,
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn tells_an_end() {
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let waiting = tokio::spawn(super::ended(pid));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(child.stdin.take());
        waiting.await.unwrap().unwrap();
        child.wait().unwrap();
        super::ended(pid).await.unwrap();
    }
}
