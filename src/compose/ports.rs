//! Published ports.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::reader::{Keys, Reader, Rule, unique};
use super::tree::{Entry, Node, Value};
use crate::engine::{Protocol, PublishedPort};

/// How many ports a service may publish. The engine starts a program for each.
const MOST_PORTS: usize = 1000;

/// Reads `ports`.
pub(super) fn read(reader: &mut Reader, entry: &Entry) -> Vec<PublishedPort> {
    let mut all = vec![];
    for item in reader.items("ports", &entry.node) {
        let ports = match &item.value {
            Value::Map(_) => long(reader, item),
            _ => reader.text("a port", item).and_then(|text| taken(reader, item, short(&text))),
        };
        all.extend(ports.unwrap_or_default().into_iter().map(|port| (format!("{port:?}"), port)));
        if all.len() > MOST_PORTS {
            reader.refuse(&item.mark, format!("ports: a service publishes at most {MOST_PORTS} ports"));
            break;
        }
    }
    unique(all).into_iter().map(|(_, port)| port).collect()
}

fn taken(reader: &mut Reader, item: &Node, ports: Result<Vec<PublishedPort>, String>) -> Option<Vec<PublishedPort>> {
    ports.map_err(|why| reader.refuse(&item.mark, format!("ports: {why}"))).ok()
}

/// The long form.
#[derive(Default)]
struct LongPort {
    target: Option<u16>,
    published: Option<String>,
    host_ip: Option<String>,
    protocol: Option<String>,
}

const LONG: &Keys<LongPort> = &[
    (
        "target",
        Rule::Read(|reader, port, entry| port.target = reader.parsed("ports: target", &entry.node, PORT, port_number)),
    ),
    ("published", Rule::Read(|reader, port, entry| port.published = reader.text("ports: published", &entry.node))),
    ("host_ip", Rule::Read(|reader, port, entry| port.host_ip = reader.text("ports: host_ip", &entry.node))),
    ("protocol", Rule::Read(|reader, port, entry| port.protocol = reader.text("ports: protocol", &entry.node))),
    ("mode", Rule::Ignore),
    ("name", Rule::Ignore),
    ("app_protocol", Rule::Ignore),
];

fn long(reader: &mut Reader, item: &Node) -> Option<Vec<PublishedPort>> {
    let mut port = LongPort::default();
    reader.map("a port", item, LONG, &mut port);
    let Some(target) = port.target else {
        if item.get("target").is_none() {
            reader.refuse(&item.mark, "ports: a port has a 'target', the container's port");
        }
        return None;
    };
    let host_ip = port.host_ip.as_deref().unwrap_or_default();
    let published = port.published.as_deref().unwrap_or_default();
    let ports = published_ports(host_ip, published, target..=target, port.protocol.as_deref().unwrap_or("tcp"));
    taken(reader, item, ports)
}

/// What a port is, for a sentence.
pub(super) const PORT: &str = "a port from 1 to 65535";

/// A port's number.
pub(super) fn port_number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0)
}

/// `[[HOST_IP:]HOST_PORT:]PORT[/PROTOCOL]`, where ports may be ranges.
///
/// # Errors
/// A sentence.
fn short(text: &str) -> Result<Vec<PublishedPort>, String> {
    let (ports, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let (host, target) = ports.rsplit_once(':').unwrap_or(("", ports));
    let (host_ip, published) = match host.rsplit_once(':') {
        Some((ip, port)) => (ip, port),
        None => ("", host),
    };
    let host_ip = host_ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(host_ip);
    published_ports(host_ip, published, range(target)?, protocol)
}

fn published_ports(
    host_ip: &str,
    published: &str,
    targets: RangeInclusive<u16>,
    protocol: &str,
) -> Result<Vec<PublishedPort>, String> {
    let host_ip = match host_ip {
        "" => None,
        ip => Some(ip.parse::<IpAddr>().map_err(|_| format!("'{}' is no IP address", crate::text::shown(ip)))?),
    };
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return Err(format!("'{}' is no protocol: there are tcp, udp and sctp", crate::text::shown(protocol))),
    };
    let port = |port, host_port| PublishedPort { host_ip, host_port, port, protocol };
    if matches!(published, "" | "0") {
        return Ok(targets.map(|target| port(target, None)).collect());
    }
    let hosts = range(published)?;
    if hosts.len() != targets.len() {
        let [hosts, targets] = [hosts.len(), targets.len()];
        return Err(format!("{hosts} host ports for {targets} of the container: name as many, or no host port"));
    }
    Ok(targets.zip(hosts).map(|(target, host)| port(target, Some(host))).collect())
}

fn range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (port_number(first), port_number(last)) {
        (Some(first), Some(last)) if usize::from(last.saturating_sub(first)) >= MOST_PORTS => {
            Err(format!("'{text}' is more than {MOST_PORTS} ports"))
        }
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err(format!("'{}' is neither {PORT} nor a range of them", crate::text::shown(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(ports: &[PublishedPort]) -> String {
        let one = |port: &PublishedPort| {
            let host = port.host_port.map_or("-".to_owned(), |port| port.to_string());
            let ip = port.host_ip.map_or(String::new(), |ip| format!("{ip} "));
            format!("{ip}{host}>{}/{:?}", port.port, port.protocol).to_lowercase()
        };
        ports.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn short_ports() {
        for (text, wanted) in [
            ("80", "->80/tcp"),
            ("22:22", "22>22/tcp"),
            ("8080:80/udp", "8080>80/udp"),
            ("127.0.0.1:8080:80", "127.0.0.1 8080>80/tcp"),
            ("127.0.0.1::80", "127.0.0.1 ->80/tcp"),
            ("[::1]:8080:80", "::1 8080>80/tcp"),
            ("::1:8080:80", "::1 8080>80/tcp"),
            ("0:80", "->80/tcp"),
            ("80-81", "->80/tcp, ->81/tcp"),
            ("90-91:80-81/SCTP", "90>80/sctp, 91>81/sctp"),
        ] {
            assert_eq!(shown(&short(text).unwrap()), wanted, "{text}");
        }
        for wrong in [
            "",
            "0",
            "x",
            "80:",
            "65536",
            "80/icmp",
            "1.2.3:80:80",
            "90-99:80",
            "81-80",
            "a:80:80",
            "-",
            "1-",
            "1-1001",
        ] {
            assert!(short(wrong).is_err(), "{wrong}");
        }
    }
}
