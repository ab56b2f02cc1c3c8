//! News of containers, as a stream.
//!
//! The connection is read by a task from the start: a subscriber that the engine finds slow loses events.

use bollard::Docker;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{error, info, raw, time};
use crate::engine::{BoxStream, ContainerId, EngineError, Event, EventKind, Result, clock};

/// Subscribes to containers that carry `label`, and to what is connected to networks. On a `local` engine its clock is ours.
///
/// The engine is asked to repeat all since just before the call, so nothing that happens while the request is on
/// its way is lost; the same event may come twice across two subscriptions.
pub(super) async fn subscribe(docker: &Docker, local: bool, label: &str) -> Result<BoxStream<Result<Event>>> {
    let since = time::seconds(now(docker, local).await?);
    let containers = serde_json::json!({ "type": ["container"], "label": [label] });
    // A network's events have no labels of containers.
    let networks = serde_json::json!({ "type": ["network"], "event": ["connect", "disconnect"] });
    let [containers, networks] = [containers, networks]
        .map(|filters| follow(docker, &format!("/events?since={since}&filters={}", raw::encode(&filters.to_string()))));
    let mut events = stream::select(containers, networks);

    // The answer's head cannot be seen through bollard. But the request is sent by the first poll, here, and an engine
    // that then answers another one has received it: a refusal or a broken connection shows at once.
    let mut first = None;
    let mut ping = std::pin::pin!(docker.ping());
    let answered = loop {
        tokio::select! {
            biased;
            event = events.next(), if first.is_none() => first = Some(event.unwrap_or_else(|| Err(ended()))?),
            answer = &mut ping => break answer,
        }
    };
    answered.map_err(error::from_bollard)?;

    let (sender, mut receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut event = first.map(Ok);
        loop {
            if let Some(event) = event.take() {
                let is_over = event.is_err();
                if sender.send(event).is_err() || is_over {
                    return;
                }
            }
            tokio::select! {
                () = sender.closed() => return,
                next = events.next() => event = Some(next.unwrap_or_else(|| Err(ended()))),
            }
        }
    });
    Ok(stream::poll_fn(move |cx| receiver.poll_recv(cx)).boxed())
}

/// The events of one request; ends with an error, as the engine never ends it.
fn follow(docker: &Docker, target: &str) -> BoxStream<Result<Event>> {
    let mut lines = Lines::default();
    let pieces = raw::stream(docker, target).chain(stream::once(async { Err(ended()) }));
    pieces
        .flat_map(move |piece| stream::iter(piece.map_or_else(|error| vec![Err(error)], |bytes| lines.take(&bytes))))
        .boxed()
}

/// The engine's clock, in ns since the epoch.
async fn now(docker: &Docker, local: bool) -> Result<i64> {
    if !local {
        let about = raw::json(docker, "/info").await?;
        if let Some(time) = info::time(&about) {
            return Ok(time);
        }
    }
    Ok(clock::now())
}

/// The stream has no end of its own: the engine went away.
fn ended() -> EngineError {
    EngineError::Unreachable("it closed the stream of events".to_owned())
}

/// Cuts the stream into lines, each a JSON object.
#[derive(Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    /// Takes in some bytes and gives the events of the lines they complete.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Result<Event>> {
        self.0.extend_from_slice(bytes);
        let Some(end) = self.0.iter().rposition(|byte| *byte == b'\n') else {
            return Vec::new();
        };
        let rest = self.0.split_off(end + 1);
        let whole = std::mem::replace(&mut self.0, rest);
        let lines = whole.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        lines
            .filter_map(|line| match serde_json::from_slice::<Value>(line) {
                Ok(message) => event(&message).map(Ok),
                Err(error) => Some(Err(raw::nonsense(&error.to_string()))),
            })
            .collect()
    }
}

/// Reads one message; `None` if it is not about a container's state.
fn event(message: &Value) -> Option<Event> {
    let action = message["Action"].as_str().or(message["status"].as_str())?;
    let actor = &message["Actor"];
    let attributes = &actor["Attributes"];
    let (kind, id) = if message["Type"] == "network" {
        let kind = match action {
            "connect" => EventKind::Connected,
            "disconnect" => EventKind::Disconnected,
            _ => return None,
        };
        (kind, attributes["container"].as_str()?)
    } else {
        (kind(action, attributes)?, actor["ID"].as_str().or(message["id"].as_str())?)
    };
    let seconds = || message["time"].as_i64().map(|seconds| seconds.saturating_mul(1_000_000_000));
    Some(Event {
        container: ContainerId(id.to_owned()),
        kind,
        time: message["timeNano"].as_i64().or_else(seconds).unwrap_or(0),
    })
}

fn kind(action: &str, attributes: &Value) -> Option<EventKind> {
    Some(match action {
        "create" => EventKind::Created,
        "start" => EventKind::Started,
        "die" | "died" => EventKind::Died(exit_code(attributes)),
        "pause" => EventKind::Paused,
        "unpause" => EventKind::Unpaused,
        "oom" => EventKind::OutOfMemory,
        "destroy" | "remove" => EventKind::Removed,
        "attach" | "detach" | "top" | "resize" | "init" | "cleanup" => return None,
        // Podman names it otherwise.
        _ if ["exec_die", "exec_died"].contains(&action) => EventKind::ExecEnded,
        _ if action.starts_with("exec_") || action == "exec" => return None,
        _ if action.starts_with("health_status") => EventKind::Health,
        _ => EventKind::Other,
    })
}

/// The exit code, which podman names otherwise.
fn exit_code(attributes: &Value) -> Option<i64> {
    ["exitCode", "containerExitCode"].iter().find_map(|key| match &attributes[key] {
        Value::String(code) => code.parse().ok(),
        code => code.as_i64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(action: &str, attributes: &str) -> Option<EventKind> {
        let text = format!(r#"{{"Action":"{action}","Actor":{{"ID":"ab","Attributes":{attributes}}},"timeNano":5}}"#);
        event(&serde_json::from_str(&text).unwrap()).map(|event| event.kind)
    }

    #[test]
    fn actions_of_both_engines() {
        assert_eq!(one("die", r#"{"exitCode":"137"}"#), Some(EventKind::Died(Some(137))));
        assert_eq!(one("died", r#"{"containerExitCode":"1"}"#), Some(EventKind::Died(Some(1))));
        assert_eq!(one("die", "{}"), Some(EventKind::Died(None)));
        assert_eq!(one("remove", "{}"), Some(EventKind::Removed));
        assert_eq!(one("health_status: healthy", "{}"), Some(EventKind::Health));
        assert_eq!(one("oom", "{}"), Some(EventKind::OutOfMemory));
        assert_eq!(one("rename", "{}"), Some(EventKind::Other));
        assert_eq!(one("exec_die", r#"{"exitCode":"1"}"#), Some(EventKind::ExecEnded));
        for noise in ["exec_create: sh", "exec_start: sh", "attach", "top", "resize", "init", "cleanup"] {
            assert_eq!(one(noise, "{}"), None, "{noise}");
        }
    }

    #[test]
    fn a_connection_to_a_network_is_the_containers() {
        let text = r#"{"Type":"network","Action":"disconnect","Actor":{"ID":"n","Attributes":{"container":"ab","name":"net"}},"timeNano":5}"#;
        let expected = Event { container: ContainerId("ab".into()), kind: EventKind::Disconnected, time: 5 };
        assert_eq!(event(&serde_json::from_str(text).unwrap()), Some(expected));
        assert_eq!(event(&serde_json::from_str(&text.replace("disconnect", "create")).unwrap()), None);
    }

    #[test]
    fn lines_may_be_cut_anywhere() {
        let text = br#"{"Action":"start","Actor":{"ID":"ab","Attributes":{"name":"x"}},"time":2}"#;
        let mut lines = Lines::default();
        assert!(lines.take(&text[..20]).is_empty());
        assert!(lines.take(&text[20..]).is_empty());
        let got = lines.take(b"\n\n{\"Act");
        let expected = Event { container: ContainerId("ab".into()), kind: EventKind::Started, time: 2_000_000_000 };
        assert_eq!(got, [Ok(expected)]);
        assert_eq!(lines.0, b"{\"Act");
    }
}
