//! What an engine says of itself.

use std::path::Path;

use bollard::Docker;
use serde_json::Value;

use super::{raw, time};
use crate::engine::{Clock, EngineError, Labels, Result, Setup, Swarm, clock};

/// Product and version, from the engine's answer to `/version`.
pub(super) fn product(version: &Value) -> String {
    let components = version["Components"].as_array().into_iter().flatten();
    let mut names = components.filter_map(|component| component["Name"].as_str());
    let name = names.find(|name| name.contains("Podman")).unwrap_or("Docker Engine");
    format!("{name} {}", version["Version"].as_str().unwrap_or("of unknown version"))
}

/// Whether an engine behind a visible socket runs on this very kernel: the socket may be forwarded, or lead into a
/// virtual machine, which then has a name or a kernel of its own.
pub(super) fn is_here(info: &Value) -> bool {
    let ours = |file: &str| std::fs::read_to_string(Path::new("/proc/sys/kernel").join(file)).unwrap_or_default();
    let same = |key: &str, file: &str| info[key].as_str().is_some_and(|theirs| theirs == ours(file).trim());
    same("Name", "hostname") && same("KernelVersion", "osrelease") && !is_desktop(info)
}

fn is_desktop(info: &Value) -> bool {
    info["OperatingSystem"].as_str().is_some_and(|system| system.contains("Docker Desktop"))
}

/// How an engine is set up, from its answer to `/info`.
pub(super) fn setup(info: &Value) -> Setup {
    let option = |name: &str| {
        let mut options = info["SecurityOptions"].as_array().into_iter().flatten().filter_map(Value::as_str);
        options.any(|option| option.split(',').any(|part| part == format!("name={name}")))
    };
    let can = |key: &str| info[key].as_bool().unwrap_or(true);
    Setup {
        rootless: option("rootless"),
        remaps_users: option("userns"),
        live_restore: info["LiveRestoreEnabled"].as_bool().unwrap_or(false),
        limits_memory: can("MemoryLimit"),
        limits_cpu: can("CpuCfsQuota"),
        freezes: info["CgroupDriver"].as_str() != Some("none"),
        desktop: is_desktop(info),
    }
}

/// The engine's labels, from its answer to `/info`, sorted. Docker writes each as `KEY=VALUE`.
pub(super) fn labels(info: &Value) -> Labels {
    let texts = info["Labels"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut labels: Labels = texts
        .map(|text| text.split_once('=').unwrap_or((text, "")))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
    labels.sort();
    labels
}

/// The engine's part in a swarm, from its answer to `/info`.
pub(super) fn swarm(info: &Value) -> Option<Swarm> {
    let swarm = &info["Swarm"];
    let managers = swarm["RemoteManagers"].as_array().into_iter().flatten().map(|manager| raw::string(manager, "Addr"));
    let mut managers: Vec<_> = managers.collect();
    managers.sort();
    Some(Swarm {
        cluster: raw::string(&swarm["Cluster"], "ID"),
        node: swarm["NodeID"].as_str().filter(|node| !node.is_empty())?.to_owned(),
        address: raw::string(swarm, "NodeAddr"),
        is_manager: swarm["ControlAvailable"] == true,
        is_active: swarm["LocalNodeState"] == "active",
        managers,
    })
}

/// The engine's time, from its answer to `/info`, in ns since the Unix epoch.
pub(super) fn time(info: &Value) -> Option<i64> {
    info["SystemTime"].as_str().and_then(time::parse).filter(|time| *time > 0)
}

/// Asks for the engine's time.
pub(super) async fn clock(docker: &Docker) -> Result<Clock> {
    let question = clock::Question::ask();
    let about = raw::json(docker, "/info").await?;
    let theirs = time(&about).ok_or_else(|| EngineError::Refused("the engine does not tell its time".into()))?;
    Ok(question.answered(theirs))
}

/// The ids of all engines in a manager's swarm.
pub(super) async fn swarm_nodes(docker: &Docker) -> Result<Vec<String>> {
    let answer = raw::json(docker, "/nodes").await?;
    let nodes = answer.as_array().ok_or_else(|| raw::nonsense("the list of nodes is no list"))?;
    let mut ids: Vec<_> = nodes.iter().map(|node| raw::string(node, "ID")).collect();
    ids.sort();
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::super::fake;
    use super::*;

    #[test]
    fn products_are_told_apart() {
        let docker = serde_json::json!({ "Components": [{ "Name": "Engine" }], "Version": "20.10.24" });
        assert_eq!(product(&docker), "Docker Engine 20.10.24");
        let podman = serde_json::json!({ "Components": [{ "Name": "Podman Engine" }], "Version": "4.3.1" });
        assert_eq!(product(&podman), "Podman Engine 4.3.1");
    }

    #[test]
    fn the_setup_is_what_the_engine_tells() {
        assert_eq!(setup(&Value::Null), Setup::default());
        let told = serde_json::json!({
            "SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless", "name=cgroupns"],
            "CgroupDriver": "none", "LiveRestoreEnabled": true, "MemoryLimit": false, "CpuCfsQuota": false
        });
        let expected = Setup {
            rootless: true,
            live_restore: true,
            limits_memory: false,
            limits_cpu: false,
            freezes: false,
            ..Setup::default()
        };
        assert_eq!(setup(&told), expected);
        assert!(setup(&serde_json::json!({ "SecurityOptions": ["name=userns"] })).remaps_users);
        assert!(setup(&serde_json::json!({ "OperatingSystem": "Docker Desktop" })).desktop);
    }

    #[test]
    fn a_desktop_or_another_machine_is_not_here() {
        let ours = |file: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{file}")).unwrap().trim().to_owned();
        let (name, kernel) = (ours("hostname"), ours("osrelease"));
        assert!(is_here(&serde_json::json!({ "Name": name, "KernelVersion": kernel })));
        assert!(!is_here(&serde_json::json!({ "Name": "docker-desktop", "KernelVersion": kernel })));
        let desktop = serde_json::json!({ "Name": name, "KernelVersion": kernel, "OperatingSystem": "Docker Desktop" });
        assert!(!is_here(&desktop));
    }

    #[test]
    fn labels_are_keys_and_values() {
        let told = serde_json::json!({ "Labels": ["rack=r1", "alone", "a=b=c"] });
        let labels: Vec<_> = labels(&told).into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
        assert_eq!(labels, ["a:b=c", "alone:", "rack:r1"]);
        assert!(super::labels(&serde_json::json!({ "Labels": null })).is_empty());
    }

    #[test]
    fn a_manager_knows_the_swarm_and_a_worker_its_managers() {
        // As Docker 20.10 answers.
        let manager = serde_json::json!({ "Swarm": {
            "NodeID": "n1", "NodeAddr": "10.0.0.1", "LocalNodeState": "active", "ControlAvailable": true, "Error": "",
            "RemoteManagers": [{ "NodeID": "n1", "Addr": "10.0.0.1:2377" }], "Nodes": 2, "Managers": 1,
            "Cluster": { "ID": "c1", "DefaultAddrPool": ["10.0.0.0/8"] }
        } });
        let expected = Swarm {
            cluster: "c1".into(),
            node: "n1".into(),
            address: "10.0.0.1".into(),
            is_manager: true,
            is_active: true,
            managers: vec!["10.0.0.1:2377".into()],
        };
        assert_eq!(swarm(&manager), Some(expected.clone()));
        let worker = serde_json::json!({ "Swarm": {
            "NodeID": "n2", "NodeAddr": "10.0.0.2", "LocalNodeState": "pending", "ControlAvailable": false,
            "RemoteManagers": [{ "NodeID": "n1", "Addr": "10.0.0.1:2377" }]
        } });
        let changed = Swarm {
            cluster: String::new(),
            node: "n2".into(),
            address: "10.0.0.2".into(),
            is_manager: false,
            is_active: false,
            ..expected
        };
        assert_eq!(swarm(&worker), Some(changed));
        let none =
            serde_json::json!({ "Swarm": { "NodeID": "", "LocalNodeState": "inactive", "RemoteManagers": null } });
        assert_eq!(swarm(&none), None);
        assert_eq!(swarm(&Value::Null), None);
    }

    #[tokio::test]
    async fn clock_and_nodes_are_asked_for() {
        let fake = fake::engine(|_, target| match target {
            "/info" | "/v1.53/info" => fake::answer(200, r#"{"SystemTime":"2001-09-09T01:46:40.5Z"}"#),
            _ => fake::answer(200, r#"[{"ID":"n2"},{"ID":"n1"}]"#),
        });
        let clock = clock(&fake.docker).await.unwrap();
        let off = clock::now() - 1_000_000_000_500_000_000 + clock.offset;
        assert!(clock.error > 0 && (0..60_000_000_000).contains(&off), "{clock:?}");
        assert_eq!(swarm_nodes(&fake.docker).await.unwrap(), ["n1", "n2"]);
        let mute = fake::engine(|_, _| fake::answer(200, "{}"));
        assert!(matches!(super::clock(&mute.docker).await, Err(EngineError::Refused(_))));
    }
}
