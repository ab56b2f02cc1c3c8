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

/// Keeps every large block of memory in a mapping of its own, as glibc does at first: a freed block goes back to the kernel,
/// and zeroed memory takes no room until it is written. After the first large block is freed, glibc would serve the next ones
/// from a heap that it keeps. Does nothing with another libc.
pub(crate) fn map_large_blocks() {
    /// In bytes: glibc's own at first (mallopt(3)).
    #[cfg(target_env = "gnu")]
    const LARGE: libc::c_int = 128 << 10;
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number, under malloc's own lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
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
    #[cfg(target_env = "gnu")]
    use crate::alone::alone;

    #[cfg(target_env = "gnu")]
    #[test]
    fn large_blocks_are_mappings_of_their_own_also_after_one_was_freed() {
        let name = "sys::limits::tests::large_blocks_are_mappings_of_their_own_also_after_one_was_freed";
        // Other tests leave heaps with room for such blocks.
        alone(&[], name, || {
            map_large_blocks();
            let block = || vec![1_u8; 20 << 20];
            drop(block());
            // glibc puts two words before them at the start of a page.
            let blocks = [block(), block(), block()];
            assert!(blocks.iter().all(|block| block.as_ptr().addr() % 4096 == 16));
        });
    }

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
