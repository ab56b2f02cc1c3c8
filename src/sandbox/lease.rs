//! A sandbox that its daemon cannot end by letting go of its stdin ends itself, when nothing has come for a while.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// An input under a lease: each read that gets something renews it.
///
/// Time is measured while the input is waited for, by the monotonic clock. So time in which the machine is suspended
/// does not count, nor what a request takes; and a process that was frozen first reads what came meanwhile.
pub(super) struct Leased<R> {
    input: R,
    lease: Duration,
}

impl<R: AsFd> Leased<R> {
    /// `input` must have no buffer of its own.
    pub(super) fn new(input: R, lease: Duration) -> Self {
        Self { input, lease }
    }

    /// Waits until there is something to read, or the end of the input.
    fn wait(&self) -> io::Result<()> {
        let end = Instant::now() + self.lease;
        loop {
            let mut polled = [PollFd::new(&self.input, PollFlags::IN)];
            let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).map_err(io::Error::other)?;
            match poll(&mut polled, Some(&left)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl<R: AsFd + Read> Read for Leased<R> {
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] when the lease is over.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait()?;
        self.input.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixStream;

    use super::super::namespace::FakeNamespace;
    use super::super::serve;
    use super::*;

    /// Nobody waits for it.
    const LONG: Duration = Duration::from_secs(600);
    const SHORT: Duration = Duration::from_millis(300);

    #[test]
    fn it_ends_when_nothing_comes_and_not_before() {
        let (_ours, theirs) = UnixStream::pair().unwrap();
        let began = Instant::now();
        let served = serve(BufReader::new(Leased::new(theirs, SHORT)), io::sink(), &mut FakeNamespace::default());
        assert_eq!(served.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= SHORT);
    }

    /// Asks once, after a part of the lease. When it asked and when the server ended; `None` if that had already ended,
    /// because this machine was busy.
    fn ask_once() -> Option<(Instant, Instant)> {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let output = theirs.try_clone().unwrap();
        let server = std::thread::spawn(move || {
            let input = BufReader::new(Leased::new(theirs, SHORT));
            let served = serve(input, output, &mut FakeNamespace::default());
            assert_eq!(served.unwrap_err().kind(), io::ErrorKind::TimedOut);
            Instant::now()
        });
        std::thread::sleep(SHORT / 2);
        let asked = Instant::now();
        let sent = ours.write_all(b"{\"op\":\"hello\"}\n");
        let mut answer = String::new();
        let read = BufReader::new(&ours).read_line(&mut answer);
        let ended = server.join().unwrap();
        (sent.is_ok() && read.is_ok_and(|read| read > 0)).then_some((asked, ended))
    }

    #[test]
    fn a_request_renews_it() {
        let (asked, ended) = (0..100).find_map(|_| ask_once()).unwrap();
        assert!(ended - asked >= SHORT, "{:?}", ended - asked);
    }

    #[test]
    fn the_end_of_the_input_is_not_awaited() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(ours);
        let served = serve(BufReader::new(Leased::new(theirs, LONG)), io::sink(), &mut FakeNamespace::default());
        served.unwrap();
    }
}
