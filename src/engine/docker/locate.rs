//! Where the engine is: the command line, the environment, the docker context, then the usual sockets.
//!
//! Only reads the environment and files; nothing is connected to here.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::ssh::Destination;
use crate::engine::{EngineError, Result};

/// An address where an engine may listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// What names it to the user, and to us later: that of [`Self::url`], or `context:NAME`.
    pub(crate) address: String,
    /// Where it listens: `unix://`, `tcp://`, `http://`, `https://` or `ssh://`.
    pub(crate) url: String,
    /// The folder of `ca.pem`, `cert.pem` and `key.pem`, if TLS is to be used.
    pub(crate) tls: Option<PathBuf>,
}

impl Endpoint {
    /// One that its URL names.
    fn at(url: String, tls: Option<PathBuf>) -> Self {
        Self { address: url.clone(), url, tls }
    }
}

/// What an address begins with that names a docker context.
const CONTEXT: &str = "context:";
/// The docker context that stands for no context.
const DEFAULT: &str = "default";

/// Gives the value of an environment variable; an empty one counts as unset.
pub(super) type Env<'a> = &'a (dyn Fn(&str) -> Option<String> + Sync);

/// The endpoints to try, in order: exactly one if the user named it.
///
/// [`EngineError::Refused`] if what the user named cannot be used.
pub(super) fn endpoints(explicit: Option<&str>, env: Env<'_>) -> Result<Vec<Endpoint>> {
    if let Some(name) = explicit.and_then(|address| address.strip_prefix(CONTEXT)).filter(|name| *name != DEFAULT) {
        let endpoint = context(name, env)?;
        return Ok(vec![Endpoint { address: format!("{CONTEXT}{name}"), ..endpoint }]);
    }
    // The default context is as if there were none.
    let is_default = explicit.is_some_and(|address| address.starts_with(CONTEXT));
    if let Some(address) = explicit.filter(|_| !is_default).map(str::to_owned).or_else(|| env("DOCKER_HOST")) {
        return Ok(vec![named(&address, env)?]);
    }
    if let Some(name) = current_context(env).filter(|_| !is_default) {
        let endpoint = context(&name, env)?;
        // Its URL alone would not name the certificates.
        return Ok(vec![match endpoint.tls {
            Some(_) => Endpoint { address: format!("{CONTEXT}{name}"), ..endpoint },
            None => endpoint,
        }]);
    }
    let own = |socket: &str| env("XDG_RUNTIME_DIR").map(|dir| format!("unix://{dir}/{socket}"));
    let usual = [
        Some("unix:///var/run/docker.sock".to_owned()),
        // Rootless Docker.
        own("docker.sock"),
        own("podman/podman.sock"),
        Some("unix:///run/podman/podman.sock".to_owned()),
    ];
    Ok(usual.into_iter().flatten().map(|url| Endpoint::at(url, None)).collect())
}

/// An address that the user gave, with TLS as the environment says.
fn named(address: &str, env: Env<'_>) -> Result<Endpoint> {
    let address = supported(address)?;
    let tls = address.starts_with("https://") || (is_tcp(&address) && env("DOCKER_TLS_VERIFY").is_some());
    let certificates = env("DOCKER_CERT_PATH").map(PathBuf::from).or_else(|| config_dir(env));
    Ok(Endpoint::at(with_port(address, tls), certificates.filter(|_| tls)))
}

/// The name of the docker context in use, if it is another than the default one.
fn current_context(env: Env<'_>) -> Option<String> {
    let configured = || {
        let config = config_dir(env)?.join("config.json");
        let config: Value = serde_json::from_slice(&std::fs::read(config).ok()?).ok()?;
        Some(config["currentContext"].as_str()?.to_owned())
    };
    env("DOCKER_CONTEXT").or_else(configured).filter(|name| !name.is_empty() && name != DEFAULT)
}

/// The endpoint of that docker context.
fn context(name: &str, env: Env<'_>) -> Result<Endpoint> {
    let unusable = |reason: &str| EngineError::Refused(format!("the docker context {name} cannot be used: {reason}"));
    let dir = config_dir(env).ok_or_else(|| unusable("neither DOCKER_CONFIG nor HOME says where contexts are"))?;
    let digest: String = Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let file = dir.join("contexts/meta").join(&digest).join("meta.json");
    let text = std::fs::read(&file).map_err(|error| unusable(&format!("{}: {error}", file.display())))?;
    let meta: Value = serde_json::from_slice(&text).map_err(|error| unusable(&error.to_string()))?;
    let host = meta["Endpoints"]["docker"]["Host"].as_str().unwrap_or_default();
    if host.is_empty() {
        return Err(unusable("it names no Docker endpoint"));
    }
    let address = supported(host)?;
    let material = dir.join("contexts/tls").join(&digest).join("docker");
    let tls = is_tcp(&address) && material.join("ca.pem").exists();
    Ok(Endpoint::at(with_port(address, tls), tls.then_some(material)))
}

fn config_dir(env: Env<'_>) -> Option<PathBuf> {
    env("DOCKER_CONFIG").map(PathBuf::from).or_else(|| Some(Path::new(&env("HOME")?).join(".docker")))
}

fn is_tcp(address: &str) -> bool {
    ["tcp://", "http://", "https://"].iter().any(|scheme| address.starts_with(scheme))
}

/// Whether requests to this engine go over a network in plain text. Anyone who can reach it, or listen, is root on its
/// machine.
///
/// False as well for an address that cannot be used.
pub fn is_plain_beyond_loopback(address: &str) -> bool {
    let endpoints = endpoints(Some(address), &process_env).unwrap_or_default();
    endpoints.iter().any(|endpoint| is_tcp(&endpoint.url) && endpoint.tls.is_none() && !is_loopback(&endpoint.url))
}

/// Whether a URL's host is this machine, without asking DNS.
fn is_loopback(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or(authority);
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// The environment of this process.
pub(super) fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The address in a form that can be connected to, or why it cannot.
fn supported(address: &str) -> Result<String> {
    let address = address.trim().trim_end_matches('/');
    if address.starts_with('/') {
        return Ok(format!("unix://{address}"));
    }
    match address.split_once("://") {
        Some(("unix" | "tcp" | "http" | "https", rest)) if !rest.is_empty() => Ok(address.to_owned()),
        Some(("ssh", rest)) => match Destination::parse(rest) {
            Ok(_) => Ok(address.to_owned()),
            Err(why) => Err(EngineError::Refused(format!("{address} is not an engine's address: {why}"))),
        },
        _ => Err(EngineError::Refused(format!(
            "{address} is not an engine's address: it must begin with unix://, ssh://, tcp://, http:// or https://"
        ))),
    }
}

/// Adds Docker's usual port where none is given.
fn with_port(address: String, tls: bool) -> String {
    let Some((_, host)) = address.split_once("://").filter(|_| is_tcp(&address)) else {
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
        assert_eq!(endpoint, Endpoint::at("tcp://h:2376".into(), Some("/c".into())));
        let endpoint = endpoints(Some("https://h:1"), &env(&[("HOME", "/h")])).unwrap().remove(0);
        assert_eq!(endpoint.tls, Some("/h/.docker".into()));
        assert_eq!(endpoints(Some("unix:///x"), &env(&pairs)).unwrap()[0].tls, None);
    }

    #[test]
    fn ssh_has_neither_port_nor_tls_of_ours() {
        let endpoint = endpoints(Some("ssh://me@h/"), &env(&[("DOCKER_TLS_VERIFY", "1")])).unwrap().remove(0);
        assert_eq!(endpoint, Endpoint::at("ssh://me@h".into(), None));
        let error = endpoints(Some("ssh://me:secret@h"), &env(&[])).unwrap_err().to_string();
        assert!(error.contains("password"), "{error}");
    }

    #[test]
    fn other_schemes_are_refused() {
        assert!(endpoints(Some("npipe:////x"), &env(&[])).is_err());
        assert!(endpoints(Some("host:2375"), &env(&[])).is_err());
    }

    #[test]
    fn loopback_is_this_machine() {
        for url in ["tcp://127.1.2.3:1", "tcp://LOCALHOST:1", "http://[::1]:1", "tcp://[::ffff:127.0.0.1]:1"] {
            assert!(is_loopback(url), "{url}");
        }
        for url in ["tcp://10.0.0.1:1", "tcp://localhost.example:1", "http://[fd00::1]:1", "tcp://127.example:1"] {
            assert!(!is_loopback(url), "{url}");
        }
        assert!(is_plain_beyond_loopback("tcp://192.0.2.1") && !is_plain_beyond_loopback("tcp://127.0.0.1"));
        for safe in ["https://192.0.2.1", "ssh://192.0.2.1", "unix:///x", "/x", "npipe://x"] {
            assert!(!is_plain_beyond_loopback(safe), "{safe}");
        }
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
        assert_eq!(endpoints(None, &env(&variables)).unwrap()[0], Endpoint::at("tcp://far:2376".into(), None));

        let material = dir.path().join("contexts/tls").join(digest).join("docker");
        std::fs::create_dir_all(&material).unwrap();
        std::fs::write(material.join("ca.pem"), "").unwrap();
        let secure =
            Endpoint { address: "context:far".into(), ..Endpoint::at("tcp://far:2376".into(), Some(material)) };
        assert_eq!(endpoints(None, &env(&variables)).unwrap()[0], secure);

        // By name, before anything else.
        let variables = [("DOCKER_CONFIG", home.as_str()), ("DOCKER_CONTEXT", "x"), ("DOCKER_HOST", "tcp://h:1")];
        assert_eq!(endpoints(Some("context:far"), &env(&variables)).unwrap(), [secure]);
        let error = endpoints(Some("context:near"), &env(&variables)).unwrap_err().to_string();
        assert!(error.contains("docker context near"), "{error}");
        assert_eq!(addresses(Some("context:default"), &variables), ["tcp://h:1"]);
        assert_eq!(addresses(Some("context:default"), &variables[..1]).len(), 2);

        let variables = [("DOCKER_CONFIG", home.as_str()), ("DOCKER_CONTEXT", "default")];
        assert_eq!(endpoints(None, &env(&variables)).unwrap().len(), 2);
    }
}
