//! The runtime that everything asynchronous of a process runs on.

/// The runtime of the engine side. Two threads: it waits more than it works.
///
/// # Errors
/// From the operating system.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
