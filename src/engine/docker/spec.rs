//! From our description of a container to the engine's.
//!
//! Pure: nothing is asked of the engine here.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, HostConfigLogConfig, Mount, MountType,
    NetworkingConfig, PortBinding,
};

use crate::engine::{Bind, ContainerSpec, Network, VolumeMount};

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
    let size = if spec.attached_stdin { ATTACHED } else { UNBOUNDED };
    let options = [("max-size", size), ("max-file", "1"), ("compress", "false"), ("mode", "blocking")];
    let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
    HostConfigLogConfig { typ: Some(driver.to_owned()), config: Some(HashMap::from(options)) }
}

/// The body of a create request. Output goes to the engine's default if no log driver is named.
pub(super) fn body(spec: &ContainerSpec, log_driver: Option<&str>) -> ContainerCreateBody {
    let mut body = ContainerCreateBody {
        image: Some(spec.image.clone()),
        entrypoint: spec.entrypoint.clone(),
        cmd: spec.command.clone(),
        env: some(&spec.env),
        labels: Some(spec.labels.iter().cloned().collect()),
        user: spec.user.clone(),
        ..ContainerCreateBody::default()
    };
    if spec.attached_stdin {
        body.open_stdin = Some(true);
        body.stdin_once = Some(true);
        body.attach_stdin = Some(true);
    }
    let mut host = HostConfig {
        mounts: some(&spec.binds.iter().map(mount).chain(spec.volumes.iter().map(volume)).collect::<Vec<_>>()),
        memory: spec.memory,
        nano_cpus: spec.nano_cpus,
        cap_add: some(&spec.cap_add),
        cap_drop: some(&spec.cap_drop),
        privileged: Some(spec.privileged),
        readonly_rootfs: Some(spec.read_only),
        auto_remove: Some(spec.auto_remove),
        userns_mode: spec.host_users.then(|| "host".to_owned()),
        log_config: log_driver.map(|driver| log_config(spec, driver)),
        ..HostConfig::default()
    };
    connect(&spec.network, &mut body, &mut host);
    body.host_config = Some(host);
    body
}

/// Fills in all that concerns the network. A container in another's network may not say anything about it.
fn connect(network: &Network, body: &mut ContainerCreateBody, host: &mut HostConfig) {
    match network {
        Network::None => host.network_mode = Some("none".to_owned()),
        Network::Of(other) => host.network_mode = Some(format!("container:{other}")),
        Network::Attached { network, address, aliases, hostname, hosts, published } => {
            host.network_mode = Some(network.clone());
            body.hostname = Some(hostname.clone());
            host.extra_hosts = some(&hosts.iter().map(|(name, ip)| format!("{name}:{ip}")).collect::<Vec<_>>());
            let endpoint = EndpointSettings {
                ipam_config: Some(EndpointIpamConfig {
                    ipv4_address: Some(address.to_string()),
                    ..EndpointIpamConfig::default()
                }),
                aliases: some(aliases),
                ..EndpointSettings::default()
            };
            let endpoints = HashMap::from([(network.clone(), endpoint)]);
            body.networking_config = Some(NetworkingConfig { endpoints_config: Some(endpoints) });
            if !published.is_empty() {
                let bindings = bindings(published);
                body.exposed_ports = Some(bindings.keys().cloned().collect());
                host.port_bindings = Some(bindings);
            }
        }
    }
}

/// Ports published on all of the host's addresses.
fn bindings(published: &[(u16, u16)]) -> HashMap<String, Option<Vec<PortBinding>>> {
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for (outside, inside) in published {
        let binding = PortBinding { host_ip: None, host_port: Some(outside.to_string()) };
        bindings.entry(format!("{inside}/tcp")).or_default().get_or_insert_default().push(binding);
    }
    bindings
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
        ..Mount::default()
    }
}

fn some<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ContainerId;

    fn spec(network: Network) -> ContainerSpec {
        ContainerSpec {
            name: "n".into(),
            image: "i".into(),
            entrypoint: None,
            command: None,
            env: Vec::new(),
            labels: vec![("k".into(), "v".into())],
            network,
            binds: vec![Bind { source: "/a:b".into(), target: "/c:d".into(), read_only: true }],
            volumes: vec![VolumeMount { name: "v".into(), target: "/v".into() }],
            user: None,
            memory: None,
            nano_cpus: None,
            cap_add: Vec::new(),
            cap_drop: vec!["ALL".into()],
            privileged: false,
            read_only: false,
            attached_stdin: false,
            auto_remove: false,
            host_users: false,
        }
    }

    #[test]
    fn a_container_in_anothers_network_says_nothing_of_it() {
        let body = body(&spec(Network::Of(ContainerId("ab".into()))), None);
        assert!(body.hostname.is_none() && body.networking_config.is_none() && body.exposed_ports.is_none());
        let host = body.host_config.unwrap();
        assert_eq!(host.network_mode.as_deref(), Some("container:ab"));
        assert!(host.port_bindings.is_none());
        let mounts = host.mounts.unwrap();
        assert_eq!(mounts[0].source.as_deref(), Some("/a:b"));
        assert_eq!((mounts[1].typ, mounts[1].source.as_deref()), (Some(MountType::VOLUME), Some("v")));
    }

    #[test]
    fn an_endpoint_has_its_address_and_ports() {
        let body = body(
            &spec(Network::Attached {
                network: "net".into(),
                address: [10, 0, 0, 2].into(),
                aliases: vec!["x".into()],
                hostname: "h".into(),
                hosts: vec![("other".into(), [10, 0, 0, 3].into())],
                published: vec![(8080, 80), (8081, 80)],
            }),
            None,
        );
        assert_eq!(body.exposed_ports, Some(vec!["80/tcp".to_owned()]));
        let endpoint = &body.networking_config.unwrap().endpoints_config.unwrap()["net"];
        assert_eq!(endpoint.ipam_config.as_ref().unwrap().ipv4_address.as_deref(), Some("10.0.0.2"));
        let host = body.host_config.unwrap();
        assert_eq!(host.extra_hosts, Some(vec!["other:10.0.0.3".to_owned()]));
        assert_eq!(host.port_bindings.unwrap()["80/tcp"].as_ref().unwrap().len(), 2);
    }

    #[test]
    fn a_nodes_output_is_never_rotated_and_a_sandboxs_is_bounded() {
        let config = |spec: &ContainerSpec| body(spec, Some("json-file")).host_config.unwrap().log_config.unwrap();
        let node = spec(Network::None);
        let sandbox = ContainerSpec { attached_stdin: true, ..spec(Network::None) };
        for (spec, size) in [(&node, "1000p"), (&sandbox, "1m")] {
            let config = config(spec);
            let options = config.config.unwrap();
            assert_eq!((config.typ.as_deref(), options["max-size"].as_str()), (Some("json-file"), size));
            assert_eq!((options["max-file"].as_str(), options["mode"].as_str()), ("1", "blocking"));
        }
        assert_eq!(body(&node, None).host_config.unwrap().log_config, None);
    }
}
