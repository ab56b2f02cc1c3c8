//! A container's output, with the engine's times.
//!
//! The engine writes a time in front of every piece: a line, or 16 KiB of a longer one.

use bollard::Docker;
use bollard::query_parameters::LogsOptions;
use futures_util::{StreamExt, TryStreamExt};

use super::{error, time};
use crate::engine::{BoxStream, ContainerId, LogChunk, Result};

/// Output of all runs from `since` (ns since the epoch) on. Asked for at the first poll.
pub(super) fn read(docker: &Docker, id: &ContainerId, since: i64, follow: bool) -> BoxStream<Result<LogChunk>> {
    let options = LogsOptions {
        follow,
        stdout: true,
        stderr: true,
        timestamps: true,
        tail: "all".to_owned(),
        // In whole seconds; the rest is dropped below.
        since: i32::try_from(since / 1_000_000_000).unwrap_or(i32::MAX),
        ..LogsOptions::default()
    };
    let pieces = docker.logs(&id.0, Some(options)).map_err(error::from_bollard);
    let chunks = pieces.map_ok(|piece| chunk(piece.as_ref()));
    let wanted = chunks.try_filter(move |chunk| std::future::ready(chunk.time == 0 || chunk.time >= since));
    wanted.boxed()
}

/// Takes the time off a piece. A piece without one is kept whole.
fn chunk(piece: &[u8]) -> LogChunk {
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
