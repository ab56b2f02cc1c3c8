//! Plain GET requests, whose answers come as bytes or untyped JSON.
//!
//! bollard's own types drop fields that they don't know and fail on values that they don't know (podman has both),
//! so everything that is read from the engine is read through here.

use bollard::{BollardRequest, Docker};
use futures_util::{Stream, TryStreamExt};
use serde_json::Value;

use super::error;
use crate::engine::{EngineError, Result};

/// Puts the negotiated API version into every request: bollard 0.21 leaves it out, and the engine would answer in its
/// newest one.
pub(super) fn versioned(docker: Docker) -> Docker {
    let prefix = prefix(&docker);
    docker.with_request_modifier(move |request| retarget(request, |path| format!("{prefix}{path}")))
}

/// The same engine, where every request has this JSON body instead of its own.
pub(super) fn with_body(docker: &Docker, body: String) -> Docker {
    let prefix = prefix(docker);
    docker.clone().with_request_modifier(move |request| {
        let request = request.map(|_| bollard::body_full(body.clone().into()));
        retarget(request, |path| format!("{prefix}{path}"))
    })
}

/// The body of the answer to `GET target` (path and query, percent-encoded), as it comes. Sent at the first poll.
pub(super) fn stream(docker: &Docker, target: &str) -> impl Stream<Item = Result<Vec<u8>>> + Send + Unpin + 'static {
    let target = format!("{}{target}", prefix(docker));
    let aimed = docker.clone().with_request_modifier(move |request| retarget(request, |_| target.clone()));
    // bollard's one request that yields unparsed bytes.
    Box::pin(aimed.export_container("-").map_ok(|bytes| bytes.to_vec()).map_err(error::from_bollard))
}

fn prefix(docker: &Docker) -> String {
    format!("/v{}", docker.client_version())
}

/// Replaces path and query of a request.
fn retarget(mut request: BollardRequest, change: impl FnOnce(&str) -> String) -> BollardRequest {
    let uri = request.uri().to_string();
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    let changed = uri.strip_suffix(path).and_then(|start| format!("{start}{}", change(path)).parse().ok());
    if let Some(changed) = changed {
        *request.uri_mut() = changed;
    }
    request
}

/// The whole body of the answer to `GET target`, as text.
pub(super) async fn text(docker: &Docker, target: &str) -> Result<String> {
    let mut body = Vec::new();
    let mut pieces = stream(docker, target);
    while let Some(piece) = pieces.try_next().await? {
        body.extend(piece);
    }
    String::from_utf8(body).map_err(|_| nonsense("it is not UTF-8"))
}

/// The answer to `GET target`, as JSON.
pub(super) async fn json(docker: &Docker, target: &str) -> Result<Value> {
    parse(&text(docker, target).await?)
}

pub(super) fn parse(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| nonsense(&error.to_string()))
}

/// The answer was received but means nothing to us.
pub(super) fn nonsense(reason: &str) -> EngineError {
    EngineError::Refused(format!("the engine gave an answer that cannot be understood: {reason}"))
}

/// Percent-encodes for a path or a query; `/`, `:` and `@` stay, as in image references.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' | b':' | b'@' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// `filters=…` for a query: things that carry `label`, or no filter.
pub(super) fn label_filter(label: Option<&str>) -> String {
    match label {
        Some(label) => format!("filters={}", encode(&serde_json::json!({ "label": [label] }).to_string())),
        None => String::new(),
    }
}

/// A string member of an object, empty if it is absent.
pub(super) fn string(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// An image's name as Docker writes it. Podman puts a registry before every name, `localhost` or Docker's own.
pub(super) fn short_image(name: &str) -> &str {
    let rest = name.strip_prefix("localhost/").or(name.strip_prefix("docker.io/library/"));
    rest.unwrap_or(name)
}

/// The `Labels` member of an object, sorted by key.
pub(super) fn labels(value: &Value) -> Vec<(String, String)> {
    let members = value["Labels"].as_object().into_iter().flatten();
    let mut labels: Vec<_> =
        members.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect();
    labels.sort();
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_what_a_uri_cannot_hold() {
        assert_eq!(encode("a/b:1@sha256:0"), "a/b:1@sha256:0");
        assert_eq!(encode(r#"{"x": "ü%"}"#), "%7B%22x%22%3A%20%22%C3%BC%25%22%7D".replace("%3A", ":"));
        assert_eq!(label_filter(None), "");
        assert_eq!(label_filter(Some("k=v")), "filters=%7B%22label%22:%5B%22k%3Dv%22%5D%7D");
    }

    #[test]
    fn labels_are_sorted_and_may_be_absent() {
        let value = serde_json::json!({ "Labels": { "b": "2", "a": "1" } });
        assert_eq!(labels(&value), [("a".into(), "1".into()), ("b".into(), "2".into())]);
        assert!(labels(&serde_json::json!({ "Labels": null })).is_empty());
    }
}
