//! The rooms between the engine and the kernel, from the product's own files.
#![allow(dead_code, unused_imports, missing_docs)]

#[path = "../../src/cluster/mod.rs"]
pub mod cluster;
#[path = "../../src/control/mod.rs"]
pub mod control;
#[path = "../../src/engine/mod.rs"]
pub mod engine;
#[path = "../../src/history/mod.rs"]
pub mod history;
#[path = "../../src/provision/mod.rs"]
pub mod provision;
pub mod sandbox;
#[path = "../../src/selfimage/mod.rs"]
pub mod selfimage;
#[path = "../../src/sys/mod.rs"]
pub mod sys;
#[path = "../../src/tree/mod.rs"]
pub mod tree;
#[path = "../../src/watch/mod.rs"]
pub mod watch;
