//! `cthulhu shrink`: the smallest part of a schedule with which a test still fails.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser};

use super::nemesis::read;
use super::run::{RunArgs, planned};
use super::{complain, print_lines};
use crate::nemesis::Shrunk;
use crate::runner::{ShrinkJob, shrink};

/// Arguments of shrink.
#[derive(Debug, Args)]
pub(crate) struct ShrinkArgs {
    /// How often to try each candidate [default: by how often the whole schedule fails]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) tries: Option<u32>,
    /// How many runs to make side by side
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) jobs: u32,
    /// Where to write the smallest schedule found [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// The schedule
    #[arg(value_name = "SCHEDULE")]
    pub(crate) schedule: PathBuf,
    /// Options of run, then -- and COMMAND
    #[arg(value_name = "OPTIONS OF RUN", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) run: Vec<OsString>,
}

/// The options of run by themselves.
#[derive(Debug, Parser)]
#[command(name = "cthulhu run")]
struct Run {
    #[command(flatten)]
    args: RunArgs,
}

/// Makes a schedule smaller.
///
/// # Errors
/// One sentence for the user.
pub(crate) fn run(args: ShrinkArgs) -> Result<ExitCode> {
    let schedule = read(&args.schedule)?;
    // Wrong options are told now: each run that refuses them would count as one that fails.
    let words = ["cthulhu run", "--nemesis", "-"].map(OsString::from);
    let Run { args: mut of_run } = Run::parse_from(words.iter().chain(&args.run));
    if of_run.draw.draws() {
        bail!("--faults, --every and --for draw a schedule, and {} is one: leave them out", args.schedule.display());
    }
    of_run.nemesis = None;
    if let Err(status) = planned(of_run)? {
        return Ok(status.into());
    }
    let job = ShrinkJob { schedule, run: args.run, jobs: args.jobs, tries: args.tries };
    match shrink(&job)? {
        Shrunk::Not(why) => bail!("not shrunk: {why}"),
        Shrunk::To(schedule, count) => {
            let (left, of) = (schedule.episodes.len(), job.schedule.episodes.len());
            complain(&format!("{left} of {of} episodes are left; they fail in {count} runs"));
            let text = format!("{schedule}# fails in {count} runs\n");
            match &args.output {
                None => print_lines(text.lines().map(str::to_owned)),
                Some(file) => {
                    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
                    Ok(ExitCode::SUCCESS)
                }
            }
        }
    }
}
