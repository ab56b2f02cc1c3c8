//! The end of a performance before its time.

use std::time::Instant;

use parking_lot::{Condvar, Mutex};

/// How a performance that is cut short ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// All is healed.
    Heal,
    /// All is left as it is, as the cluster is about to go.
    Leave,
}

/// Whether to stop. All threads of a performance wait on it.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    asked: Mutex<Option<Ending>>,
    changed: Condvar,
}

impl Stop {
    /// Has the performance end as soon as what is being written has been answered. Only the first call counts.
    pub(crate) fn ask(&self, ending: Ending) {
        self.asked.lock().get_or_insert(ending);
        self.changed.notify_all();
    }

    /// Whether it was asked to.
    pub(crate) fn asked(&self) -> Option<Ending> {
        *self.asked.lock()
    }

    /// Waits until that time. Returns whether to go on.
    pub(crate) fn wait_until(&self, time: Instant) -> bool {
        let mut asked = self.asked.lock();
        while asked.is_none() {
            if self.changed.wait_until(&mut asked, time).timed_out() {
                return asked.is_none();
            }
        }
        false
    }
}
