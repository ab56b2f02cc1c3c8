//! Networks: pinned addresses, taken names and subnets.

use std::net::Ipv4Addr;

use cthulhu::engine::{
    ContainerSpec, Endpoint, Engine, EngineError, ListedVolume, Network, Protocol, PublishedPort, VolumeMount,
};
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::bench::{WAIT, with_bench};

#[tokio::test(flavor = "multi_thread")]
async fn networks_pin_addresses_and_refuse_overlaps() {
    with_bench(async |bench| {
        let engine = &bench.engine;
        let id = &bench.network;
        let labels = Vec::new();
        let taken = engine.create_network(&bench.mark, &"10.250.78.0/24".into(), &labels).await;
        assert!(matches!(taken, Err(EngineError::Conflict(_))), "{taken:?}");
        let other = format!("{}-other", bench.mark);
        let overlap = engine.create_network(&other, &bench.subnet().as_str().into(), &labels).await;
        assert!(matches!(overlap, Err(EngineError::Conflict(_))), "{overlap:?}");

        let node = bench.run("pinned", "exec /bin/busybox sleep 1000").await;
        let network = engine.network(&bench.mark).await.unwrap();
        assert_eq!((&network.id, network.driver.as_str()), (id, "bridge"));
        assert_eq!(network.subnets, [bench.subnet()]);
        assert_eq!(network.used.len(), 1);
        let whole: serde_json::Value = serde_json::from_str(&engine.inspect(&node).await.unwrap().raw).unwrap();
        assert_eq!(whole["NetworkSettings"]["Networks"][&bench.mark]["IPAddress"], network.used[0].to_string());
        let busy = engine.remove_network(&bench.mark).await;
        assert!(matches!(busy, Err(EngineError::Conflict(_))), "{busy:?}");

        let listed = engine.list_networks(Some(&bench.label())).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].subnets, [bench.subnet()]);
        assert!(engine.list_networks(None).await.unwrap().iter().any(|network| network.driver == "host"));
        assert!(matches!(engine.network("cthulhu-test-none").await, Err(EngineError::NotFound(_))));
        engine.remove_network("cthulhu-test-none").await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_in_all_of_its_networks_or_is_not_there() {
    with_bench(async |bench| {
        let engine = &bench.engine;
        let second = format!("{}-second", bench.mark);
        let subnet = bench.subnet().replace(".77.", ".78.");
        engine.create_network(&second, &subnet.as_str().into(), &bench.spec("", "").labels).await.unwrap();
        let address = Ipv4Addr::from(u32::from(bench.address(9)) + 256);
        let port = |host_port, port, protocol| PublishedPort { host_ip: None, host_port, port, protocol };
        let between = |name: &str, second: &str| {
            let mut spec = bench.spec(name, "/bin/busybox ip -4 -o addr; exec /bin/busybox sleep 1000");
            let Network::Attached { endpoints, options, .. } = &mut spec.network else { unreachable!() };
            endpoints.push(Endpoint { network: second.into(), address, aliases: vec!["other".into()] });
            options.ports = vec![port(None, 80, Protocol::Tcp), port(None, 53, Protocol::Udp)];
            options.mac_address = Some("02:00:00:00:77:01".into());
            spec
        };
        assert!(engine.create(&between("half", "host")).await.is_err(), "nothing else can be connected to it");
        assert!(engine.list(Some(&bench.label())).await.unwrap().is_empty());

        let spec = between("both", &second);
        let first = match &spec.network {
            Network::Attached { endpoints, .. } => endpoints[0].address,
            _ => unreachable!(),
        };
        let id = engine.create(&spec).await.unwrap();
        assert!(engine.inspect(&id).await.unwrap().ports.is_empty(), "it does not run");
        engine.start(&id).await.unwrap();
        let seen = engine.inspect(&id).await.unwrap();
        let ports: Vec<_> = seen.ports.iter().map(|port| (port.port, port.protocol)).collect();
        assert_eq!(ports, [(53, Protocol::Udp), (80, Protocol::Tcp)]);
        assert!(seen.ports.iter().all(|port| port.host_port.is_some_and(|port| port > 0)), "{:?}", seen.ports);
        let whole: serde_json::Value = serde_json::from_str(&seen.raw).unwrap();
        assert_eq!(whole["NetworkSettings"]["Networks"][&bench.mark]["MacAddress"], "02:00:00:00:77:01");
        assert_eq!(whole["NetworkSettings"]["Networks"][&second]["Aliases"][0], "other");
        let addresses = [first, address].map(|address| format!("inet {address}/24"));
        let mut output = engine.logs(&id, 0, true).await.unwrap();
        let mut text = String::new();
        while !addresses.iter().all(|address| text.contains(address)) {
            let chunk = timeout(WAIT, output.next()).await.expect("both addresses").unwrap().unwrap();
            text += std::str::from_utf8(&chunk.bytes).unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_in_a_directory_gets_what_the_image_has_and_leaves_it_there() {
    with_bench(async |bench| {
        let engine = &bench.engine;
        let dir = tempfile::tempdir().unwrap();
        let volume = |name: &str, target: &str| VolumeMount {
            name: format!("{}-{name}", bench.mark),
            target: target.into(),
            ..VolumeMount::default()
        };
        let volumes = [
            volume("filled", "/bin"),
            VolumeMount { no_copy: true, ..volume("empty", "/no-copy") },
            VolumeMount { read_only: true, ..volume("fixed", "/fixed") },
        ];
        for (volume, target) in volumes.iter().zip(["bin", "no-copy", "fixed"]) {
            let source = dir.path().join(target);
            std::fs::create_dir(&source).unwrap();
            engine.create_volume(&volume.name, &vec![], Some(&source)).await.unwrap();
        }
        let mut spec = bench.spec("volumes", "echo x > /bin/new; echo x > /no-copy/new; echo x > /fixed/new || exit 7");
        spec.volumes = volumes.to_vec();
        let id = engine.create(&spec).await.unwrap();
        engine.start(&id).await.unwrap();
        assert_eq!(bench.ended(&id).await.exit_code, Some(7), "one is read-only");
        engine.remove(&id).await.unwrap();
        for volume in &volumes {
            engine.remove_volume(&volume.name).await.unwrap();
        }
        let names = |target: &str| {
            let entries = std::fs::read_dir(dir.path().join(target)).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        assert_eq!((names("bin"), names("no-copy")), (vec!["busybox".into(), "new".into()], vec!["new".to_owned()]));
        assert!(names("fixed").is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_found_by_label_filled_from_the_image_and_kept_when_their_container_goes() {
    with_bench(async |bench| {
        let engine = &bench.engine;
        let name = format!("{}-volume", bench.mark);
        let labels = vec![("io.cthulhu.test.volume".to_owned(), bench.mark.clone())];
        let label = format!("{}={}", labels[0].0, labels[0].1);
        for _ in 0..2 {
            engine.create_volume(&name, &labels, None).await.unwrap();
        }
        let listed = engine.list_volumes(Some(&label)).await.unwrap();
        assert_eq!(listed, [ListedVolume { name: name.clone(), labels }]);
        let volumes = vec![VolumeMount { name: name.clone(), target: "/bin".into(), ..VolumeMount::default() }];
        // That the program is found shows that the volume has what the image has there.
        for script in ["echo kept > /bin/f", "/bin/busybox grep -q kept /bin/f && exit 5"] {
            let spec = ContainerSpec { volumes: volumes.clone(), ..bench.spec("volume", script) };
            let id = engine.create(&spec).await.unwrap();
            engine.start(&id).await.unwrap();
            let ended = bench.ended(&id).await.exit_code;
            assert_eq!(ended, Some(if script.contains("exit") { 5 } else { 0 }), "{script}");
            let busy = engine.remove_volume(&name).await;
            assert!(matches!(busy, Err(EngineError::Conflict(_))), "{busy:?}");
            engine.remove(&id).await.unwrap();
        }
        assert!(engine.image_volumes(&bench.image).await.unwrap().is_empty());
        assert!(matches!(engine.image_volumes("cthulhu-test-none").await, Err(EngineError::NotFound(_))));
        for _ in 0..2 {
            engine.remove_volume(&name).await.unwrap();
        }
        assert!(engine.list_volumes(Some(&label)).await.unwrap().is_empty());
    })
    .await;
}
