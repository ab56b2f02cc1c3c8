//! Files whose content the kernel reads and writes by itself, in the backing file (FUSE_PASSTHROUGH, Linux 6.9).
//!
//! The kernel wants one and the same backing for all opens of a file at a time, and no open of it that goes another way
//! meanwhile: it answers EIO to a mixture (fs/fuse/iomode.c). So the way is chosen when a file that is not open is
//! opened, and kept until the last one closes it. Only a process with CAP_SYS_ADMIN may register backings.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fuser::BackingId;
use parking_lot::Mutex;
use tracing::{debug, info};

/// The way to an open file's content.
#[derive(Clone, Debug)]
enum Way {
    /// The kernel's own, to this backing.
    Kernel(Arc<BackingId>),
    /// Every read and write comes to us.
    Daemon,
}

/// The files that are open, by inode number.
#[derive(Debug, Default)]
pub(crate) struct Backings {
    open: Mutex<HashMap<u64, (Way, usize)>>,
    /// The kernel has the feature, and we may use it.
    usable: AtomicBool,
}

impl Backings {
    /// The kernel has the feature.
    pub(crate) fn allow(&self) {
        self.usable.store(true, Ordering::Relaxed);
    }

    /// Counts an open of the file `ino`. `register` is called if the kernel may be given the way to it. `None`: every
    /// read and write comes to us.
    pub(crate) fn opened(&self, ino: u64, register: impl FnOnce() -> io::Result<BackingId>) -> Option<Arc<BackingId>> {
        // Held meanwhile: of two opens at once, both must get the same backing.
        let mut open = self.open.lock();
        let (way, count) = open.entry(ino).or_insert_with(|| (self.choose(register), 0));
        *count += 1;
        match way {
            Way::Kernel(id) => Some(Arc::clone(id)),
            Way::Daemon => None,
        }
    }

    fn choose(&self, register: impl FnOnce() -> io::Result<BackingId>) -> Way {
        if !self.usable.load(Ordering::Relaxed) {
            return Way::Daemon;
        }
        match register() {
            Ok(id) => Way::Kernel(Arc::new(id)),
            Err(error) => {
                if error.raw_os_error() == Some(libc::EPERM) {
                    info!(
                        "file data goes through the daemon: it lacks the privilege to let the kernel pass it through"
                    );
                    self.usable.store(false, Ordering::Relaxed);
                } else {
                    // Of this file alone, for example on a file system stacked too deeply (ELOOP).
                    debug!(%error, "no backing");
                }
                Way::Daemon
            }
        }
    }

    pub(crate) fn released(&self, ino: u64) {
        let mut open = self.open.lock();
        let gone = match open.get_mut(&ino) {
            Some((_, count)) if *count > 1 => {
                *count -= 1;
                None
            }
            _ => open.remove(&ino),
        };
        drop(open);
        // Telling the kernel happens out here, not under the lock.
        drop(gone);
    }
}
