//! Connecting: the first endpoint that answers, the API version both sides speak, and who it is.
//!
//! Which endpoints there are is in [`locate`](super::locate).

use std::io;
use std::path::Path;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::error::{self, NEVER};
use super::locate::{self, Endpoint};
use super::ssh::{self, Destination};
use super::transport::Transport;
use super::{DockerEngine, info, raw};
use crate::engine::{EngineError, EngineInfo, Result};

/// Connects to an engine: at `host` if given, else where `DOCKER_HOST` or the docker context say, else at
/// `/var/run/docker.sock`, else at podman's sockets. Every endpoint tried may take `timeout`.
///
/// # Errors
/// [`EngineError::Unreachable`] naming all endpoints tried, `Denied` if a socket may not be used, `TimedOut`, or
/// `Refused` if the address or its TLS files cannot be used.
pub async fn connect(host: Option<&str>, timeout: Duration) -> Result<DockerEngine> {
    let endpoints = locate::endpoints(host, &locate::process_env)?;
    let mut reasons = Vec::new();
    let mut denied = None;
    for endpoint in &endpoints {
        let attempt = tokio::time::timeout(timeout, open(endpoint)).await;
        match attempt.unwrap_or(Err(EngineError::TimedOut(timeout))) {
            Err(EngineError::Unreachable(reason)) => reasons.push(format!("{}: {reason}", endpoint.address)),
            Err(error @ EngineError::Denied(_)) => denied = denied.or(Some(error)),
            settled => return settled,
        }
    }
    Err(denied.unwrap_or_else(|| EngineError::Unreachable(reasons.join("; "))))
}

async fn open(endpoint: &Endpoint) -> Result<DockerEngine> {
    let (docker, peer, product) = match endpoint.url.strip_prefix("unix://") {
        Some(path) => {
            let (peer, greeting) = greet(path).await?;
            let of_version = |version: &ClientVersion| {
                Docker::connect_with_unix(&endpoint.url, NEVER.as_secs(), version).map_err(error::from_bollard)
            };
            let (docker, product) = negotiate(greeting, of_version).await?;
            (docker, peer, product)
        }
        None => {
            let (docker, product) = far(endpoint).await.map_err(|error| tls_advice(endpoint, error))?;
            (docker, None, product)
        }
    };
    let docker = raw::versioned(docker);
    let product = match product {
        Some(product) => product,
        None => info::product(&raw::json(&docker, "/version").await?),
    };
    let description = format!("{product}, API {}", docker.client_version());
    let about = match peer {
        Some(_) => raw::json(&docker, "/info").await?,
        // A filter in front of the engine may hide it.
        None => raw::json(&docker, "/info").await.unwrap_or_default(),
    };
    let info = EngineInfo {
        description,
        address: endpoint.address.clone(),
        name: raw::string(&about, "Name"),
        id: raw::string(&about, "ID"),
        labels: info::labels(&about),
        swarm: info::swarm(&about),
        is_here: info::is_here(&about),
        over_ssh: endpoint.url.starts_with("ssh://"),
        local: peer.is_some() && info::is_here(&about),
        setup: info::setup(&about),
    };
    Ok(DockerEngine::new(docker, info))
}

/// A client of an engine that is not behind a local socket.
async fn far(endpoint: &Endpoint) -> Result<(Docker, Option<String>)> {
    let (scheme, rest) = endpoint.url.split_once("://").unwrap_or_default();
    let transport = match scheme {
        "ssh" => ssh::transport(Destination::parse(rest).map_err(EngineError::Refused)?)?,
        _ => Transport::tcp(rest, endpoint.tls.as_deref())?,
    };
    let headers = transport.ping().await?;
    let header = |name: &str| headers.as_ref()?.get(name)?.to_str().ok();
    negotiate(greeting(header), |version| transport.docker(version)).await
}

/// A client in the newest version of the API that both sides speak, and the engine's product, as far as its greeting tells.
async fn negotiate(
    greeting: Option<Greeting>,
    of_version: impl Fn(&ClientVersion) -> Result<Docker>,
) -> Result<(Docker, Option<String>)> {
    match greeting {
        Some(greeting) => Ok((of_version(&oldest(greeting.api))?, greeting.product)),
        None => {
            let docker = of_version(API_DEFAULT_VERSION)?;
            Ok((docker.negotiate_version().await.map_err(error::from_bollard)?, None))
        }
    }
}

/// What an engine says of itself in the headers of its answer to a ping. Asking for its version takes podman seconds.
struct Greeting {
    /// The newest version of the API that it speaks.
    api: ClientVersion,
    product: Option<String>,
}

/// Bytes of an answer's head that are read.
const MAX_HEAD: u64 = 1 << 14;

/// The pid of the process that listens on a socket, if our pid namespace has it, and its answer to a ping, if that can
/// be understood. The error says why the socket cannot be used.
async fn greet(path: &str) -> Result<(Option<i32>, Option<Greeting>)> {
    let mut socket = UnixStream::connect(path).await.map_err(|cause| match cause.kind() {
        io::ErrorKind::PermissionDenied => EngineError::Denied(advice(path)),
        _ => EngineError::Unreachable(error::describe(&cause)),
    })?;
    let peer = socket.peer_cred().ok().and_then(|peer| peer.pid()).filter(|pid| *pid > 0);
    // bollard does not expose an answer's headers.
    let head = async {
        socket.write_all(b"GET /_ping HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n").await?;
        let mut head = Vec::new();
        let mut limited = socket.take(MAX_HEAD);
        // Do not read to the end: a proxy may keep the connection open.
        while !head.ends_with(b"\r\n\r\n") && limited.read_buf(&mut head).await? > 0 {
            if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
                head.truncate(end + 4);
            }
        }
        io::Result::Ok(head)
    };
    let head = head.await.unwrap_or_default();
    Ok((peer, greeting_in(&String::from_utf8_lossy(&head))))
}

/// Reads the head of an answer to a ping; `None` if it does not name a version of the API.
fn greeting_in(answer: &str) -> Option<Greeting> {
    let (head, _) = answer.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?;
    if !(status.starts_with("HTTP/1.") && status.split(' ').nth(1) == Some("200")) {
        return None;
    }
    let headers: Vec<_> = lines.filter_map(|line| line.split_once(':')).collect();
    greeting(|name| headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()))
}

/// Reads the headers of an answer to a ping; `None` if they do not name a version of the API.
fn greeting<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<Greeting> {
    let (major, minor) = header("api-version")?.split_once('.')?;
    let api = ClientVersion { major_version: major.parse().ok()?, minor_version: minor.parse().ok()? };
    // For example `Docker/26.1.5 (linux)`.
    let product = header("server").and_then(|server| server.split(' ').next()?.split_once('/'));
    let product = product.and_then(|(name, version)| match name {
        "Docker" => Some(format!("Docker Engine {version}")),
        "Libpod" => Some(format!("Podman Engine {version}")),
        _ => None,
    });
    Some(Greeting { api, product })
}

/// The newest version of the API that both sides speak.
fn oldest(theirs: ClientVersion) -> ClientVersion {
    if theirs < *API_DEFAULT_VERSION { theirs } else { ClientVersion { ..*API_DEFAULT_VERSION } }
}

/// Says what to do about certificates, where the connection failed for them.
fn tls_advice(endpoint: &Endpoint, error: EngineError) -> EngineError {
    let reason = error.to_string();
    if endpoint.tls.is_none() {
        return match reason.contains("HTTP request to an HTTPS server") {
            true => EngineError::Refused(format!(
                "the engine at {} wants TLS: set DOCKER_TLS_VERIFY=1, and DOCKER_CERT_PATH to the directory of ca.pem, \
                 cert.pem and key.pem",
                endpoint.address
            )),
            false => error,
        };
    }
    const WORDS: [&str; 4] = ["certificate", "fatal alert", "corrupt message", "peer "];
    if !WORDS.iter().any(|word| reason.contains(word)) {
        return error;
    }
    let dir = endpoint.tls.as_deref().unwrap_or(Path::new("")).display();
    EngineError::Refused(format!(
        "no TLS connection to the engine at {}: {}; see that ca.pem, cert.pem and key.pem in {dir} (DOCKER_CERT_PATH) are the \
         engine's, and that its certificate names this host",
        endpoint.address,
        reason.trim_start_matches("cannot reach the engine: ")
    ))
}

fn advice(path: &str) -> String {
    if path.ends_with("/docker.sock") {
        format!("you may not use {path}; add yourself to group docker (sudo usermod -aG docker $USER) and log in again")
    } else {
        format!("you may not use {path}; it belongs to another user")
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake;
    use super::*;

    #[test]
    fn an_engine_says_who_it_is_in_the_head_of_an_answer() {
        let docker = "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nServer: Docker/20.10.24+dfsg1 (linux)\r\n\r\nOK";
        let found = greeting_in(docker).unwrap();
        assert_eq!(found.product.as_deref(), Some("Docker Engine 20.10.24+dfsg1"));
        assert_eq!(found.api.to_string(), "1.41");
        let podman = "HTTP/1.1 200 OK\r\nLibpod-Api-Version: 5.4.0\r\napi-version: 1.41\r\nServer: Libpod/5.4.0 (linux)\r\n\r\nOK";
        assert_eq!(greeting_in(podman).unwrap().product.as_deref(), Some("Podman Engine 5.4.0"));
        let unknown = "HTTP/1.1 200 OK\r\nApi-Version: 1.99\r\nServer: nginx\r\n\r\n";
        let found = greeting_in(unknown).unwrap();
        assert_eq!(found.product, None);
        assert_eq!(oldest(found.api).to_string(), API_DEFAULT_VERSION.to_string());
        for nothing in [
            "",
            "220 smtp ready\r\n",
            "HTTP/1.1 200 OK\r\nServer: Docker/1 (linux)\r\n\r\nOK",
            "HTTP/1.1 403 Forbidden\r\nApi-Version: 1.41\r\n\r\n",
            "HTTP/1.1 200 OK\r\nApi-Version: new\r\n\r\n",
        ] {
            assert!(greeting_in(nothing).is_none(), "{nothing:?}");
        }
    }

    /// Connects to an engine with this head, and says what it was asked.
    async fn asked(headers: &'static str) -> (EngineInfo, Vec<String>) {
        let fake = fake::engine(move |_, target| match target {
            "/_ping" => fake::with_headers(200, headers, "OK"),
            "/version" | "/v1.41/version" => fake::answer(
                200,
                r#"{"Version":"9.9","ApiVersion":"1.41","Components":[{"Name":"Podman Engine","Version":"9.9"}]}"#,
            ),
            "/v1.41/info" => {
                fake::answer(200, r#"{"SecurityOptions":["name=seccomp,profile=default","name=rootless"]}"#)
            }
            _ => fake::answer(404, "{}"),
        });
        let engine = connect(fake.socket.to_str(), Duration::from_secs(600)).await.unwrap();
        (engine.info.clone(), fake.asked())
    }

    #[tokio::test]
    async fn what_a_ping_tells_is_not_asked_for_again() {
        let (info, requests) = asked("Api-Version: 1.41\r\nServer: Libpod/4.3.1 (linux)\r\n").await;
        assert_eq!(info.description, "Podman Engine 4.3.1, API 1.41");
        assert!(info.setup.rootless);
        assert_eq!(requests, ["GET /_ping", "GET /v1.41/info"]);
    }

    #[tokio::test]
    async fn an_engine_whose_ping_tells_nothing_is_asked() {
        let (info, requests) = asked("").await;
        assert_eq!(info.description, "Podman Engine 9.9, API 1.41");
        assert_eq!(requests, ["GET /_ping", "GET /version", "GET /v1.41/version", "GET /v1.41/info"]);
    }

    #[test]
    fn advice_about_certificates_stands_where_they_are_the_cause() {
        let at = |url: &str, tls| Endpoint { address: url.into(), url: url.into(), tls };
        let with = at("https://h:2376", Some("/certs".into()));
        let without = at("tcp://h:2376", None);
        let unreachable = |text: &str| EngineError::Unreachable(text.to_owned());
        for cause in ["invalid peer certificate: UnknownIssuer", "received fatal alert: CertificateRequired"] {
            let told = tls_advice(&with, unreachable(cause)).to_string();
            assert!(told.contains(cause) && told.contains("/certs") && told.contains("DOCKER_CERT_PATH"), "{told}");
        }
        for cause in ["nothing listens there (connection refused)", "the connection broke"] {
            assert_eq!(tls_advice(&with, unreachable(cause)), unreachable(cause));
        }
        let plain = EngineError::Refused("Client sent an HTTP request to an HTTPS server.".into());
        assert!(tls_advice(&without, plain.clone()).to_string().contains("DOCKER_TLS_VERIFY=1"));
        assert_eq!(tls_advice(&without, unreachable("x")), unreachable("x"));
    }

    #[tokio::test]
    async fn a_missing_socket_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let address = format!("unix://{}/none.sock", dir.path().display());
        let error = connect(Some(&address), Duration::from_secs(5)).await.err().unwrap();
        assert!(matches!(&error, EngineError::Unreachable(reason) if reason.contains(&address)), "{error}");
    }

    #[tokio::test]
    async fn a_socket_that_nobody_answers_on_times_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mute.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let limit = Duration::from_millis(50);
        let error = connect(path.to_str(), limit).await.err().unwrap();
        assert_eq!(error, EngineError::TimedOut(limit));
    }
}
