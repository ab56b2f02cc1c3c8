//! The tree against a reference model, without a mount: programs that read, write, poll and list while the engine
//! lives its own life, breaks off and comes back.
//!
//! Everything runs on one thread, so that between two awaits nothing changes and each claim can be checked exactly.

#[path = "../common/mod.rs"]
mod common;
mod kernel;
mod reader;
mod writer;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::Fixture;
use cthulhu::engine::EngineError;
use cthulhu::engine::simulated::Op;
use cthulhu::tree::{EntryKind, Ino};
use kernel::{Cache, Way};
use proptest::prelude::*;
use reader::{Reader, content};
use rustix::io::Errno;
use tokio::task::JoinSet;
use writer::{Counts, Script};

const NODES: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(30);
/// Values that only the engine knows.
const LIVE: [&str; 8] = ["pid.txt", "state", "exit_code", "health", "ready", "ready_reason", "id", "inspect.json"];
const POLLABLE: [&str; 5] = ["pid.txt", "state", "exit_code", "health", "ready"];

/// All that one run has.
struct World {
    fixture: Fixture,
    cache: Arc<Cache>,
    counts: Counts,
    /// How often anybody did anything to each node.
    touched: Vec<AtomicU64>,
    /// Every path of a file, whether it is live, its number.
    files: Vec<(String, bool, Ino)>,
}

#[derive(Clone, Debug)]
enum Step {
    Run(Script),
    Outside(&'static str, usize),
    Open(prop::sample::Index),
    Read(prop::sample::Index, usize, usize),
    Poll(prop::sample::Index),
    Release(prop::sample::Index),
    Stat(prop::sample::Index),
    /// Which directory, how many entries fit into a reply each time, and where it is read again from.
    List(prop::sample::Index, Vec<usize>, usize),
    Disconnect,
    Reconnect,
    Hang(Op),
    Unhang,
    Fail(Op),
    Lose(u64),
    /// Lets others run for a while.
    Yield(usize),
}

fn script() -> impl Strategy<Value = Script> {
    let lines = vec![
        "start\n",
        "stop\n",
        "stop -t 0\n",
        "restart\n",
        "kill\n",
        "kill -s USR1\n",
        "kill -s USR1\n",
        "pause\n",
        "resume\n",
        "start i001\n",
        "kill -s USR1 i002 i003\n",
        "stop i003 i001\n",
        "frobnicate\n",
        "kill -s NOPE\n",
        "\n",
        " \n",
        "stop",
        "kill -s USR1",
        "start",
        "kil",
    ];
    let text = prop::collection::vec(prop::sample::select(lines), 1..4).prop_map(|lines| lines.concat());
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    let dies = prop::option::weighted(0.1, 0..2usize);
    (prop::option::of(0..NODES), text, cuts, 0..3usize, dies).prop_map(|(node, text, cuts, flushes, dies_at)| {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
        at.extend([0, text.len()]);
        at.sort_unstable();
        let pieces = at.windows(2).map(|pair| text.as_bytes()[pair[0]..pair[1]].to_vec()).collect();
        Script { node, pieces, flushes, dies_at }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let outside = prop::sample::select(vec!["die", "kill", "start", "pause", "unpause", "remove", "health"]);
    let op = || prop::sample::select(vec![Op::Start, Op::Stop, Op::Kill, Op::Pause, Op::Inspect, Op::Remove]);
    let index = any::<prop::sample::Index>;
    prop_oneof![
        8 => script().prop_map(Step::Run),
        5 => (outside, 0..NODES).prop_map(|(what, node)| Step::Outside(what, node)),
        4 => index().prop_map(Step::Open),
        6 => (index(), prop_oneof![Just(0usize), 0..40usize], 0..60usize).prop_map(|(which, at, size)| Step::Read(which, at, size)),
        4 => index().prop_map(Step::Poll),
        1 => index().prop_map(Step::Release),
        4 => index().prop_map(Step::Stat),
        2 => (index(), prop::collection::vec(1..9usize, 1..8), 0..20usize).prop_map(|(dir, rooms, again)| Step::List(dir, rooms, again)),
        1 => Just(Step::Disconnect),
        1 => Just(Step::Reconnect),
        1 => op().prop_map(Step::Hang),
        2 => Just(Step::Unhang),
        1 => op().prop_map(Step::Fail),
        1 => (1..5u64).prop_map(Step::Lose),
        8 => (1..6usize).prop_map(Step::Yield),
    ]
}

impl World {
    async fn new() -> Self {
        let fixture = Fixture::new(NODES, TIMEOUT).await;
        let cache = Arc::new(Cache::default());
        fixture.tree.connect(Box::new(Way(cache.clone())));
        fixture.engine.duplicate_events(true);
        let mut files = vec![];
        for name in ["control", "status", "spec.json", "error"] {
            files.push((name.to_owned(), matches!(name, "status" | "spec.json")));
        }
        for node in 1..=NODES {
            let of = |name: &str| format!("i{node:03}/{name}");
            files.extend(LIVE.map(|name| (of(name), true)));
            files.extend(["control", "name", "ip", "image", "error"].map(|name| (of(name), false)));
        }
        let files = files.into_iter().map(|(path, live)| (fixture.find(&path), path, live));
        let files = files.map(|(ino, path, live)| (path, live, ino)).collect();
        let touched = (0..NODES).map(|_| AtomicU64::new(0)).collect();
        Self { fixture, cache, counts: Counts::default(), touched, files }
    }

    fn touch(&self, node: usize) -> u64 {
        self.touched[node].fetch_add(1, Ordering::SeqCst) + 1
    }

    fn touched(&self, node: usize) -> u64 {
        self.touched[node].load(Ordering::SeqCst)
    }

    /// What the engine has.
    fn truth(&self, node: usize) -> Result<String, Errno> {
        let name = format!("i{:03}", node + 1);
        let container = self.fixture.engine.containers().into_iter().find(|container| container.name == name);
        Ok(container.map_or("missing\n".into(), |container| format!("{:?}\n", container.status).to_lowercase()))
    }

    fn said(&self, node: usize) -> Result<String, Errno> {
        self.fixture.read(&format!("i{:03}/state", node + 1))
    }

    fn outside(&self, what: &str, node: usize) {
        self.touch(node);
        let (engine, name) = (&self.fixture.engine, format!("i{:03}", node + 1));
        let _ = match what {
            "die" => engine.die(&name, 7),
            "kill" => engine.kill_outside(&name),
            "start" => engine.start_outside(&name),
            "pause" => engine.pause_outside(&name),
            "unpause" => engine.unpause_outside(&name),
            "health" => engine.set_health(&name, cthulhu::engine::Health::Healthy),
            _ => engine.remove_outside(&name),
        };
    }

    /// What must hold at any moment.
    fn check(&self) {
        let tree = &self.fixture.tree;
        self.cache.check_told(tree);
        let reachable = self.fixture.cluster.is_reachable(0);
        for (path, live, ino) in &self.files {
            match content(tree, *ino) {
                Ok(content) => {
                    assert!(reachable || !live, "{path} is guessed");
                    assert_eq!(tree.attr(*ino).unwrap().size, content.len() as u64, "size of {path}");
                }
                Err(errno) => assert!(!reachable && *live && errno == Errno::HOSTDOWN, "{path}: {errno}"),
            }
        }
        self.check_kills();
    }

    /// Lists a directory as the kernel does, by replies of so many entries each, and once more from somewhere.
    fn list(&self, dir: Ino, rooms: &[usize], again: usize) -> Vec<(String, Ino)> {
        let tree = &self.fixture.tree;
        let reply = |offset: u64, room: usize| {
            let mut found = vec![];
            tree.readdir(dir, 0, offset, |entry| {
                let full = found.len() == room;
                if !full {
                    found.push((entry.name.to_owned(), entry.ino, entry.kind, entry.next_offset));
                }
                full
            })
            .unwrap();
            found
        };
        let (mut all, mut offset) = (vec![], 0);
        for room in rooms.iter().cycle() {
            let found = reply(offset, *room);
            let Some(last) = found.last() else { break };
            offset = last.3;
            all.extend(found);
        }
        let from = again % all.len();
        assert_eq!(reply(all[from].3, usize::MAX), all[from + 1..], "an earlier offset goes on from there");
        assert_eq!(all[0].1, dir);
        for (name, ino, kind, _) in &all[2..] {
            assert_eq!(tree.lookup(dir, name.as_ref(), 0), Ok(*ino));
            assert_eq!(tree.kind(*ino), *kind);
        }
        all.into_iter().skip(2).map(|(name, ino, ..)| (name, ino)).collect()
    }

    /// Every entry is listed once, and every number belongs to one path. Returns the paths by number.
    fn walk(&self) -> HashMap<Ino, String> {
        let (mut found, mut todo) = (HashMap::from([(Ino::ROOT, String::new())]), vec![Ino::ROOT]);
        while let Some(dir) = todo.pop() {
            let at = found[&dir].clone();
            let listed = self.list(dir, &[3, 1, 7], 0);
            for (name, ino) in listed {
                // The two of bindmounts are the passthrough's, and here the same for every node.
                if ino.0 < 1 << 62 {
                    let path = format!("{at}/{name}");
                    assert_eq!(found.insert(ino, path.clone()), None, "the number of {path} is another's");
                    if self.fixture.tree.kind(ino) == EntryKind::Directory {
                        todo.push(ino);
                    }
                }
            }
        }
        found
    }
}

async fn live(steps: Vec<Step>) {
    let world = Arc::new(World::new().await);
    let tree = world.fixture.tree.clone();
    let engine = world.fixture.engine.clone();
    let before = world.walk();
    let directories: Vec<Ino> = before.keys().copied().filter(|ino| tree.kind(*ino) == EntryKind::Directory).collect();
    let mut writers = JoinSet::new();
    let mut readers: Vec<Reader> = vec![];
    let mut hung = None;
    for step in steps {
        match step {
            Step::Run(script) => {
                writers.spawn(writer::run(world.clone(), script));
            }
            Step::Outside(what, node) => world.outside(what, node),
            Step::Open(which) => {
                let (path, _, ino) = which.get(&world.files);
                let pollable = POLLABLE.iter().any(|name| path.ends_with(name));
                readers.extend(Reader::open(&tree, *ino, pollable));
            }
            Step::Read(which, at, size) if !readers.is_empty() => {
                let which = which.index(readers.len());
                readers[which].read(&tree, at, size);
            }
            Step::Poll(which) if !readers.is_empty() => {
                let which = which.index(readers.len());
                readers[which].poll(&tree);
            }
            Step::Release(which) if !readers.is_empty() => {
                readers.swap_remove(which.index(readers.len())).release(&tree);
            }
            Step::Read(..) | Step::Poll(_) | Step::Release(_) => {}
            Step::Stat(which) => world.cache.getattr(&tree, which.get(&world.files).2),
            Step::List(dir, rooms, again) => drop(world.list(*dir.get(&directories), &rooms, again)),
            Step::Disconnect => engine.disconnect(),
            Step::Reconnect => engine.reconnect(),
            Step::Hang(op) => {
                hung.into_iter().for_each(|op| engine.release(op));
                hung = Some(op);
                engine.hang(op);
            }
            Step::Unhang => hung.take().into_iter().for_each(|op| engine.release(op)),
            Step::Fail(op) => engine.fail_next(op, 1, EngineError::Refused("no".into())),
            Step::Lose(count) => engine.lose_events(count),
            Step::Yield(times) => {
                for _ in 0..times {
                    tokio::task::yield_now().await;
                }
            }
        }
        world.check();
        readers.iter().for_each(|reader| reader.check(&tree));
    }
    // Everything ends, and after a re-list all that is said is true.
    hung.into_iter().for_each(|op| engine.release(op));
    engine.reconnect();
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    engine.disconnect();
    while world.fixture.cluster.is_reachable(0) {
        tokio::task::yield_now().await;
    }
    world.check();
    engine.reconnect();
    world.fixture.watch.reachable(0).await;
    world.check();
    for node in 0..NODES {
        assert_eq!(world.said(node), world.truth(node));
    }
    readers.iter().for_each(|reader| reader.check(&tree));
    assert_eq!(world.walk(), before, "numbers stay");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn the_tree_keeps_its_promises(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live(steps));
    }
}
