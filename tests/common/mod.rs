//! A cluster over the simulated engine, without a mount.

// Each test binary uses a part of it.
#![allow(dead_code)]

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cthulhu::cluster::{Cluster, ClusterId, ClusterSpec, NodeName, NodeSpec};
use cthulhu::control::Executor;
use cthulhu::engine::simulated::SimulatedEngine;
use cthulhu::engine::{Endpoint, Engine, Labels};
use cthulhu::history::{History, HistoryLine, Recorder};
use cthulhu::provision::{NodeOptions, Provisioner};
use cthulhu::selfimage::SelfImage;
use cthulhu::tree::{Ino, Layout, Pending, Tree, Written};
use cthulhu::watch::{Options, Watch};
use rustix::io::Errno;

pub struct Fixture {
    pub engine: SimulatedEngine,
    pub cluster: Cluster,
    pub tree: Tree,
    pub watch: Watch,
    pub provisioner: Arc<Provisioner>,
    pub recorder: Recorder,
    /// What hears of changes. It holds on to the watch that holds on to it.
    slot: Arc<Mutex<Option<Tree>>>,
    _dir: tempfile::TempDir,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.watch.stop();
        self.slot.lock().unwrap().take();
    }
}

impl Fixture {
    pub async fn new(nodes: usize, timeout: Duration) -> Self {
        Self::with(nodes, timeout, NodeOptions::default()).await
    }

    /// With these options, but for where `etc` and `var` appear.
    pub async fn with(nodes: usize, timeout: Duration, options: NodeOptions) -> Self {
        let engine = SimulatedEngine::new();
        engine.add_image("image");
        engine.add_image("self");
        let dir = tempfile::tempdir().unwrap();
        engine.create_network("net", &"172.30.0.0/16".into(), &Labels::new()).await.unwrap();
        let spec = |index: usize| {
            let dir = dir.path().join(NodeName::nth(index).as_str());
            std::fs::create_dir_all(&dir).unwrap();
            let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 30, 0, 2)) + index as u32);
            NodeSpec::numbered(index, ip, "image", dir)
        };
        let cluster = Cluster::new(ClusterSpec {
            id: ClusterId("0123456789ab".into()),
            mountpoint: "/mnt".into(),
            prefix: String::new(),
            prefixed_host_names: false,
            port: 8080,
            volumes: Default::default(),
            roles: vec![],
            hosts: vec![],
            nodes: (0..nodes).map(spec).collect(),
        });
        let shared: Arc<dyn Engine> = Arc::new(engine.clone());
        let history = History::open(&dir.path().join("history")).unwrap();
        let recorder = Recorder::new(history.clone(), cluster.clone());
        let slot: Arc<Mutex<Option<Tree>>> = Arc::default();
        let (told, record) = (slot.clone(), recorder.clone());
        let on_change = Box::new(move |change| {
            record.changed(change);
            let tree = told.lock().unwrap().clone();
            if let Some(tree) = tree {
                tree.changed(change);
            }
        });
        let own = SelfImage { reference: "self".into(), argv: vec!["/cthulhu".into()] };
        let options = NodeOptions {
            image: "image".into(),
            etc_target: Some("/etc".into()),
            var_target: Some("/var".into()),
            ..options
        };
        let endpoints = |index: usize| {
            let (address, aliases) = (cluster.node_spec(index).ip, cluster.spec().aliases(index));
            NodeOptions { endpoints: vec![Endpoint { network: "net".into(), address, aliases }], ..options.clone() }
        };
        let provisioner = Arc::new(Provisioner::new(
            shared.clone(),
            cluster.clone(),
            (0..nodes).map(endpoints).collect(),
            own,
            "1.2@boot".into(),
            timeout,
        ));
        let options = Options { sandboxes: Some(provisioner.clone()), ..Options::new(timeout) };
        let watch = Watch::begin(shared.clone(), cluster.clone(), options, on_change).await.unwrap();
        for index in 0..nodes {
            let container = provisioner.make(index).await.unwrap();
            watch.adopt(index, &container).await.unwrap();
        }
        provisioner.probe_kernels().await.unwrap();
        let layout =
            Layout::new(&cluster, |_| [("etc".into(), Ino(1 << 62)), ("var".into(), Ino((1 << 62) + 1))], vec![]);
        let executor = Executor::new(
            shared,
            cluster.clone(),
            watch.clone(),
            provisioner.clone(),
            recorder.clone(),
            timeout,
            cthulhu::cluster::faults::SeededRng::new(0),
        );
        let tree = Tree::new(cluster.clone(), executor, layout);
        *slot.lock().unwrap() = Some(tree.clone());
        recorder.begin("0.0.0", "boot", 0);
        Self { engine, cluster, tree, watch, provisioner, recorder, slot, _dir: dir }
    }

    /// The number at a path such as `i001/state`; links are followed.
    pub fn find(&self, path: &str) -> Ino {
        path.split('/').fold(Ino::ROOT, |dir, name| {
            let ino = self.tree.lookup(dir, OsStr::new(name), 0).unwrap_or_else(|e| panic!("{path}: {e}"));
            match self.tree.readlink(ino) {
                Ok(target) => self.tree.lookup(dir, OsStr::new(target), 0).unwrap(),
                Err(_) => ino,
            }
        })
    }

    /// All that the history says.
    pub fn history(&self) -> Vec<HistoryLine> {
        let text = self.read("history").unwrap();
        text.lines().map(|line| HistoryLine::parse(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
    }

    /// The whole content of a file.
    pub fn read(&self, path: &str) -> Result<String, Errno> {
        let fh = self.tree.open(self.find(path), false)?;
        let content = self.tree.read(fh, 0, 1 << 20);
        self.tree.release(fh);
        content.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    /// Opens, writes the pieces one after the other, flushes, closes: as a shell would. The first error ends it.
    pub async fn write(&self, path: &str, pieces: &[&[u8]]) -> Result<(), Errno> {
        let fh = self.tree.open(self.find(path), true)?;
        let mut result = Ok(());
        for piece in pieces {
            result = done(self.tree.write(fh, cthulhu::tree::Position::default(), piece))
                .await
                .map(|taken| assert_eq!(taken as usize, piece.len()));
            if result.is_err() {
                break;
            }
        }
        if result.is_ok() {
            result = done(self.tree.flush(fh)).await.map(drop);
        }
        self.tree.release(fh);
        result
    }
}

/// Awaits what became of a write.
pub async fn done(written: Written) -> Result<u32, Errno> {
    match written {
        Written::Now(result) => result,
        Written::Later(Pending { done, .. }) => done.await,
    }
}

/// Waits for a condition that somebody else will make true.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..12_000 {
        if condition() {
            return;
        }
        cthulhu::sync::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
