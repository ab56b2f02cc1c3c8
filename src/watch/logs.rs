//! Collects a node's output, over all its runs, in the file that `log` shows.

use std::fs::File;
use std::io::{self, Write};
use std::time::Duration;

use futures_util::StreamExt;
use tracing::{info, warn};

use super::Watch;
use crate::engine::{ContainerId, EngineError};

/// Wait before output is asked for again after the engine broke off.
const RETRY: Duration = Duration::from_millis(200);

/// Wait before a piece is written again for which there was no room.
const NO_ROOM: Duration = Duration::from_secs(1);

/// How far a container's output has been taken.
struct Position {
    container: ContainerId,
    /// Time of the latest piece, ns on the engine's clock.
    time: i64,
    /// How many pieces of that very time were taken.
    of_that_time: usize,
}

/// Appends output to the node's log file for ever.
pub(super) async fn collect(watch: Watch, index: usize) {
    let path = watch.0.cluster.node_spec(index).dir.join("log");
    let mut file = match File::options().append(true).create(true).open(&path) {
        Ok(file) => file,
        Err(error) => {
            warn!(path = %path.display(), %error, "cannot keep a node's output");
            return;
        }
    };
    let mut position: Option<Position> = None;
    loop {
        watch.0.output[index].notified().await;
        while let Some(container) = watch.0.cluster.node(index).container {
            let at = position.take().filter(|position| position.container == container);
            let mut at = at.unwrap_or(Position { container, time: 0, of_that_time: 0 });
            let done = take(&watch, index, &mut at, &mut file).await;
            position = Some(at);
            match done {
                Ok(Taken::Again) => continue,
                Ok(Taken::ToTheEnd) | Err(EngineError::NotFound(_)) => {}
                Err(EngineError::Unreachable(_)) => watch.doubt().await,
                Err(error) => {
                    warn!(node = %watch.0.cluster.node_spec(index).name, %error, "cannot read a node's output");
                    break;
                }
            }
            // The stream ends with the run. Broken off before: again from where it stopped.
            if !watch.0.cluster.is_reachable() || !watch.0.cluster.node(index).is_alive() {
                break;
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// How far output was taken.
enum Taken {
    /// The stream has ended.
    ToTheEnd,
    /// It is to be asked for anew: it may be one of a connection that is dead, or of a run that is over.
    Again,
}

async fn take(watch: &Watch, index: usize, at: &mut Position, file: &mut File) -> Result<Taken, EngineError> {
    let mut chunks = watch.0.engine.logs(&at.container, at.time, true).await?;
    let since = at.time;
    let mut skip = at.of_that_time;
    loop {
        let chunk = tokio::select! {
            biased;
            chunk = chunks.next() => chunk,
            () = watch.0.output[index].notified() => return Ok(Taken::Again),
        };
        let Some(chunk) = chunk.transpose()? else { return Ok(Taken::ToTheEnd) };
        // Without a time there is nothing to tell a repetition by.
        let timed = chunk.time != 0;
        if timed && chunk.time < since {
            continue;
        }
        if timed && chunk.time == since && skip > 0 {
            skip -= 1;
            continue;
        }
        append(file, &chunk.bytes).await;
        // Two streams are stamped before they are merged: times can step back, the position must not.
        if timed && chunk.time == at.time {
            at.of_that_time += 1;
        } else if chunk.time > at.time {
            (at.time, at.of_that_time) = (chunk.time, 1);
        }
    }
}

/// Appends a piece whole, however long there is no room for it. Meanwhile the engine keeps what comes after.
async fn append(file: &mut File, piece: &[u8]) {
    let mut told = false;
    loop {
        let Err(error) = try_to_append(file, piece) else {
            if told {
                info!("a node's output can be kept again");
            }
            return;
        };
        if !told {
            warn!(%error, "cannot write a node's output; it is tried again until it works");
        }
        told = true;
        tokio::time::sleep(NO_ROOM).await;
    }
}

/// All of it or nothing.
fn try_to_append(file: &mut File, piece: &[u8]) -> io::Result<()> {
    let before = file.metadata()?.len();
    file.write_all(piece).inspect_err(|_| {
        // What fitted would stand there twice.
        let _ = file.set_len(before);
    })
}
