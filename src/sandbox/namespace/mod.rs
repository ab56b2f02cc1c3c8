//! The network namespace that a sandbox rules over.

mod real;

pub(crate) use real::Real;

use super::protocol::Capabilities;
use crate::cluster::faults::NetState;

/// What can be asked of one. Each error is a sentence for the daemon's user.
pub trait Namespace {
    /// Finds out what the kernel can do here. Leaves nothing behind.
    ///
    /// # Errors
    /// What keeps it from trying at all.
    fn probe(&mut self) -> Result<Capabilities, String>;

    /// Brings `desired` about, and reads it back. What was before is undone; on an error it is what is in force still.
    ///
    /// # Errors
    /// What could not be done.
    fn apply(&mut self, kernel: &Capabilities, desired: &NetState) -> Result<(), String>;

    /// Destroys the TCP sockets that no process has any more, but for loopback ones, and returns how many there were.
    ///
    /// # Errors
    /// What keeps it from that.
    fn abort(&mut self) -> Result<u64, String>;
}

/// One that can do everything and does nothing: for sandboxes that are simulated.
#[derive(Debug, Default)]
pub struct FakeNamespace {
    /// What was last asked for.
    pub(crate) desired: NetState,
}

impl Namespace for FakeNamespace {
    fn probe(&mut self) -> Result<Capabilities, String> {
        Ok(Capabilities::everything())
    }

    fn apply(&mut self, _: &Capabilities, desired: &NetState) -> Result<(), String> {
        self.desired = desired.clone();
        Ok(())
    }

    fn abort(&mut self) -> Result<u64, String> {
        Ok(0)
    }
}
