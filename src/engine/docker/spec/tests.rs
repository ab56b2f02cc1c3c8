//! What is said to the engine for each option.

use super::*;
use crate::engine::{ContainerId, NetworkOptions, Protocol, Stdin};
use serde_json::json;

const OLD: Api = (1, 41);

fn spec(network: Network) -> ContainerSpec {
    ContainerSpec {
        name: "n".into(),
        image: "i".into(),
        labels: vec![("k".into(), "v".into())],
        network,
        binds: vec![Bind { source: "/a:b".into(), target: "/c:d".into(), read_only: true }],
        volumes: vec![VolumeMount { name: "v".into(), target: "/v".into(), ..VolumeMount::default() }],
        ..ContainerSpec::default()
    }
}

fn attached(options: NetworkOptions) -> ContainerSpec {
    let endpoint = |network: &str, last| Endpoint {
        network: network.into(),
        address: [10, 0, 0, last].into(),
        aliases: vec!["x".into()],
    };
    spec(Network::Attached {
        endpoints: vec![endpoint("net", 2), endpoint("other", 9)],
        hostname: "h".into(),
        hosts: vec![("other".into(), [10, 0, 0, 3].into())],
        options: options.into(),
    })
}

fn json(spec: &ContainerSpec, api: Api) -> Value {
    serde_json::to_value(body(spec, None, api)).unwrap()
}

#[test]
fn a_container_in_anothers_network_says_nothing_of_it() {
    let body = body(&spec(Network::Of(ContainerId("ab".into()))), None, OLD);
    assert!(body.hostname.is_none() && body.networking_config.is_none() && body.exposed_ports.is_none());
    let host = body.host_config.unwrap();
    assert_eq!(host.network_mode.as_deref(), Some("container:ab"));
    assert!(host.port_bindings.is_none());
    let mounts = host.mounts.unwrap();
    assert_eq!(mounts[0].source.as_deref(), Some("/a:b"));
    assert_eq!((mounts[1].typ, mounts[1].source.as_deref()), (Some(MountType::VOLUME), Some("v")));
}

#[test]
fn the_first_endpoint_is_created_with_its_address_and_ports() {
    let port = |host_ip: Option<&str>, host_port, port, protocol| PublishedPort {
        host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        host_port,
        port,
        protocol,
    };
    let ports = vec![
        port(None, Some(8080), 80, Protocol::Tcp),
        port(Some("127.0.0.1"), None, 80, Protocol::Tcp),
        port(None, Some(53), 53, Protocol::Udp),
    ];
    let body = json(&attached(NetworkOptions { ports, ..NetworkOptions::default() }), OLD);
    let mut exposed: Vec<_> = body["ExposedPorts"].as_object().unwrap().keys().collect();
    exposed.sort();
    assert_eq!(exposed, ["53/udp", "80/tcp"]);
    let endpoints = &body["NetworkingConfig"]["EndpointsConfig"];
    assert_eq!(endpoints, &json!({"net": {"IPAMConfig": {"IPv4Address": "10.0.0.2"}, "Aliases": ["x"]}}));
    let host = &body["HostConfig"];
    assert_eq!(host["ExtraHosts"], json!(["other:10.0.0.3"]));
    assert_eq!(host["PortBindings"]["53/udp"], json!([{"HostPort": "53"}]));
    let expected = json!([{"HostPort": "8080"}, {"HostIp": "127.0.0.1", "HostPort": ""}]);
    assert_eq!(host["PortBindings"]["80/tcp"], expected);
}

#[test]
fn every_option_of_the_network_has_its_field() {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let options = NetworkOptions {
        hostname: Some("other-name".into()),
        domainname: Some("lab".into()),
        dns: vec!["10.0.0.53".parse().unwrap(), "fd00::1".parse().unwrap()],
        dns_search: vec!["s".into()],
        dns_options: vec!["ndots:2".into()],
        extra_hosts: vec![pair("up", "host-gateway")],
        mac_address: Some("02:00:00:00:00:01".into()),
        sysctls: vec![pair("net.core.somaxconn", "9")],
        ports: vec![],
    };
    let spec = attached(options);
    let body = json(&spec, RECENT);
    assert_eq!((&body["Hostname"], &body["Domainname"]), (&json!("other-name"), &json!("lab")));
    let host = &body["HostConfig"];
    assert_eq!(host["Dns"], json!(["10.0.0.53", "fd00::1"]));
    assert_eq!((&host["DnsSearch"], &host["DnsOptions"]), (&json!(["s"]), &json!(["ndots:2"])));
    assert_eq!(host["ExtraHosts"], json!(["up:host-gateway", "other:10.0.0.3"]));
    assert_eq!(host["Sysctls"], json!({"net.core.somaxconn": "9"}));
    let mac = |body: &Value| body["NetworkingConfig"]["EndpointsConfig"]["net"]["MacAddress"].clone();
    assert_eq!(mac(&body), "02:00:00:00:00:01");
    assert!(with_old_mac(&spec, &super::body(&spec, None, RECENT), RECENT).is_none());
    assert!(mac(&json(&spec, OLD)).is_null());
    let old: Value = serde_json::from_str(&with_old_mac(&spec, &super::body(&spec, None, OLD), OLD).unwrap()).unwrap();
    assert_eq!((&old["MacAddress"], &old["Hostname"]), (&json!("02:00:00:00:00:01"), &json!("other-name")));
}

/// All fields, none at its default.
fn every_option() -> RunOptions {
    let text = |text: &str| Some(text.to_owned());
    let pairs = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    let test = Some(vec!["CMD".to_owned(), "true".to_owned()]);
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    RunOptions {
        restart: RestartPolicy::OnFailure(Some(3)),
        user: text("1:2"),
        group_add: vec!["audio".into()],
        working_dir: text("/w"),
        memory: Some(1 << 30),
        nano_cpus: Some(5),
        pids_limit: Some(7),
        shm_size: Some(1 << 20),
        cap_add: vec!["NET_ADMIN".into()],
        cap_drop: vec!["ALL".into()],
        privileged: true,
        read_only: true,
        init: Some(true),
        tty: true,
        stdin_open: true,
        tmpfs: pairs("/t", "size=1m"),
        ulimits: vec![Ulimit { name: "nofile".into(), soft: 1, hard: -1 }],
        sysctls: pairs("kernel.msgmax", "9"),
        labels: [pairs("mine", "1"), pairs("k", "not ours")].concat(),
        devices: vec![Device { host: "/dev/a".into(), container: "/dev/b".into(), permissions: "rw".into() }],
        security_opt: vec!["seccomp=unconfined".into()],
        oom_score_adj: Some(-5),
        cgroup: Some(CgroupNamespace::Private),
        platform: text("linux/arm64"),
        stop_signal: text("SIGINT"),
        healthcheck: Some(HealthCheck {
            test,
            interval: seconds(1),
            timeout: seconds(2),
            retries: Some(3),
            start_period: seconds(4),
            start_interval: Some(Duration::from_millis(1)),
        }),
        gpus: Some(Gpus::All),
    }
}

#[test]
fn every_option_of_a_run_has_its_field() {
    let spec = ContainerSpec { run: every_option(), ..spec(Network::None) };
    let body = json(&spec, RECENT);
    let own = [
        ("User", json!("1:2")),
        ("WorkingDir", json!("/w")),
        ("Tty", json!(true)),
        ("OpenStdin", json!(true)),
        ("StopSignal", json!("SIGINT")),
        ("Labels", json!({"k": "v", "mine": "1"})),
    ];
    for (key, value) in own {
        assert_eq!(body[key], value, "{key}");
    }
    assert!(body["StdinOnce"].is_null(), "nobody attaches");
    let second: i64 = 1_000_000_000;
    let check = json!({"Test": ["CMD", "true"], "Interval": second, "Timeout": 2 * second, "Retries": 3,
        "StartPeriod": 4 * second, "StartInterval": 1_000_000});
    assert_eq!(body["Healthcheck"], check);
    assert!(json(&spec, OLD)["Healthcheck"]["StartInterval"].is_null());
    let host = [
        ("Memory", json!(1 << 30)),
        ("NanoCpus", json!(5)),
        ("PidsLimit", json!(7)),
        ("ShmSize", json!(1 << 20)),
        ("OomScoreAdj", json!(-5)),
        ("RestartPolicy", json!({ "Name": "on-failure", "MaximumRetryCount": 3 })),
        ("CapAdd", json!(["NET_ADMIN"])),
        ("CapDrop", json!(["ALL"])),
        ("Privileged", json!(true)),
        ("ReadonlyRootfs", json!(true)),
        ("Init", json!(true)),
        ("GroupAdd", json!(["audio"])),
        ("SecurityOpt", json!(["seccomp=unconfined"])),
        ("Tmpfs", json!({"/t": "size=1m"})),
        ("Sysctls", json!({"kernel.msgmax": "9"})),
        ("Ulimits", json!([{"Name": "nofile", "Soft": 1, "Hard": -1}])),
        ("Devices", json!([{"PathOnHost": "/dev/a", "PathInContainer": "/dev/b", "CgroupPermissions": "rw"}])),
        ("DeviceRequests", json!([{"Count": -1, "Capabilities": [["gpu"]]}])),
        ("CgroupnsMode", json!("private")),
    ];
    for (key, value) in host {
        assert_eq!(body["HostConfig"][key], value, "{key}");
    }
}

#[test]
fn nothing_is_said_that_was_not_asked_for() {
    let body = json(&ContainerSpec::default(), RECENT);
    assert_eq!(
        body["HostConfig"],
        json!({"NetworkMode": "none", "AutoRemove": false, "Privileged": false, "ReadonlyRootfs": false})
    );
}

#[test]
fn gpus_are_all_or_some() {
    let asked = |gpus| serde_json::to_value(device_request(&gpus)).unwrap();
    assert_eq!(asked(Gpus::Count(2)), json!({"Count": 2, "Capabilities": [["gpu"]]}));
    let two = Gpus::Devices(vec!["0".into(), "1".into()]);
    assert_eq!(asked(two), json!({"DeviceIDs": ["0", "1"], "Capabilities": [["gpu"]]}));
}

#[test]
fn a_volume_may_be_read_only_and_stay_empty() {
    let mount = |read_only, no_copy| {
        let mounted = VolumeMount { name: "v".into(), target: "/v".into(), read_only, no_copy };
        serde_json::to_value(volume(&mounted)).unwrap()
    };
    assert_eq!(mount(false, false), json!({"Type": "volume", "Source": "v", "Target": "/v"}));
    let expected =
        json!({"Type": "volume", "Source": "v", "Target": "/v", "ReadOnly": true, "VolumeOptions": {"NoCopy": true}});
    assert_eq!(mount(true, true), expected);
}

#[test]
fn a_nodes_output_is_never_rotated_and_a_sandboxs_is_bounded() {
    let config = |spec: &ContainerSpec| body(spec, Some("json-file"), OLD).host_config.unwrap().log_config.unwrap();
    let node = spec(Network::None);
    let sandbox = |stdin| ContainerSpec { stdin, ..spec(Network::None) };
    let (attached, kept) = (sandbox(Stdin::UntilDetached), sandbox(Stdin::Kept));
    for (spec, size) in [(&node, "1000p"), (&attached, "1m"), (&kept, "1m")] {
        let config = config(spec);
        let options = config.config.unwrap();
        assert_eq!((config.typ.as_deref(), options["max-size"].as_str()), (Some("json-file"), size));
        assert_eq!((options["max-file"].as_str(), options["mode"].as_str()), ("1", "blocking"));
    }
    assert_eq!(body(&node, None, OLD).host_config.unwrap().log_config, None);
    let unlogged = config(&ContainerSpec { keeps_no_log: true, ..kept });
    assert_eq!((unlogged.typ.as_deref(), unlogged.config), (Some("none"), None));
}

#[test]
fn stdin_ends_with_its_client_or_is_kept() {
    let flags = |stdin| {
        let body = body(&ContainerSpec { stdin, ..spec(Network::None) }, None, OLD);
        (body.open_stdin, body.stdin_once, body.attach_stdin)
    };
    assert_eq!(flags(Stdin::Unattended), (None, None, None));
    assert_eq!(flags(Stdin::UntilDetached), (Some(true), Some(true), Some(true)));
    assert_eq!(flags(Stdin::Kept), (Some(true), None, None));
}
