//! An engine that hangs and comes back, as a program outside orders it with a file.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::engine::{Attachment, BoxStream};
use crate::sync::time;

/// How often the file is looked for while it is there.
const LOOK: Duration = Duration::from_millis(10);

/// The file: while it exists, the engine answers nothing and passes nothing on. `None` if it never hangs so.
#[derive(Clone, Default)]
pub(super) struct Hang(pub(crate) Option<Arc<Path>>);

impl Hang {
    fn lasts(&self) -> bool {
        self.0.as_ref().is_some_and(|file| file.exists())
    }

    /// Waits until the engine no longer hangs.
    pub(crate) async fn over(&self) {
        while self.lasts() {
            time::sleep(LOOK).await;
        }
    }

    /// The stream, held back while the engine hangs.
    pub(crate) fn stream<T: Send + 'static>(&self, stream: BoxStream<T>) -> BoxStream<T> {
        if self.0.is_none() {
            return stream;
        }
        let hang = self.clone();
        stream
            .then(move |item| {
                let hang = hang.clone();
                async move {
                    hang.over().await;
                    item
                }
            })
            .boxed()
    }

    /// The attachment, held back in both directions while the engine hangs.
    pub(crate) fn attachment(&self, attachment: Attachment) -> Attachment {
        if self.0.is_none() {
            return attachment;
        }
        Attachment {
            stdin: Box::pin(Hanging { inner: attachment.stdin, hang: self.clone(), over: None }),
            stdout: Box::pin(Hanging { inner: attachment.stdout, hang: self.clone(), over: None }),
        }
    }
}

/// One direction of an attachment.
struct Hanging<T> {
    inner: T,
    hang: Hang,
    /// The wait under way.
    over: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<T> Hanging<T> {
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.over.is_none() && self.hang.lasts() {
            let hang = self.hang.clone();
            self.over = Some(Box::pin(async move { hang.over().await }));
        }
        if let Some(over) = &mut self.over {
            ready!(over.as_mut().poll(cx));
            self.over = None;
        }
        Poll::Ready(())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Hanging<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_over(cx));
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Hanging<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_over(cx));
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
