//! Packets that wait, are altered or are lost where the kernel cannot do it alone: handed to us by NFQUEUE, and back.
//!
//! One thread serves all queues of a network namespace over one netlink socket. It may touch queues of packets that were
//! given to it by number; it never makes or changes the rules that fill them.

mod heap;
mod nfqueue;
mod policy;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::BTreeMap;
use std::io;

pub(crate) use policy::QueuePolicy;
use worker::Worker;

/// The queues that this process serves. Dropping it releases what they hold, in order.
///
/// There is no thread and no socket before the first queue.
#[derive(Default)]
pub(crate) struct Queues {
    worker: Option<Worker>,
}

impl Queues {
    /// Binds what is new, changes what has changed, releases what is no longer wanted; returns when that is so.
    ///
    /// Packets in a queue that is no longer wanted are released at once, in order, and so is whatever still comes to it
    /// within the next second. A delay that has become shorter holds for what waits already.
    ///
    /// Rules may come and go while packets wait. Base chains must stay: when one is deleted, whichever table it is in, the
    /// kernel drops all that is held in this network namespace, of all queues.
    ///
    /// # Errors
    /// The error of the first queue that cannot be bound: `EPERM`, or `EBUSY` if another process has it. All is then as
    /// it was before. Or what the thread has failed with, now or since the last call; then no queue is bound any more,
    /// what they held is lost, and the next call starts over.
    pub(crate) fn set(&mut self, wanted: &BTreeMap<u16, QueuePolicy>) -> io::Result<()> {
        let worker = match &mut self.worker {
            Some(worker) => worker,
            None if wanted.is_empty() => return Ok(()),
            none => none.insert(Worker::start()?),
        };
        match worker.set(wanted.clone()) {
            Some(result) => result,
            None => Err(self.worker.take().map_or_else(|| io::ErrorKind::BrokenPipe.into(), Worker::failure)),
        }
    }
}
