//! Notifies the kernel of changes, from a thread that holds no lock and serves no request: notifying from anywhere else
//! can deadlock beyond SIGKILL.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Builder;

use fuser::{INodeNo, Notifier};
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tracing::debug;

use crate::passthrough::{self, Name};
use crate::tree::{Ino, KernelNotifier, Wake};

enum Message {
    Invalidate(Vec<Ino>),
    Wake(Wake),
    Flush(oneshot::Sender<()>),
}

/// The way to the notifying thread. The thread ends when this goes.
pub(crate) struct Notifications(Sender<Message>);

impl Notifications {
    /// Starts the thread.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(crate) fn begin(notifier: Notifier) -> std::io::Result<Self> {
        let (sender, receiver) = channel();
        Builder::new().name("notify".into()).spawn(move || serve(&receiver, &notifier))?;
        Ok(Self(sender))
    }
}

fn serve(messages: &Receiver<Message>, notifier: &Notifier) {
    while let Ok(message) = messages.recv() {
        match message {
            Message::Invalidate(inos) => {
                for ino in inos {
                    // A negative offset: attributes only. Content is never cached, so no page lock is waited for.
                    if let Err(error) = notifier.inval_inode(INodeNo(ino.0), -1, 0) {
                        debug!(?ino, %error, "not invalidated");
                    }
                }
            }
            Message::Wake(wake) => wake(),
            Message::Flush(done) => drop(done.send(())),
        }
    }
}

impl KernelNotifier for Notifications {
    fn invalidate(&self, inos: Vec<Ino>) {
        let _ = self.0.send(Message::Invalidate(inos));
    }

    fn wake(&self, wake: Wake) {
        let _ = self.0.send(Message::Wake(wake));
    }

    fn flushed(&self) -> BoxFuture<'static, ()> {
        let (done, told) = oneshot::channel();
        let _ = self.0.send(Message::Flush(done));
        // An error means that the thread is gone, and with it the kernel's side.
        Box::pin(async move { drop(told.await) })
    }
}

/// A channel to another such thread, which has the kernel forget names in bindmounts. It waits for operations in a
/// directory, and the news above must not wait with it.
#[derive(Clone)]
pub(crate) struct Forgetting(Sender<Name>);

impl Forgetting {
    /// Starts the thread.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(crate) fn begin(notifier: Notifier) -> std::io::Result<Self> {
        let (sender, receiver) = channel::<Name>();
        Builder::new().name("forget".into()).spawn(move || {
            while let Ok(Name { parent, name }) = receiver.recv() {
                if let Err(error) = notifier.inval_entry(INodeNo(parent), &name) {
                    debug!(parent, ?name, %error, "not forgotten");
                }
            }
        })?;
        Ok(Self(sender))
    }
}

impl passthrough::KernelNotifier for Forgetting {
    fn forget(&self, name: Name) {
        let _ = self.0.send(name);
    }
}
