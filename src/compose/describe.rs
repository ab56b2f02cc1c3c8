//! A project in words, for people.

use super::json::time;
use super::model::{Condition, FileContent, MountKind, NetworkDef, Project, Service, ServiceMount};
use crate::engine::PublishedPort;

/// What each service and network means, a line each; what a service says is indented.
pub fn describe(project: &Project) -> Vec<String> {
    let mut lines = vec![];
    for one in &project.services {
        let nodes = if one.replicas == 1 { String::new() } else { format!(", {} nodes", one.replicas) };
        let image = one.image.as_deref().unwrap_or("no image");
        lines.push(format!("service {}: {image}{nodes}", one.name));
        lines.extend(service(one).into_iter().map(|(what, text)| format!("  {what:<12} {text}")));
    }
    lines.extend(project.networks.iter().map(network));
    let external = |volume: &super::VolumeDef| {
        let name = volume.external.as_ref()?;
        Some(format!("volume {}: {name}, which is there already", volume.name))
    };
    lines.extend(project.volumes.iter().filter_map(external));
    lines
}

fn service(service: &Service) -> Vec<(&'static str, String)> {
    let (run, network) = (&service.run, &service.network);
    let mut all = vec![];
    let mut say = |what, texts: Vec<String>| all.extend(texts.into_iter().map(|text| (what, text)));
    let joined = |words: &[String]| if words.is_empty() { vec![] } else { vec![words.join(" ")] };
    let command = |words: &Option<Vec<String>>| words.iter().map(|words| shell(words)).collect();
    say("entrypoint", command(&service.entrypoint));
    say("command", command(&service.command));
    let variables: Vec<_> = service.env.iter().map(|(name, _)| name.clone()).collect();
    say("environment", joined(&variables));
    say("network", service.networks.iter().map(member).collect());
    let host_name = network.hostname.iter().filter(|name| Some(*name) != service.container_name.as_ref());
    say("name", service.container_name.iter().chain(host_name).cloned().collect());
    say("link", service.links.iter().map(|link| format!("{} as {}", link.service, link.alias)).collect());
    say("host", network.extra_hosts.iter().map(|(name, address)| format!("{name} at {address}")).collect());
    say("dns", joined(&network.dns.iter().map(ToString::to_string).collect::<Vec<_>>()));
    say("port", network.ports.iter().map(port).collect());
    say("mount", service.mounts.iter().map(mount).collect());
    say("tmpfs", run.tmpfs.iter().map(|(path, options)| format!("{path} {options}").trim_end().to_owned()).collect());
    say("device", run.devices.iter().map(|device| format!("{} on {}", device.host, device.container)).collect());
    let file = |file: &super::ServiceFile| {
        let from = match &file.content {
            FileContent::Path(path) => path.display().to_string(),
            FileContent::Text(text) => format!("{} bytes", text.len()),
        };
        format!("{} from {from}, mode {:04o}", file.target, file.mode)
    };
    say("file", service.files.iter().map(file).collect());
    let depends = service.depends_on.iter().map(|dependency| {
        let condition = match dependency.condition {
            Condition::Started => "started",
            Condition::Healthy => "healthy",
            Condition::CompletedSuccessfully => "completed successfully",
        };
        let required = if dependency.required { "" } else { ", if it is there" };
        format!("{} {condition}{required}", dependency.service)
    });
    say("after", depends.collect());
    let test = run.healthcheck.as_ref().and_then(|check| check.test.as_deref());
    say("health", test.map(shell).into_iter().collect());
    say("user", run.user.iter().cloned().collect());
    say("limits", joined(&limits(service)));
    say("capabilities", joined(&capabilities(service)));
    say("stop", joined(&stop(service)));
    all
}

fn limits(service: &Service) -> Vec<String> {
    let run = &service.run;
    let memory = run.memory.map(|bytes| format!("memory {bytes}"));
    let cpus = run.nano_cpus.map(|nanos| format!("cpus {}.{:03}", nanos / 1_000_000_000, nanos / 1_000_000 % 1_000));
    let pids = run.pids_limit.map(|pids| format!("pids {pids}"));
    let ulimits = run.ulimits.iter().map(|limit| format!("{} {}:{}", limit.name, limit.soft, limit.hard));
    memory.into_iter().chain(cpus).chain(pids).chain(ulimits).collect()
}

fn capabilities(service: &Service) -> Vec<String> {
    let run = &service.run;
    let privileged = run.privileged.then(|| "all (privileged)".to_owned());
    let added = run.cap_add.iter().map(|name| format!("+{name}"));
    let dropped = run.cap_drop.iter().map(|name| format!("-{name}"));
    privileged.into_iter().chain(added).chain(dropped).collect()
}

fn stop(service: &Service) -> Vec<String> {
    let signal = service.run.stop_signal.clone();
    signal.into_iter().chain(service.stop_grace_period.map(|grace| format!("within {}", time(grace)))).collect()
}

/// Words as a shell would need them.
fn shell(words: &[String]) -> String {
    if words.is_empty() {
        return "none".into();
    }
    shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" "))
}

fn member(member: &super::ServiceNetwork) -> String {
    let address = member.address.map(|address| format!(", {address}"));
    let aliases = (!member.aliases.is_empty()).then(|| format!(", also called {}", member.aliases.join(" ")));
    format!("{}{}{}", member.network, address.unwrap_or_default(), aliases.unwrap_or_default())
}

fn port(port: &PublishedPort) -> String {
    let protocol = format!("{:?}", port.protocol).to_lowercase();
    let ip = port.host_ip.map(|ip| format!("{ip} ")).unwrap_or_default();
    match port.host_port {
        Some(host) => format!("{}/{protocol} on {ip}{host}", port.port),
        None => format!("{}/{protocol} on {ip}a free port", port.port),
    }
}

fn mount(mount: &ServiceMount) -> String {
    let read_only = |read_only: bool| if read_only { ", read-only" } else { "" };
    match &mount.kind {
        MountKind::Bind { bind, .. } => {
            format!("{} on {}{}", bind.source.display(), bind.target, read_only(bind.read_only))
        }
        MountKind::Volume { volume: Some(volume), target, read_only: ro, .. } => {
            format!("volume {volume} on {target}{}", read_only(*ro))
        }
        MountKind::Volume { volume: None, target, read_only: ro, .. } => {
            format!("a volume of its own on {target}{}", read_only(*ro))
        }
    }
}

fn network(network: &NetworkDef) -> String {
    let subnet = network.subnet.as_deref().unwrap_or("a free subnet");
    match &network.external {
        Some(name) => format!("network {}: {name}, which is there already", network.name),
        None if network.internal => format!("network {}: {subnet}, without a way out", network.name),
        None => format!("network {}: {subnet}", network.name),
    }
}
