//! What each synthesized file says, from the model alone.

use rustix::io::Errno;

use super::layout::File;
use crate::cluster::{Cluster, Node, NodeSpec, State};
use crate::engine::Health;

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
        (File::Partition | File::Links | File::Net, _) if cluster.uncontrolled(None).is_some() => {
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
        // A frozen process is no running one: nobody can talk to it.
        File::Pid => line_or_empty(node.pid.filter(|_| node.state == State::Running)),
        File::State => line(node.state),
        File::ExitCode => line_or_empty(node.exit_code),
        File::Health => line(health(node.health)),
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
