//! What fuzzing reaches of this room: how it reads the engine's answers.

use super::{events, inspection, locate, logs, time};
use crate::engine::{Event, Inspection, LogChunk, Result};

/// A description of a container.
///
/// # Errors
/// When it is none.
pub fn inspection(text: &str) -> Result<Inspection> {
    inspection::read(text)
}

/// The events of a stream that comes in pieces.
pub fn events(pieces: &[&[u8]]) -> Vec<Result<Event>> {
    let mut lines = events::Lines::default();
    pieces.iter().flat_map(|piece| lines.take(piece)).collect()
}

/// A piece of a log.
pub fn log_chunk(piece: &[u8]) -> LogChunk {
    logs::chunk(piece)
}

/// A time, ns since the epoch.
pub fn time(text: &str) -> Option<i64> {
    time::parse(text)
}

/// An engine's address as a user gives it.
///
/// # Errors
/// When it is none.
pub fn address(text: &str) -> Result<String> {
    Ok(locate::places(Some(text), &|_| None)?.remove(0).address)
}
