//! What every test stands on: an engine, an image made of busybox, names of its own, and the cleaning up.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cthulhu::engine::docker::{DockerEngine, connect};
use cthulhu::engine::{
    BoxStream, ContainerId, ContainerSpec, Endpoint, Engine, EngineError, Event, EventKind, Inspection, LogChunk,
    Network, Result, Status,
};
use futures_util::{FutureExt, StreamExt};
use tokio::time::timeout;

const LABEL: &str = "io.cthulhu.test";
/// How long anything may take.
pub const WAIT: Duration = Duration::from_secs(120);

/// One test's engine, and what is to be removed after it.
pub struct Bench {
    pub engine: DockerEngine,
    pub mark: String,
    pub image: String,
    /// Id of the network, which is named like `mark`.
    pub network: String,
    /// Second octet of its subnet.
    octet: u8,
}

impl Bench {
    async fn open() -> Option<Bench> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let engine = match connect(None, WAIT).await {
            Ok(engine) => engine,
            Err(error) => return skip(&error.to_string()),
        };
        let usual = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from);
        let named = std::env::var_os("CTHULHU_TEST_BUSYBOX").map(PathBuf::from);
        let Some(busybox) = named.into_iter().chain(usual).find(|path| path.exists()) else {
            return skip("there is no busybox");
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mark = format!("cthulhu-test-{}-{number}", std::process::id());
        let image = format!("{mark}:v1");
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_path_with_name(&busybox, "bin/busybox").unwrap();
        engine.import(&image, archive.into_inner().unwrap()).await.unwrap();
        let labels = vec![(LABEL.to_owned(), mark.clone())];
        // Other runs of these tests may have some of them.
        for octet in 200..=250 {
            let subnet = format!("10.{octet}.77.0/24");
            match engine.create_network(&mark, &subnet.as_str().into(), &labels).await {
                Ok(network) => {
                    return Some(Bench { engine, mark, image, network, octet });
                }
                Err(EngineError::Conflict(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        panic!("no subnet is free")
    }

    pub fn label(&self) -> String {
        format!("{LABEL}={}", self.mark)
    }

    pub fn subnet(&self) -> String {
        format!("10.{}.77.0/24", self.octet)
    }

    pub fn address(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.octet, 77, last)
    }

    pub fn spec(&self, name: &str, script: &str) -> ContainerSpec {
        let hash = name.bytes().fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
        ContainerSpec {
            name: format!("{}-{name}", self.mark),
            image: self.image.clone(),
            entrypoint: Some(["/bin/busybox", "sh", "-c"].map(str::to_owned).to_vec()),
            command: Some(vec![script.to_owned()]),
            env: vec!["GREETING=ia ia".into()],
            labels: vec![(LABEL.into(), self.mark.clone())],
            network: Network::Attached {
                endpoints: vec![Endpoint {
                    network: self.mark.clone(),
                    address: self.address(10 + hash % 200),
                    aliases: vec![name.to_owned()],
                }],
                hostname: name.to_owned(),
                hosts: Vec::new(),
                options: Box::default(),
            },
            ..ContainerSpec::default()
        }
    }

    pub async fn run(&self, name: &str, script: &str) -> ContainerId {
        let id = self.engine.create(&self.spec(name, script)).await.unwrap();
        self.engine.start(&id).await.unwrap();
        id
    }

    pub async fn ended(&self, id: &ContainerId) -> Inspection {
        let begin = Instant::now();
        loop {
            let seen = self.engine.inspect(id).await.unwrap();
            if seen.status == Status::Exited {
                return seen;
            }
            assert!(begin.elapsed() < WAIT, "it does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn clean(&self) {
        for container in self.engine.list(Some(&self.label())).await.unwrap() {
            self.engine.remove(&container.id).await.unwrap();
        }
        for network in self.engine.list_networks(Some(&self.label())).await.unwrap() {
            // An endpoint can outlive its container by a moment.
            let begin = Instant::now();
            while let Err(error) = self.engine.remove_network(&network.id).await {
                assert!(begin.elapsed() < WAIT, "{error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        let removed = std::process::Command::new("docker").args(["rmi", "-f", &self.image]).output();
        if !removed.is_ok_and(|output| output.status.success()) {
            eprintln!("left behind: image {}", self.image);
        }
    }
}

fn skip<T>(reason: &str) -> Option<T> {
    crate::skip::skipped(reason);
    None
}

/// Runs a test, and cleans up also if it fails.
pub async fn with_bench(test: impl AsyncFnOnce(&Bench)) {
    let Some(bench) = Bench::open().await else {
        return;
    };
    let outcome = std::panic::AssertUnwindSafe(test(&bench)).catch_unwind().await;
    bench.clean().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

pub async fn next_kind(events: &mut BoxStream<Result<Event>>) -> (ContainerId, EventKind) {
    loop {
        let event = timeout(WAIT, events.next()).await.expect("no event").unwrap().unwrap();
        // When it is connected to its network is the engine's business.
        if !matches!(event.kind, EventKind::Other | EventKind::Connected | EventKind::Disconnected) {
            return (event.container, event.kind);
        }
    }
}

pub fn text(chunks: &[LogChunk]) -> String {
    String::from_utf8(chunks.iter().flat_map(|chunk| chunk.bytes.clone()).collect()).unwrap()
}
