//! How requests get to an engine that is not behind a local socket: over connections that are kept.
//!
//! On a long line, opening a connection takes as long as a request, and twice that with TLS. A stream or an attachment
//! takes a connection for itself; there is no limit to how many are open.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error;
use bollard::{BollardRequest, ClientVersion, Docker};
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::error::{self, NEVER};
use super::tls;
use crate::engine::{EngineError, Result};

/// How long an unused connection is kept: shorter than what proxies in front of an engine allow. Docker allows any time.
const KEPT_IDLE: Duration = Duration::from_secs(30);
/// Unused connections that are kept.
const MOST_IDLE: usize = 16;
/// How long TCP may take to connect. The caller may have given up long before.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that is silent for this long is probed, and then every [`PROBE_INTERVAL`].
const SILENCE: Duration = Duration::from_secs(15);
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// Probes without an answer after which a connection is broken.
const PROBES: u32 = 3;

pub(super) type Answer = std::result::Result<Response<Incoming>, Error>;
pub(super) type Sending = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Sends requests to one engine.
#[derive(Clone)]
pub(super) struct Transport {
    send: Arc<dyn Fn(BollardRequest) -> Sending + Send + Sync>,
    /// `SCHEME://AUTHORITY`: what comes before the target of every request.
    base: String,
}

impl Transport {
    /// To `HOST:PORT`, with the certificates of that directory if it is to be TLS.
    pub(crate) fn tcp(authority: &str, certificates: Option<&Path>) -> Result<Self> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_keepalive(Some(SILENCE));
        connector.set_keepalive_interval(Some(PROBE_INTERVAL));
        connector.set_keepalive_retries(Some(PROBES));
        // What was sent is given up after the same time. Otherwise the kernel tries for a quarter of an hour.
        connector.set_tcp_user_timeout(Some(SILENCE + PROBE_INTERVAL * PROBES));
        Ok(match certificates {
            None => Self::over(connector, format!("http://{authority}")),
            Some(dir) => {
                let connector = HttpsConnector::from((connector, tls::config(dir)?));
                Self::over(connector, format!("https://{authority}"))
            }
        })
    }

    /// To whatever `connector` leads to.
    pub(crate) fn over(connector: impl Connect + Clone + Send + Sync + 'static, base: String) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT_IDLE)
            .pool_max_idle_per_host(MOST_IDLE)
            .build(connector);
        let send = move |request: BollardRequest| -> Sending {
            let client = client.clone();
            // The peer may close a kept connection at the moment we use it. The client then sends a request again if
            // nothing of it has gone out. If something has, only reading again is harmless.
            let again = (request.method() == Method::GET).then(|| without_body(&request));
            Box::pin(async move {
                match (client.request(request).await, again) {
                    (Err(error), Some(again)) if !error.is_connect() => Ok(client.request(again).await?),
                    (answer, _) => Ok(answer?),
                }
            })
        };
        Self { send: Arc::new(send), base }
    }

    /// The same; `explain` may turn what `send` gives into something else.
    pub(crate) fn explained(self, explain: impl Fn(Sending) -> Sending + Send + Sync + 'static) -> Self {
        let send = self.send;
        Self { send: Arc::new(move |request| explain(send(request))), base: self.base }
    }

    /// A client that sends through it.
    pub(crate) fn docker(&self, version: &ClientVersion) -> Result<Docker> {
        let send = Arc::clone(&self.send);
        Docker::connect_with_custom_transport(
            move |request| send(request),
            Some(self.base.as_str()),
            NEVER.as_secs(),
            version,
        )
        .map_err(error::from_bollard)
    }

    /// The headers of the engine's answer to a ping; `None` if it refuses.
    pub(crate) async fn ping(&self) -> Result<Option<HeaderMap>> {
        let mut request = Request::new(bollard::body_full(Bytes::new()));
        // An answer without a body leaves the connection free.
        *request.method_mut() = Method::HEAD;
        *request.uri_mut() = format!("{}/_ping", self.base)
            .parse()
            .map_err(|error| EngineError::Refused(format!("{} is no address: {error}", self.base)))?;
        let answer = (self.send)(request).await.map_err(error::from_bollard)?;
        Ok((answer.status() == StatusCode::OK).then(|| answer.headers().clone()))
    }
}

fn without_body(request: &BollardRequest) -> BollardRequest {
    let mut copy = Request::new(bollard::body_full(Bytes::new()));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bollard::API_DEFAULT_VERSION;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A server, and how many connections and requests it has had.
    struct Server {
        address: SocketAddr,
        connections: Arc<AtomicUsize>,
        requests: Arc<AtomicUsize>,
    }

    impl Server {
        /// It answers `answered` requests of each connection, and closes it at the next one without an answer.
        async fn start(answered: usize) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let (connected, asked) = (Arc::clone(&connections), Arc::clone(&requests));
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    connected.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(serve(stream, answered, Arc::clone(&asked)));
                }
            });
            Self { address, connections, requests }
        }

        fn docker(&self) -> Docker {
            Transport::tcp(&self.address.to_string(), None).unwrap().docker(API_DEFAULT_VERSION).unwrap()
        }

        fn counted(&self) -> (usize, usize) {
            (self.connections.load(Ordering::SeqCst), self.requests.load(Ordering::SeqCst))
        }
    }

    async fn serve(stream: TcpStream, answered: usize, requests: Arc<AtomicUsize>) {
        let mut stream = BufReader::new(stream);
        for nth in 0.. {
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            requests.fetch_add(1, Ordering::SeqCst);
            if nth == answered {
                return;
            }
            stream.get_mut().write_all(b"HTTP/1.1 200 x\r\nContent-Length: 2\r\n\r\nOK").await.unwrap();
        }
    }

    #[tokio::test]
    async fn one_connection_does_for_requests_one_after_another() {
        let server = Server::start(usize::MAX).await;
        let docker = server.docker();
        for _ in 0..10 {
            docker.ping().await.unwrap();
            docker.pause_container("x").await.unwrap();
        }
        assert_eq!(server.counted(), (1, 20));
    }

    #[tokio::test]
    async fn a_stream_has_its_own_connection_and_keeps_none_from_others() {
        let server = Server::start(usize::MAX).await;
        let docker = server.docker();
        let streams: Vec<_> = (0..2 * MOST_IDLE).map(|_| super::super::raw::stream(&docker, "/x")).collect();
        let streams = streams.into_iter().map(|mut stream| async move {
            futures_util::StreamExt::next(&mut stream).await.unwrap().unwrap();
            stream
        });
        let open = futures_util::future::join_all(streams).await;
        docker.ping().await.unwrap();
        assert!(server.connections.load(Ordering::SeqCst) <= 2 * MOST_IDLE + 1);
        drop(open);
    }

    #[tokio::test]
    async fn what_a_closed_connection_left_unanswered_is_read_again_but_not_done_again() {
        let server = Server::start(1).await;
        let docker = server.docker();
        docker.ping().await.unwrap();
        docker.ping().await.unwrap();
        assert_eq!(server.counted(), (2, 3));
        // The second connection has answered once, and gives this no answer.
        let error = error::from_bollard(docker.pause_container("x").await.unwrap_err());
        assert!(matches!(error, EngineError::Unreachable(_)), "{error}");
        assert_eq!(server.counted(), (2, 4));
        docker.pause_container("x").await.unwrap();
        assert_eq!(server.counted(), (3, 5));
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_meanwhile_is_no_error() {
        let server = Server::start(usize::MAX).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (front, behind) = (listener.local_addr().unwrap(), server.address);
        // A proxy that closes a connection as soon as it has answered.
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut far = TcpStream::connect(behind).await.unwrap();
                let mut answer = [0; 64];
                let mut request = vec![0; 1 << 12];
                let read = tokio::io::AsyncReadExt::read(&mut near, &mut request).await.unwrap();
                far.write_all(&request[..read]).await.unwrap();
                let read = tokio::io::AsyncReadExt::read(&mut far, &mut answer).await.unwrap();
                near.write_all(&answer[..read]).await.unwrap();
            }
        });
        let docker = Transport::tcp(&front.to_string(), None).unwrap().docker(API_DEFAULT_VERSION).unwrap();
        for _ in 0..5 {
            docker.pause_container("x").await.unwrap();
            // The end of the connection is seen by a task of its own.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
