//! All machines of one mount.

use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::runtime::Handle;

use super::client::RemoteFiles;
use super::registry::Registry;
use crate::passthrough::{self, Answer, Elsewhere, KernelNotifier, Request, elsewhere};

/// All agents of one mount, by the numbers of the files that they serve.
#[derive(Default)]
pub struct RemoteMounts(Arc<Registry<RemoteFiles>>);

impl RemoteMounts {
    /// The files of one more machine. Its agent is asked once it is [connected](RemoteFiles::connect). An agent that says
    /// nothing for `timeout` while somebody waits counts as lost.
    pub fn machine(&self, timeout: Duration, runtime: Handle) -> Arc<RemoteFiles> {
        RemoteFiles::new(self.0.clone(), timeout, runtime)
    }

    /// Says whom to ask to forget files; the first call counts.
    pub(crate) fn connect(&self, kernel: Box<dyn KernelNotifier>) {
        self.0.connect(kernel);
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
        match self.0.served_by(at) {
            Some(files) => files.send(life, caller, request, answer),
            None => answer(Err(Errno::STALE)),
        }
    }

    /// Whether two files lie on the same machine.
    pub(crate) fn together(&self, one: u64, other: u64) -> bool {
        match (elsewhere(one), elsewhere(other)) {
            (None, None) => true,
            (Some(one), Some(other)) => match (self.0.served_by(one), self.0.served_by(other)) {
                (Some(one), Some(other)) => Arc::ptr_eq(&one, &other),
                _ => false,
            },
            _ => false,
        }
    }
}
