//! Bytes written to an open control file in pieces, wherever they are cut: each whole line is run once and in order, a
//! piece with a line that is no command is refused whole, and what is shown afterwards is what the engine has.
//!
//! 0xff ends a piece, 0xfe closes a copy of the descriptor.

use std::sync::Mutex;
use std::time::Duration;

use cthulhu::control::{Command, parse};
use cthulhu::engine::simulated::Op;
use cthulhu::tree::{Position, Written};
use rustix::io::Errno;

use super::common::{Fixture, done};

static WORLD: Mutex<Option<(tokio::runtime::Runtime, Fixture)>> = Mutex::new(None);

pub fn takes(data: &[u8]) -> bool {
    let mut world = WORLD.lock().unwrap();
    let (runtime, fixture) = world.get_or_insert_with(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let fixture = runtime.block_on(Fixture::new(2, Duration::from_secs(30)));
        (runtime, fixture)
    });
    runtime.block_on(write(fixture, data))
}

/// Whether no piece was refused.
async fn write(f: &Fixture, data: &[u8]) -> bool {
    let fh = f.tree.open(f.find("control"), true).unwrap();
    let mut line = Vec::new();
    let kills = f.engine.calls(Op::Kill);
    let (mut most_kills, mut takes_all) = (0, true);
    for piece in data.split_inclusive(|byte| *byte >= 0xfe) {
        let closes = piece.last() == Some(&0xfe);
        let piece = piece.strip_suffix(&[0xfe]).or(piece.strip_suffix(&[0xff])).unwrap_or(piece);
        let commands = whole(&mut line, piece);
        takes_all &= commands.is_ok();
        most_kills += check(f, f.tree.write(fh, Position::default(), piece), commands, piece.len()).await;
        if closes {
            let commands = last(&mut line);
            takes_all &= commands.is_ok();
            most_kills += check(f, f.tree.flush(fh), commands, 0).await;
        }
    }
    f.tree.release(fh);
    assert!(f.engine.calls(Op::Kill) - kills <= most_kills, "a command ran twice");
    takes_all
}

/// The commands of the lines that a piece ends.
fn whole(line: &mut Vec<u8>, piece: &[u8]) -> Result<Vec<Command>, ()> {
    let begun = line.clone();
    line.extend_from_slice(piece);
    let mut lines: Vec<Vec<u8>> = line.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    *line = lines.pop().unwrap();
    let parsed: Result<Vec<_>, _> = lines.iter().map(|line| parse(line)).collect();
    if parsed.is_err() {
        // Nothing of the piece is taken: what was begun before it stays, unless that is how the bad line begins.
        *line = if parse(&lines[0]).is_err() { vec![] } else { begun };
    }
    Ok(parsed.map_err(drop)?.into_iter().flatten().collect())
}

fn last(line: &mut Vec<u8>) -> Result<Vec<Command>, ()> {
    let command = parse(line).map_err(drop)?;
    line.clear();
    Ok(command.into_iter().collect())
}

/// Returns how many signals may have been sent.
async fn check(f: &Fixture, written: Written, commands: Result<Vec<Command>, ()>, taken: usize) -> u64 {
    assert_eq!(matches!(written, Written::Now(_)), commands.as_ref().is_ok_and(Vec::is_empty));
    let result = done(written).await;
    for node in ["i001", "i002"] {
        let container = f.engine.containers().into_iter().find(|container| container.name == node).unwrap();
        let truth = format!("{:?}\n", container.status).to_lowercase();
        assert_eq!(f.read(&format!("{node}/state")).unwrap(), truth);
    }
    match commands {
        Err(()) => {
            assert_eq!(result, Err(Errno::INVAL));
            0
        }
        Ok(commands) => {
            assert!(result == Ok(taken as u32) || result.is_err() && !commands.is_empty(), "{result:?}");
            2 * commands.iter().filter(|command| ["kill", "crash"].contains(&command.verb)).count() as u64
        }
    }
}
