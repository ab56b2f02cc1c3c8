//! An engine for tests, behind a socket: answers requests as a function says, and remembers them.

use std::path::PathBuf;
use std::sync::Arc;

use bollard::Docker;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// A fake engine. Ends with the test's runtime.
pub(super) struct Fake {
    pub(crate) docker: Docker,
    pub(crate) socket: PathBuf,
    asked: Arc<Mutex<Vec<String>>>,
    _dir: tempfile::TempDir,
}

impl Fake {
    /// `METHOD TARGET` of the requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }
}

/// An answer with this status and body.
pub(super) fn answer(status: u16, body: &str) -> String {
    with_headers(status, "", body)
}

/// The same with further header lines, each ended by CR LF.
pub(super) fn with_headers(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} x\r\n{headers}Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// An engine that answers what `answers` gives for a method and a target.
pub(super) fn engine(answers: impl Fn(&str, &str) -> String + Send + Sync + 'static) -> Fake {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("engine.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (answers, noted) = (Arc::new(answers), asked.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, answers.clone(), noted.clone()));
        }
    });
    let docker = Docker::connect_with_unix(socket.to_str().unwrap(), 60, bollard::API_DEFAULT_VERSION).unwrap();
    Fake { docker, socket, asked, _dir: dir }
}

async fn serve(stream: UnixStream, answers: Arc<impl Fn(&str, &str) -> String>, noted: Arc<Mutex<Vec<String>>>) {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        if first.is_empty() {
            first.clone_from(&line);
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    let _ = stream.read_exact(&mut body).await;
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    noted.lock().push(format!("{method} {target}"));
    let answer = answers(method, target);
    let _ = stream.get_mut().write_all(answer.as_bytes()).await;
}
