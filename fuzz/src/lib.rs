//! What the fuzz targets do, one module each. `cargo test` runs them too, with the seeds in `corpus/` (src/fuzzing.rs).
//!
//! Each has `takes(data)`: it panics if a claim does not hold, and returns whether the input made sense to its reader.

#[path = "../../tests/common/mod.rs"]
mod common;

pub mod agent_protocol;
pub mod check_lines;
pub mod compose;
pub mod config;
pub mod control_line;
pub mod control_writes;
pub mod engine_answers;
pub mod fault_texts;
pub mod history_lines;
pub mod labels;
pub mod sandbox_protocol;
pub mod template;

/// The longest beginning of the input that is UTF-8.
fn utf8(data: &[u8]) -> &str {
    data.utf8_chunks().next().map_or("", |chunk| chunk.valid())
}
