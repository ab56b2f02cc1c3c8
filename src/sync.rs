//! Locks, channels, tasks and the clock of the modules between the engine and the kernel.
//!
//! They take them from here, and the feature `shuttle` puts [shuttle](https://docs.rs/shuttle)'s in place of tokio's and
//! parking_lot's: then a test runs the same code under many schedules (`tests/schedules.rs`). Without the feature this
//! module is names only. Reading and writing is tokio's either way.

#[cfg(not(feature = "shuttle"))]
mod chosen {
    pub use parking_lot::Mutex;
    pub use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedMutexGuard, Semaphore, mpsc, watch};
    pub use tokio::task::{JoinSet, spawn_blocking, yield_now};
    pub use tokio::{pin, select, spawn, time};
}

#[cfg(feature = "shuttle")]
#[allow(missing_docs)] // They are as tokio's.
mod chosen {
    pub use shuttle_parking_lot::Mutex;
    pub use shuttle_tokio::sync::{Mutex as AsyncMutex, Notify, OwnedMutexGuard, Semaphore, mpsc, watch};
    pub use shuttle_tokio::task::{JoinHandle, spawn_blocking, yield_now};
    pub use shuttle_tokio::{pin, select, spawn, time};

    /// As tokio's; shuttle's cannot be asked which tasks have ended.
    pub struct JoinSet<T>(Vec<JoinHandle<T>>);

    impl<T> Default for JoinSet<T> {
        fn default() -> Self {
            Self(Vec::new())
        }
    }

    impl<T: Send + 'static> JoinSet<T> {
        pub fn spawn(&mut self, task: impl Future<Output = T> + Send + 'static) {
            self.0.push(spawn(task));
        }
    }

    impl<T> JoinSet<T> {
        /// Drops a task that has ended.
        pub fn try_join_next(&mut self) -> Option<()> {
            let ended = self.0.iter().position(JoinHandle::is_finished)?;
            drop(self.0.swap_remove(ended));
            Some(())
        }

        pub fn abort_all(&mut self) {
            self.0.iter().for_each(JoinHandle::abort);
        }
    }

    impl<T> Drop for JoinSet<T> {
        fn drop(&mut self) {
            self.abort_all();
        }
    }
}

pub use chosen::*;
