//! The volumes of an image, over the simulated engine: who has which, for how long, and what becomes of errors.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Fixture, eventually};
use cthulhu::engine::simulated::Op;
use cthulhu::engine::{Bind, Engine, EngineError};
use cthulhu::provision::{NodeOptions, clusters, remove_cluster};
use rustix::io::Errno;

const CLUSTER: &str = "0123456789ab";

fn engines(f: &Fixture) -> [Arc<dyn Engine>; 1] {
    [Arc::new(f.engine.clone())]
}

async fn fixture() -> Fixture {
    let image_volumes = ["/data", "/etc/", "/mine/../theirs", "/var/lib"].map(str::to_owned).to_vec();
    let volumes = vec![Bind { source: "/host".into(), target: "/theirs/".into(), read_only: true }];
    let options = NodeOptions { image_volumes, volumes, ..NodeOptions::default() };
    Fixture::with(2, Duration::from_secs(30), options).await
}

/// A node's volumes, as `name target`.
fn volumes(f: &Fixture, node: &str) -> Vec<String> {
    let containers = f.engine.containers();
    let container = containers.iter().find(|container| container.name == node).unwrap();
    container.spec.volumes.iter().map(|volume| format!("{} {}", volume.name, volume.target)).collect()
}

async fn listed(f: &Fixture) -> Vec<String> {
    let listed = f.engine.list_volumes(Some(&format!("io.cthulhu.cluster={CLUSTER}"))).await.unwrap();
    listed.into_iter().map(|volume| volume.name).collect()
}

#[tokio::test]
async fn each_next_container_of_a_node_gets_the_volumes_of_the_one_before() {
    let f = fixture().await;
    let of = |node: &str| {
        let name = |nth| format!("cthulhu-{CLUSTER}-{node}-{nth}");
        vec![format!("{} /data", name(0)), format!("{} /var/lib", name(3))]
    };
    assert_eq!(volumes(&f, "i001"), of("i001"));
    assert_eq!(volumes(&f, "i002"), of("i002"));
    f.write("control", &[b"start\n"]).await.unwrap();
    for gone in ["i001", "i001-sandbox"] {
        let before = f.read("i001/id").unwrap();
        f.engine.remove_outside(gone).unwrap();
        f.write("i001/control", &[b"start\n"]).await.unwrap();
        assert_ne!(f.read("i001/id").unwrap(), before, "{gone}");
        assert_eq!(volumes(&f, "i001"), of("i001"), "{gone}");
    }
    assert_eq!(listed(&f).await.len(), 4);
    let removed = remove_cluster(&engines(&f), CLUSTER).await.unwrap();
    assert_eq!((removed.containers, removed.volumes), (4, 4));
    assert!(listed(&f).await.is_empty());
}

#[tokio::test]
async fn a_volume_that_cannot_be_made_is_told_and_tried_again() {
    let f = fixture().await;
    f.write("control", &[b"start\n"]).await.unwrap();
    f.engine.remove_outside("i001").unwrap();
    eventually("missing", || f.read("i001/state").unwrap() == "missing\n").await;
    f.engine.fail_next(Op::CreateVolume, 1, EngineError::Refused("no space left on device".into()));
    assert_eq!(f.write("i001/control", &[b"start\n"]).await, Err(Errno::IO));
    let why = f.read("i001/error").unwrap();
    assert!(why.contains("i001: cannot recreate it: no space left on device"), "{why}");
    f.write("i001/control", &[b"start\n"]).await.unwrap();
    assert_eq!(f.read("i001/state").unwrap(), "running\n");
}

#[tokio::test]
async fn a_volume_that_cannot_be_removed_is_told_and_found_again() {
    let f = fixture().await;
    f.engine.fail_next(Op::RemoveVolume, 1, EngineError::Conflict("volume is in use".into()));
    let failed = remove_cluster(&engines(&f), CLUSTER).await;
    assert_eq!(failed.unwrap_err().error, EngineError::Conflict("volume is in use".into()));
    assert_eq!(listed(&f).await.len(), 1, "the others are gone");
    // By its labels alone, as of a cluster whose containers somebody else has removed.
    let found = clusters(&f.engine).await.unwrap();
    assert_eq!((found.len(), found[0].containers, found[0].volumes), (1, 0, 1));
    assert_eq!((found[0].cluster.as_str(), found[0].mountpoint.as_str()), (CLUSTER, "/mnt"));
    assert_eq!(found[0].owners.iter().collect::<Vec<_>>(), ["1.2@boot"]);
    assert_eq!(remove_cluster(&engines(&f), CLUSTER).await.unwrap().volumes, 1);
    assert!(clusters(&f.engine).await.unwrap().is_empty());
    f.engine.disconnect();
    assert!(matches!(remove_cluster(&engines(&f), CLUSTER).await.unwrap_err().error, EngineError::Unreachable(_)));
}
