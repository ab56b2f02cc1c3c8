//! A program that writes to control, and what must come of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cthulhu::control::{Command, parse};
use cthulhu::engine::simulated::Op;
use cthulhu::tree::{Fh, Written};
use rustix::io::Errno;

use crate::World;

/// What one program does: writes these pieces, closes one copy of its descriptor, closes the last.
#[derive(Clone, Debug)]
pub struct Script {
    /// The root's control, or a node's.
    pub node: Option<usize>,
    pub pieces: Vec<Vec<u8>>,
    pub flushes: usize,
    /// It is told to die at this piece, before anything of it is run.
    pub dies_at: Option<usize>,
}

/// How often commands were given that the engine counts.
#[derive(Default)]
pub struct Counts {
    pub kills_begun: AtomicU64,
    pub kills_done: AtomicU64,
}

struct Writer {
    world: Arc<World>,
    fh: Fh,
    node: Option<usize>,
    /// Written and not yet a whole line.
    line: Vec<u8>,
}

pub async fn run(world: Arc<World>, script: Script) {
    let path = script.node.map_or("control".into(), |node| format!("i{:03}/control", node + 1));
    let fh = world.fixture.tree.open(world.fixture.find(&path), true).unwrap();
    let mut writer = Writer { world: world.clone(), fh, node: script.node, line: vec![] };
    for (at, piece) in script.pieces.iter().enumerate() {
        writer.write(piece, script.dies_at == Some(at)).await;
    }
    for _ in 0..script.flushes {
        writer.flush().await;
    }
    world.fixture.tree.release(fh);
}

impl Writer {
    /// The commands of the lines that `piece` ends; none of them if one is no command.
    fn lines(&mut self, piece: &[u8]) -> Result<Vec<Command>, ()> {
        let begun = self.line.clone();
        self.line.extend_from_slice(piece);
        let mut lines: Vec<Vec<u8>> = self.line.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        self.line = lines.pop().unwrap();
        let parsed: Result<Vec<_>, _> = lines.iter().map(|line| parse(line)).collect();
        match parsed {
            Ok(commands) => Ok(commands.into_iter().flatten().collect()),
            Err(_) => {
                // Nothing of the write is taken: what was begun before it stays, unless that is how the bad line begins.
                self.line = if parse(&lines[0]).is_err() { vec![] } else { begun };
                Err(())
            }
        }
    }

    async fn write(&mut self, piece: &[u8], dies: bool) {
        let commands = self.lines(piece);
        let written = self.world.fixture.tree.write(self.fh, cthulhu::tree::Position::default(), piece);
        self.answered(written, commands, piece.len(), dies).await;
    }

    async fn flush(&mut self) {
        let commands = match parse(&self.line) {
            Ok(command) => {
                self.line.clear();
                Ok(command.into_iter().collect())
            }
            // It stays: another process may write its end.
            Err(_) => Err(()),
        };
        let written = self.world.fixture.tree.flush(self.fh);
        self.answered(written, commands, 0, false).await;
    }

    async fn answered(&self, written: Written, commands: Result<Vec<Command>, ()>, taken: usize, dies: bool) {
        let world = self.world.clone();
        let kills = self.kills(commands.as_deref().unwrap_or_default());
        let nodes = self.nodes(commands.as_deref().unwrap_or_default());
        let result = match written {
            Written::Now(result) => {
                assert_eq!(commands.as_deref(), Ok(&[][..]), "answered before it was done");
                result
            }
            Written::Later(pending) => {
                if dies {
                    pending.cancelled.store(true, Ordering::SeqCst);
                } else {
                    world.counts.kills_begun.fetch_add(kills, Ordering::SeqCst);
                }
                let touched: Vec<_> = nodes.iter().map(|node| world.touch(*node)).collect();
                let result = pending.done.await;
                // In the same moment as the answer: nothing else has run since.
                world.cache.check_true(&world.fixture.tree);
                if result.is_ok() {
                    for (node, touched) in nodes.iter().zip(touched) {
                        if world.touched(*node) == touched {
                            assert_eq!(world.said(*node), world.truth(*node), "what is read after {commands:?}");
                        }
                    }
                    world.counts.kills_done.fetch_add(kills, Ordering::SeqCst);
                }
                result
            }
        };
        match (commands, result) {
            (Err(()), result) => assert_eq!(result, Err(Errno::INVAL)),
            (Ok(commands), result) if commands.is_empty() => assert_eq!(result, Ok(taken as u32)),
            (Ok(_), Err(Errno::INTR)) => assert!(dies),
            (Ok(_), result) => assert!(!dies && result.is_ok_and(|count| count == taken as u32) || result.is_err()),
        }
        world.check_kills();
    }

    fn nodes(&self, commands: &[Command]) -> Vec<usize> {
        let of = |command: &Command| match self.node {
            Some(node) => vec![node],
            None if command.nodes.is_empty() => (0..crate::NODES).collect(),
            None => command.nodes.iter().flat_map(|name| self.world.fixture.cluster.find(name)).collect(),
        };
        let mut nodes: Vec<usize> = commands.iter().flat_map(of).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// How often these send a signal, at most.
    fn kills(&self, commands: &[Command]) -> u64 {
        let kills = commands.iter().filter(|command| command.verb == "kill");
        kills.map(|command| self.nodes(std::slice::from_ref(command)).len() as u64).sum()
    }
}

impl World {
    /// No command has run twice, and none that was answered has not run.
    pub fn check_kills(&self) {
        let calls = self.fixture.engine.calls(Op::Kill);
        assert!(calls <= self.counts.kills_begun.load(Ordering::SeqCst), "a command ran twice");
        assert!(calls >= self.counts.kills_done.load(Ordering::SeqCst), "a command that succeeded did not run");
    }
}
