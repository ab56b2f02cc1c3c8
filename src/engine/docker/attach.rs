//! A container's stdin and stdout over one upgraded connection.
//!
//! The two halves own the connection: no task keeps it open once they are dropped.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::query_parameters::AttachContainerOptions;
use futures_util::StreamExt;
use tokio::io::{AsyncRead, ReadBuf};

use super::error;
use crate::engine::{Attachment, BoxStream, ContainerId, Result};

/// Attaches; returns once the engine has agreed.
pub(super) async fn attach(docker: &Docker, id: &ContainerId) -> Result<Attachment> {
    let options =
        AttachContainerOptions { stream: true, stdin: true, stdout: true, ..AttachContainerOptions::default() };
    let attached = docker.attach_container(&id.0, Some(options)).await.map_err(error::from_bollard)?;
    let output = attached.output.map(|piece| piece.map_err(io::Error::other));
    Ok(Attachment {
        stdin: attached.input,
        stdout: Box::pin(Stdout { output: Box::pin(output), piece: None, read: 0 }),
    })
}

/// The stdout frames of an attached container as one run of bytes.
struct Stdout {
    output: BoxStream<io::Result<LogOutput>>,
    /// The frame being handed out.
    piece: Option<LogOutput>,
    /// How much of it has been.
    read: usize,
}

impl AsyncRead for Stdout {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Some(piece) = &self.piece {
                let left = &piece.as_ref()[self.read..];
                if !left.is_empty() {
                    let taken = left.len().min(into.remaining());
                    into.put_slice(&left[..taken]);
                    self.read += taken;
                    return Poll::Ready(Ok(()));
                }
            }
            self.piece = None;
            match ready!(self.output.as_mut().poll_next(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                Some(Ok(LogOutput::StdErr { .. })) => {}
                Some(Ok(piece)) => {
                    self.piece = Some(piece);
                    self.read = 0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn stdout_frames_are_joined_and_stderr_is_dropped() {
        let frames = vec![
            LogOutput::StdOut { message: "ab".into() },
            LogOutput::StdErr { message: "no".into() },
            LogOutput::StdOut { message: "".into() },
            LogOutput::StdOut { message: "cde".into() },
        ];
        let output = futures_util::stream::iter(frames.into_iter().map(Ok));
        let mut stdout = Stdout { output: Box::pin(output), piece: None, read: 0 };
        let mut first = [0; 1];
        assert_eq!(stdout.read_exact(&mut first).await.unwrap(), 1);
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).await.unwrap();
        assert_eq!((first[0], rest.as_str()), (b'a', "bcde"));
    }
}
