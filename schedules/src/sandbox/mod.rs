//! The daemon's side of the sandbox room.

#[path = "../../../src/sandbox/client.rs"]
pub mod client;
#[path = "../../../src/sandbox/means.rs"]
mod means;
#[path = "../../../src/sandbox/protocol.rs"]
pub mod protocol;

pub use client::{Client, ClientError};
pub use protocol::Hello;
