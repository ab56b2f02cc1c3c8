//! Limits of this process.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one and returns it; `None` means unlimited.
///
/// # Errors
/// Those of setrlimit(2).
pub(crate) fn raise_nofile_limit() -> io::Result<Option<u64>> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(limit.maximum)
}

/// The soft limit of open files; `None` means unlimited.
#[must_use]
pub(crate) fn nofile_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// The hard limit of open files; `None` means unlimited.
#[must_use]
pub(crate) fn most_nofile() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// How much memory this process takes at present; 0 if that cannot be read.
#[must_use]
pub(crate) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    kilobytes.unwrap_or(0_u64) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_written_to_is_resident() {
        let before = resident_bytes();
        let memory = vec![1_u8; 256 << 20];
        assert!(before > 0 && resident_bytes() > before + (200 << 20), "{before}");
        drop(memory);
    }

    #[test]
    fn raises_to_the_hard_limit_and_again() {
        let limit = raise_nofile_limit().unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, limit);
        assert_eq!(raise_nofile_limit().unwrap(), limit);
    }
}
