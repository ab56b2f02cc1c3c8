//! `ensure`, over an engine that only knows images.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::*;
use crate::engine::*;

#[derive(Default)]
struct Fake {
    images: Mutex<HashMap<String, Vec<u8>>>,
    imports: AtomicUsize,
    /// The import fails, but meanwhile another's has succeeded.
    outrun: bool,
    down: bool,
}

#[async_trait]
impl Engine for Fake {
    fn info(&self) -> &EngineInfo {
        unimplemented!()
    }
    async fn ping(&self) -> Result<()> {
        unimplemented!()
    }
    async fn create(&self, _: &ContainerSpec) -> Result<ContainerId> {
        unimplemented!()
    }
    async fn start(&self, _: &ContainerId) -> Result<()> {
        unimplemented!()
    }
    async fn stop(&self, _: &ContainerId, _: Duration) -> Result<()> {
        unimplemented!()
    }
    async fn kill(&self, _: &ContainerId, _: &str) -> Result<()> {
        unimplemented!()
    }
    async fn pause(&self, _: &ContainerId) -> Result<()> {
        unimplemented!()
    }
    async fn unpause(&self, _: &ContainerId) -> Result<()> {
        unimplemented!()
    }
    async fn remove(&self, _: &ContainerId) -> Result<()> {
        unimplemented!()
    }
    async fn inspect(&self, _: &ContainerId) -> Result<Inspection> {
        unimplemented!()
    }
    async fn list(&self, _: Option<&str>) -> Result<Vec<Listed>> {
        unimplemented!()
    }
    async fn events(&self, _: &str) -> Result<BoxStream<Result<Event>>> {
        unimplemented!()
    }
    async fn logs(&self, _: &ContainerId, _: i64, _: bool) -> Result<BoxStream<Result<LogChunk>>> {
        unimplemented!()
    }
    async fn attach(&self, _: &ContainerId) -> Result<Attachment> {
        unimplemented!()
    }
    async fn pull(&self, _: &str) -> Result<BoxStream<Result<PullProgress>>> {
        unimplemented!()
    }
    async fn create_network(&self, _: &str, _: &str, _: &Labels) -> Result<String> {
        unimplemented!()
    }
    async fn list_networks(&self, _: Option<&str>) -> Result<Vec<ListedNetwork>> {
        unimplemented!()
    }
    async fn network(&self, _: &str) -> Result<ListedNetwork> {
        unimplemented!()
    }
    async fn remove_network(&self, _: &str) -> Result<()> {
        unimplemented!()
    }

    async fn has_image(&self, reference: &str) -> Result<bool> {
        Ok(self.images.lock().contains_key(reference))
    }
    async fn import(&self, reference: &str, archive: Vec<u8>) -> Result<()> {
        self.imports.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(100)).await;
        if self.down {
            return Err(EngineError::Unreachable("gone".into()));
        }
        self.images.lock().insert(reference.to_owned(), archive);
        match self.outrun {
            true => Err(EngineError::Conflict("being made".into())),
            false => Ok(()),
        }
    }
}

#[tokio::test]
async fn imports_once_and_only_when_missing() {
    let engine = Fake::default();
    let (first, second) = tokio::join!(ensure(&engine), ensure(&engine));
    let image = first.unwrap();
    assert_eq!(image, second.unwrap());
    assert_eq!(image, ensure(&engine).await.unwrap());
    assert_eq!(engine.imports.load(Ordering::Relaxed), 1);

    let tag = image.reference.strip_prefix("cthulhu-self:").unwrap();
    assert!(tag.len() == 16 && tag.bytes().all(|b| b.is_ascii_hexdigit()));
    assert_eq!(image.argv.last().unwrap(), PROGRAM);

    // Every path that the entrypoint names is in the archive, and the program is this one.
    let images = engine.images.lock();
    let mut archive = tar::Archive::new(&images[&image.reference][..]);
    let sizes: HashMap<_, _> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (format!("/{}", entry.path().unwrap().display()), entry.size()))
        .collect();
    for argument in image.argv.iter().filter(|a| a.starts_with('/')) {
        assert!(argument.split(':').all(|path| sizes.contains_key(path)), "{argument}");
    }
    assert_eq!(sizes[PROGRAM], fs::metadata(EXE).unwrap().len());
}

#[tokio::test]
async fn an_import_that_another_outran_is_fine() {
    let engine = Fake { outrun: true, ..Fake::default() };
    ensure(&engine).await.unwrap();
}

#[tokio::test]
async fn an_import_that_fails_says_why() {
    let engine = Fake { down: true, ..Fake::default() };
    let expected = EngineError::Unreachable("gone".into());
    assert_eq!(ensure(&engine).await, Err(expected));
}
