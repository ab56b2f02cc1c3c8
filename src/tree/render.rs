//! What each synthesized file says, from the model alone.

use std::time::{Duration, SystemTime};

use rustix::io::Errno;

use super::layout::File;
use crate::cluster::{Cluster, Node, NodeSpec, State, first_lines};
use crate::engine::Health;

/// So many lines of what a check has written are shown.
const LINES: usize = 5;

/// The content of a file of the model: of a node, or of the root.
///
/// # Errors
/// EHOSTDOWN for a live value while the engine cannot be reached, and for faults that are not known to be in force.
pub fn render(cluster: &Cluster, file: File, node: Option<usize>) -> Result<Vec<u8>, Errno> {
    let live = |text: String| if cluster.is_reachable() { Ok(text) } else { Err(Errno::HOSTDOWN) };
    let text = match (file, node) {
        (File::Control, _) => crate::control::script(node.is_none()),
        (File::Status, _) => live(status(cluster))?,
        (File::SpecJson, _) => live(spec_json(cluster))?,
        // What is in force is so whether the engine answers or not, unless a node runs in a network that nobody controls.
        (File::Partition | File::Links | File::Net, _) if !cluster.is_controlled() => {
            return Err(Errno::HOSTDOWN);
        }
        (File::Partition, _) => cluster.faults().partition(),
        (File::Links, _) => cluster.faults().links(),
        (File::Net, Some(index)) => cluster.faults().net(index),
        (_, Some(index)) => {
            let (spec, node) = (cluster.node_spec(index), cluster.node(index));
            match file {
                File::Name => line(&spec.name),
                File::Ip => line(spec.ip),
                File::Image => line(&cluster.spec().image),
                _ => live(value(file, &node))?,
            }
        }
        (_, None) => String::new(),
    };
    Ok(text.into_bytes())
}

fn line(value: impl ToString) -> String {
    let mut text = value.to_string();
    text.push('\n');
    text
}

fn line_or_empty<T: ToString>(value: Option<T>) -> String {
    value.map(line).unwrap_or_default()
}

fn value(file: File, node: &Node) -> String {
    match file {
        File::Pid => line_or_empty(node.pid),
        File::State => line(node.state),
        File::ExitCode => line_or_empty(node.exit_code),
        File::Health => line(health(node.health)),
        File::ReadyReason => ready_reason(node).map(line).unwrap_or_default(),
        File::Ready => line(if node.is_ready() { "yes" } else { "no" }),
        File::Id => line_or_empty(node.container.as_ref()),
        File::InspectJson => line_or_empty(node.raw.as_deref()),
        File::Control
        | File::Error
        | File::Status
        | File::SpecJson
        | File::History
        | File::Partition
        | File::Links
        | File::Capabilities
        | File::Net
        | File::Name
        | File::Ip
        | File::Image
        | File::Log => String::new(),
    }
}

/// Why a node is not ready: a sentence, and in the lines after it what its probe has written.
fn ready_reason(node: &Node) -> Option<String> {
    if node.is_ready() {
        return None;
    }
    if let (State::Running, Some(why)) = (node.state, &node.sandbox_lost) {
        return Some(why.to_string());
    }
    Some(match (node.state, node.probe) {
        (State::Created, _) => "it was never started".into(),
        (State::Paused, _) => "it is paused".into(),
        (State::Exited, _) => "it has exited".into(),
        (State::Missing, _) => "its container was removed".into(),
        (State::Running, Some(_)) => node.unready.as_deref().unwrap_or("it has not been probed yet").into(),
        (State::Running, None) => {
            let mut text = format!("its HEALTHCHECK says {}", health(node.health));
            if let Some(check) = &node.check {
                let began = SystemTime::UNIX_EPOCH + Duration::from_nanos(check.began.unsigned_abs());
                let began = humantime::format_rfc3339_seconds(began);
                text.push_str(&format!(": exit status {} of the check at {began}", check.exit_code));
                for line in first_lines(check.output.as_bytes(), LINES) {
                    text.push_str("\n  ");
                    text.push_str(&line);
                }
            }
            text
        }
    })
}

fn health(health: Health) -> &'static str {
    match health {
        Health::None => "none",
        Health::Starting => "starting",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    }
}

fn status(cluster: &Cluster) -> String {
    let mut text = format!("{:<6} {:<15} {:<8} {}\n", "NAME", "ADDRESS", "STATE", "PID");
    for (spec, node) in cluster.spec().nodes.iter().zip(cluster.snapshot()) {
        let pid = value(File::Pid, &node);
        let pid = if pid.is_empty() { "-\n" } else { &pid };
        text.push_str(&format!("{:<6} {:<15} {:<8} {pid}", spec.name.as_str(), spec.ip.to_string(), node.state));
    }
    text
}

fn spec_json(cluster: &Cluster) -> String {
    let spec = cluster.spec();
    let one = |node: &NodeSpec, known: &Node| {
        let value = serde_json::json!({
            "ip": node.ip,
            "port": spec.port,
            "published_port": node.published_port,
            "root": spec.mountpoint.join(node.ip.to_string()),
            "image": spec.image,
            "container_id": known.container,
        });
        (node.name.to_string(), value)
    };
    let nodes: serde_json::Map<_, _> =
        spec.nodes.iter().zip(&cluster.snapshot()).map(|(node, known)| one(node, known)).collect();
    format!("{:#}\n", serde_json::Value::Object(nodes))
}
