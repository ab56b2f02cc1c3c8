use super::*;

/// A container in the network of another.
fn joined(name: &str, owner: &str) -> ContainerSpec {
    ContainerSpec { network: Network::Of(ContainerId(owner.to_owned())), ..spec(name, 0) }
}

fn port(host_port: Option<u16>, port: u16) -> PublishedPort {
    PublishedPort { host_ip: None, host_port, port, protocol: Protocol::Tcp }
}

#[tokio::test]
async fn a_network_comes_and_goes() {
    let engine = engine().await;
    let labels = vec![("cluster".into(), "c2".into())];
    let id = engine.create_network("two", &"10.10.0.0/24".into(), &labels).await;
    let id = id.unwrap();
    let by_id = engine.network(&id).await.unwrap();
    assert_eq!((by_id.name.as_str(), by_id.driver.as_str()), ("two", "bridge"));
    assert_eq!(by_id.subnets, ["10.10.0.0/24"]);
    assert_eq!(engine.network("two").await.unwrap().id, id);
    let c2 = engine.list_networks(Some("cluster=c2")).await.unwrap();
    assert_eq!((c2.len(), &c2[0].id), (1, &id));
    let names = engine.list_networks(None).await.unwrap().into_iter();
    let mut names: Vec<_> = names.map(|network| network.name).collect();
    names.sort();
    assert_eq!(names, ["bridge", "host", "net", "none", "two"]);
    assert_eq!(engine.networks().len(), 2);
    engine.remove_network("two").await.unwrap();
    engine.remove_network("two").await.unwrap();
    not_found(engine.network("two").await, "network two not found");
    refused(engine.remove_network("bridge").await, "pre-defined");
}

#[tokio::test]
async fn subnets_do_not_overlap() {
    let engine = engine().await;
    let create = async |name: &str, subnet: &str| engine.create_network(name, &subnet.into(), &Vec::new()).await;
    conflict(create("net", "10.20.0.0/16").await, "already exists");
    for taken in ["10.9.0.0/16", "10.9.255.0/24", "10.0.0.0/8", "0.0.0.0/0"] {
        conflict(create("x", taken).await, "Pool overlaps");
    }
    conflict(create("x", "172.17.3.0/24").await, "Pool overlaps");
    for wrong in ["10.9.0.0", "10.9.0/16", "10.9.0.0/33", "x/8", ""] {
        refused(create("x", wrong).await, "invalid CIDR address");
    }
    create("x", "10.10.0.7/16").await.unwrap();
    let network = engine.network("x").await.unwrap();
    assert_eq!(network.subnets, ["10.10.0.0/16"]);
}

#[tokio::test]
async fn an_address_is_held_while_running() {
    let engine = engine().await;
    let first = running(&engine, "a1", 1).await;
    let second = engine.create(&spec("a2", 1)).await.unwrap();
    refused(engine.start(&second).await, "Address already in use");
    assert_eq!(status(&engine, &second).await, Status::Created);
    let used = engine.network("net").await.unwrap().used;
    assert_eq!(used, [Ipv4Addr::new(10, 9, 1, 1)]);
    assert!(engine.list_networks(Some("cluster")).await.unwrap()[0].used.is_empty());
    refused(engine.remove_network("net").await, "has active endpoints");
    engine.stop(&first, LONG).await.unwrap();
    engine.start(&second).await.unwrap();
    refused(engine.start(&first).await, "Address already in use");
    engine.remove(&second).await.unwrap();
    assert!(engine.networks()[0].used.is_empty());
    engine.remove_network("net").await.unwrap();
    not_found(engine.start(&first).await, "network net not found");
}

#[tokio::test]
async fn addresses_that_cannot_be_pinned() {
    let engine = engine().await;
    let at = async |name: &str, network: &str, address: [u8; 4]| {
        let mut at = spec(name, 0);
        at.network = Network::Attached {
            endpoints: vec![endpoint(network, address, &[])],
            hostname: String::new(),
            hosts: Vec::new(),
            options: Box::new(NetworkOptions {
                ports: vec![port(Some(8080), 80), port(None, 81)],
                ..NetworkOptions::default()
            }),
        };
        let id = engine.create(&at).await.unwrap();
        engine.start(&id).await
    };
    refused(at("gateway", "net", [10, 9, 0, 1]).await, "Address already");
    refused(at("far", "net", [10, 8, 0, 2]).await, "does not belong");
    refused(at("own", "bridge", [172, 17, 0, 2]).await, "user defined");
    refused(at("host", "host", [10, 9, 0, 2]).await, "user defined");
    at("first", "net", [10, 9, 0, 2]).await.unwrap();
    let taken = at("second", "net", [10, 9, 0, 3]).await;
    refused(taken, "0.0.0.0:8080 failed: port is already allocated");
    engine.die("first", 0).unwrap();
    engine.start_outside("second").unwrap();
}

#[tokio::test]
async fn the_network_of_another_container() {
    let engine = engine().await;
    let stray = engine.create(&joined("stray", "f00")).await.unwrap();
    not_found(engine.start(&stray).await, "No such container: f00");
    let owner = engine.create(&spec("owner", 1)).await.unwrap();
    let node = engine.create(&joined("node", &owner.0)).await.unwrap();
    let start = engine.start(&node).await;
    conflict(start, "cannot join network of a non running container");
    engine.start(&owner).await.unwrap();
    engine.start(&node).await.unwrap();
    let raw = engine.inspect(&node).await.unwrap().raw;
    let raw: serde_json::Value = serde_json::from_str(&raw).unwrap();
    let mode = format!("container:{owner}");
    assert_eq!(raw["HostConfig"]["NetworkMode"], mode);
    assert_eq!(raw["Config"]["Hostname"], "host-owner");
    assert_eq!(raw["NetworkSettings"]["Networks"], serde_json::json!({}));
    engine.die("owner", 0).unwrap();
    assert_eq!(status(&engine, &node).await, Status::Running);
    engine.die("node", 0).unwrap();
    conflict(engine.start(&node).await, "non running container");
    let own = engine.create(&joined("self", "self")).await.unwrap();
    conflict(engine.start(&own).await, "cannot join own network");
}

#[tokio::test]
async fn a_container_has_an_address_in_each_of_its_networks_and_ports_while_it_runs() {
    let engine = engine().await;
    engine.create_network("two", &"10.10.0.0/24".into(), &Vec::new()).await.unwrap();
    let between = |name: &str, second: Endpoint| {
        let mut spec = spec(name, 1);
        let Network::Attached { endpoints, options, .. } = &mut spec.network else { unreachable!() };
        endpoints.push(second);
        options.ports = vec![port(None, 80), port(None, 81), port(Some(8080), 82)];
        spec
    };
    refused(engine.create(&between("half", endpoint("host", [10, 11, 0, 2], &[]))).await, "user defined networks only");
    let stray = engine.create(&between("none", endpoint("three", [10, 11, 0, 2], &[]))).await.unwrap();
    not_found(engine.start(&stray).await, "network three not found");
    let id = engine.create(&between("a1", endpoint("two", [10, 10, 0, 2], &["alias"]))).await.unwrap();
    assert!(engine.inspect(&id).await.unwrap().ports.is_empty());
    engine.start(&id).await.unwrap();
    let seen = engine.inspect(&id).await.unwrap();
    let raw: serde_json::Value = serde_json::from_str(&seen.raw).unwrap();
    let networks = &raw["NetworkSettings"]["Networks"];
    assert_eq!(
        (&networks["net"]["IPAddress"], &networks["two"]["IPAddress"]),
        (&"10.9.1.1".into(), &"10.10.0.2".into())
    );
    let ports: Vec<_> = seen.ports.iter().map(|port| (port.host_port.unwrap(), port.port)).collect();
    assert_eq!(ports, [(49_153, 80), (49_154, 81), (8080, 82)]);
    assert_eq!(raw["NetworkSettings"]["Ports"]["81/tcp"][0]["HostPort"], "49154");
    let names = engine.network("two").await.unwrap().names;
    assert_eq!(names, [("a1".into(), "a1".into()), ("alias".into(), "a1".into())]);
    // A start that fails at the second address keeps nothing.
    let mut other = between("a2", endpoint("two", [10, 10, 0, 2], &[]));
    let Network::Attached { endpoints, .. } = &mut other.network else { unreachable!() };
    endpoints[0].address = [10, 9, 1, 2].into();
    let other = engine.create(&other).await.unwrap();
    refused(engine.start(&other).await, "Address already in use");
    assert_eq!(engine.network("net").await.unwrap().used.len(), 1);
    engine.stop(&id, LONG).await.unwrap();
    engine.start(&other).await.unwrap();
    assert_eq!(engine.inspect(&other).await.unwrap().ports[0].host_port, Some(49_153));
    assert!(engine.inspect(&id).await.unwrap().ports.is_empty());
}

#[tokio::test]
async fn a_users_labels_count_and_ours_win() {
    let engine = engine().await;
    let labels = [("mine", "1"), ("cluster", "theirs")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let run = RunOptions { labels: labels.to_vec(), ..RunOptions::default() };
    engine.create(&ContainerSpec { run, ..spec("a1", 1) }).await.unwrap();
    assert_eq!(engine.list(Some("mine=1")).await.unwrap().len(), 1);
    assert_eq!(engine.list(Some("cluster=c1")).await.unwrap().len(), 1);
    assert!(engine.list(Some("cluster=theirs")).await.unwrap().is_empty());
}

#[tokio::test]
async fn auto_remove_after_a_start_that_failed() {
    let engine = engine().await;
    running(&engine, "a1", 1).await;
    let id = engine.create(&sandbox("s1", 1)).await.unwrap();
    refused(engine.start(&id).await, "Address already in use");
    not_found(engine.inspect(&id).await, "No such container");
}
