//! Limits of this process.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one and returns it; `None` means unlimited.
///
/// # Errors
/// Those of setrlimit(2).
pub fn raise_nofile_limit() -> io::Result<Option<u64>> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(limit.maximum)
}

/// The soft limit of open files; `None` means unlimited.
#[must_use]
pub fn nofile_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// The hard limit of open files; `None` means unlimited.
#[must_use]
pub fn most_nofile() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raises_to_the_hard_limit_and_again() {
        let limit = raise_nofile_limit().unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, limit);
        assert_eq!(raise_nofile_limit().unwrap(), limit);
    }
}
