//! `cthulhu timeline`.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};

use super::history::find;
use super::print;
use crate::daemon::ClusterPaths;
use crate::history::RecordedHistory;
use crate::runner::report;
use crate::sys::{Asked, boot_id};
use crate::timeline::{Now, Timeline, html, svg};

/// Arguments of timeline.
#[derive(Debug, Args)]
pub(crate) struct TimelineArgs {
    /// Where a cluster is or was mounted; a directory that has its data or artifacts; a history itself; - for stdin
    #[arg(value_name = "DIR|FILE")]
    pub(crate) source: PathBuf,
    /// Where to draw it: FILE.svg or FILE.html; - for stdout
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// What to draw [default: svg or html by the file's name; svg to stdout]
    #[arg(long)]
    pub(crate) format: Option<Format>,
    /// Which mount, where the history tells of several; counted from 1 [default: the last]
    #[arg(long, value_name = "N")]
    pub(crate) mount: Option<usize>,
}

/// What can be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A picture
    Svg,
    /// A page with the picture that zooms, and a table
    Html,
    /// A page about the verdict: the operations that do not fit, the picture, the nodes' logs
    Report,
}

/// Draws it.
///
/// # Errors
/// One sentence for the user.
pub(crate) fn timeline(args: &TimelineArgs) -> Result<ExitCode> {
    let source = args.source.display();
    let Some(output) = &args.output else {
        bail!("name the file to draw to: cthulhu timeline {source} -o timeline.svg (or .html, or - for stdout)")
    };
    let format = format(output, args.format)?;
    let (path, bytes) = read(&args.source)?;
    let history = RecordedHistory::read(&bytes).with_context(|| format!("cannot draw {path}"))?;
    let timeline = Timeline::of(&history, args.mount, now(&args.source).as_ref())
        .map_err(|error| anyhow!("cannot draw {path}: {error}"))?;
    let drawn = match format {
        Format::Svg => svg(&timeline),
        Format::Html => html(&timeline),
        Format::Report => {
            let lines = history.mounts.get(timeline.mount.0 - 1).map(Vec::as_slice).unwrap_or_default();
            report(&timeline, lines, beside(&path))
        }
    };
    if output == Path::new("-") {
        return print(drawn.as_bytes());
    }
    fs::write(output, drawn).with_context(|| format!("cannot write {}", output.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// The present, if a cluster is mounted there.
fn now(source: &Path) -> Option<Now> {
    let paths = ClusterPaths::of(source).ok()?;
    if !paths.is_mounted() || paths.ask_mount() != Asked::Answers {
        return None;
    }
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let mono_ns = Duration::new(clock.tv_sec.cast_unsigned(), u32::try_from(clock.tv_nsec).ok()?).as_nanos();
    Some(Now { boot_id: boot_id().ok()?, mono_ns: u64::try_from(mono_ns).ok()? })
}

fn format(output: &Path, asked: Option<Format>) -> Result<Format> {
    let extension = output.extension().map(|extension| extension.to_ascii_lowercase());
    match (asked, extension.as_deref().and_then(|extension| extension.to_str())) {
        (Some(format), _) => Ok(format),
        (None, Some("svg")) => Ok(Format::Svg),
        (None, Some("html" | "htm")) => Ok(Format::Html),
        (None, _) if output == Path::new("-") => Ok(Format::Svg),
        (None, _) => {
            let output = output.display();
            bail!(
                "{output} ends neither in .svg nor in .html: name it so, or say which with --format svg or --format html"
            )
        }
    }
}

/// The directory with the nodes' logs, if the history is one of a cluster or of artifacts.
fn beside(history: &str) -> Option<&Path> {
    let history = Path::new(history);
    history.parent().filter(|_| history.file_name().is_some_and(|name| name == "history"))
}

/// The bytes of the history, and its name for a sentence.
fn read(source: &Path) -> Result<(String, Vec<u8>)> {
    if source == Path::new("-") {
        let mut bytes = vec![];
        std::io::stdin().read_to_end(&mut bytes).context("cannot read stdin")?;
        return Ok(("stdin".into(), bytes));
    }
    let path = find(source)?;
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok((path.display().to_string(), bytes))
}
