//! Which agent serves a file of a mount.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::RwLock;
use rustix::io::Errno;
use tokio::runtime::Handle;

use super::client::RemoteFiles;
use crate::passthrough::{self, Answer, Elsewhere, KernelNotifier, Life, MOST_LIVES, Name, Request, elsewhere, remote_root};

/// All agents of one mount, by the numbers of the files that they serve.
#[derive(Default)]
pub struct RemoteMounts {
    table: RwLock<Table>,
    kernel: OnceLock<Box<dyn KernelNotifier>>,
}

#[derive(Default)]
struct Table {
    /// By index.
    roots: Vec<Weak<RemoteFiles>>,
    /// By life, from 1 on.
    lives: Vec<Weak<RemoteFiles>>,
}

impl RemoteMounts {
    /// The files of one more machine. Its agent is asked once it is [connected](RemoteFiles::connect). An agent that says
    /// nothing for `timeout` while somebody waits counts as lost.
    pub fn machine(self: &Arc<Self>, timeout: Duration, runtime: Handle) -> Arc<RemoteFiles> {
        RemoteFiles::new(self.clone(), timeout, runtime)
    }

    /// Says whom to ask to forget files; the first call counts.
    pub(crate) fn connect(&self, kernel: Box<dyn KernelNotifier>) {
        let _ = self.kernel.set(kernel);
    }

    pub(super) fn forget(&self, name: Name) {
        if let Some(kernel) = self.kernel.get() {
            kernel.forget(name);
        }
    }

    /// The number of a new root that `files` serve.
    pub(super) fn new_root(&self, files: &Arc<RemoteFiles>) -> u64 {
        let mut table = self.table.write();
        table.roots.push(Arc::downgrade(files));
        remote_root(table.roots.len() as u64 - 1)
    }

    /// A life that no agent had before. `None` when there are no more.
    pub(super) fn new_life(&self, files: &Arc<RemoteFiles>) -> Option<Life> {
        let mut table = self.table.write();
        if table.lives.len() >= usize::from(MOST_LIVES) {
            return None;
        }
        table.lives.push(Arc::downgrade(files));
        Some(table.lives.len() as Life)
    }

    fn served_by(&self, at: Elsewhere) -> Option<Arc<RemoteFiles>> {
        let table = self.table.read();
        match at {
            Elsewhere::Root(index) => table.roots.get(usize::try_from(index).ok()?)?.upgrade(),
            Elsewhere::Found(life) => table.lives.get(usize::from(life).checked_sub(1)?)?.upgrade(),
        }
    }

    /// Has an operation performed, on a file whose number belongs there, and hands `answer` the result: `ESTALE` if it was
    /// found by an agent that is gone, `EHOSTDOWN` while there is no agent, or if it does not answer, and `EINTR` if the
    /// thread `caller` is about to die meanwhile.
    pub(crate) fn send(
        &self,
        at: Elsewhere,
        caller: u32,
        request: Request<'_>,
        answer: impl FnOnce(passthrough::Result<Answer>) + Send + 'static,
    ) {
        let life = match at {
            Elsewhere::Root(_) => None,
            Elsewhere::Found(life) => Some(life),
        };
        match self.served_by(at) {
            Some(files) => files.send(life, caller, request, answer),
            None => answer(Err(Errno::STALE)),
        }
    }

    /// Whether two files lie on the same machine.
    pub(crate) fn together(&self, one: u64, other: u64) -> bool {
        match (elsewhere(one), elsewhere(other)) {
            (None, None) => true,
            (Some(one), Some(other)) => match (self.served_by(one), self.served_by(other)) {
                (Some(one), Some(other)) => Arc::ptr_eq(&one, &other),
                _ => false,
            },
            _ => false,
        }
    }
}
