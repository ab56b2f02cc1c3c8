//! `ensure`, over the simulated engine.

use std::collections::HashMap;
use std::time::Duration;

use super::*;
use crate::engine::simulated::{Op, SimulatedEngine};

#[tokio::test]
async fn imports_once_and_only_when_missing() {
    let engine = SimulatedEngine::new();
    engine.delay(Op::Import, Duration::from_millis(100));
    let (first, second) = tokio::join!(ensure(&engine), ensure(&engine));
    let image = first.unwrap();
    assert_eq!(image, second.unwrap());
    assert_eq!(image, ensure(&engine).await.unwrap());
    assert_eq!(engine.calls(Op::Import), 1);

    let tag = image.reference.strip_prefix("cthulhu-self:").unwrap();
    assert!(tag.len() == 16 && tag.bytes().all(|b| b.is_ascii_hexdigit()));
    assert_eq!(image.argv.last().unwrap(), PROGRAM);

    // Every path that the entrypoint names is in the archive, and the program is this one.
    let (_, mut parts) = gather().unwrap();
    let packed = pack(&mut parts).unwrap();
    let mut archive = tar::Archive::new(&packed[..]);
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
    let reference = ensure(&SimulatedEngine::new()).await.unwrap().reference;
    let engine = SimulatedEngine::new();
    engine.fail_next(Op::Import, 1, EngineError::Conflict("being made".into()));
    engine.delay(Op::Import, Duration::from_millis(200));
    let outrun = async {
        while engine.calls(Op::Import) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        engine.add_image(&reference);
    };
    let (ensured, ()) = tokio::join!(ensure(&engine), outrun);
    assert_eq!(ensured.unwrap().reference, reference);
}

#[tokio::test]
async fn an_import_that_fails_says_why() {
    let engine = SimulatedEngine::new();
    let expected = EngineError::Unreachable("gone".into());
    engine.fail_next(Op::Import, 1, expected.clone());
    assert_eq!(ensure(&engine).await, Err(expected));
}
