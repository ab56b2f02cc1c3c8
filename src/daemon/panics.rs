//! Logs panics with their message and place: the daemon keeps running after one, and its stderr has no reader.

use std::panic::PanicHookInfo;

use tracing::error;

/// Logs every panic of this process from now on, instead of printing it.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        error!(thread, place, message = message(panic), "a panic: please report it");
    }));
}

fn message<'a>(panic: &'a PanicHookInfo<'_>) -> &'a str {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message")
}
