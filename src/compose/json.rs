//! A project as `docker compose config --format json` shows it, as far as both know the same.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::model::{
    Condition, Dependency, FileContent, MountKind, NetworkDef, Project, Service, ServiceFile, ServiceMount,
    ServiceNetwork, VolumeDef,
};
use crate::engine::{HealthCheck, PublishedPort, RestartPolicy, Ulimit};

/// The project, with what is ignored left out. As in compose's output, each `$` is doubled, so that it can be read again.
pub fn json(project: &Project) -> Value {
    let services = project.services.iter().map(|one| (one.name.clone(), service(one)));
    let networks = project.networks.iter().map(|one| (one.name.clone(), without_nothing(network(one))));
    let volumes = project.volumes.iter().map(|one| (one.name.clone(), without_nothing(volume(one))));
    let mut all = json!({
        "name": project.name,
        "services": Value::Object(services.collect()),
        "networks": Value::Object(networks.collect()),
        "volumes": Value::Object(volumes.collect()),
        "configs": contents(project, false),
        "secrets": contents(project, true),
    });
    double_dollars(&mut all);
    all
}

fn double_dollars(value: &mut Value) {
    match value {
        Value::String(text) => *text = text.replace('$', "$$"),
        Value::Array(items) => items.iter_mut().for_each(double_dollars),
        Value::Object(entries) => entries.values_mut().for_each(double_dollars),
        _ => {}
    }
}

/// Without keys that say nothing: null, false, and lists and maps without content, but for those that mean something then.
fn without_nothing(value: Value) -> Value {
    const MEAN_SOMETHING: [&str; 4] = ["command", "entrypoint", "required", "volume"];
    let Value::Object(entries) = value else { return value };
    let says_nothing = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    };
    let is_kept =
        |key: &str, value: &Value| !says_nothing(value) || (MEAN_SOMETHING.contains(&key) && !value.is_null());
    let kept = entries.into_iter().map(|(key, value)| (key, without_nothing(value)));
    Value::Object(kept.filter(|(key, value)| is_kept(key, value)).collect())
}

fn service(service: &Service) -> Value {
    let (run, network) = (&service.run, &service.network);
    let own = json!({
        "image": service.image,
        "build": service.build.as_ref().map(|context| json!({ "context": context })),
        "pull_policy": service.never_pull.then_some("never"),
        "scale": (service.replicas != 1).then_some(service.replicas),
        "entrypoint": service.entrypoint,
        "command": service.command,
        "environment": pairs(&service.env),
        "container_name": service.container_name,
        "links": service.links.iter().map(|link| format!("{}:{}", link.service, link.alias)).collect::<Vec<_>>(),
        "volumes": service.mounts.iter().map(mount).collect::<Vec<_>>(),
        "configs": files(service, false),
        "secrets": files(service, true),
        "depends_on": service.depends_on.iter().map(dependency).collect::<Map<_, _>>(),
        "stop_grace_period": service.stop_grace_period.map(time),
        "restart": restart(service.restart),
    });
    let networks: Map<_, _> = service.networks.iter().map(member).collect();
    let run = json!({
        "user": run.user,
        "group_add": run.group_add,
        "working_dir": run.working_dir,
        "mem_limit": run.memory.map(|bytes| bytes.to_string()),
        "cpus": run.nano_cpus.and_then(|nanos| format!("{nanos}e-9").parse::<f64>().ok()),
        "pids_limit": run.pids_limit,
        "shm_size": run.shm_size.map(|bytes| bytes.to_string()),
        "cap_add": run.cap_add,
        "cap_drop": run.cap_drop,
        "privileged": run.privileged,
        "read_only": run.read_only,
        "init": run.init,
        "tty": run.tty,
        "stdin_open": run.stdin_open,
        "tmpfs": run.tmpfs.iter().map(tmpfs).collect::<Vec<_>>(),
        "ulimits": run.ulimits.iter().map(ulimit).collect::<Map<_, _>>(),
        "sysctls": pairs(run.sysctls.iter().chain(&network.sysctls)),
        "labels": pairs(&run.labels),
        "devices": run.devices.iter().map(|device| json!({
            "source": device.host, "target": device.container, "permissions": device.permissions,
        })).collect::<Vec<_>>(),
        "security_opt": run.security_opt,
        "oom_score_adj": run.oom_score_adj,
        "cgroup": run.cgroup,
        "platform": run.platform,
        "stop_signal": run.stop_signal,
        "healthcheck": run.healthcheck.as_ref().map(health),
        "gpus": run.gpus,
    });
    let network = json!({
        "hostname": network.hostname,
        "domainname": network.domainname,
        "dns": network.dns,
        "dns_search": network.dns_search,
        "dns_opt": network.dns_options,
        "extra_hosts": network.extra_hosts.iter().map(|(name, address)| format!("{name}={address}")).collect::<Vec<_>>(),
        "mac_address": network.mac_address,
        "ports": network.ports.iter().map(port).collect::<Vec<_>>(),
        "x-cthulhu": {
            "ready-port": service.extension.ready_port,
            "ready-log": service.extension.ready_log,
            "log-limit": service.extension.log_limit,
            "oneshot": service.extension.oneshot,
        },
    });
    let mut all = Map::new();
    for part in [own, run, network] {
        let Value::Object(part) = without_nothing(part) else { continue };
        all.extend(part);
    }
    // A network of which nothing is said is null there.
    if !networks.is_empty() {
        all.insert("networks".into(), networks.into());
    }
    all.into()
}

fn pairs<'a>(pairs: impl IntoIterator<Item = &'a (String, String)>) -> Value {
    Value::Object(pairs.into_iter().map(|(key, value)| (key.clone(), value.clone().into())).collect())
}

fn tmpfs((path, options): &(String, String)) -> String {
    if options.is_empty() { path.clone() } else { format!("{path}:{options}") }
}

fn ulimit(limit: &Ulimit) -> (String, Value) {
    let value =
        if limit.soft == limit.hard { limit.soft.into() } else { json!({ "soft": limit.soft, "hard": limit.hard }) };
    (limit.name.clone(), value)
}

fn health(check: &HealthCheck) -> Value {
    if check.test.as_deref() == Some(&["NONE".to_owned()]) {
        return json!({ "disable": true });
    }
    json!({
        "test": check.test,
        "interval": check.interval.map(time),
        "timeout": check.timeout.map(time),
        "retries": check.retries,
        "start_period": check.start_period.map(time),
        "start_interval": check.start_interval.map(time),
    })
}

fn port(port: &PublishedPort) -> Value {
    without_nothing(json!({
        "mode": "ingress",
        "host_ip": port.host_ip,
        "target": port.port,
        "published": port.host_port.map(|port| port.to_string()),
        "protocol": port.protocol,
    }))
}

fn member(member: &ServiceNetwork) -> (String, Value) {
    let priority = (member.priority != 0).then_some(member.priority);
    let value = json!({ "aliases": member.aliases, "ipv4_address": member.address, "priority": priority });
    let value = without_nothing(value);
    let says_nothing = value.as_object().is_some_and(Map::is_empty);
    (member.network.clone(), if says_nothing { Value::Null } else { value })
}

fn mount(mount: &ServiceMount) -> Value {
    let value = match &mount.kind {
        MountKind::Bind { bind, create } => json!({
            "type": "bind",
            "source": bind.source,
            "target": bind.target,
            "read_only": bind.read_only,
            "bind": { "create_host_path": create },
        }),
        MountKind::Volume { volume, target, read_only, no_copy } => json!({
            "type": "volume",
            "source": volume,
            "target": target,
            "read_only": read_only,
            "volume": { "nocopy": no_copy },
        }),
    };
    without_nothing(value)
}

fn dependency(dependency: &Dependency) -> (String, Value) {
    let condition = match dependency.condition {
        Condition::Started => "service_started",
        Condition::Healthy => "service_healthy",
        Condition::CompletedSuccessfully => "service_completed_successfully",
    };
    (dependency.service.clone(), json!({ "condition": condition, "required": dependency.required }))
}

fn restart(policy: RestartPolicy) -> Option<String> {
    match policy {
        RestartPolicy::No => None,
        RestartPolicy::Always => Some("always".into()),
        RestartPolicy::UnlessStopped => Some("unless-stopped".into()),
        RestartPolicy::OnFailure(None) => Some("on-failure".into()),
        RestartPolicy::OnFailure(Some(times)) => Some(format!("on-failure:{times}")),
    }
}

fn files(service: &Service, are_secrets: bool) -> Vec<Value> {
    let files = service.files.iter().filter(|file| file.is_secret == are_secrets);
    let value = |file: &ServiceFile| {
        without_nothing(json!({
            "source": file.name,
            "target": file.target,
            "uid": file.uid.map(|uid| uid.to_string()),
            "gid": file.gid.map(|gid| gid.to_string()),
            "mode": (file.mode != 0o444).then_some(file.mode),
        }))
    };
    files.map(value).collect()
}

/// The configs or secrets of all services, by name.
fn contents(project: &Project, are_secrets: bool) -> Value {
    let files = project.services.iter().flat_map(|service| &service.files);
    let entry = |file: &ServiceFile| {
        let content = match &file.content {
            FileContent::Path(path) => json!({ "file": path }),
            FileContent::Text(text) => json!({ "content": text }),
        };
        (file.name.clone(), content)
    };
    Value::Object(files.filter(|file| file.is_secret == are_secrets).map(entry).collect())
}

fn network(network: &NetworkDef) -> Value {
    let config = json!({ "subnet": network.subnet, "gateway": network.gateway, "ip_range": network.ip_range });
    let config = without_nothing(config);
    let has_config = config.as_object().is_some_and(|config| !config.is_empty());
    json!({
        "external": network.external.is_some(),
        "name": network.external,
        "internal": network.internal,
        "ipam": has_config.then(|| json!({ "config": [config] })),
        "labels": pairs(&network.labels),
    })
}

fn volume(volume: &VolumeDef) -> Value {
    json!({ "external": volume.external.is_some(), "name": volume.external, "labels": pairs(&volume.labels) })
}

/// As Go writes it: `1h2m3.5s`, `500ms`.
pub(super) fn time(time: Duration) -> String {
    let nanos = time.as_nanos();
    let decimal = |nanos: u128, unit: u128, name: &str| {
        let (whole, rest) = (nanos / unit, nanos % unit);
        let digits = unit.ilog10() as usize;
        let fraction = if rest == 0 { String::new() } else { format!(".{rest:0digits$}") };
        format!("{whole}{}{name}", fraction.trim_end_matches('0'))
    };
    match nanos {
        0 => "0s".into(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => decimal(nanos, 1_000, "µs"),
        1_000_000..1_000_000_000 => decimal(nanos, 1_000_000, "ms"),
        _ => {
            let (minutes, seconds) = (nanos / 60_000_000_000, nanos % 60_000_000_000);
            let seconds = decimal(seconds, 1_000_000_000, "s");
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    }
}
