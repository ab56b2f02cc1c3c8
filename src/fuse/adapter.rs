//! What serves a mount: the tree, and bindmounts here and on other machines.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fuser::{BackingId, FopenFlags, INodeNo, Request};
use rustix::io::Errno;
use tokio::runtime::Handle;

use super::backing::Backings;
use super::convert::{self, FOREVER};
use super::reply::caught;
use crate::agent::RemoteMounts;
use crate::passthrough::Request as FileRequest;
use crate::passthrough::{self, Answer, OpenFile, Passthrough, elsewhere};
use crate::sys;
use crate::tree::{Ino, Tree};

/// How long the kernel may keep what it was told of a file on another machine. What a node does to it is seen that much
/// later. Those of this machine are asked each time.
const REMOTE_TTL: Duration = Duration::from_millis(100);

pub(crate) struct Adapter {
    pub(super) tree: Tree,
    pub(super) bindmounts: Arc<Passthrough>,
    /// The bindmounts of nodes on other machines.
    pub(super) remote: Arc<RemoteMounts>,
    pub(super) runtime: Handle,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Other users may use the mount, so the kernel checks permissions. Without it, all callers are our own user (fuser
    /// refuses others), and the backing file system checks our rights. Then the kernel does not ask for the attributes of
    /// each directory on a path: see docs/architecture.md.
    pub(super) allow_other: bool,
    /// Files of bindmounts can be read past the page cache and still be mapped (Linux 6.6).
    pub(super) direct: AtomicBool,
    pub(super) backings: Backings,
}

impl Adapter {
    pub(crate) fn new(
        tree: Tree,
        bindmounts: Arc<Passthrough>,
        remote: Arc<RemoteMounts>,
        runtime: Handle,
        allow_other: bool,
    ) -> Self {
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let (direct, backings) = (AtomicBool::new(false), Backings::default());
        Self { tree, bindmounts, remote, runtime, uid, gid, allow_other, direct, backings }
    }

    pub(super) fn synthesized_attr(&self, ino: Ino) -> Result<(Duration, fuser::FileAttr), Errno> {
        let ttl = if self.tree.is_cacheable(ino) { FOREVER } else { Duration::ZERO };
        Ok((ttl, convert::attr(&self.tree.attr(ino)?, self.uid, self.gid)))
    }

    /// Performs an operation on the file `ino` of bindmounts: at once if it lies on this machine, else later. `answer` gets
    /// the result, and how long the kernel may keep it.
    pub(super) fn perform(
        &self,
        req: &Request,
        ino: INodeNo,
        request: FileRequest<'_>,
        answer: impl FnOnce(passthrough::Result<Answer>, Duration) + Send + 'static,
    ) {
        match elsewhere(ino.0) {
            None => answer(self.bindmounts.perform(&request), Duration::ZERO),
            Some(at) => self.remote.send(at, req.pid(), request, move |done| {
                caught("answer", || answer(done, REMOTE_TTL));
            }),
        }
    }

    /// What the kernel reads and writes by itself for a file that was just opened, if it may.
    pub(super) fn backing(
        &self,
        ino: u64,
        fh: passthrough::Fh,
        register: impl FnOnce(&OpenFile) -> std::io::Result<BackingId>,
    ) -> Option<Arc<BackingId>> {
        self.backings.opened(ino, || {
            // The kernel writes with the rights that we have now, whichever process writes: so drop the setuid bit.
            let _rights = sys::without_setid()?;
            register(&*self.bindmounts.file(fh)?)
        })
    }

    /// How files of bindmounts are opened, if not by the kernel itself: what a container writes must be read at once, so not from the page cache,
    /// which could not know.
    pub(super) fn backing_flags(&self) -> FopenFlags {
        if self.direct.load(Ordering::Relaxed) { FopenFlags::FOPEN_DIRECT_IO } else { FopenFlags::empty() }
    }
}
