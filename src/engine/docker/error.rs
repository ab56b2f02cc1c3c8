//! From bollard's errors to ours, in one place.
//!
//! An HTTP status says less than it should (podman answers 500, and Docker 20.10 now and then, where 409 is meant),
//! so the message is looked at too.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use bollard::errors::Error;

use crate::engine::EngineError;
use crate::text::harmless;

/// bollard's own limit on waiting for an answer to begin. Ours are set by the callers of [`Engine`](crate::engine::Engine),
/// and a log that is followed may be silent for days.
pub(super) const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Parts of messages which mean that the present state forbids the operation or that something is taken.
const CONFLICTS: &[&str] = &[
    "is not running",
    "can only kill running containers",
    "is not paused",
    "is already paused",
    "paused container",
    "container state improper",
    "not in running state",
    "removal of container",
    "overlaps with other one on this address space",
    "is already used on the host or by another config",
    "network already exists",
    "has active endpoints",
    "network is being used",
];

/// Maps any error of bollard's.
pub(super) fn from_bollard(error: Error) -> EngineError {
    match &error {
        Error::DockerResponseServerError { status_code, message } => from_status(*status_code, message),
        Error::RequestTimeoutError => EngineError::TimedOut(NEVER),
        Error::DockerStreamError { error } => EngineError::Refused(in_a_line(error)),
        Error::SocketNotFoundError(path) => EngineError::Unreachable(format!("there is no socket {path}")),
        _ => match io_cause(outermost(&error)) {
            Some(cause) if cause.kind() == io::ErrorKind::PermissionDenied => EngineError::Denied(cause.to_string()),
            Some(cause) => EngineError::Unreachable(describe(cause)),
            None if is_transport(&error) => EngineError::Unreachable(root_cause(outermost(&error))),
            None => EngineError::Refused(root_cause(outermost(&error))),
        },
    }
}

/// Maps an answer that is an error: its HTTP status and its message.
pub(super) fn from_status(status: u16, message: &str) -> EngineError {
    let message = match message.trim() {
        "" => format!("the engine answered with HTTP status {status} and no reason"),
        message => in_a_line(message),
    };
    let name_taken = message.contains("name") && message.contains("is already in use");
    match status {
        404 => EngineError::NotFound(message),
        409 => EngineError::Conflict(message),
        _ if name_taken || CONFLICTS.iter().any(|part| message.contains(part)) => EngineError::Conflict(message),
        _ => EngineError::Refused(message),
    }
}

/// What the engine says, made safe for our sentences: it may contain names that others have chosen.
pub(super) fn in_a_line(message: &str) -> String {
    harmless(&message.trim().replace('\n', " "))
}

/// What an I/O error on the way to the engine means.
pub(super) fn describe(cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::NotFound => "there is no such socket".to_owned(),
        io::ErrorKind::ConnectionRefused => "nothing listens there (connection refused)".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            "the connection broke".to_owned()
        }
        _ => root_cause(cause),
    }
}

/// Whether it is about the connection rather than about what was asked.
fn is_transport(error: &Error) -> bool {
    matches!(error, Error::HyperLegacyError { .. } | Error::HyperResponseError { .. } | Error::IOError { .. })
}

/// Where the chain of causes begins: bollard's transparent wrappers hide the error that they wrap.
fn outermost(error: &Error) -> &(dyn StdError + 'static) {
    match error {
        Error::IOError { err } => err,
        Error::HyperResponseError { err } => err,
        _ => error,
    }
}

/// The deepest I/O error in the chain of causes that the system itself gave.
fn io_cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a io::Error> {
    chain(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).filter(|cause| cause.get_ref().is_none()).last()
}

/// The text of the innermost cause.
fn root_cause(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().unwrap_or(error).to_string()
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |cause: &&'a (dyn StdError + 'static)| {
        let cause: &'a (dyn StdError + 'static) = *cause;
        match cause.downcast_ref::<io::Error>() {
            // An io::Error that wraps another hides it from `source()`.
            Some(outer) => outer.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
            None => cause.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_that_forbid_are_conflicts_whatever_the_status() {
        for message in [
            "container 12ab is not running",
            "Container 12ab is not paused",
            "Container 12ab is already paused",
            "can only kill running containers. 12ab is in state exited: container state improper",
            r#"the container name "x" is already in use by 12ab. You have to remove that container"#,
            "Pool overlaps with other one on this address space",
            "subnet 10.0.0.0/24 is already used on the host or by another config",
        ] {
            assert!(matches!(from_status(500, message), EngineError::Conflict(_)), "{message}");
        }
        assert!(matches!(from_status(409, "x"), EngineError::Conflict(_)));
        assert!(matches!(from_status(404, "No such container: x"), EngineError::NotFound(_)));
        assert!(matches!(from_status(403, "Address already in use"), EngineError::Refused(_)));
        assert!(matches!(
            from_status(500, "Bind for 0.0.0.0:80 failed: port is already allocated"),
            EngineError::Refused(_)
        ));
    }

    #[test]
    fn what_the_engine_says_is_harmless() {
        let said = from_status(500, "no \x1b[8mprogram\u{9b}2J\r\nhere\n").to_string();
        assert_eq!(said, "no \\u{1b}[8mprogram\\u{9b}2J\\r here");
        let said = from_bollard(Error::DockerStreamError { error: "a\x07".into() }).to_string();
        assert_eq!(said, "a\\u{7}");
    }

    #[test]
    fn a_silent_error_still_says_something() {
        let EngineError::Refused(message) = from_status(502, " ") else { panic!() };
        assert!(message.contains("502"));
    }

    #[test]
    fn the_cause_under_the_wrapping_counts() {
        let inner = io::Error::from_raw_os_error(libc::EACCES);
        let error = Error::IOError { err: io::Error::other(inner) };
        assert!(matches!(from_bollard(error), EngineError::Denied(_)));
        let inner = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = Error::IOError { err: inner };
        assert!(matches!(from_bollard(error), EngineError::Unreachable(reason) if reason.contains("refused")));
    }
}
