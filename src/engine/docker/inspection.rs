//! Inspecting a container.
//!
//! The engine's own JSON is kept whole, in its own order; what we need is picked out of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bollard::Docker;
use serde_json::Value;

use super::{raw, time};
use crate::engine::{Check, ContainerId, Health, Inspection, OUTPUT_KEPT, Protocol, PublishedPort, Result, Status};

/// Failed checks in a row that make a container unhealthy, unless its HEALTHCHECK says otherwise.
const RETRIES: i64 = 3;

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
    let health = health(state);
    let retries = answer["Config"]["Healthcheck"]["Retries"].as_i64().filter(|retries| *retries > 0);
    let failed = checks(state)["FailingStreak"].as_i64();
    Ok(Inspection {
        id: ContainerId(id.to_owned()),
        status,
        pid,
        // While it runs the engine says 0, which is the code of no run.
        exit_code: state["ExitCode"].as_i64().filter(|_| status == Status::Exited),
        out_of_memory: state["OOMKilled"] == true,
        health,
        unhealthy_unchecked: health == Health::Unhealthy
            && failed.is_some_and(|failed| failed < retries.unwrap_or(RETRIES)),
        check: checks(state)["Log"].as_array().and_then(|log| log.last()).and_then(check),
        started_at: state["StartedAt"].as_str().and_then(time::parse).unwrap_or(0),
        ports: ports(&answer["NetworkSettings"]["Ports"], &answer["HostConfig"]["PortBindings"]),
        raw: indent(text.trim()),
    })
}

/// The published ones, sorted. Docker lists a port of all addresses once for IPv4 and once for IPv6. The second can have another
/// number, if that of the first was taken there, and counts only alone or if it was asked for.
fn ports(bindings: &Value, asked: &Value) -> Vec<PublishedPort> {
    const IPV6: Option<IpAddr> = Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let mut ports = vec![];
    for (key, bound) in bindings.as_object().into_iter().flatten() {
        let bound: Vec<_> = bound.as_array().into_iter().flatten().filter_map(|binding| port(key, binding)).collect();
        let asks_ipv6 = asked[key].as_array().into_iter().flatten().any(|binding| binding["HostIp"] == "::");
        let is_twin = !asks_ipv6 && bound.iter().any(|port| port.host_ip.is_none());
        ports.extend(bound.into_iter().filter(|port| !(is_twin && port.host_ip == IPV6)));
    }
    ports.sort_unstable_by_key(|port| (port.port, port.protocol, port.host_port, port.host_ip));
    ports.dedup();
    ports
}

fn port(key: &str, binding: &Value) -> Option<PublishedPort> {
    let (port, protocol) = key.split_once('/')?;
    let host_ip = binding["HostIp"].as_str().and_then(|ip| ip.parse::<IpAddr>().ok());
    Some(PublishedPort {
        host_ip: host_ip.filter(|ip| *ip != Ipv4Addr::UNSPECIFIED),
        host_port: Some(binding["HostPort"].as_str()?.parse().ok()?),
        port: port.parse().ok()?,
        protocol: Protocol::named(protocol)?,
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

/// What is known of the HEALTHCHECK. Older podman calls it so.
fn checks(state: &Value) -> &Value {
    if state["Health"]["Status"].is_string() { &state["Health"] } else { &state["Healthcheck"] }
}

fn check(entry: &Value) -> Option<Check> {
    let output = entry["Output"].as_str().unwrap_or_default();
    let mut end = output.len().min(OUTPUT_KEPT);
    while !output.is_char_boundary(end) {
        end -= 1;
    }
    Some(Check {
        began: entry["Start"].as_str().and_then(time::parse)?,
        exit_code: entry["ExitCode"].as_i64()?,
        output: output[..end].to_owned(),
    })
}

fn health(state: &Value) -> Health {
    match checks(state)["Status"].as_str().unwrap_or_default() {
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
    fn unhealthy_is_doubted_until_enough_checks_have_failed() {
        let unchecked = |config: &str, health: &str| {
            let text = format!(r#"{{"Id":"ab","Config":{config},"State":{{"Status":"running","Health":{health}}}}}"#);
            read(&text).unwrap().unhealthy_unchecked
        };
        assert!(unchecked("{}", r#"{"Status":"unhealthy","FailingStreak":2}"#));
        assert!(!unchecked("{}", r#"{"Status":"unhealthy","FailingStreak":3}"#));
        assert!(!unchecked(r#"{"Healthcheck":{"Retries":1}}"#, r#"{"Status":"unhealthy","FailingStreak":1}"#));
        assert!(unchecked(r#"{"Healthcheck":{"Retries":0}}"#, r#"{"Status":"unhealthy","FailingStreak":0}"#));
        assert!(!unchecked("{}", r#"{"Status":"unhealthy"}"#), "an engine that does not count them");
        assert!(!unchecked("{}", r#"{"Status":"healthy","FailingStreak":0}"#));
    }

    #[test]
    fn the_latest_check_is_the_last_of_the_log() {
        let seen = with_state(
            r#"{"Health":{"Status":"starting","Log":[{"Start":"1970-01-01T00:00:01Z","ExitCode":0,"Output":""},
                {"Start":"1970-01-01T01:00:02+01:00","End":"","ExitCode":-1,"Output":"Health check exceeded timeout"}]}}"#,
        );
        let output = "Health check exceeded timeout".to_owned();
        assert_eq!(seen.check, Some(Check { began: 2_000_000_000, exit_code: -1, output }));
        assert_eq!(with_state(r#"{"Health":{"Status":"starting","Log":null}}"#).check, None);
        let long = "ä".repeat(OUTPUT_KEPT);
        let log = format!(r#"[{{"Start":"1970-01-01T00:00:01Z","ExitCode":1,"Output":"{long}"}}]"#);
        let seen = with_state(&format!(r#"{{"Healthcheck":{{"Status":"starting","Log":{log}}}}}"#));
        assert_eq!(seen.check.unwrap().output.len(), OUTPUT_KEPT);
    }

    #[test]
    fn ports_are_those_in_effect() {
        let seen = read(
            r#"{"Id":"ab","HostConfig":{"PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"0"}],
                "83/tcp":[{"HostIp":"0.0.0.0","HostPort":"6"},{"HostIp":"::","HostPort":"7"}]}},"NetworkSettings":{"Ports":{"81/tcp":null,"80/tcp":[
                {"HostIp":"0.0.0.0","HostPort":"32768"},{"HostIp":"::","HostPort":"32770"},
                {"HostIp":"127.0.0.1","HostPort":"9000"}],"53/udp":[{"HostIp":"","HostPort":"53"}],"x":[{}],
                "82/tcp":[{"HostIp":"::","HostPort":"5"}],
                "83/tcp":[{"HostIp":"0.0.0.0","HostPort":"6"},{"HostIp":"::","HostPort":"7"}]}}}"#,
        );
        let port = |ip: Option<&str>, host: u16, port: u16, protocol| PublishedPort {
            host_ip: ip.map(|ip| ip.parse().unwrap()),
            host_port: Some(host),
            port,
            protocol,
        };
        let expected = [
            port(None, 53, 53, Protocol::Udp),
            port(Some("127.0.0.1"), 9000, 80, Protocol::Tcp),
            port(None, 32768, 80, Protocol::Tcp),
            port(Some("::"), 5, 82, Protocol::Tcp),
            port(None, 6, 83, Protocol::Tcp),
            port(Some("::"), 7, 83, Protocol::Tcp),
        ];
        assert_eq!(seen.unwrap().ports, expected);
        assert!(with_state("{}").ports.is_empty());
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
