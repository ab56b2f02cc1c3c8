//! A container's output, with the engine's times.
//!
//! The engine writes a time in front of every piece: a line, or 16 KiB of a longer one.

use bollard::Docker;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{frames, raw, time};
use crate::engine::{BoxStream, ContainerId, EngineError, LogChunk, Result};

const SECOND: i64 = 1_000_000_000;

/// Output of all runs from `since` (ns since the epoch) on. Asked for at the first poll.
pub(super) fn read(docker: &Docker, id: &ContainerId, since: i64, follow: bool) -> BoxStream<Result<LogChunk>> {
    let reader = Reader {
        docker: docker.clone(),
        id: id.clone(),
        since,
        chunks: open(docker, id, since / SECOND, follow),
        phase: if follow { Phase::Following } else { Phase::Reading },
        second: since / SECOND,
        seen: 0,
        skip: 0,
    };
    stream::unfold(reader, async |mut reader| Some((reader.next().await?, reader))).boxed()
}

/// What a reader's chunks come from.
#[derive(PartialEq, Eq)]
enum Phase {
    Reading,
    Following,
    ReadingAgain,
}

/// Reads a log, and what following it has missed.
///
/// An engine that follows a log may stop before what the container wrote last, above all a line without its newline.
/// So after the end the log is read once more from the last second on, without what has been given already.
struct Reader {
    docker: Docker,
    id: ContainerId,
    since: i64,
    chunks: BoxStream<Result<LogChunk>>,
    phase: Phase,
    /// The latest second that a chunk came from, since the epoch.
    second: i64,
    /// How many chunks came from it or from later.
    seen: usize,
    /// How many chunks are yet to be skipped.
    skip: usize,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<LogChunk>> {
        loop {
            match self.chunks.next().await {
                Some(Ok(_)) if self.skip > 0 => self.skip -= 1,
                Some(Ok(chunk)) => {
                    self.count(chunk.time);
                    // The engine takes `since` in whole seconds.
                    if chunk.time == 0 || chunk.time >= self.since {
                        return Some(Ok(chunk));
                    }
                }
                None if self.phase == Phase::Following => {
                    self.chunks = open(&self.docker, &self.id, self.second, false);
                    self.skip = self.seen;
                    self.phase = Phase::ReadingAgain;
                }
                None => return None,
                Some(Err(error)) => {
                    // One that removes itself when it ends has no log to read again.
                    let again = self.phase == Phase::ReadingAgain;
                    let removed = again && matches!(error, EngineError::NotFound(_));
                    self.phase = Phase::Reading;
                    self.chunks = stream::empty().boxed();
                    return (!removed).then_some(Err(error));
                }
            }
        }
    }

    fn count(&mut self, time: i64) {
        let second = time / SECOND;
        if second > self.second {
            self.second = second;
            self.seen = 0;
        }
        self.seen += usize::from(second == self.second);
    }
}

/// Asks for the output from a second on.
fn open(docker: &Docker, id: &ContainerId, second: i64, follow: bool) -> BoxStream<Result<LogChunk>> {
    let id = raw::encode(&id.0);
    let target = format!(
        "/containers/{id}/logs?follow={follow}&stdout=true&stderr=true&timestamps=true&tail=all&since={second}"
    );
    frames::payloads(raw::stream(docker, &target)).map_ok(|piece| chunk(&piece)).boxed()
}

/// Takes the time off a piece. A piece without one is kept whole.
pub(super) fn chunk(piece: &[u8]) -> LogChunk {
    let end = piece.iter().take(40).position(|byte| *byte == b' ');
    let stamp = end.and_then(|end| {
        let time = time::parse(std::str::from_utf8(&piece[..end]).ok()?)?;
        Some((time, &piece[end + 1..]))
    });
    let (time, bytes) = stamp.unwrap_or((0, piece));
    LogChunk { time, bytes: bytes.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_taken_off() {
        let got = chunk(b"1970-01-01T00:00:01.000000002Z hello world\n");
        assert_eq!(got, LogChunk { time: 1_000_000_002, bytes: b"hello world\n".to_vec() });
        let got = chunk(b"1970-01-01T01:00:01+01:00 \xff no newline");
        assert_eq!(got, LogChunk { time: 1_000_000_000, bytes: b"\xff no newline".to_vec() });
        assert_eq!(chunk(b"1970-01-01T00:00:01Z \n").bytes, b"\n");
    }

    #[test]
    fn a_piece_without_time_is_kept() {
        assert_eq!(chunk(b"plain text\n"), LogChunk { time: 0, bytes: b"plain text\n".to_vec() });
        assert_eq!(chunk(b"").bytes, b"");
    }
}
