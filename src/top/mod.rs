//! A screen that follows a mounted cluster, and one plain shot of the same.
//!
//! It reads the mount as any program does, by its files and poll(2), and asks the engine for what processes use; **the only
//! code that names ratatui**. It changes nothing, never waits for a mount or an engine before it draws or ends, and lets
//! no control character of a node reach the terminal.

mod clean;
mod events;
mod faults;
mod plain;
mod reader;
mod snapshot;
mod usage;
mod view;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::daemon::{check_answers, within_reach};
use reader::Reader;
use usage::Meter;

/// Follows the cluster mounted at `dir` on the terminal; prints one table if stdout is not a terminal, or with `once`.
///
/// # Errors
/// A sentence: no cluster is mounted there, the mount has gone away, the terminal cannot be used.
pub(crate) fn run(dir: &Path, once: bool) -> Result<ExitCode> {
    if once || !std::io::stdout().is_terminal() {
        let paths = [dir.to_owned()];
        return within_reach(&paths.clone(), move || shot(Reader::of(&paths[0])?));
    }
    check_answers(&[dir.to_owned()])?;
    let reader = Reader::of(dir)?;
    if std::env::var("TERM").is_ok_and(|term| term == "dumb") {
        bail!("this terminal (TERM=dumb) cannot move its cursor: cthulhu top --once prints a table");
    }
    events::follow(reader)
}

fn shot(mut reader: Reader) -> Result<ExitCode> {
    let snapshot = reader.read()?;
    let meters = reader.meters();
    std::thread::scope(|scope| {
        for meter in &meters {
            meter.watch(&snapshot);
            scope.spawn(|| meter.measure_once());
        }
    });
    let text = plain::table(&snapshot, &Meter::readings_of(&meters));
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
