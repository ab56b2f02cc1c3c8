//! shuttle's tokio, with the little that it lacks.

pub use shuttle_tokio::*;

pub mod sync {
    pub use shuttle_tokio::sync::*;

    pub mod watch {
        pub use shuttle_tokio::sync::watch::*;

        /// As tokio's; shuttle's cannot be made without a receiver.
        pub struct Sender<T>(shuttle_tokio::sync::watch::Sender<T>);

        impl<T> Sender<T> {
            pub fn new(init: T) -> Self {
                Self(channel(init).0)
            }
        }

        impl<T> std::ops::Deref for Sender<T> {
            type Target = shuttle_tokio::sync::watch::Sender<T>;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }
    }
}

pub mod task {
    pub use shuttle_tokio::task::*;

    /// As tokio's; shuttle's cannot be asked for what has ended.
    pub struct JoinSet<T>(Vec<JoinHandle<T>>);

    impl<T> Default for JoinSet<T> {
        fn default() -> Self {
            Self(Vec::new())
        }
    }

    impl<T: Send + 'static> JoinSet<T> {
        pub fn spawn(&mut self, task: impl Future<Output = T> + Send + 'static) {
            self.0.push(shuttle_tokio::spawn(task));
        }

        /// Drops a task that has ended.
        pub fn try_join_next(&mut self) -> Option<()> {
            let ended = self.0.iter().position(JoinHandle::is_finished)?;
            drop(self.0.swap_remove(ended));
            Some(())
        }
    }

    impl<T> JoinSet<T> {
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
