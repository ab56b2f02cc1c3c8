//! The adapter between the kernel and the tree; the only code that names fuser.
//!
//! Translates requests and replies, nothing else. No handler waits for the engine: what takes time moves, with its
//! reply, into a task.

mod adapter;
mod backing;
mod convert;
mod negotiate;
mod notify;
mod pending;
mod reply;
mod requests;

use std::io;
use std::path::Path;
use std::sync::Arc;

use fuser::{Config, MountOption, Session, SessionACL};
use tokio::runtime::Handle;

use adapter::Adapter;
use notify::{Forgetting, Notifications};

use crate::agent::RemoteMounts;
use crate::passthrough::Passthrough;
use crate::tree::Tree;

/// Threads that read requests. One would do for the tree; bindmounts wait for the disk below.
const THREADS: usize = 4;
/// Name of the file system type: `fuse.cthulhu` in /proc/mounts.
pub(crate) const SUBTYPE: &str = "cthulhu";

/// A mounted tree.
pub struct Mounted(Session<Adapter>);

/// Mounts the tree. `remote` serves the bindmounts of nodes on other machines. `source` is the name that the mount has
/// among others.
///
/// # Errors
/// From opening /dev/fuse, mount(2) or fusermount3, the latter's own words.
pub fn mount(
    tree: &Tree,
    bindmounts: Arc<Passthrough>,
    remote: Arc<RemoteMounts>,
    mountpoint: &Path,
    source: &str,
    allow_other: bool,
    runtime: Handle,
) -> io::Result<Mounted> {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName(source.into()),
        // By this way it reaches the kernel too: fuser keeps its own Subtype from mount(2).
        MountOption::CUSTOM(format!("subtype={SUBTYPE}")),
        MountOption::NoDev,
        MountOption::NoSuid,
    ];
    if allow_other {
        config.mount_options.push(MountOption::DefaultPermissions);
    }
    config.acl = if allow_other { SessionACL::All } else { SessionACL::Owner };
    config.n_threads = Some(THREADS);
    let adapter = Adapter::new(tree.clone(), bindmounts.clone(), remote.clone(), runtime, allow_other);
    let session = Session::new(adapter, mountpoint, &config)?;
    tree.connect(Box::new(Notifications::begin(session.notifier())?));
    let forgetting = Forgetting::begin(session.notifier())?;
    remote.connect(Box::new(forgetting.clone()));
    bindmounts.connect(Box::new(forgetting));
    Ok(Mounted(session))
}

impl Mounted {
    /// Serves requests until the mount is gone. Blocks: give it a thread.
    ///
    /// # Errors
    /// When the connection to the kernel fails.
    pub fn serve(self) -> io::Result<()> {
        self.0.run()
    }
}
