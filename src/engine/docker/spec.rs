//! From our description of a container to the engine's.
//!
//! Pure: nothing is asked of the engine here.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, Mount, MountType, NetworkingConfig,
    PortBinding,
};

use crate::engine::{Bind, ContainerSpec, Network};

/// The body of a create request.
pub(super) fn body(spec: &ContainerSpec) -> ContainerCreateBody {
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
        mounts: some(&spec.binds.iter().map(mount).collect::<Vec<_>>()),
        memory: spec.memory,
        nano_cpus: spec.nano_cpus,
        cap_add: some(&spec.cap_add),
        cap_drop: some(&spec.cap_drop),
        privileged: Some(spec.privileged),
        readonly_rootfs: Some(spec.read_only),
        auto_remove: Some(spec.auto_remove),
        userns_mode: spec.host_users.then(|| "host".to_owned()),
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
        let body = body(&spec(Network::Of(ContainerId("ab".into()))));
        assert!(body.hostname.is_none() && body.networking_config.is_none() && body.exposed_ports.is_none());
        let host = body.host_config.unwrap();
        assert_eq!(host.network_mode.as_deref(), Some("container:ab"));
        assert!(host.port_bindings.is_none());
        assert_eq!(host.mounts.unwrap()[0].source.as_deref(), Some("/a:b"));
    }

    #[test]
    fn an_endpoint_has_its_address_and_ports() {
        let body = body(&spec(Network::Attached {
            network: "net".into(),
            address: [10, 0, 0, 2].into(),
            aliases: vec!["x".into()],
            hostname: "h".into(),
            hosts: vec![("other".into(), [10, 0, 0, 3].into())],
            published: vec![(8080, 80), (8081, 80)],
        }));
        assert_eq!(body.exposed_ports, Some(vec!["80/tcp".to_owned()]));
        let endpoint = &body.networking_config.unwrap().endpoints_config.unwrap()["net"];
        assert_eq!(endpoint.ipam_config.as_ref().unwrap().ipv4_address.as_deref(), Some("10.0.0.2"));
        let host = body.host_config.unwrap();
        assert_eq!(host.extra_hosts, Some(vec!["other:10.0.0.3".to_owned()]));
        assert_eq!(host.port_bindings.unwrap()["80/tcp"].as_ref().unwrap().len(), 2);
    }
}
