//! Networks with a subnet of their own.
//!
//! Reading is untyped, as engines differ in what they leave out.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use bollard::Docker;
use bollard::models::{Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use super::{error, raw, spec};
use crate::engine::{ContainerId, Endpoint, EngineError, Labels, ListedNetwork, NetworkDriver, NewNetwork, Result};

/// Containers inspected at once.
const AT_ONCE: usize = 8;

pub(super) async fn create(docker: &Docker, name: &str, network: &NewNetwork, labels: &Labels) -> Result<String> {
    let range = IpamConfig {
        subnet: Some(network.subnet.clone()),
        gateway: network.gateway.map(|gateway| gateway.to_string()),
        ip_range: network.ip_range.clone(),
        ..IpamConfig::default()
    };
    let request = NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some(network.driver.name().to_owned()),
        // Without it, only swarm services get an endpoint in an overlay.
        attachable: (network.driver == NetworkDriver::Overlay).then_some(true),
        ipam: Some(Ipam { config: Some(vec![range]), ..Ipam::default() }),
        // Engines from 27 on may be set to give new networks IPv6, which rules of IPv4 know nothing of.
        enable_ipv6: Some(false),
        internal: Some(network.internal),
        labels: Some(labels.iter().cloned().collect::<HashMap<_, _>>()),
        ..NetworkCreateRequest::default()
    };
    // Engines before API 1.44 allow two networks of one name unless this field forbids it; bollard lacks the field.
    let mut body = serde_json::to_value(&request).map_err(|error| EngineError::Refused(error.to_string()))?;
    body["CheckDuplicate"] = Value::Bool(true);
    let strict = raw::with_body(docker, body.to_string());
    Ok(strict.create_network(request).await.map_err(error::from_bollard)?.id)
}

/// Gives a container that does not run a further endpoint.
pub(super) async fn connect(docker: &Docker, container: &ContainerId, endpoint: &Endpoint) -> Result<()> {
    let request =
        NetworkConnectRequest { container: container.0.clone(), endpoint_config: Some(spec::endpoint(endpoint)) };
    docker.connect_network(&raw::encode(&endpoint.network), request).await.map_err(error::from_bollard)
}

pub(super) async fn list(docker: &Docker, label: Option<&str>) -> Result<Vec<ListedNetwork>> {
    let answer = raw::json(docker, &format!("/networks?{}", raw::label_filter(label))).await?;
    let networks = answer.as_array().ok_or_else(|| raw::nonsense("the list of networks is no list"))?;
    Ok(networks.iter().map(|network| ListedNetwork { used: Vec::new(), ..read(network) }).collect())
}

/// One network, by name or id.
pub(super) async fn inspect(docker: &Docker, name: &str) -> Result<ListedNetwork> {
    let target = format!("/networks/{}", raw::encode(name));
    let mut answer = raw::json(docker, &target).await?;
    if answer["Driver"] == "overlay" {
        // With what containers on the swarm's other engines have.
        answer = raw::json(docker, &format!("{target}?verbose=true")).await?;
    }
    let network = read(&answer);
    let names = names(docker, &network).await?;
    Ok(ListedNetwork { names, ..network })
}

/// The DNS names that containers have in a network. Only an inspection of each container shows its aliases.
async fn names(docker: &Docker, network: &ListedNetwork) -> Result<Vec<(String, String)>> {
    let filter = raw::encode(&serde_json::json!({ "network": [network.id, network.name] }).to_string());
    let listed = raw::json(docker, &format!("/containers/json?all=true&filters={filter}")).await?;
    let ids: Vec<_> = listed.as_array().into_iter().flatten().map(|container| raw::string(container, "Id")).collect();
    let inspected = stream::iter(ids).map(|id| async move {
        match raw::json(docker, &format!("/containers/{}/json", raw::encode(&id))).await {
            Ok(container) => Ok(names_of(&container, network)),
            // It was removed in between.
            Err(EngineError::NotFound(_)) => Ok(vec![]),
            Err(error) => Err(error),
        }
    });
    let mut names = inspected.buffer_unordered(AT_ONCE).try_concat().await?;
    names.sort();
    Ok(names)
}

/// What a container is called in a network: by its name, its aliases and, since API 1.44, all of `DNSNames`.
fn names_of(container: &Value, network: &ListedNetwork) -> Vec<(String, String)> {
    let own = raw::string(container, "Name").trim_start_matches('/').to_owned();
    let endpoints = container["NetworkSettings"]["Networks"].as_object().into_iter().flatten();
    // A container that was never started has no id for it yet.
    let is_here = |key: &str, endpoint: &Value| key == network.name || endpoint["NetworkID"] == *network.id;
    let Some((_, endpoint)) = endpoints.into_iter().find(|(key, endpoint)| is_here(key, endpoint)) else {
        return vec![];
    };
    let listed = ["Aliases", "DNSNames"].into_iter().flat_map(|key| endpoint[key].as_array().into_iter().flatten());
    let mut names: Vec<_> = listed.filter_map(|name| name.as_str()).chain([own.as_str()]).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(|name| (name.to_owned(), own.clone())).collect()
}

/// Removes a network; one that is gone is no error.
pub(super) async fn remove(docker: &Docker, name: &str) -> Result<()> {
    match docker.remove_network(name).await.map_err(error::from_bollard) {
        Err(EngineError::NotFound(_)) => Ok(()),
        other => other,
    }
}

fn read(network: &Value) -> ListedNetwork {
    let ranges = || network["IPAM"]["Config"].as_array().into_iter().flatten();
    let reserved = |range: &Value| {
        let auxiliary =
            range["AuxiliaryAddresses"].as_object().into_iter().flatten().map(|(_, address)| address.clone());
        auxiliary.chain([range["Gateway"].clone()]).collect::<Vec<_>>()
    };
    let reserved = ranges().flat_map(reserved).filter_map(|address| address.as_str()?.split('/').next()?.parse().ok());
    let v4 = |range: &&str| !range.is_empty() && !range.contains(':');
    let subnets = ranges().filter_map(|range| range["Subnet"].as_str()).filter(v4);
    let endpoints =
        network["Containers"].as_object().into_iter().flatten().map(|(_, endpoint)| &endpoint["IPv4Address"]);
    let services = || network["Services"].as_object().into_iter().flatten().map(|(_, service)| service);
    let tasks = services().flat_map(|service| service["Tasks"].as_array().into_iter().flatten());
    let elsewhere = services().map(|service| &service["VIP"]).chain(tasks.map(|task| &task["EndpointIP"]));
    let held = endpoints.chain(elsewhere).filter_map(|address| address.as_str()?.split('/').next()?.parse().ok());
    let mut used: Vec<Ipv4Addr> = held.chain(reserved).collect();
    used.sort();
    used.dedup();
    ListedNetwork {
        id: raw::string(network, "Id"),
        name: raw::string(network, "Name"),
        driver: raw::string(network, "Driver"),
        labels: raw::labels(network),
        subnets: subnets.map(str::to_owned).collect(),
        isolated: network["Options"]["com.docker.network.bridge.gateway_mode_ipv4"] == "isolated",
        used,
        ranges: ranges().filter_map(|range| range["IPRange"].as_str()).filter(v4).map(str::to_owned).collect(),
        names: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_subnets_and_addresses_of_ipv4_only() {
        let network = read(&serde_json::json!({
            "Id": "1", "Name": "n", "Driver": "bridge", "Labels": null,
            "IPAM": { "Config": [{ "Subnet": "fd00::/64" }, {
                "Subnet": "10.0.0.0/24", "Gateway": "10.0.0.9", "AuxiliaryAddresses": { "router": "10.0.0.4" }
            }] },
            "Containers": { "a": { "IPv4Address": "10.0.0.3/24" }, "b": { "IPv4Address": "" }, "c": { "IPv4Address": "10.0.0.2/24" } }
        }));
        assert_eq!(network.subnets, ["10.0.0.0/24"]);
        assert_eq!(network.used, [2, 3, 4, 9].map(|host| Ipv4Addr::new(10, 0, 0, host)));
        assert!(network.ranges.is_empty());
        assert!(read(&serde_json::json!({ "Id": "1", "IPAM": { "Config": null } })).subnets.is_empty());
        let option = |mode: &str| serde_json::json!({ "com.docker.network.bridge.gateway_mode_ipv4": mode });
        assert!(read(&serde_json::json!({ "Id": "1", "Options": option("isolated") })).isolated);
        assert!(!read(&serde_json::json!({ "Id": "1", "Options": option("routed") })).isolated);
        let config =
            serde_json::json!([{ "Subnet": "10.0.0.0/24", "IPRange": "10.0.0.240/28" }, { "IPRange": "fd00::/80" }]);
        assert_eq!(read(&serde_json::json!({ "IPAM": { "Config": config } })).ranges, ["10.0.0.240/28"]);
    }

    #[test]
    fn an_overlay_tells_what_other_engines_have() {
        let network = read(&serde_json::json!({
            "IPAM": { "Config": [{ "Subnet": "10.0.1.0/24", "Gateway": "10.0.1.1" }] },
            "Containers": { "lb-ov": { "Name": "ov-endpoint", "IPv4Address": "10.0.1.4/24" } },
            "Services": {
                "": { "VIP": "<nil>", "Tasks": [{ "EndpointIP": "10.0.1.6" }, { "EndpointIP": "10.0.1.4" }] },
                "web": { "VIP": "10.0.1.9", "Tasks": null }
            }
        }));
        assert_eq!(network.used, [1, 4, 6, 9].map(|host| Ipv4Addr::new(10, 0, 1, host)));
    }

    #[test]
    fn names_are_those_of_this_network() {
        let container = serde_json::json!({ "Name": "/a-i001", "NetworkSettings": { "Networks": {
            "n": { "NetworkID": "1", "Aliases": ["i001", "0123456789ab"], "DNSNames": ["a-i001", "i001", "host"] },
            "m": { "NetworkID": "", "Aliases": null }
        } } });
        let names = |id: &str, name: &str| {
            let network = read(&serde_json::json!({ "Id": id, "Name": name }));
            names_of(&container, &network).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names("1", "x"), ["0123456789ab", "a-i001", "host", "i001"]);
        assert_eq!(names("2", "m"), ["a-i001"]);
        assert!(names("3", "o").is_empty());
    }
}
