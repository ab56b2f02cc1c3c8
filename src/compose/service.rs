//! All keys of a service: what each becomes, is ignored with, or is refused for.

use super::contents::{FileWish, read_wishes};
use super::model::{Condition, Extension, Service, ServiceNetwork};
use super::reader::{Keys, Reader, Rule, unique};
use super::tree::{Entry, Mark, Value};
use super::values::{BYTES, CPUS, DURATION, MAC, NAME, bytes, duration, is_name, mac, nano_cpus};
use super::{dependencies, deploy, environment, extension, health, host, mounts, networks, ports};
use crate::engine::{CgroupNamespace, RestartPolicy, Signal};
use crate::text::shown;

/// A service while it is read.
pub(super) struct Draft {
    pub(super) service: Service,
    pub(super) scale: Option<usize>,
    pub(super) networks: Vec<(ServiceNetwork, Mark)>,
    pub(super) depends_on: Vec<dependencies::DependencyWish>,
    pub(super) files: Vec<FileWish>,
    pub(super) deploy: deploy::Deploy,
    /// `environment`, which wins over `env_files`.
    environment: Vec<(String, Option<String>)>,
    env_files: Vec<(String, String)>,
}

/// What only the program that runs a swarm or a cluster of machines needs, or what the kernel is told in finer words.
const NOT_LIMITED: &str = "only mem_limit, cpus and pids_limit are applied";
const OTHERS: &str = "a node shares nothing with other containers";

const SERVICE: &Keys<Draft> = &[
    ("annotations", Rule::Warn("the engine's runtime gets none")),
    ("attach", Rule::Ignore),
    ("blkio_config", Rule::Warn(NOT_LIMITED)),
    ("build", Rule::Read(build)),
    ("cap_add", Rule::Read(|reader, draft, entry| draft.service.run.cap_add = reader.texts("cap_add", &entry.node))),
    ("cap_drop", Rule::Read(|reader, draft, entry| draft.service.run.cap_drop = reader.texts("cap_drop", &entry.node))),
    (
        "cgroup",
        Rule::Read(|reader, draft, entry| {
            let known = |text: &str| match text {
                "host" => Some(CgroupNamespace::Host),
                "private" => Some(CgroupNamespace::Private),
                _ => None,
            };
            draft.service.run.cgroup = reader.parsed("cgroup", &entry.node, "host or private", known);
        }),
    ),
    ("cgroup_parent", Rule::Refuse("limits of a group of containers are not supported")),
    ("command", Rule::Read(|reader, draft, entry| draft.service.command = words(reader, entry))),
    ("configs", Rule::Read(|reader, draft, entry| draft.files.extend(read_wishes(reader, entry, false)))),
    (
        "container_name",
        Rule::Read(|reader, draft, entry| {
            let name = |text: &str| is_name(text).then(|| text.to_owned());
            draft.service.container_name = reader.parsed("container_name", &entry.node, NAME, name);
            reader.warn(&entry.mark, "container_name is a name in DNS and of the node here, not of the container");
        }),
    ),
    ("cpu_count", Rule::Warn(NOT_LIMITED)),
    ("cpu_percent", Rule::Warn(NOT_LIMITED)),
    ("cpu_period", Rule::Warn(NOT_LIMITED)),
    ("cpu_quota", Rule::Warn(NOT_LIMITED)),
    ("cpu_rt_period", Rule::Warn(NOT_LIMITED)),
    ("cpu_rt_runtime", Rule::Warn(NOT_LIMITED)),
    ("cpu_shares", Rule::Warn(NOT_LIMITED)),
    (
        "cpus",
        Rule::Read(|reader, draft, entry| {
            draft.service.run.nano_cpus = reader.parsed("cpus", &entry.node, CPUS, nano_cpus);
        }),
    ),
    ("cpuset", Rule::Warn(NOT_LIMITED)),
    ("credential_spec", Rule::Refuse("it is for Windows")),
    ("depends_on", Rule::Read(|reader, draft, entry| draft.depends_on = dependencies::read(reader, entry))),
    ("deploy", Rule::Read(|reader, draft, entry| deploy::read(reader, &mut draft.deploy, entry))),
    ("develop", Rule::Warn("nothing is watched or rebuilt")),
    ("device_cgroup_rules", Rule::Refuse("name each device under 'devices'")),
    ("devices", Rule::Read(|reader, draft, entry| draft.service.run.devices = host::devices(reader, entry))),
    ("dns", Rule::Read(|reader, draft, entry| draft.service.network.dns = host::name_servers(reader, entry))),
    (
        "dns_opt",
        Rule::Read(|reader, draft, entry| draft.service.network.dns_options = reader.texts("dns_opt", &entry.node)),
    ),
    (
        "dns_search",
        Rule::Read(|reader, draft, entry| draft.service.network.dns_search = reader.texts("dns_search", &entry.node)),
    ),
    (
        "domainname",
        Rule::Read(|reader, draft, entry| draft.service.network.domainname = reader.text("domainname", &entry.node)),
    ),
    ("driver_opts", Rule::Warn("they are the engine's own")),
    ("entrypoint", Rule::Read(|reader, draft, entry| draft.service.entrypoint = words(reader, entry))),
    ("env_file", Rule::Read(|reader, draft, entry| draft.env_files = environment::files(reader, entry))),
    ("environment", Rule::Read(|reader, draft, entry| draft.environment = environment::variables(reader, entry))),
    ("expose", Rule::Warn("nodes reach every port of each other")),
    ("external_links", Rule::Refuse(OTHERS)),
    (
        "extra_hosts",
        Rule::Read(|reader, draft, entry| draft.service.network.extra_hosts = host::extra_hosts(reader, entry)),
    ),
    ("gpus", Rule::Read(|reader, draft, entry| draft.service.run.gpus = host::gpus(reader, entry))),
    (
        "group_add",
        Rule::Read(|reader, draft, entry| draft.service.run.group_add = reader.texts("group_add", &entry.node)),
    ),
    (
        "healthcheck",
        Rule::Read(|reader, draft, entry| draft.service.run.healthcheck = Some(health::read(reader, entry))),
    ),
    (
        "hostname",
        Rule::Read(|reader, draft, entry| draft.service.network.hostname = reader.text("hostname", &entry.node)),
    ),
    (
        "image",
        Rule::Read(|reader, draft, entry| {
            let form = "an image: it is empty";
            draft.service.image =
                reader.parsed("image", &entry.node, form, |text| (!text.trim().is_empty()).then(|| text.to_owned()));
        }),
    ),
    ("init", Rule::Read(|reader, draft, entry| draft.service.run.init = reader.truth("init", &entry.node))),
    ("ipc", Rule::Refuse(OTHERS)),
    ("isolation", Rule::Refuse("it is for Windows")),
    ("label_file", Rule::Warn("write the labels under 'labels'")),
    ("labels", Rule::Read(|reader, draft, entry| draft.service.run.labels = networks::labels(reader, entry))),
    ("links", Rule::Read(|reader, draft, entry| draft.service.links = dependencies::links(reader, entry))),
    ("logging", Rule::Read(logging)),
    (
        "mac_address",
        Rule::Read(|reader, draft, entry| {
            draft.service.network.mac_address = reader.parsed("mac_address", &entry.node, MAC, mac);
        }),
    ),
    (
        "mem_limit",
        Rule::Read(|reader, draft, entry| {
            draft.service.run.memory = reader.parsed("mem_limit", &entry.node, BYTES, bytes);
        }),
    ),
    ("mem_reservation", Rule::Warn(NOT_LIMITED)),
    ("mem_swappiness", Rule::Warn(NOT_LIMITED)),
    ("memswap_limit", Rule::Warn(NOT_LIMITED)),
    ("models", Rule::Refuse("no model is run here")),
    ("network_mode", Rule::Read(network_mode)),
    ("networks", Rule::Read(|reader, draft, entry| draft.networks = networks::read_members(reader, entry))),
    ("oom_kill_disable", Rule::Warn(NOT_LIMITED)),
    (
        "oom_score_adj",
        Rule::Read(|reader, draft, entry| {
            let score = |text: &str| text.parse().ok().filter(|score| (-1000..=1000).contains(score));
            draft.service.run.oom_score_adj =
                reader.parsed("oom_score_adj", &entry.node, "a number from -1000 to 1000", score);
        }),
    ),
    ("pid", Rule::Refuse(OTHERS)),
    (
        "pids_limit",
        Rule::Read(|reader, draft, entry| {
            draft.service.run.pids_limit = reader.number("pids_limit", &entry.node, "a number of processes");
        }),
    ),
    ("platform", Rule::Read(|reader, draft, entry| draft.service.run.platform = reader.text("platform", &entry.node))),
    ("ports", Rule::Read(|reader, draft, entry| draft.service.network.ports = ports::read(reader, entry))),
    ("post_start", Rule::Warn("start it from your test, once the node is ready")),
    ("pre_stop", Rule::Warn("run it from your test, before the stop")),
    (
        "privileged",
        Rule::Read(|reader, draft, entry| {
            draft.service.run.privileged = reader.truth("privileged", &entry.node).unwrap_or_default();
            if draft.service.run.privileged {
                reader.warn(&entry.mark, "privileged: such a node may undo its own faults");
            }
        }),
    ),
    // Read before anything else.
    ("profiles", Rule::Ignore),
    ("provider", Rule::Refuse("a service is a container here")),
    ("pull_policy", Rule::Read(pull_policy)),
    ("pull_refresh_after", Rule::Warn("an image is pulled only if it is missing")),
    (
        "read_only",
        Rule::Read(|reader, draft, entry| {
            draft.service.run.read_only = reader.truth("read_only", &entry.node).unwrap_or_default();
        }),
    ),
    ("restart", Rule::Read(restart)),
    ("runtime", Rule::Refuse("a node runs under the engine's default runtime")),
    ("scale", Rule::Read(|reader, draft, entry| draft.scale = deploy::replicas(reader, "scale", entry))),
    ("secrets", Rule::Read(|reader, draft, entry| draft.files.extend(read_wishes(reader, entry, true)))),
    (
        "security_opt",
        Rule::Read(|reader, draft, entry| draft.service.run.security_opt = reader.texts("security_opt", &entry.node)),
    ),
    (
        "shm_size",
        Rule::Read(|reader, draft, entry| {
            draft.service.run.shm_size = reader.parsed("shm_size", &entry.node, BYTES, bytes);
        }),
    ),
    (
        "stdin_open",
        Rule::Read(|reader, draft, entry| {
            draft.service.run.stdin_open = reader.truth("stdin_open", &entry.node).unwrap_or_default();
        }),
    ),
    (
        "stop_grace_period",
        Rule::Read(|reader, draft, entry| {
            draft.service.stop_grace_period = reader.parsed("stop_grace_period", &entry.node, DURATION, duration);
        }),
    ),
    (
        "stop_signal",
        Rule::Read(|reader, draft, entry| {
            let signal = |text: &str| Signal::parse_exact(text).map(|_| text.to_owned());
            draft.service.run.stop_signal =
                reader.parsed("stop_signal", &entry.node, "a signal, such as SIGINT or 2", signal);
        }),
    ),
    ("storage_opt", Rule::Warn("the size of a node's files is not limited")),
    ("sysctls", Rule::Read(sysctls)),
    ("tmpfs", Rule::Read(|reader, draft, entry| draft.service.run.tmpfs.extend(mounts::read_tmpfs(reader, entry)))),
    (
        "tty",
        Rule::Read(|reader, draft, entry| draft.service.run.tty = reader.truth("tty", &entry.node).unwrap_or_default()),
    ),
    ("ulimits", Rule::Read(|reader, draft, entry| draft.service.run.ulimits = host::ulimits(reader, entry))),
    ("use_api_socket", Rule::Refuse("a node does not get the engine's socket")),
    ("user", Rule::Read(|reader, draft, entry| draft.service.run.user = reader.text("user", &entry.node))),
    ("userns_mode", Rule::Refuse("a node has the engine's user namespace")),
    ("uts", Rule::Refuse("a node has a host name of its own")),
    (
        "volumes",
        Rule::Read(|reader, draft, entry| {
            let (mounts, tmpfs) = mounts::read(reader, entry);
            draft.service.mounts = mounts;
            draft.service.run.tmpfs.extend(tmpfs);
        }),
    ),
    ("volumes_from", Rule::Refuse("name the volumes under 'volumes'")),
    (
        "working_dir",
        Rule::Read(|reader, draft, entry| draft.service.run.working_dir = reader.target("working_dir", &entry.node)),
    ),
    ("x-cthulhu", Rule::Read(|reader, draft, entry| extension::read(reader, &mut draft.service.extension, entry))),
];

/// Reads a service. What depends on others is left in the draft.
pub(super) fn read(reader: &mut Reader, entry: &Entry) -> Draft {
    let service = Service {
        name: entry.key.clone(),
        place: entry.mark.place(),
        replicas: 1,
        image: None,
        build: None,
        never_pull: false,
        entrypoint: None,
        command: None,
        env: vec![],
        container_name: None,
        links: vec![],
        networks: vec![],
        mounts: vec![],
        files: vec![],
        depends_on: vec![],
        stop_grace_period: None,
        restart: RestartPolicy::No,
        run: crate::engine::RunOptions::default(),
        network: crate::engine::NetworkOptions::default(),
        extension: Extension::default(),
    };
    let mut draft = Draft {
        service,
        scale: None,
        networks: vec![],
        depends_on: vec![],
        files: vec![],
        deploy: deploy::Deploy::default(),
        environment: vec![],
        env_files: vec![],
    };
    reader.map("a service", &entry.node, SERVICE, &mut draft);
    let over = draft.environment.drain(..).filter_map(|(name, value)| Some((name, value?)));
    draft.service.env = unique(draft.env_files.drain(..).chain(over).collect());
    for link in &draft.service.links {
        if !draft.depends_on.iter().any(|wish| wish.service == link.service) {
            let mark = entry.node.get("links").map_or(&entry.mark, |links| &links.node.mark).clone();
            let service = link.service.clone();
            draft.depends_on.push(dependencies::DependencyWish {
                service,
                condition: Condition::Started,
                required: true,
                mark,
            });
        }
    }
    draft
}

/// A command: a list, or a line that is split as a shell would.
fn words(reader: &mut Reader, entry: &Entry) -> Option<Vec<String>> {
    if matches!(entry.node.value, Value::List(_)) {
        return Some(reader.texts(&entry.key, &entry.node));
    }
    let line = reader.text(&entry.key, &entry.node)?;
    let Some(words) = shlex::split(&line) else {
        reader.refuse(&entry.node.mark, format!("{}: a quote or a backslash is without its other half", entry.key));
        return None;
    };
    if let Some(word) = words.iter().find(|word| ["&&", "||", "|", ";", ">", ">>", "<", "&"].contains(&word.as_str())) {
        let text = format!("{}: no shell is started: the program gets '{word}' as an argument", entry.key);
        reader.warn(&entry.node.mark, text);
    }
    Some(words)
}

fn build(reader: &mut Reader, draft: &mut Draft, entry: &Entry) {
    draft.service.build = match &entry.node.value {
        Value::Map(_) => match entry.node.get("context") {
            Some(context) => reader.text("build: context", &context.node),
            None => Some(".".into()),
        },
        _ => reader.text("build", &entry.node),
    };
}

fn logging(reader: &mut Reader, _: &mut Draft, entry: &Entry) {
    let driver = entry.node.get("driver").and_then(|driver| driver.node.scalar());
    match driver.as_deref() {
        Some("none") => {
            reader.refuse(&entry.mark, "logging: driver none is refused: a node's log is a file of the cluster")
        }
        _ => reader.warn(&entry.mark, "logging is ignored: a node's log is a file of the cluster"),
    }
}

fn network_mode(reader: &mut Reader, _draft: &mut Draft, entry: &Entry) {
    let Some(mode) = reader.text("network_mode", &entry.node) else { return };
    let why = match mode.as_str() {
        "none" => "a node needs an address, by which it is found and cut off",
        "host" => "a node on the host's network cannot be cut off",
        "bridge" | "default" => "the engine's default network pins no addresses: leave it out",
        mode if mode.starts_with("service:") || mode.starts_with("container:") => {
            "a node has a network of its own: leave it out"
        }
        _ => "there is only none: name networks under 'networks'",
    };
    reader.refuse(&entry.mark, format!("network_mode {} is refused: {why}", shown(&mode)));
}

fn pull_policy(reader: &mut Reader, draft: &mut Draft, entry: &Entry) {
    match reader.text("pull_policy", &entry.node).as_deref() {
        Some("never") => draft.service.never_pull = true,
        Some("missing" | "if_not_present") | None => {}
        Some(policy) => {
            let text = format!("pull_policy {} is ignored: an image is pulled only if it is missing", shown(policy));
            reader.warn(&entry.mark, text);
        }
    }
}

/// The warning about a policy.
pub const RESTART_IS_NOT_APPLIED: &str =
    "restart is not applied: a killed node stays dead until you start it (--restart-policies applies it)";

fn restart(reader: &mut Reader, draft: &mut Draft, entry: &Entry) {
    let policy = |text: &str| match text.split_once(':').unwrap_or((text, "")) {
        ("no" | "false" | "none", "") => Some(RestartPolicy::No),
        ("always", "") => Some(RestartPolicy::Always),
        ("unless-stopped", "") => Some(RestartPolicy::UnlessStopped),
        ("on-failure", "") => Some(RestartPolicy::OnFailure(None)),
        ("on-failure", times) => Some(RestartPolicy::OnFailure(Some(times.parse().ok()?))),
        _ => None,
    };
    let form = "no, always, unless-stopped, on-failure or on-failure:TIMES";
    let Some(policy) = reader.parsed("restart", &entry.node, form, policy) else { return };
    draft.service.restart = policy;
    if policy != RestartPolicy::No {
        reader.warn(&entry.mark, RESTART_IS_NOT_APPLIED);
    }
}

fn sysctls(reader: &mut Reader, draft: &mut Draft, entry: &Entry) {
    let all = reader.full_pairs("sysctls", &entry.node, &['=']);
    let (network, run) = all.into_iter().partition(|(name, _)| name.starts_with("net."));
    (draft.service.network.sysctls, draft.service.run.sysctls) = (network, run);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_documented() {
        let docs = include_str!("../../docs/compose.md");
        let missing = SERVICE.iter().map(|(key, _)| format!("`{key}`")).filter(|key| !docs.contains(key));
        assert_eq!(missing.collect::<Vec<_>>(), Vec::<String>::new());
        assert!(SERVICE.is_sorted_by_key(|(key, _)| *key), "or nobody finds them");
    }
}
