//! Networks: pinned addresses, taken names and subnets.

use cthulhu::engine::{ContainerSpec, Engine, EngineError, ListedVolume, VolumeMount};

use crate::bench::with_bench;

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
