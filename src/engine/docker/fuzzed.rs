//! Entry points for fuzzing: how the engine's answers are read.

use super::{events, inspection, locate, logs, time};
use crate::engine::{Event, Inspection, LogChunk, Result};

/// A description of a container.
///
/// # Errors
/// If it is not one.
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
/// If it is not one.
pub fn address(text: &str) -> Result<String> {
    Ok(locate::endpoints(Some(text), &|_| None)?.remove(0).address)
}
