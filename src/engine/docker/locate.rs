//! Where the engine is: the command line, the environment, the docker context, then the usual sockets.
//!
//! Only reads the environment and files; nothing is connected to here.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::engine::{EngineError, Result};

/// An address where an engine may listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// `unix://`, `tcp://`, `http://` or `https://`.
    pub(crate) address: String,
    /// The folder of `ca.pem`, `cert.pem` and `key.pem`, if TLS is to be used.
    pub(crate) tls: Option<PathBuf>,
}

/// Whether an address is reached without encryption beyond this machine: whoever can reach it is root there.
pub(crate) fn is_plain_beyond_loopback(address: &str) -> bool {
    let Some(rest) = ["tcp://", "http://"].iter().find_map(|scheme| address.strip_prefix(scheme)) else { return false };
    if std::env::var("DOCKER_TLS_VERIFY").is_ok_and(|value| !value.is_empty()) {
        return false;
    }
    let host = rest.split('/').next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host).trim_matches(['[', ']']);
    host != "localhost" && !host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Gives the value of an environment variable; an empty one counts as unset.
pub(super) type Env<'a> = &'a (dyn Fn(&str) -> Option<String> + Sync);

/// The endpoints to try, in order: exactly one if the user named it.
///
/// [`EngineError::Refused`] if what the user named cannot be used.
pub(super) fn endpoints(explicit: Option<&str>, env: Env<'_>) -> Result<Vec<Endpoint>> {
    if let Some(address) = explicit.map(str::to_owned).or_else(|| env("DOCKER_HOST")) {
        return Ok(vec![named(&address, env)?]);
    }
    if let Some(endpoint) = context(env)? {
        return Ok(vec![endpoint]);
    }
    let own = |socket: &str| env("XDG_RUNTIME_DIR").map(|dir| format!("unix://{dir}/{socket}"));
    let usual = [
        Some("unix:///var/run/docker.sock".to_owned()),
        // Rootless Docker.
        own("docker.sock"),
        own("podman/podman.sock"),
        Some("unix:///run/podman/podman.sock".to_owned()),
    ];
    Ok(usual.into_iter().flatten().map(|address| Endpoint { address, tls: None }).collect())
}

/// An address that the user gave, with TLS as the environment says.
fn named(address: &str, env: Env<'_>) -> Result<Endpoint> {
    let address = supported(address)?;
    let tls = address.starts_with("https://") || (!is_unix(&address) && env("DOCKER_TLS_VERIFY").is_some());
    let certificates = env("DOCKER_CERT_PATH").map(PathBuf::from).or_else(|| config_dir(env));
    Ok(Endpoint { address: with_port(address, tls), tls: certificates.filter(|_| tls) })
}

/// The endpoint of the current docker context; `None` for the default one.
fn context(env: Env<'_>) -> Result<Option<Endpoint>> {
    let Some(dir) = config_dir(env) else {
        return Ok(None);
    };
    let configured = || {
        let config: Value = serde_json::from_slice(&std::fs::read(dir.join("config.json")).ok()?).ok()?;
        Some(config["currentContext"].as_str()?.to_owned())
    };
    let Some(name) = env("DOCKER_CONTEXT").or_else(configured) else {
        return Ok(None);
    };
    if name.is_empty() || name == "default" {
        return Ok(None);
    }
    let digest: String = Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let file = dir.join("contexts/meta").join(&digest).join("meta.json");
    let unusable = |reason: &str| EngineError::Refused(format!("the docker context {name} cannot be used: {reason}"));
    let text = std::fs::read(&file).map_err(|error| unusable(&format!("{}: {error}", file.display())))?;
    let meta: Value = serde_json::from_slice(&text).map_err(|error| unusable(&error.to_string()))?;
    let host = meta["Endpoints"]["docker"]["Host"].as_str().unwrap_or_default();
    if host.is_empty() {
        return Err(unusable("it names no Docker endpoint"));
    }
    let address = supported(host)?;
    let material = dir.join("contexts/tls").join(&digest).join("docker");
    let tls = !is_unix(&address) && material.join("ca.pem").exists();
    Ok(Some(Endpoint { address: with_port(address, tls), tls: tls.then_some(material) }))
}

fn config_dir(env: Env<'_>) -> Option<PathBuf> {
    env("DOCKER_CONFIG").map(PathBuf::from).or_else(|| Some(Path::new(&env("HOME")?).join(".docker")))
}

fn is_unix(address: &str) -> bool {
    address.starts_with("unix://")
}

/// The address in a form that can be connected to, or why it cannot.
fn supported(address: &str) -> Result<String> {
    let address = address.trim().trim_end_matches('/');
    if address.starts_with('/') {
        return Ok(format!("unix://{address}"));
    }
    match address.split_once("://") {
        Some(("unix" | "tcp" | "http" | "https", rest)) if !rest.is_empty() => Ok(address.to_owned()),
        Some(("ssh", host)) => Err(EngineError::Refused(format!(
            "engines behind ssh:// are not supported; forward the engine's socket \
             (ssh -nNT -L /tmp/engine.sock:/var/run/docker.sock {host}) and use unix:///tmp/engine.sock"
        ))),
        _ => Err(EngineError::Refused(format!(
            "{address} is not an engine's address: it must begin with unix://, tcp://, http:// or https://"
        ))),
    }
}

/// Adds Docker's usual port where none is given.
fn with_port(address: String, tls: bool) -> String {
    let Some((_, host)) = address.split_once("://").filter(|_| !is_unix(&address)) else {
        return address;
    };
    let after_brackets = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    if host.contains('/') || after_brackets.contains(':') {
        return address;
    }
    format!("{address}:{}", if tls { 2376 } else { 2375 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> + Sync {
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        move |name| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }

    fn addresses(explicit: Option<&str>, pairs: &[(&str, &str)]) -> Vec<String> {
        endpoints(explicit, &env(pairs)).unwrap().into_iter().map(|endpoint| endpoint.address).collect()
    }

    #[test]
    fn what_is_named_comes_before_what_is_usual() {
        assert_eq!(addresses(Some("/x.sock"), &[("DOCKER_HOST", "tcp://h:1")]), ["unix:///x.sock"]);
        assert_eq!(addresses(None, &[("DOCKER_HOST", "tcp://h:1/")]), ["tcp://h:1"]);
        assert_eq!(addresses(None, &[("DOCKER_HOST", "tcp://h")]), ["tcp://h:2375"]);
        assert_eq!(addresses(Some("http://[::1]"), &[]), ["http://[::1]:2375"]);
        assert_eq!(
            addresses(None, &[("XDG_RUNTIME_DIR", "/r")]),
            [
                "unix:///var/run/docker.sock",
                "unix:///r/docker.sock",
                "unix:///r/podman/podman.sock",
                "unix:///run/podman/podman.sock"
            ]
        );
    }

    #[test]
    fn tls_as_the_environment_says() {
        let pairs = [("DOCKER_HOST", "tcp://h"), ("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", "/c")];
        let endpoint = endpoints(None, &env(&pairs)).unwrap().remove(0);
        assert_eq!(endpoint, Endpoint { address: "tcp://h:2376".into(), tls: Some("/c".into()) });
        let endpoint = endpoints(Some("https://h:1"), &env(&[("HOME", "/h")])).unwrap().remove(0);
        assert_eq!(endpoint.tls, Some("/h/.docker".into()));
        assert_eq!(endpoints(Some("unix:///x"), &env(&pairs)).unwrap()[0].tls, None);
    }

    #[test]
    fn other_schemes_are_refused_with_advice() {
        let error = endpoints(Some("ssh://me@host"), &env(&[])).unwrap_err().to_string();
        assert!(error.contains("ssh -nNT -L") && error.contains("me@host"), "{error}");
        assert!(endpoints(Some("npipe:////x"), &env(&[])).is_err());
        assert!(endpoints(Some("host:2375"), &env(&[])).is_err());
    }

    #[test]
    fn the_context_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap().to_owned();
        let variables = [("DOCKER_CONFIG", home.as_str())];
        std::fs::write(dir.path().join("config.json"), r#"{"currentContext":"far"}"#).unwrap();
        let error = endpoints(None, &env(&variables)).unwrap_err().to_string();
        assert!(error.contains("docker context far"), "{error}");

        let digest = "512eea46ceb3921dff4363c7069d89d4964d1d9fccaa0f411851a7aa60a5c868";
        let meta = dir.path().join("contexts/meta").join(digest);
        std::fs::create_dir_all(&meta).unwrap();
        std::fs::write(meta.join("meta.json"), r#"{"Endpoints":{"docker":{"Host":"tcp://far:2376"}}}"#).unwrap();
        assert_eq!(
            endpoints(None, &env(&variables)).unwrap()[0],
            Endpoint { address: "tcp://far:2376".into(), tls: None }
        );

        let material = dir.path().join("contexts/tls").join(digest).join("docker");
        std::fs::create_dir_all(&material).unwrap();
        std::fs::write(material.join("ca.pem"), "").unwrap();
        assert_eq!(endpoints(None, &env(&variables)).unwrap()[0].tls, Some(material));

        let variables = [("DOCKER_CONFIG", home.as_str()), ("DOCKER_CONTEXT", "default")];
        assert_eq!(endpoints(None, &env(&variables)).unwrap().len(), 2);
    }
}
