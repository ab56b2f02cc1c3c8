use std::sync::Arc;

use super::*;
use crate::engine::simulated::engines;
use crate::engine::{NetworkDriver, NewNetwork};

fn overlay() -> NewNetwork {
    NewNetwork { driver: NetworkDriver::Overlay, ip_range: Some("10.9.255.0/28".into()), .."10.9.0.0/16".into() }
}

/// A manager and two workers, with the image `app` and the overlay `net` on 10.9.0.0/16.
async fn three() -> Vec<Arc<SimulatedEngine>> {
    let three = engines(&["simulated:", "simulated:?label=rack=r1", "simulated:"]).unwrap();
    three.iter().for_each(|engine| engine.add_image("app"));
    three[0].create_network("net", &overlay(), &vec![("cluster".into(), "c1".into())]).await.unwrap();
    three
}

#[tokio::test]
async fn only_the_manager_answers_for_the_swarm() {
    let three = three().await;
    let nodes = three[0].swarm_nodes().await.unwrap();
    let swarms: Vec<_> = three.iter().map(|engine| engine.info().swarm.clone().unwrap()).collect();
    assert_eq!(nodes, swarms.iter().map(|swarm| swarm.node.clone()).collect::<Vec<_>>());
    assert_eq!(swarms.iter().map(|swarm| swarm.is_manager).collect::<Vec<_>>(), [true, false, false]);
    assert!(!swarms[0].cluster.is_empty() && swarms[1].cluster.is_empty());
    assert_eq!(three[1].info().labels, [("rack".into(), "r1".into())]);
    assert!(three[0].info().id != three[1].info().id && three[0].info().name != three[1].info().name);
    refused(three[1].swarm_nodes().await, "not a swarm manager");
    let elsewhere = NewNetwork { subnet: "10.8.0.0/16".into(), ..overlay() };
    refused(three[1].create_network("two", &elsewhere, &vec![]).await, "from a manager node");
    refused(engine().await.create_network("two", &elsewhere, &vec![]).await, "not a swarm manager");
}

#[tokio::test]
async fn a_worker_knows_an_overlay_while_it_uses_it() {
    let three = three().await;
    let network = three[0].network("net").await.unwrap();
    assert_eq!((network.driver.as_str(), network.ranges.as_slice()), ("overlay", &["10.9.255.0/28".to_owned()][..]));
    not_found(three[1].network("net").await, "net");
    let mut by_id = spec("i001", 1);
    let Network::Attached { endpoints, .. } = &mut by_id.network else { unreachable!() };
    endpoints[0].network = network.id.clone();
    let id = three[1].create(&by_id).await.unwrap();
    not_found(three[1].network("net").await, "net");
    three[1].start(&id).await.unwrap();
    assert_eq!(three[1].network("net").await.unwrap().id, network.id);
    assert_eq!(three[1].list_networks(Some("cluster=c1")).await.unwrap().len(), 1);
    not_found(three[2].network("net").await, "net");

    // Addresses are the swarm's.
    assert_eq!(three[0].network("net").await.unwrap().used, [Ipv4Addr::new(10, 9, 1, 1)]);
    let second = three[2].create(&spec("i002", 1)).await.unwrap();
    assert_ne!(second, id);
    refused(three[2].start(&second).await, "Address already in use");
    not_found(three[2].network("net").await, "net");
    refused(three[0].remove_network("net").await, "has active endpoints");

    three[1].remove(&id).await.unwrap();
    not_found(three[1].network("net").await, "net");
    three[0].remove_network("net").await.unwrap();
    not_found(three[2].start(&second).await, "network net not found");
}

#[tokio::test]
async fn one_engine_is_in_no_swarm_and_others_may_stay_out() {
    assert_eq!(engines(&["simulated:"]).unwrap()[0].info().swarm, None);
    let two = engines(&["simulated:?swarm=none", "simulated:"]).unwrap();
    assert_eq!(two[0].info().swarm, None);
    assert!(two[1].info().swarm.as_ref().unwrap().is_manager);
    assert_eq!(two[1].swarm_nodes().await.unwrap().len(), 1);
    refused(engines(&["simulated:", "simulated:?x=1s"]).map(drop), "no option \"x\"");
}

#[tokio::test]
async fn a_clock_is_ahead_or_behind() {
    let engine = SimulatedEngine::from_url("simulated:?clock=-3s").unwrap();
    let clock = engine.clock().await.unwrap();
    assert!((clock.offset + 3_000_000_000).unsigned_abs() <= clock.error, "{clock:?}");
    engine.set_clock(60_000_000_000);
    let clock = engine.clock().await.unwrap();
    assert!((clock.offset - 60_000_000_000).unsigned_abs() <= clock.error, "{clock:?}");
}

#[tokio::test]
async fn a_file_makes_an_engine_hang() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hang");
    let url = format!("simulated:?hang={}", file.display());
    let two = engines(&[&url, "simulated:"]).unwrap();
    let engine = &two[0];
    engine.add_image("app");
    engine.create_network("net", &"10.9.0.0/16".into(), &vec![]).await.unwrap();
    let mut events = engine.events("cluster").await.unwrap();
    let id = engine.create(&sandbox("s1", 1)).await.unwrap();
    let mut attachment = engine.attach(&id).await.unwrap();
    engine.start(&id).await.unwrap();
    assert_eq!(kinds(&mut events, 2).await, [EventKind::Created, EventKind::Started]);

    std::fs::write(&file, "").unwrap();
    assert!(tokio::time::timeout(SHORT, engine.ping()).await.is_err());
    assert!(tokio::time::timeout(SHORT, engine.inspect(&id)).await.is_err());
    engine.pause_outside("s1").unwrap();
    quiet(&mut events).await;
    let write = tokio::io::AsyncWriteExt::write_all(&mut attachment.stdin, b"x\n");
    assert!(tokio::time::timeout(SHORT, write).await.is_err());
    two[1].ping().await.unwrap();

    let waiting = tokio::join!(engine.ping(), async { std::fs::remove_file(&file).unwrap() });
    waiting.0.unwrap();
    engine.unpause(&id).await.unwrap();
    assert_eq!(kinds(&mut events, 2).await, [EventKind::Paused, EventKind::Unpaused]);
    tokio::io::AsyncWriteExt::write_all(&mut attachment.stdin, b"x\n").await.unwrap();
}
