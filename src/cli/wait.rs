//! `cthulhu wait`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::Seconds;
use super::args::seconds;
use crate::runner::{Goal, Outcome, wait};

/// Exit status when the time is over: that of timeout(1).
const TIMED_OUT: u8 = 124;

/// Arguments of wait.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// A node's directory in a mount, or the mountpoint for all nodes; all must get there
    #[arg(required = true, value_name = "NODE_PATH")]
    pub paths: Vec<PathBuf>,
    /// What to wait for
    #[arg(long = "for", value_enum, default_value = "ready", value_name = "WHAT")]
    pub goal: Goal,
    /// How long at most, such as 30s, 500ms or 2m [default: 60s, or as long as the image's HEALTHCHECK may take]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub timeout: Option<Seconds>,
}

/// Waits, and says why if in vain.
///
/// # Errors
/// One sentence for the user.
pub fn run(args: &WaitArgs) -> Result<ExitCode> {
    let outcome = wait(&args.paths, args.goal, args.timeout.map(|time| time.0))?;
    Ok(match outcome {
        Outcome::Reached => ExitCode::SUCCESS,
        Outcome::Dead(..) => {
            tell(&outcome);
            ExitCode::FAILURE
        }
        Outcome::TimedOut(..) => {
            tell(&outcome);
            TIMED_OUT.into()
        }
    })
}

/// Tells on stderr what has come of a wait that was in vain.
fn tell(outcome: &Outcome) {
    let _ = write!(std::io::stderr(), "cthulhu: {}", outcome.text(true));
}
