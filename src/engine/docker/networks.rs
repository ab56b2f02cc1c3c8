//! Bridge networks with a subnet of their own.
//!
//! Reading is untyped, as engines differ in what they leave out.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use bollard::Docker;
use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use serde_json::Value;

use super::{error, raw};
use crate::engine::{EngineError, Labels, ListedNetwork, Result};

/// Creates a bridge network.
pub(super) async fn create(docker: &Docker, name: &str, subnet: &str, labels: &Labels) -> Result<String> {
    let range = IpamConfig { subnet: Some(subnet.to_owned()), ..IpamConfig::default() };
    let request = NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        ipam: Some(Ipam { config: Some(vec![range]), ..Ipam::default() }),
        // Engines from 27 on may be set to give new networks IPv6, which rules of IPv4 know nothing of.
        enable_ipv6: Some(false),
        labels: Some(labels.iter().cloned().collect::<HashMap<_, _>>()),
        ..NetworkCreateRequest::default()
    };
    // Engines before API 1.44 allow two networks of one name unless told otherwise; bollard has forgotten the field.
    let mut body = serde_json::to_value(&request).map_err(|error| EngineError::Refused(error.to_string()))?;
    body["CheckDuplicate"] = Value::Bool(true);
    let strict = raw::with_body(docker, body.to_string());
    Ok(strict.create_network(request).await.map_err(error::from_bollard)?.id)
}

/// Lists networks.
pub(super) async fn list(docker: &Docker, label: Option<&str>) -> Result<Vec<ListedNetwork>> {
    let answer = raw::json(docker, &format!("/networks?{}", raw::label_filter(label))).await?;
    let networks = answer.as_array().ok_or_else(|| raw::nonsense("the list of networks is no list"))?;
    Ok(networks.iter().map(|network| ListedNetwork { used: Vec::new(), ..read(network) }).collect())
}

/// One network, by name or id.
pub(super) async fn inspect(docker: &Docker, name: &str) -> Result<ListedNetwork> {
    Ok(read(&raw::json(docker, &format!("/networks/{}", raw::encode(name))).await?))
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
    let subnets = ranges().filter_map(|range| range["Subnet"].as_str()).filter(|subnet| !subnet.contains(':'));
    let endpoints = network["Containers"].as_object().into_iter().flatten();
    let mut used: Vec<Ipv4Addr> = endpoints
        .filter_map(|(_, endpoint)| endpoint["IPv4Address"].as_str()?.split('/').next()?.parse().ok())
        .chain(reserved)
        .collect();
    used.sort();
    ListedNetwork {
        id: raw::string(network, "Id"),
        name: raw::string(network, "Name"),
        driver: raw::string(network, "Driver"),
        labels: raw::labels(network),
        subnets: subnets.map(str::to_owned).collect(),
        isolated: network["Options"]["com.docker.network.bridge.gateway_mode_ipv4"] == "isolated",
        used,
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
        assert!(read(&serde_json::json!({ "Id": "1", "IPAM": { "Config": null } })).subnets.is_empty());
        let option = |mode: &str| serde_json::json!({ "com.docker.network.bridge.gateway_mode_ipv4": mode });
        assert!(read(&serde_json::json!({ "Id": "1", "Options": option("isolated") })).isolated);
        assert!(!read(&serde_json::json!({ "Id": "1", "Options": option("routed") })).isolated);
    }
}
