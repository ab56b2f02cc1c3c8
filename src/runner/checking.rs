//! Holds the history of a cluster, mounted or not, against a model, and records the verdict there.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};

use crate::check::{self, Model, Options, Quotes};
use crate::daemon::{ClusterPaths, lock_data};
use crate::history::{Batch, History, HistoryEvent, HistoryLines, VerdictEvent, VerdictResult};

/// A verdict, and the lines that it names.
pub(crate) struct Checked {
    pub(crate) verdict: VerdictEvent,
    quotes: Quotes,
}

impl Checked {
    /// As it is printed.
    pub(crate) fn text(&self) -> String {
        check::text(&self.verdict, &self.quotes)
    }

    /// Exit status of a program that ends with the verdict.
    pub(crate) fn status(&self) -> u8 {
        match self.verdict.result {
            VerdictResult::Good => 0,
            VerdictResult::Violated => 1,
            VerdictResult::Unknown => UNKNOWN,
        }
    }
}

/// Exit status when it was not found out: neither success, nor anything that could be taken for a violation.
pub(crate) const UNKNOWN: u8 = 4;

/// Holds the operations in a history against a model.
///
/// # Errors
/// A sentence: it is no history, or it has no such operations.
pub(crate) fn check(history: &Path, model: Model, options: &Options) -> Result<Checked> {
    let at = history.display();
    let open = || HistoryLines::open(history).with_context(|| format!("cannot read {at}"));
    let mut lines = open()?;
    let verdict = check::verdict(lines.by_ref(), model, options);
    let mut verdict = verdict.map_err(|error| anyhow!("cannot check {at}: {error}"))?;
    if lines.torn {
        verdict.text += "; the last line of the history is cut off and was left out";
    }
    match lines.skipped {
        0 => {}
        1 => verdict.text += "; a line of a kind unknown to this version was left out",
        many => verdict.text += &format!("; {many} lines of kinds unknown to this version were left out"),
    }
    let mut quotes = Quotes::of(&verdict);
    if !verdict.anomalies.is_empty() {
        // The file may have grown, but it begins as it did.
        open()?.map_while(Result::ok).take_while(|line| quotes.take(line)).for_each(drop);
    }
    Ok(Checked { verdict, quotes })
}

/// Appends the verdict to the history in a directory: that of a mounted cluster, of an unmounted one's data, or of artifacts.
///
/// # Errors
/// A sentence: it cannot be written, or a cluster that is mounted elsewhere writes there.
pub(crate) fn record(history: &Path, verdict: &VerdictEvent) -> Result<()> {
    let Some(dir) = history.parent() else { bail!("{} is in no directory", history.display()) };
    let cannot = || format!("cannot append the verdict to {}", history.display());
    let line = line(verdict)?;
    if ClusterPaths::of(dir).is_ok_and(|paths| paths.is_mounted()) {
        let appended = OpenOptions::new().append(true).open(history).and_then(|mut file| file.write_all(&line));
        return appended.with_context(cannot);
    }
    // Only a directory that clusters write to has a lock. While it is held, no mount begins there.
    let _lock = lock_data(dir).with_context(cannot)?;
    let mut batch = Batch::default();
    batch.push(&line).map_err(|why| anyhow!("a verdict is {why}"))?;
    History::open(history).and_then(|history| history.append_test(&batch)).with_context(cannot)
}

/// The object that becomes a line of the history.
fn line(verdict: &VerdictEvent) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&HistoryEvent::Verdict(verdict.clone()))?;
    line.push(b'\n');
    Ok(line)
}
