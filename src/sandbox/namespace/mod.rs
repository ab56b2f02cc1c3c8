//! The network namespace that a sandbox rules over.

mod real;

pub use real::Real;

use super::protocol::Kernel;
use crate::cluster::faults::Desired;

/// What can be asked of one. Each error is a sentence for the daemon's user.
pub trait Namespace {
    /// Finds out what the kernel can do here. Leaves nothing behind.
    ///
    /// # Errors
    /// What keeps it from trying at all.
    fn probe(&mut self) -> Result<Kernel, String>;

    /// Brings `desired` about, and reads it back. What was before is undone; on an error it is what is in force still.
    ///
    /// # Errors
    /// What could not be done.
    fn apply(&mut self, kernel: &Kernel, desired: &Desired) -> Result<(), String>;

    /// Destroys the TCP sockets that no process has any more, but for loopback ones, and returns how many there were.
    ///
    /// # Errors
    /// What keeps it from that.
    fn abort(&mut self) -> Result<u64, String>;
}

/// One that can do everything and does nothing: for sandboxes that are simulated.
#[derive(Debug, Default)]
pub struct Pretended {
    /// What was last asked for.
    pub desired: Desired,
}

impl Namespace for Pretended {
    fn probe(&mut self) -> Result<Kernel, String> {
        Ok(Kernel::everything())
    }

    fn apply(&mut self, _: &Kernel, desired: &Desired) -> Result<(), String> {
        self.desired = desired.clone();
        Ok(())
    }

    fn abort(&mut self) -> Result<u64, String> {
        Ok(0)
    }
}
