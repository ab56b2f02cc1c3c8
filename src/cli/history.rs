//! `cthulhu history`.

use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};

use crate::daemon;
use crate::history::{edn, read_lines};

/// Arguments of history.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Where a cluster is or was mounted; or a directory that has its data or artifacts; or a history itself
    #[arg(value_name = "DIR")]
    pub(crate) of: PathBuf,
    /// How to print it
    #[arg(long, value_enum, default_value = "jsonl")]
    pub(crate) format: Format,
}

/// How a history is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// As it is: a JSON object a line
    Jsonl,
    /// For Jepsen and what reads its histories: an EDN map a line
    Edn,
}

/// Prints a history.
///
/// # Errors
/// One sentence for the user.
pub(crate) fn history(args: &HistoryArgs) -> Result<ExitCode> {
    let path = find(&args.of)?;
    let at = path.display();
    let lines = read_lines(&path).with_context(|| format!("cannot read {at}"))?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut edn = edn::Writer::default();
    for (nth, line) in lines.enumerate() {
        let mut line = line.with_context(|| format!("cannot read {at}"))?;
        if args.format == Format::Edn {
            let wrong = || format!("{at}, line {}: not of a history", nth + 1);
            line = edn.line(&line).with_context(wrong)?;
        }
        if let Some(done) = has_enough(writeln!(out, "{line}"))? {
            return Ok(done);
        }
    }
    Ok(has_enough(out.flush())?.unwrap_or(ExitCode::SUCCESS))
}

/// A reader that has seen enough, as in `cthulhu history DIR | head`, is not a failure.
fn has_enough(written: std::io::Result<()>) -> Result<Option<ExitCode>> {
    match written {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Some(ExitCode::SUCCESS)),
        Err(error) => Err(error).context("cannot print it"),
    }
}

/// The file: itself, or in the directory, or where a cluster that was mounted there has left it.
///
/// # Errors
/// A sentence: there is none.
pub(crate) fn find(of: &Path) -> Result<PathBuf> {
    if of.is_file() {
        return Ok(of.to_owned());
    }
    // A dead mount says nothing, and what is kept of its cluster says it all.
    let kept = daemon::ClusterPaths::of(of).ok().and_then(|paths| paths.kept());
    let mut candidates = std::iter::once(of.to_owned()).chain(kept).map(|dir| dir.join("history"));
    if let Some(path) = candidates.find(|path| path.is_file()) {
        return Ok(path);
    }
    let at = of.display();
    if std::fs::symlink_metadata(of).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        bail!("there is no {at}: name a mountpoint, or a directory with the data or the artifacts of a cluster");
    }
    Err(anyhow!("{at} has no history: name a mountpoint, or a directory with the data or the artifacts of a cluster"))
}
