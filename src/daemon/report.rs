//! Reports of a start: to a terminal, or through a pipe to the command that waits.

use std::io::{BufRead, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::text::harmless;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// Something is being done; a line of text.
    Step(String),
    /// Something that the user should know, whatever comes after it; a line of text.
    Note(String),
    /// Long work: so much of so much.
    Progress {
        what: String,
        done: u64,
        /// In all; 0 if unknown.
        total: u64,
    },
    /// The cluster can be used; a text for the user.
    Ready(String),
    /// It cannot; a sentence.
    Failed(String),
}

pub(crate) type Reporter = Arc<dyn Fn(Report) + Send + Sync>;

/// Writes reports as JSON lines for [`follow`]. A reader that is gone is not an error.
pub(crate) fn to_pipe(pipe: impl Write + Send + 'static) -> Reporter {
    let pipe = Mutex::new(pipe);
    Arc::new(move |report| {
        if let Ok(line) = serde_json::to_string(&report) {
            let mut pipe = pipe.lock();
            let _ = writeln!(pipe, "{line}").and_then(|()| pipe.flush());
        }
    })
}

/// Shows reports on stderr: a bar on a terminal, plain lines elsewhere.
pub(crate) fn to_stderr() -> Reporter {
    let screen = Mutex::new(Screen::new());
    Arc::new(move |report| screen.lock().show(&report))
}

struct Screen {
    bar: Option<ProgressBar>,
    /// What the last plain line was about, to say each thing once.
    last: String,
}

impl Screen {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::no_length();
            if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { bar, last: String::new() }
    }

    /// A report may contain words of the engine, and names that others have chosen.
    fn show(&mut self, report: &Report) {
        match (report, &self.bar) {
            (Report::Step(text), Some(bar)) => bar.set_message(harmless(text)),
            (Report::Progress { what, done, total }, Some(bar)) => {
                bar.set_message(harmless(what));
                bar.set_length(*total);
                bar.set_position(*done);
            }
            (Report::Ready(_) | Report::Failed(_), Some(bar)) => bar.finish_and_clear(),
            (Report::Note(text), Some(bar)) => bar.println(harmless(text)),
            (Report::Step(text) | Report::Note(text), None) => say(text),
            (Report::Progress { what, .. }, None) if *what != self.last => {
                say(what);
                self.last.clone_from(what);
            }
            (Report::Progress { .. } | Report::Ready(_) | Report::Failed(_), None) => {}
        }
    }
}

/// A reader that is gone is no reason to fail.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", harmless(text));
}

/// Why a start has not finished.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unready {
    #[error("{0}")]
    Failed(String),
    /// The daemon is gone and has said nothing.
    #[error("the daemon ended without a word")]
    Silent,
}

/// Shows what comes through the pipe until the start has ended one way or the other.
///
/// # Errors
/// The sentence of the failure, or that the daemon is gone.
pub(crate) fn follow(pipe: impl BufRead) -> Result<String, Unready> {
    let show = to_stderr();
    for line in pipe.lines().map_while(Result::ok) {
        // A line that was cut off is its last.
        let Ok(report) = serde_json::from_str::<Report>(&line) else { break };
        show(report.clone());
        match report {
            Report::Ready(text) => return Ok(text),
            Report::Failed(why) => return Err(Unready::Failed(why)),
            Report::Step(_) | Report::Note(_) | Report::Progress { .. } => {}
        }
    }
    Err(Unready::Silent)
}
