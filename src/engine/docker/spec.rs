//! From our description of a container to the engine's.
//!
//! Pure: nothing is asked of the engine here.

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, DeviceMapping, DeviceRequest, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig,
    HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount, MountType, MountVolumeOptions, NetworkingConfig,
    PortBinding, ResourcesUlimits, RestartPolicyNameEnum,
};
use serde_json::Value;

use crate::engine::{
    Bind, CgroupNamespace, ContainerSpec, Device, Endpoint, Gpus, HealthCheck, Network, PublishedPort, RestartPolicy,
    RunOptions, Stdin, Ulimit, VolumeMount,
};

/// A version of the API: major, minor.
pub(super) type Api = (usize, usize);

/// From this version on an endpoint has a MAC address, and a HEALTHCHECK a start interval.
const RECENT: Api = (1, 44);

/// The version that is spoken with an engine.
pub(super) fn api(docker: &Docker) -> Api {
    let version = docker.client_version();
    (version.major_version, version.minor_version)
}

/// Log drivers to try for a container's output, best first, so that all of it can be read whatever the engine's
/// default.
///
/// `json-file` is Docker's own default, and podman has it too. An engine whose default is json-file with
/// `max-buffer-size` refuses to block instead (moby, daemon/logger/factory.go: ValidateLogOpts), but adds options of its
/// default to those of the same driver only.
pub(super) const LOG_DRIVERS: [&str; 2] = ["json-file", "local"];

/// Without rotation: an engine that follows a log loses and repeats lines where it is rotated. Neither driver has a
/// word for "unbounded" if the engine's default has a size.
const UNBOUNDED: &str = "1000p";
/// Of an output that an attached client reads; the engine's copy helps to find the cause of a failure.
const ATTACHED: &str = "1m";

fn log_config(spec: &ContainerSpec, driver: &str) -> HostConfigLogConfig {
    if spec.keeps_no_log {
        return HostConfigLogConfig { typ: Some("none".into()), config: None };
    }
    let size = if spec.stdin.is_attended() { ATTACHED } else { UNBOUNDED };
    let options = [("max-size", size), ("max-file", "1"), ("compress", "false"), ("mode", "blocking")];
    let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
    HostConfigLogConfig { typ: Some(driver.to_owned()), config: Some(HashMap::from(options)) }
}

/// The body of a create request for an engine of that API. Output goes to the engine's default if no log driver is named.
///
/// Only the first endpoint is in it: before API 1.44, engines refuse further ones.
pub(super) fn body(spec: &ContainerSpec, log_driver: Option<&str>, api: Api) -> ContainerCreateBody {
    let run = &spec.run;
    let mut body = ContainerCreateBody {
        image: Some(spec.image.clone()),
        entrypoint: spec.entrypoint.clone(),
        cmd: spec.command.clone(),
        env: some(&spec.env),
        labels: Some(spec.all_labels().into_iter().collect()),
        user: run.user.clone(),
        working_dir: run.working_dir.clone(),
        tty: run.tty.then_some(true),
        open_stdin: (run.stdin_open || spec.stdin.is_attended()).then_some(true),
        stop_signal: run.stop_signal.clone(),
        healthcheck: run.healthcheck.as_ref().map(|check| healthcheck(check, api)),
        ..ContainerCreateBody::default()
    };
    if spec.stdin == Stdin::UntilDetached {
        body.stdin_once = Some(true);
        body.attach_stdin = Some(true);
    }
    let mut host = HostConfig {
        mounts: some(&spec.binds.iter().map(mount).chain(spec.volumes.iter().map(volume)).collect::<Vec<_>>()),
        auto_remove: Some(spec.auto_remove),
        userns_mode: spec.host_users.then(|| "host".to_owned()),
        log_config: log_driver.map(|driver| log_config(spec, driver)),
        ..host_config(run)
    };
    connect(&spec.network, &mut body, &mut host, api);
    body.host_config = Some(host);
    body
}

/// What does not come from the image.
fn host_config(run: &RunOptions) -> HostConfig {
    HostConfig {
        memory: run.memory,
        nano_cpus: run.nano_cpus,
        pids_limit: run.pids_limit,
        shm_size: run.shm_size,
        oom_score_adj: run.oom_score_adj,
        cap_add: some(&run.cap_add),
        cap_drop: some(&run.cap_drop),
        privileged: Some(run.privileged),
        readonly_rootfs: Some(run.read_only),
        init: run.init,
        group_add: some(&run.group_add),
        security_opt: some(&run.security_opt),
        tmpfs: map(&run.tmpfs),
        sysctls: map(&run.sysctls),
        ulimits: some(&run.ulimits.iter().map(ulimit).collect::<Vec<_>>()),
        devices: some(&run.devices.iter().map(device).collect::<Vec<_>>()),
        device_requests: run.gpus.as_ref().map(|gpus| vec![device_request(gpus)]),
        restart_policy: restart_policy(run.restart),
        cgroupns_mode: run.cgroup.map(|namespace| match namespace {
            CgroupNamespace::Host => HostConfigCgroupnsModeEnum::HOST,
            CgroupNamespace::Private => HostConfigCgroupnsModeEnum::PRIVATE,
        }),
        ..HostConfig::default()
    }
}

fn restart_policy(policy: RestartPolicy) -> Option<bollard::models::RestartPolicy> {
    let (name, times) = match policy {
        RestartPolicy::No => return None,
        RestartPolicy::Always => (RestartPolicyNameEnum::ALWAYS, None),
        RestartPolicy::UnlessStopped => (RestartPolicyNameEnum::UNLESS_STOPPED, None),
        RestartPolicy::OnFailure(times) => (RestartPolicyNameEnum::ON_FAILURE, times),
    };
    Some(bollard::models::RestartPolicy { name: Some(name), maximum_retry_count: times.map(i64::from) })
}

/// Fills in all that concerns the network. A container in another's network may not say anything about it.
fn connect(network: &Network, body: &mut ContainerCreateBody, host: &mut HostConfig, api: Api) {
    let (endpoints, hosts, options) = match network {
        Network::None => return host.network_mode = Some("none".to_owned()),
        Network::Of(other) => return host.network_mode = Some(format!("container:{other}")),
        Network::Attached { endpoints, hosts, options, .. } => (endpoints, hosts, options),
    };
    body.hostname = network.hostname().map(str::to_owned);
    body.domainname = options.domainname.clone();
    if let Some(first) = endpoints.first() {
        let mac_address = options.mac_address.clone().filter(|_| api >= RECENT);
        let settings = EndpointSettings { mac_address, ..endpoint(first) };
        host.network_mode = Some(first.network.clone());
        body.networking_config =
            Some(NetworkingConfig { endpoints_config: Some([(first.network.clone(), settings)].into()) });
    }
    let others = hosts.iter().map(|(name, ip)| format!("{name}:{ip}"));
    let lines = options.extra_hosts.iter().map(|(name, ip)| format!("{name}:{ip}")).chain(others);
    host.extra_hosts = some(&lines.collect::<Vec<_>>());
    host.dns = some(&options.dns.iter().map(ToString::to_string).collect::<Vec<_>>());
    host.dns_search = some(&options.dns_search);
    host.dns_options = some(&options.dns_options);
    if let Some(sysctls) = map(&options.sysctls) {
        host.sysctls.get_or_insert_default().extend(sysctls);
    }
    if !options.ports.is_empty() {
        let bindings = bindings(&options.ports);
        body.exposed_ports = Some(bindings.keys().cloned().collect());
        host.port_bindings = Some(bindings);
    }
}

/// How a container is connected to a network.
pub(super) fn endpoint(endpoint: &Endpoint) -> EndpointSettings {
    EndpointSettings {
        ipam_config: Some(EndpointIpamConfig {
            ipv4_address: Some(endpoint.address.to_string()),
            ..EndpointIpamConfig::default()
        }),
        aliases: some(&endpoint.aliases),
        ..EndpointSettings::default()
    }
}

/// The body with a MAC address as engines before API 1.44 take it, if it has to have one: in a field that bollard lacks.
pub(super) fn with_old_mac(spec: &ContainerSpec, body: &ContainerCreateBody, api: Api) -> Option<String> {
    let Network::Attached { options, .. } = &spec.network else { return None };
    let mac = options.mac_address.clone().filter(|_| api < RECENT)?;
    let mut body = serde_json::to_value(body).ok()?;
    body["MacAddress"] = Value::String(mac);
    Some(body.to_string())
}

fn bindings(ports: &[PublishedPort]) -> HashMap<String, Option<Vec<PortBinding>>> {
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for port in ports {
        let binding = PortBinding {
            host_ip: port.host_ip.map(|ip| ip.to_string()),
            // Empty: any free one.
            host_port: Some(port.host_port.map_or_else(String::new, |port| port.to_string())),
        };
        let key = format!("{}/{}", port.port, port.protocol.name());
        bindings.entry(key).or_default().get_or_insert_default().push(binding);
    }
    bindings
}

fn healthcheck(check: &HealthCheck, api: Api) -> HealthConfig {
    let ns = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    HealthConfig {
        test: check.test.clone(),
        interval: check.interval.map(ns),
        timeout: check.timeout.map(ns),
        retries: check.retries,
        start_period: check.start_period.map(ns),
        start_interval: check.start_interval.filter(|_| api >= RECENT).map(ns),
    }
}

fn ulimit(limit: &Ulimit) -> ResourcesUlimits {
    ResourcesUlimits { name: Some(limit.name.clone()), soft: Some(limit.soft), hard: Some(limit.hard) }
}

fn device(device: &Device) -> DeviceMapping {
    DeviceMapping {
        path_on_host: Some(device.host.clone()),
        path_in_container: Some(device.container.clone()),
        cgroup_permissions: Some(device.permissions.clone()),
    }
}

fn device_request(gpus: &Gpus) -> DeviceRequest {
    let (count, device_ids) = match gpus {
        Gpus::All => (Some(-1), None),
        Gpus::Count(count) => (Some(i64::from(*count)), None),
        Gpus::Devices(ids) => (None, Some(ids.clone())),
    };
    let capabilities = Some(vec![vec!["gpu".to_owned()]]);
    DeviceRequest { count, device_ids, capabilities, ..DeviceRequest::default() }
}

/// As a mount and not as `source:target`, so that paths may hold colons.
fn mount(bind: &Bind) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(bind.source.to_string_lossy().into_owned()),
        target: Some(bind.target.clone()),
        read_only: Some(bind.read_only),
        ..Mount::default()
    }
}

fn volume(volume: &VolumeMount) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(volume.name.clone()),
        target: Some(volume.target.clone()),
        read_only: volume.read_only.then_some(true),
        volume_options: volume
            .no_copy
            .then(|| MountVolumeOptions { no_copy: Some(true), ..MountVolumeOptions::default() }),
        ..Mount::default()
    }
}

fn map(pairs: &[(String, String)]) -> Option<HashMap<String, String>> {
    (!pairs.is_empty()).then(|| pairs.iter().cloned().collect())
}

fn some<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

#[cfg(test)]
mod tests;
