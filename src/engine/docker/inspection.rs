//! Inspecting a container.
//!
//! The engine's own JSON is kept whole, in its own order; what we need is picked out of it.

use bollard::Docker;
use serde_json::Value;

use super::{raw, time};
use crate::engine::{ContainerId, Health, Inspection, Result, Status};

/// Inspects a container.
pub(super) async fn inspect(docker: &Docker, id: &ContainerId) -> Result<Inspection> {
    let text = raw::text(docker, &format!("/containers/{}/json", raw::encode(&id.0))).await?;
    read(&text)
}

/// Picks what we need out of the engine's answer.
pub(super) fn read(text: &str) -> Result<Inspection> {
    let answer = raw::parse(text)?;
    let id = answer["Id"].as_str().ok_or_else(|| raw::nonsense("a container without Id"))?;
    let state = &answer["State"];
    let status = status(state);
    let runs = matches!(status, Status::Running | Status::Paused);
    let pid = state["Pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).filter(|pid| runs && *pid > 0);
    Ok(Inspection {
        id: ContainerId(id.to_owned()),
        status,
        pid,
        // While it runs the engine says 0, which is the code of no run.
        exit_code: state["ExitCode"].as_i64().filter(|_| status == Status::Exited),
        out_of_memory: state["OOMKilled"] == true,
        health: health(state),
        started_at: state["StartedAt"].as_str().and_then(time::parse).unwrap_or(0),
        raw: indent(text.trim()),
    })
}

fn status(state: &Value) -> Status {
    match state["Status"].as_str().unwrap_or_default() {
        "running" | "stopping" => Status::Running,
        "paused" => Status::Paused,
        "created" | "configured" | "initialized" => Status::Created,
        "exited" | "stopped" | "dead" | "removing" | "restarting" => Status::Exited,
        _ if state["Paused"] == true => Status::Paused,
        _ if state["Running"] == true => Status::Running,
        _ => Status::Exited,
    }
}

fn health(state: &Value) -> Health {
    // Older podman calls it Healthcheck.
    let status = state["Health"]["Status"].as_str().or(state["Healthcheck"]["Status"].as_str());
    match status.unwrap_or_default() {
        "starting" => Health::Starting,
        "healthy" => Health::Healthy,
        "unhealthy" => Health::Unhealthy,
        _ => Health::None,
    }
}

/// Indents valid JSON by four spaces, as `docker inspect` does, without touching order, numbers or strings.
fn indent(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0;
    let mut rest = json.char_indices().peekable();
    while let Some((at, char)) = rest.next() {
        match char {
            '"' => {
                let mut escaped = false;
                let mut end = json.len();
                for (position, next) in rest.by_ref() {
                    if next == '"' && !escaped {
                        end = position + 1;
                        break;
                    }
                    escaped = next == '\\' && !escaped;
                }
                out.push_str(&json[at..end]);
            }
            '{' | '[' => {
                out.push(char);
                while rest.next_if(|(_, next)| next.is_ascii_whitespace()).is_some() {}
                match rest.next_if(|(_, next)| matches!(next, '}' | ']')) {
                    Some((_, close)) => out.push(close),
                    None => {
                        depth += 1;
                        line(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(char);
            }
            ',' => {
                out.push(char);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ if char.is_ascii_whitespace() => {}
            _ => out.push(char),
        }
    }
    out
}

fn line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("    ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_state(state: &str) -> Inspection {
        read(&format!(r#"{{"Id":"ab","State":{state}}}"#)).unwrap()
    }

    #[test]
    fn states_of_both_engines() {
        let running = with_state(r#"{"Status":"running","Pid":7,"ExitCode":0,"StartedAt":"1970-01-01T00:00:01Z"}"#);
        assert_eq!((running.status, running.pid, running.exit_code), (Status::Running, Some(7), None));
        assert_eq!(running.started_at, 1_000_000_000);
        let exited = with_state(r#"{"Status":"stopped","Pid":0,"ExitCode":137,"StartedAt":"0001-01-01T00:00:00Z"}"#);
        assert_eq!((exited.status, exited.pid, exited.exit_code), (Status::Exited, None, Some(137)));
        assert_eq!(exited.started_at, 0);
        let created = with_state(r#"{"Status":"configured","ExitCode":0}"#);
        assert_eq!((created.status, created.exit_code), (Status::Created, None));
        assert_eq!(with_state(r#"{"Status":"new","Running":true,"Paused":true}"#).status, Status::Paused);
        assert_eq!(with_state(r#"{"Status":"restarting"}"#).status, Status::Exited);
    }

    #[test]
    fn health_may_be_absent() {
        assert_eq!(with_state(r#"{"Status":"running"}"#).health, Health::None);
        assert_eq!(with_state(r#"{"Health":{"Status":"none"}}"#).health, Health::None);
        assert_eq!(with_state(r#"{"Health":{"Status":"starting"}}"#).health, Health::Starting);
        assert_eq!(with_state(r#"{"Healthcheck":{"Status":"healthy"}}"#).health, Health::Healthy);
    }

    #[test]
    fn indenting_keeps_everything_and_its_order() {
        let text = r#"{"z":1.50,"a":[ ],"s":"a\"{,:\\","m":{},"l":[{"x":null},2]}"#;
        let pretty = indent(text);
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&pretty).unwrap(), value);
        assert!(pretty.starts_with("{\n    \"z\": 1.50,\n    \"a\": [],\n"), "{pretty}");
        assert!(pretty.ends_with("        2\n    ]\n}"), "{pretty}");
        assert_eq!(indent(&pretty), pretty);
    }
}
