//! cthulhu: a live cluster of containers as a directory.
//!
//! ```text
//!  Docker API ──events──▶ watch ──News──▶ cluster ──Change──▶ tree ──invalidate──▶ fuse ──▶ kernel ──▶ cat, ls, tail
//!      ▲                                                       │
//!      └─ engine ◀─ provision ◀─ control ◀──── a line written ─┘
//! ```
//!
//! Changes flow up, commands flow down, each on one path. `docs/architecture.md` says what each module is for and what it uses.

// The fuzz targets name the crate as programs outside do, also where a unit test runs them.
#[cfg(test)]
extern crate self as cthulhu;

pub mod agent;
#[cfg(test)]
#[path = "../tests/common/alone.rs"]
mod alone;
pub mod check;
pub mod cli;
pub mod cluster;
pub mod compose;
pub mod control;
pub mod daemon;
pub mod demo;
pub mod doctor;
pub mod engine;
pub mod fleet;
pub mod fuse;
#[cfg(test)]
mod fuzzing;
pub mod history;
pub mod nemesis;
pub mod passthrough;
pub mod provision;
pub mod runner;
pub mod sandbox;
pub mod selfimage;
#[cfg(test)]
#[path = "../tests/common/skip.rs"]
mod skip;
pub mod sweep;
pub mod sync;
pub mod sys;
pub mod template;
pub mod text;
pub mod timeline;
pub mod top;
pub mod tree;
pub mod watch;
