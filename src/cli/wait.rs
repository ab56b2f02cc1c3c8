//! `cthulhu wait`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use super::args::seconds;
use crate::runner::{Goal, WaitOutcome, wait};

/// Exit status when the time is over: that of timeout(1).
const TIMED_OUT: u8 = 124;

/// Arguments of wait.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// A node's directory in a mount, or the mountpoint for all nodes; all must get there
    #[arg(required = true, value_name = "NODE_PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// What to wait for
    #[arg(long = "for", value_enum, default_value = "ready", value_name = "WHAT")]
    pub(crate) goal: Goal,
    /// How long at most, such as 30s, 500ms or 2m [default: 60s, or as long as the image's HEALTHCHECK may take]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
}

impl ValueEnum for Goal {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Running, Self::Exited, Self::Ready, Self::Healthy]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Self::Running => "Its process runs",
            Self::Exited => "Its process has ended, or its container was removed",
            Self::Ready => "It can be used: its file ready says yes",
            Self::Healthy => "The image's HEALTHCHECK passes",
        };
        Some(PossibleValue::new(self.word()).help(help))
    }
}

/// Waits, and says why if the wait fails.
///
/// # Errors
/// One sentence for the user.
pub(crate) fn run(args: &WaitArgs) -> Result<ExitCode> {
    let outcome = wait(&args.paths, args.goal, args.timeout)?;
    Ok(match outcome {
        WaitOutcome::Reached => ExitCode::SUCCESS,
        WaitOutcome::Dead(..) => {
            tell(&outcome);
            ExitCode::FAILURE
        }
        WaitOutcome::TimedOut(..) => {
            tell(&outcome);
            TIMED_OUT.into()
        }
    })
}

/// Says on stderr why a wait failed.
fn tell(outcome: &WaitOutcome) {
    let _ = write!(std::io::stderr(), "cthulhu: {}", outcome.text(true));
}
