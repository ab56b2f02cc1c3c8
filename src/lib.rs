//! cthulhu: a live cluster of containers as a directory.
//!
//! ```text
//!  Docker API ──events──▶ watch ──News──▶ cluster ──Change──▶ tree ──invalidate──▶ fuse ──▶ kernel ──▶ cat, ls, tail
//!      ▲                                                       │
//!      └─ engine ◀─ provision ◀─ control ◀──── a line written ─┘
//! ```
//!
//! News flows up on one way, commands flow down on one way. Each module is a room; its doc says in three lines what it
//! is for, what it may touch and what it never does. `docs/architecture.md` tells why.

pub mod cli;
pub mod cluster;
pub mod control;
pub mod daemon;
pub mod demo;
pub mod doctor;
pub mod engine;
pub mod fuse;
pub mod history;
pub mod passthrough;
pub mod provision;
pub mod runner;
pub mod sandbox;
pub mod selfimage;
pub mod sweep;
pub mod sys;
pub mod template;
pub mod timeline;
pub mod top;
pub mod tree;
pub mod watch;
