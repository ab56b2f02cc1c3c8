//! The daemon's side: requests to one sandbox, over its attached stdin and stdout.

use std::borrow::Cow;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use super::protocol::{Aborted, Applied, Capabilities, Connected, Hello, MAX_LINE, Numbered, Request};
use crate::cluster::faults::NetState;
use crate::engine::Attachment;

/// Why a sandbox could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It has ended, or the connection to it.
    #[error("the sandbox has ended")]
    Ended,
    /// The connection failed.
    #[error("lost the sandbox: {0}")]
    Io(io::Error),
    /// It understood, and could not; or it did not understand. Its own words.
    #[error("{0}")]
    Refused(String),
    /// Its answer makes no sense.
    #[error("the sandbox answered nonsense: {0}")]
    Nonsense(String),
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => Self::Ended,
            _ => Self::Io(error),
        }
    }
}

/// Room that is kept for requests, in bytes.
const KEPT: usize = 16 << 10;

/// Result of a request to a sandbox.
pub(crate) type Result<T> = std::result::Result<T, ClientError>;

/// One sandbox, attached. Dropping it closes the connection, and so ends a sandbox whose stdin does not outlive that.
///
/// Requests wait as long as it takes; callers set deadlines. Any call may be dropped half-way, and the next one still
/// gets its own answer.
pub struct Client {
    stdin: Pin<Box<dyn AsyncWrite + Send>>,
    stdout: BufReader<Pin<Box<dyn AsyncRead + Send>>>,
    /// Number of the last request.
    last: u64,
    /// What is still to be sent; outlives a call that was dropped.
    unsent: Vec<u8>,
    /// The part of a line received so far; outlives a call that was dropped.
    line: Vec<u8>,
    /// There may be answers on the way to what was sent over an earlier connection.
    is_resumed: bool,
    /// Nothing has been applied since it was connected again.
    is_unconfirmed: bool,
}

impl Client {
    /// Takes over an attachment to a sandbox, before or after it has been started.
    pub fn new(attachment: Attachment) -> Self {
        Self {
            stdin: attachment.stdin,
            stdout: BufReader::new(attachment.stdout),
            last: 0,
            unsent: Vec::new(),
            line: Vec::new(),
            is_resumed: false,
            is_unconfirmed: false,
        }
    }

    /// Goes on over another attachment to the same process, which may still answer, or hold the first half of, what was sent before.
    pub(crate) fn connect_again(&mut self, attachment: Attachment) {
        self.stdin = attachment.stdin;
        self.stdout = BufReader::new(attachment.stdout);
        self.line.clear();
        // Ends a request that has got there in part.
        self.unsent = b"\n".to_vec();
        self.is_resumed = true;
        self.is_unconfirmed = true;
    }

    /// Gives up a connection that may be dead without having said so: the next request finds that it has ended.
    pub(crate) fn disconnect(&mut self) {
        self.stdin = Box::pin(tokio::io::sink());
        self.stdout = BufReader::new(Box::pin(tokio::io::empty()));
    }

    /// Whether nothing has been applied, and so read back, since it was connected again.
    pub(crate) fn is_unconfirmed(&self) -> bool {
        self.is_unconfirmed
    }

    /// Asks for its version and addresses; an answer means that it runs.
    pub async fn hello(&mut self) -> Result<Hello> {
        self.request(&Request::Hello).await
    }

    /// Asks whether an address accepts TCP connections at a port, as seen from the sandbox; the inner error says why not.
    pub(crate) async fn connects(&mut self, address: Ipv4Addr, port: u16) -> Result<std::result::Result<(), String>> {
        let answer: Connected = self.request(&Request::Connect { address, port }).await?;
        Ok(if answer.connected { Ok(()) } else { Err(answer.error.unwrap_or_default()) })
    }

    /// Asks what its kernel can do.
    pub(crate) async fn probe(&mut self) -> Result<Capabilities> {
        self.request(&Request::Probe).await
    }

    /// Has it apply this state in its network namespace; returns its IPv4 addresses when the state is in force. After a
    /// refusal, the earlier state is.
    pub(crate) async fn apply(&mut self, kernel: Capabilities, desired: &NetState) -> Result<Vec<Ipv4Addr>> {
        let applied: Applied = self.request(&Request::Apply { kernel, desired: Cow::Borrowed(desired) }).await?;
        self.is_unconfirmed = false;
        Ok(applied.addresses)
    }

    /// Has it destroy the sockets of its node's dead run; returns how many there were.
    pub(crate) async fn abort(&mut self) -> Result<u64> {
        let aborted: Aborted = self.request(&Request::Abort).await?;
        Ok(aborted.sockets)
    }

    /// Sends one request and waits for its answer.
    async fn request<T: DeserializeOwned>(&mut self, request: &Request<'_>) -> Result<T> {
        self.last += 1;
        let id = self.last;
        serde_json::to_writer(&mut self.unsent, &Numbered { id, request }).map_err(io::Error::from)?;
        self.unsent.push(b'\n');
        self.send().await?;
        loop {
            self.receive().await?;
            let parsed: serde_json::Result<serde_json::Value> = serde_json::from_slice(&self.line);
            self.line.clear();
            let value = parsed.map_err(|e| ClientError::Nonsense(e.to_string()))?;
            match value.get("id").and_then(serde_json::Value::as_u64) {
                // The answer to a request that its caller gave up.
                Some(earlier) if earlier < id => continue,
                Some(same) if same == id => {}
                None if self.is_resumed => continue,
                // Answers come in order, so one without our number is to a line that it could not read.
                _ => return Err(ClientError::Nonsense(value.to_string())),
            }
            self.is_resumed = false;
            if value["ok"] == true {
                return serde_json::from_value(value).map_err(|e| ClientError::Nonsense(e.to_string()));
            }
            let error = value["error"].as_str().unwrap_or("no reason given");
            return Err(ClientError::Refused(error.to_owned()));
        }
    }

    async fn send(&mut self) -> Result<()> {
        while !self.unsent.is_empty() {
            let sent = self.stdin.write(&self.unsent).await?;
            if sent == 0 {
                return Err(ClientError::Ended);
            }
            self.unsent.drain(..sent);
        }
        self.unsent.shrink_to(KEPT);
        Ok(self.stdin.flush().await?)
    }

    /// Reads until `line` holds a whole line.
    async fn receive(&mut self) -> Result<()> {
        while self.line.last() != Some(&b'\n') {
            let room = MAX_LINE.saturating_sub(self.line.len());
            if room == 0 {
                return Err(ClientError::Nonsense(format!("more than {MAX_LINE} bytes")));
            }
            let mut limited = (&mut self.stdout).take(room as u64);
            if limited.read_until(b'\n', &mut self.line).await? == 0 {
                return Err(ClientError::Ended);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::namespace::FakeNamespace;
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::thread::JoinHandle;
    use std::time::Duration;

    fn attachment(stream: UnixStream) -> Attachment {
        stream.set_nonblocking(true).unwrap();
        let (stdout, stdin) = tokio::io::split(tokio::net::UnixStream::from_std(stream).unwrap());
        Attachment { stdin: Box::pin(stdin), stdout: Box::pin(stdout) }
    }

    fn attach(stream: UnixStream) -> Client {
        Client::new(attachment(stream))
    }

    fn sandbox() -> (Client, JoinHandle<io::Result<()>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let output = theirs.try_clone().unwrap();
        let server = std::thread::spawn(move || {
            super::super::serve(io::BufReader::new(theirs), output, &mut FakeNamespace::default())
        });
        (attach(ours), server)
    }

    #[tokio::test]
    async fn hello_and_end() {
        let (mut client, server) = sandbox();
        for _ in 0..3 {
            let hello = client.hello().await.unwrap();
            assert_eq!(hello.version, env!("CARGO_PKG_VERSION"));
        }
        drop(client);
        server.join().unwrap().unwrap();
    }

    #[tokio::test]
    async fn connects_where_somebody_listens() {
        let (mut client, _server) = sandbox();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(client.connects(Ipv4Addr::LOCALHOST, port).await.unwrap(), Ok(()));
        drop(listener);
        assert_eq!(client.connects(Ipv4Addr::LOCALHOST, port).await.unwrap(), Err("connection refused".into()));
    }

    #[tokio::test]
    async fn a_call_given_up_does_not_confuse_the_next() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut client = attach(ours);
        let brief = Duration::from_millis(20);
        assert!(tokio::time::timeout(brief, client.hello()).await.is_err());
        assert!(tokio::time::timeout(brief, client.hello()).await.is_err());
        let output = theirs.try_clone().unwrap();
        std::thread::spawn(move || {
            super::super::serve(io::BufReader::new(theirs), output, &mut FakeNamespace::default())
        });
        client.hello().await.unwrap();
        assert_eq!(client.last, 3);
    }

    #[tokio::test]
    async fn a_sandbox_that_ends_is_told() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut client = attach(ours);
        drop(theirs);
        assert!(matches!(client.hello().await, Err(ClientError::Ended)));
    }

    #[tokio::test]
    async fn over_another_connection_it_goes_on_where_it_was() {
        use std::io::{BufRead, Write};
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut client = attach(ours);
        let server = std::thread::spawn(move || {
            let mut lines = io::BufReader::new(&theirs).lines();
            assert!(lines.next().unwrap().unwrap().contains("\"id\":1"));
            // Half of another answer, then the connection is gone.
            (&theirs).write_all(b"{\"ok\":true,\"id\":1,\"version\":\"1\",\"addresses\":[]}\n{\"ok\":").unwrap();
        });
        client.hello().await.unwrap();
        server.join().unwrap();
        client.disconnect();
        assert!(matches!(client.hello().await, Err(ClientError::Ended)));
        assert!(!client.is_unconfirmed());

        let (ours, theirs) = UnixStream::pair().unwrap();
        let output = theirs.try_clone().unwrap();
        // Answers to what came late over the earlier one.
        (&theirs).write_all(b"{\"ok\":false,\"error\":\"x\"}\n{\"ok\":false,\"id\":2,\"error\":\"x\"}\n").unwrap();
        std::thread::spawn(move || {
            super::super::serve(io::BufReader::new(theirs), output, &mut FakeNamespace::default())
        });
        client.connect_again(attachment(ours));
        client.hello().await.unwrap();
        assert!(client.is_unconfirmed());
        client.apply(Capabilities::everything(), &NetState::default()).await.unwrap();
        assert!(!client.is_unconfirmed());
    }

    #[tokio::test]
    async fn refusal_and_nonsense_are_told_apart() {
        use std::io::Write;
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut client = attach(ours);
        theirs.write_all(b"{\"ok\":false,\"id\":1,\"error\":\"no\"}\nwhat\n").unwrap();
        let refused = client.hello().await.unwrap_err();
        assert!(matches!(refused, ClientError::Refused(ref why) if why == "no"));
        let nonsense = client.hello().await.unwrap_err();
        assert!(matches!(nonsense, ClientError::Nonsense(_)));
    }
}
