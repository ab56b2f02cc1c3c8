use super::*;
use crate::engine::{ListedVolume, VolumeMount};

#[tokio::test]
async fn a_volume_stays_until_it_is_removed_and_not_while_a_container_has_it() {
    let engine = engine().await;
    let labels = vec![("cluster".to_owned(), "c2".to_owned())];
    for _ in 0..2 {
        engine.create_volume("v", &labels, None).await.unwrap();
    }
    engine.create_volume("other", &vec![], None).await.unwrap();
    let listed = engine.list_volumes(Some("cluster=c2")).await.unwrap();
    assert_eq!(listed, [ListedVolume { name: "v".into(), labels }]);
    assert_eq!(engine.list_volumes(None).await.unwrap().len(), 2);
    let mounted = VolumeMount { name: "v".into(), target: "/data".into(), ..VolumeMount::default() };
    let user = engine.create(&ContainerSpec { volumes: vec![mounted], ..spec("a1", 1) }).await.unwrap();
    conflict(engine.remove_volume("v").await, "volume is in use");
    engine.remove(&user).await.unwrap();
    assert_eq!(engine.list_volumes(Some("cluster")).await.unwrap().len(), 1, "it outlives the container");
    engine.remove_volume("v").await.unwrap();
    engine.remove_volume("v").await.unwrap();
    assert!(engine.list_volumes(Some("cluster")).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_image_says_which_volumes_it_declares() {
    let engine = engine().await;
    engine.add_image_with_volumes("db", &["/log", "/data"]);
    assert_eq!(engine.image_volumes("db:latest").await.unwrap(), ["/data", "/log"]);
    assert!(engine.image_volumes("app").await.unwrap().is_empty());
    not_found(engine.image_volumes("none").await, "No such image");
}
