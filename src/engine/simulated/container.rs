//! One container, and how the engine describes it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::networks::{Held, Networks};
use super::sandbox::Sandbox;
use super::streams::Journal;
use crate::engine::{
    Check, ContainerId, ContainerSpec, Endpoint, Health, Inspection, Listed, Network, PublishedPort, Status, Stdin,
};
use crate::sync::{AsyncMutex, mpsc};

/// Failed checks in a row that make a container unhealthy.
pub(super) const RETRIES: i64 = 3;

pub(super) struct Container {
    pub(crate) id: String,
    /// How many containers were created before it.
    pub(crate) order: u64,
    /// What it was created from.
    pub(crate) spec: ContainerSpec,
    pub(crate) status: Status,
    /// Pid of its process while there is one.
    pub(crate) pid: Option<i32>,
    /// Exit code of its last run that ended.
    pub(crate) exit_code: Option<i64>,
    /// Its last run was ended by the OOM killer, or a process of its present one was.
    pub(crate) out_of_memory: bool,
    pub(crate) health: Health,
    /// How many checks in a row have failed.
    pub(crate) failing: i64,
    /// It does not end for its stop signal.
    pub(crate) ignores_stop: bool,
    pub(crate) check: Option<Check>,
    pub(crate) created_at: i64,
    /// When its present or last run began; 0 if never.
    pub(crate) started_at: i64,
    /// When its last run ended; 0 if never.
    pub(crate) finished_at: i64,
    /// How often it was started.
    pub(crate) starts: u64,
    /// The signals it got through the engine, by name.
    pub(crate) signals: Vec<String>,
    /// What it holds of its networks while it runs.
    pub(crate) held: Vec<Held>,
    /// Its published ports while it runs, with the host's port each.
    pub(crate) ports: Vec<PublishedPort>,
    /// State of its sandbox process, if it is a sandbox.
    pub(crate) sandbox: Sandbox,
    pub(crate) journal: Arc<Journal>,
    /// Its standard input, as far as not read yet.
    pub(crate) input: Vec<u8>,
    /// Whether that input has ended.
    pub(crate) input_ended: bool,
    /// The attached clients, by key, and where stdout goes.
    pub(crate) attached: Vec<(u64, mpsc::UnboundedSender<Vec<u8>>)>,
    /// Held by the operation that works on it.
    pub(crate) busy: Arc<AsyncMutex<()>>,
}

impl Container {
    pub(crate) fn new(id: String, order: u64, spec: ContainerSpec, created_at: i64) -> Self {
        Self {
            id,
            order,
            spec,
            status: Status::Created,
            pid: None,
            exit_code: None,
            out_of_memory: false,
            health: Health::None,
            failing: 0,
            ignores_stop: false,
            check: None,
            created_at,
            started_at: 0,
            finished_at: 0,
            starts: 0,
            signals: Vec::new(),
            held: Vec::new(),
            ports: Vec::new(),
            sandbox: Sandbox::default(),
            journal: Arc::default(),
            input: Vec::new(),
            input_ended: false,
            attached: Vec::new(),
            busy: Arc::default(),
        }
    }

    /// Whether it has a process, paused or not.
    pub(crate) fn alive(&self) -> bool {
        matches!(self.status, Status::Running | Status::Paused)
    }

    /// Writes to stdout, at the time given.
    pub(crate) fn print(&mut self, time: i64, bytes: &[u8]) {
        self.journal.write(time, bytes);
        for (_, stdout) in &self.attached {
            // A client that no longer reads may still hold stdin, so it stays attached.
            let _ = stdout.send(bytes.to_vec());
        }
    }

    /// Takes the next whole line of the input, without its newline.
    pub(crate) fn next_line(&mut self) -> Option<Vec<u8>> {
        let end = self.input.iter().position(|byte| *byte == b'\n')?;
        let mut line: Vec<u8> = self.input.drain(..=end).collect();
        line.pop();
        Some(line)
    }

    /// Whether it runs the sandbox process.
    pub(crate) fn is_sandbox(&self) -> bool {
        let command = self.spec.command.as_deref().filter(|c| !c.is_empty());
        let words = command.or(self.spec.entrypoint.as_deref());
        // Options may follow.
        words.is_some_and(|words| words.iter().any(|word| word == "sandbox"))
    }

    /// As a listing shows it.
    pub(crate) fn listed(&self) -> Listed {
        Listed {
            id: ContainerId(self.id.clone()),
            name: self.spec.name.clone(),
            image: self.spec.image.clone(),
            labels: self.spec.labels.clone(),
            // Simulated images have none.
            image_labels: Some(vec![]),
            running: self.alive(),
        }
    }

    /// Its description; `hostname` is the one it sees.
    pub(crate) fn inspect(&self, networks: &Networks, hostname: &str) -> Inspection {
        let raw = self.raw(networks, hostname);
        Inspection {
            id: ContainerId(self.id.clone()),
            status: self.status,
            pid: self.pid,
            exit_code: self.exit_code,
            out_of_memory: self.out_of_memory,
            health: self.health,
            unhealthy_unchecked: self.health == Health::Unhealthy && self.failing < RETRIES,
            check: self.check.clone(),
            started_at: self.started_at,
            ports: self.ports.clone(),
            raw: format!("{raw:#}"),
        }
    }

    fn raw(&self, networks: &Networks, hostname: &str) -> Value {
        let spec = &self.spec;
        let labels: serde_json::Map<String, Value> =
            spec.labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        let binds: Vec<String> = spec
            .binds
            .iter()
            .map(|bind| {
                let mode = if bind.read_only { "ro" } else { "rw" };
                format!("{}:{}:{mode}", bind.source.display(), bind.target)
            })
            .collect();
        let words = spec.entrypoint.iter().chain(&spec.command).flatten();
        let words: Vec<&String> = words.collect();
        let (run, network) = (&spec.run, &spec.network);
        let asked = match network {
            Network::Attached { options, .. } => &options.ports[..],
            Network::Of(_) | Network::None => &[],
        };
        let mut state = json!({
            "Status": status_name(self.status),
            "Running": self.alive(),
            "Paused": self.status == Status::Paused,
            "Restarting": false,
            "OOMKilled": self.out_of_memory,
            "Dead": false,
            "Pid": self.pid.unwrap_or(0),
            "ExitCode": if self.alive() { 0 } else { self.exit_code.unwrap_or(0) },
            "Error": "",
            "StartedAt": rfc3339(self.started_at),
            "FinishedAt": rfc3339(self.finished_at),
        });
        if let Some(health) = health_name(self.health) {
            let log: Vec<_> = self.check.iter().map(raw_check).collect();
            state["Health"] = json!({"Status": health, "FailingStreak": self.failing, "Log": log});
        }
        json!({
            "Id": self.id,
            "Created": rfc3339(self.created_at),
            "Path": words.first(),
            "Args": words.get(1..).unwrap_or_default(),
            "State": state,
            "Image": spec.image,
            "Name": format!("/{}", spec.name),
            "RestartCount": 0,
            "Config": {
                "Hostname": hostname,
                "User": run.user.as_deref().unwrap_or(""),
                "Tty": run.tty,
                "OpenStdin": spec.stdin.is_attended() || run.stdin_open,
                "StdinOnce": spec.stdin == Stdin::UntilDetached,
                "WorkingDir": run.working_dir.as_deref().unwrap_or(""),
                "Env": spec.env,
                "Cmd": spec.command,
                "Image": spec.image,
                "Entrypoint": spec.entrypoint,
                "Labels": labels,
            },
            "HostConfig": {
                "Binds": binds,
                "NetworkMode": network_mode(network),
                "PortBindings": raw_ports(asked),
                "AutoRemove": spec.auto_remove,
                "CapAdd": run.cap_add,
                "CapDrop": run.cap_drop,
                "Privileged": run.privileged,
                "ReadonlyRootfs": run.read_only,
                "Memory": run.memory.unwrap_or(0),
                "NanoCpus": run.nano_cpus.unwrap_or(0),
            },
            "NetworkSettings": {"Networks": self.raw_endpoints(networks), "Ports": raw_ports(&self.ports)},
        })
    }

    /// `Networks` of Docker's description.
    fn raw_endpoints(&self, networks: &Networks) -> Value {
        let describe = |(nth, endpoint): (usize, &Endpoint)| {
            let held = self.held.get(nth);
            let subnet = held.and_then(|held| networks.find(&held.network).ok()).and_then(|net| net.subnet);
            let described = json!({
                "IPAMConfig": {"IPv4Address": endpoint.address.to_string()},
                "Aliases": endpoint.aliases,
                "NetworkID": held.map_or("", |held| held.network.as_str()),
                "Gateway": subnet.map_or_else(String::new, |subnet| subnet.gateway().to_string()),
                "IPAddress": held.map_or_else(String::new, |held| held.address.to_string()),
                "IPPrefixLen": subnet.map_or(0, |subnet| subnet.prefix()),
            });
            (endpoint.network.clone(), described)
        };
        self.spec.network.endpoints().iter().enumerate().map(describe).collect::<serde_json::Map<_, _>>().into()
    }
}

/// `NetworkMode` of Docker's description.
fn network_mode(network: &Network) -> String {
    match network {
        Network::Of(id) => format!("container:{id}"),
        Network::None => "none".to_owned(),
        Network::Attached { endpoints, .. } => {
            endpoints.first().map_or_else(String::new, |first| first.network.clone())
        }
    }
}

/// Ports as Docker describes them.
fn raw_ports(ports: &[PublishedPort]) -> Value {
    let mut described = serde_json::Map::new();
    for port in ports {
        let host_ip = port.host_ip.map_or_else(String::new, |ip| ip.to_string());
        let host_port = port.host_port.map_or_else(String::new, |port| port.to_string());
        let bindings = described.entry(format!("{}/{}", port.port, port.protocol.name())).or_insert_with(|| json!([]));
        if let Some(bindings) = bindings.as_array_mut() {
            bindings.push(json!({"HostIp": host_ip, "HostPort": host_port}));
        }
    }
    described.into()
}

/// Docker's description of a check.
fn raw_check(check: &Check) -> Value {
    let time = rfc3339(check.began);
    json!({"Start": time, "End": time, "ExitCode": check.exit_code, "Output": check.output})
}

/// Docker's word for a state.
fn status_name(status: Status) -> &'static str {
    match status {
        Status::Created => "created",
        Status::Running => "running",
        Status::Paused => "paused",
        Status::Exited => "exited",
    }
}

/// Docker's word for a health; `None` without a HEALTHCHECK.
fn health_name(health: Health) -> Option<&'static str> {
    match health {
        Health::None => None,
        Health::Starting => Some("starting"),
        Health::Healthy => Some("healthy"),
        Health::Unhealthy => Some("unhealthy"),
    }
}

/// A time in ns since the Unix epoch as Docker writes it; 0 stands for never.
pub(super) fn rfc3339(ns: i64) -> String {
    if ns == 0 {
        return "0001-01-01T00:00:00Z".to_owned();
    }
    let (seconds, ns) = (ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years counted from March keep the leap day last; 719,468 days lie between 0000-03-01 and the epoch.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ns:09}Z")
}
