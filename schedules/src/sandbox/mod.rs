//! The daemon's side of the sandbox room.

#[path = "../../../src/sandbox/client.rs"]
pub mod client;
#[path = "../../../src/sandbox/protocol.rs"]
pub mod protocol;

pub use client::Client;
pub use protocol::Hello;
