//! Connecting: the first place that answers, the API version both sides speak, and who it is.
//!
//! Which places there are is in [`locate`](super::locate).

use std::io;
use std::path::Path;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};
use serde_json::Value;
use tokio::net::UnixStream;

use super::locate::{self, Place};
use super::{DockerEngine, error, raw};
use crate::engine::{EngineError, EngineInfo, Result};

/// bollard's own limit on waiting for an answer to begin. Ours are set by the callers of [`Engine`](crate::engine::Engine),
/// and a log that is followed may be silent for days.
pub(super) const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Connects to an engine: at `host` if given, else where `DOCKER_HOST` or the docker context say, else at
/// `/var/run/docker.sock`, else at podman's sockets. Every place tried may take `timeout`.
///
/// # Errors
/// [`EngineError::Unreachable`] naming all places tried, `Denied` if a socket may not be used, `TimedOut`, or
/// `Refused` if the address or its TLS files cannot be used.
pub async fn connect(host: Option<&str>, timeout: Duration) -> Result<DockerEngine> {
    let places = locate::places(host, &|name| std::env::var(name).ok().filter(|value| !value.is_empty()))?;
    let mut reasons = Vec::new();
    let mut denied = None;
    for place in &places {
        let attempt = tokio::time::timeout(timeout, open(place)).await;
        match attempt.unwrap_or(Err(EngineError::TimedOut(timeout))) {
            Err(EngineError::Unreachable(reason)) => reasons.push(format!("{}: {reason}", place.address)),
            Err(error @ EngineError::Denied(_)) => denied = denied.or(Some(error)),
            settled => return settled,
        }
    }
    Err(denied.unwrap_or_else(|| EngineError::Unreachable(reasons.join("; "))))
}

/// Connects to one place.
async fn open(place: &Place) -> Result<DockerEngine> {
    let peer = match place.address.strip_prefix("unix://") {
        Some(path) => peer(path).await?,
        None => None,
    };
    let docker = client(place)?.negotiate_version().await.map_err(error::from_bollard)?;
    let docker = raw::versioned(docker);
    let version = raw::json(&docker, "/version").await?;
    let description = format!("{}, API {}", product(&version), docker.client_version());
    let local = match peer {
        Some(_) => is_here(&raw::json(&docker, "/info").await?),
        None => false,
    };
    Ok(DockerEngine { docker, info: EngineInfo { description, address: place.address.clone(), local } })
}

/// The pid of whoever listens on a socket, if our pid namespace has it. Also tells why it cannot be used.
async fn peer(path: &str) -> Result<Option<i32>> {
    let socket = UnixStream::connect(path).await.map_err(|cause| match cause.kind() {
        io::ErrorKind::PermissionDenied => EngineError::Denied(advice(path)),
        _ => EngineError::Unreachable(error::describe(&cause)),
    })?;
    Ok(socket.peer_cred().ok().and_then(|peer| peer.pid()).filter(|pid| *pid > 0))
}

fn advice(path: &str) -> String {
    if path.ends_with("/docker.sock") {
        format!("you may not use {path}; add yourself to group docker (sudo usermod -aG docker $USER) and log in again")
    } else {
        format!("you may not use {path}; it belongs to another user")
    }
}

fn client(place: &Place) -> Result<Docker> {
    let (address, limit) = (place.address.as_str(), NEVER.as_secs());
    let client = match &place.tls {
        _ if address.starts_with("unix://") => Docker::connect_with_unix(address, limit, API_DEFAULT_VERSION),
        None => Docker::connect_with_http(address, limit, API_DEFAULT_VERSION),
        Some(dir) => {
            let [key, cert, ca] = ["key.pem", "cert.pem", "ca.pem"].map(|name| dir.join(name));
            readable(&ca)?;
            // A server may ask for no client certificate; but one that is there must be usable.
            for file in [&key, &cert] {
                if file.exists() {
                    readable(file)?;
                }
            }
            let address = address.replacen("http://", "tcp://", 1);
            Docker::connect_with_ssl(&address, &key, &cert, &ca, limit, API_DEFAULT_VERSION)
        }
    };
    client.map_err(error::from_bollard)
}

fn readable(file: &Path) -> Result<()> {
    match std::fs::File::open(file) {
        Ok(_) => Ok(()),
        Err(error) => Err(EngineError::Refused(format!("cannot read {}: {error}", file.display()))),
    }
}

/// Product and version.
fn product(version: &Value) -> String {
    let components = version["Components"].as_array().into_iter().flatten();
    let mut names = components.filter_map(|component| component["Name"].as_str());
    let name = names.find(|name| name.contains("Podman")).unwrap_or("Docker Engine");
    format!("{name} {}", version["Version"].as_str().unwrap_or("of unknown version"))
}

/// Whether an engine behind a visible socket runs on this very kernel: the socket may be forwarded, or lead into a
/// virtual machine, which then has a name or a kernel of its own.
fn is_here(info: &Value) -> bool {
    let ours = |file: &str| std::fs::read_to_string(Path::new("/proc/sys/kernel").join(file)).unwrap_or_default();
    let same = |key: &str, file: &str| info[key].as_str().is_some_and(|theirs| theirs == ours(file).trim());
    let desktop = info["OperatingSystem"].as_str().is_some_and(|system| system.contains("Docker Desktop"));
    same("Name", "hostname") && same("KernelVersion", "osrelease") && !desktop
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_told_apart() {
        let docker = serde_json::json!({ "Components": [{ "Name": "Engine" }], "Version": "20.10.24" });
        assert_eq!(product(&docker), "Docker Engine 20.10.24");
        let podman = serde_json::json!({ "Components": [{ "Name": "Podman Engine" }], "Version": "4.3.1" });
        assert_eq!(product(&podman), "Podman Engine 4.3.1");
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

    #[test]
    fn a_desktop_or_another_machine_is_not_here() {
        let ours = |file: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{file}")).unwrap().trim().to_owned();
        let (name, kernel) = (ours("hostname"), ours("osrelease"));
        assert!(is_here(&serde_json::json!({ "Name": name, "KernelVersion": kernel })));
        assert!(!is_here(&serde_json::json!({ "Name": "docker-desktop", "KernelVersion": kernel })));
        let desktop = serde_json::json!({ "Name": name, "KernelVersion": kernel, "OperatingSystem": "Docker Desktop" });
        assert!(!is_here(&desktop));
    }
}
