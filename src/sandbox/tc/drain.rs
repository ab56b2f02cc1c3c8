//! What waits in classes that are over runs off, and then they go, whether or not another change comes.

use std::io;
use std::sync::{Arc, Weak};
use std::thread::Builder;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::Tc;

/// How long to wait before looking again whether a queue has run empty. There is no event for that.
const STEP: Duration = Duration::from_millis(100);

/// [`Tc`], and the thread that tidies it up for as long as something waits in what is over.
pub(crate) struct Draining {
    tc: Arc<Mutex<Tc>>,
    /// Whether the thread runs. Its end is recorded under the lock on `tc`.
    tidies: Arc<Mutex<bool>>,
}

impl Draining {
    /// That of the calling thread's network namespace.
    ///
    /// # Errors
    /// As [`Tc::open`].
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { tc: Arc::new(Mutex::new(Tc::open()?)), tidies: Arc::default() })
    }

    /// For as long as the answer lives, nothing is tidied up.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Tc> {
        self.tc.lock()
    }

    /// Takes away what is over, now or when it has run off.
    ///
    /// # Errors
    /// The kernel's, or that no thread can be started.
    pub(crate) fn tidy(&self) -> io::Result<()> {
        let mut tc = self.tc.lock();
        let mut tidies = self.tidies.lock();
        if !tc.tidy()? || *tidies {
            return Ok(());
        }
        let (later, told) = (Arc::downgrade(&self.tc), self.tidies.clone());
        Builder::new().name("drain".into()).stack_size(128 << 10).spawn(move || drain(&later, &told))?;
        *tidies = true;
        Ok(())
    }
}

fn drain(tc: &Weak<Mutex<Tc>>, tidies: &Mutex<bool>) {
    while let Some(tc) = {
        std::thread::sleep(STEP);
        tc.upgrade()
    } {
        let mut tc = tc.lock();
        // What cannot be looked at is left to the next change.
        if !matches!(tc.tidy(), Ok(true)) {
            *tidies.lock() = false;
            return;
        }
    }
}
