//! Container output as the Docker API frames it.
//!
//! Each frame is a byte that names its stream, three zeros, the payload's length (u32, big endian) and the payload.
//! A container with a terminal has none ([`terminal`]); only its first byte tells, as engines call both by one media type.
//! bollard's own reader takes stream 3, the engine's own error, for output, with its header.

use futures_util::{Stream, StreamExt, stream};

use super::{error, raw, terminal};
use crate::engine::{EngineError, Result};

const HEADER: usize = 8;
const STDERR: u8 = 2;
const ENGINE: u8 = 3;

/// The payloads of a body that comes in pieces cut anywhere. An error of the engine's, or of the connection, is the last item.
pub(super) fn payloads<S>(body: S) -> impl Stream<Item = Result<Vec<u8>>> + Send
where
    S: Stream<Item = Result<Vec<u8>>> + Send + Unpin,
{
    stream::unfold(Some((body, Frames::default())), async |state| {
        let (mut body, mut frames) = state?;
        loop {
            match frames.next() {
                Some(Ok(payload)) => return Some((Ok(payload), Some((body, frames)))),
                Some(Err(error)) => return Some((Err(error), None)),
                None if frames.ended => return None,
                None => {}
            }
            match body.next().await {
                Some(Ok(piece)) => frames.feed(&piece),
                Some(Err(error)) => return Some((Err(error), None)),
                None if frames.is_empty() => return None,
                None if frames.terminal => frames.ended = true,
                None => {
                    let why = "it ended a container's output within a frame";
                    return Some((Err(EngineError::Unreachable(why.into())), None));
                }
            }
        }
    })
}

/// What has come and is no whole frame yet.
#[derive(Default)]
struct Frames {
    bytes: Vec<u8>,
    /// How many of them have been given out.
    taken: usize,
    /// There are no frames, but what a terminal has shown.
    terminal: bool,
    /// No more will come.
    ended: bool,
}

impl Frames {
    fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }

    fn feed(&mut self, piece: &[u8]) {
        let begins = self.bytes.is_empty() && self.taken == 0;
        self.terminal |= begins && terminal::is_meant(piece);
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(piece);
    }

    /// The next payload, if it has come whole.
    fn next(&mut self) -> Option<Result<Vec<u8>>> {
        let rest = &self.bytes[self.taken..];
        if self.terminal {
            let piece = rest[..terminal::piece(rest, self.ended)?].to_vec();
            self.taken += piece.len();
            return Some(Ok(terminal::without_return(piece)));
        }
        let (header, rest) = rest.split_first_chunk::<HEADER>()?;
        let [stream, 0, 0, 0, a, b, c, d] = *header else { return Some(Err(raw::nonsense("output without frames"))) };
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        let payload = rest.get(..len)?;
        self.taken += HEADER + len;
        Some(match stream {
            0..=STDERR => Ok(payload.to_vec()),
            ENGINE => {
                let text = String::from_utf8_lossy(payload);
                Err(EngineError::Refused(match text.trim() {
                    "" => "the engine failed to read a container's output, and gave no reason".into(),
                    why => error::in_a_line(why),
                }))
            }
            _ => Err(raw::nonsense("output of an unknown stream")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, payload: &str) -> Vec<u8> {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[stream, 0, 0, 0], &len[..], payload.as_bytes()].concat()
    }

    async fn read(body: &[u8], size: usize) -> Vec<Result<String>> {
        let pieces: Vec<_> = body.chunks(size).map(|piece| Ok(piece.to_vec())).collect();
        let payloads = payloads(stream::iter(pieces));
        payloads.map(|payload| payload.map(|payload| String::from_utf8(payload).unwrap())).collect().await
    }

    fn output(text: &str) -> Result<String> {
        Ok(text.to_owned())
    }

    #[tokio::test]
    async fn frames_are_the_same_wherever_the_body_is_cut() {
        let body = [frame(1, "out\n"), frame(2, ""), frame(2, "\x03 err"), frame(0, "in"), frame(1, "last")].concat();
        for size in 1..=body.len() {
            let expected = ["out\n", "", "\x03 err", "in", "last"].map(output);
            assert_eq!(read(&body, size).await, expected, "in pieces of {size}");
        }
    }

    #[tokio::test]
    async fn a_terminals_output_is_the_same_wherever_the_body_is_cut() {
        let (first, later) = ("2026-11-28T19:23:57.100000000Z ", "2026-11-28T19:23:57.200000000Z ");
        let body = format!("{first}out\r\n{first}\x01\x00\x00\x00$ {later}last");
        let expected = [format!("{first}out\n"), format!("{first}\x01\x00\x00\x00$ "), format!("{later}last")];
        for size in 1..=body.len() {
            assert_eq!(read(body.as_bytes(), size).await, expected.clone().map(Ok), "in pieces of {size}");
        }
    }

    #[tokio::test]
    async fn the_engines_own_error_is_an_error_and_no_output() {
        let body = [frame(1, "out\n"), frame(3, "Error grabbing logs: EOF\n"), frame(1, "lost\n")].concat();
        let error = Err(EngineError::Refused("Error grabbing logs: EOF".into()));
        for size in 1..=body.len() {
            assert_eq!(read(&body, size).await, [output("out\n"), error.clone()], "in pieces of {size}");
        }
        assert!(
            matches!(&read(&frame(3, " "), 8).await[..], [Err(EngineError::Refused(why))] if why.contains("no reason"))
        );
    }

    #[tokio::test]
    async fn a_body_that_ends_within_a_frame_or_has_none_is_an_error() {
        let body = [frame(1, "out\n"), frame(1, "cut")].concat();
        for end in frame(1, "out\n").len() + 1..body.len() {
            let got = read(&body[..end], 100).await;
            assert!(matches!(&got[..], [Ok(_), Err(EngineError::Unreachable(_))]), "{end}: {got:?}");
        }
        for nonsense in [&b"plain text\n"[..], &frame(4, "x"), b"\x01\x00\x01\x00\x00\x00\x00\x01x"] {
            assert!(matches!(&read(nonsense, 3).await[..], [Err(EngineError::Refused(_))]), "{nonsense:?}");
        }
    }
}
