//! Writing without the right to keep a file's setuid and setgid bits.

use std::io;
use std::marker::PhantomData;

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// While it lives, what the calling thread writes costs the file its setuid and setgid bits, as for an ordinary user.
///
/// It cannot leave its thread, because capabilities are the thread's.
#[derive(Debug)]
#[must_use = "the right comes back when the guard is dropped"]
pub(crate) struct SetIdGuard {
    before: Option<CapabilitySets>,
    _this_thread: PhantomData<*const ()>,
}

/// Takes `CAP_FSETID` from the calling thread, if it has it.
///
/// # Errors
/// Those of capget(2) and capset(2).
pub(crate) fn without_setid() -> io::Result<SetIdGuard> {
    let before = capabilities(None)?;
    let has_it = before.effective.contains(CapabilitySet::FSETID);
    if has_it {
        let effective = before.effective - CapabilitySet::FSETID;
        set_capabilities(None, CapabilitySets { effective, ..before })?;
    }
    Ok(SetIdGuard { before: has_it.then_some(before), _this_thread: PhantomData })
}

impl Drop for SetIdGuard {
    fn drop(&mut self) {
        // It is still permitted, so it may be taken back.
        if let Some(before) = self.before
            && let Err(error) = set_capabilities(None, before)
        {
            tracing::error!(%error, "cannot take a capability back");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_write_costs_the_bits_only_while_it_lives() {
        if !crate::skip::is_root() {
            return;
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let set = || file.as_file().set_permissions(PermissionsExt::from_mode(0o6755)).unwrap();
        let mode = || file.as_file().metadata().unwrap().permissions().mode() & 0o7777;
        let write = || file.as_file().write_all_at(b"x", 0).unwrap();
        let before = capabilities(None).unwrap().effective;
        set();
        write();
        assert_eq!(mode(), 0o6755, "root keeps them");
        let guard = without_setid().unwrap();
        write();
        assert_eq!(mode(), 0o755);
        drop(guard);
        assert_eq!(capabilities(None).unwrap().effective, before);
        set();
        write();
        assert_eq!(mode(), 0o6755);
    }
}
