//! `cthulhu doctor`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::engine_args::EngineArgs;
use super::{print_json, print_lines};
use crate::daemon::runtime;
use crate::doctor::{Finding, examine};

/// Arguments of doctor.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Print JSON: an object for each check, with check, verdict and text
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

/// Prints a line for each check. The exit status says whether mount works.
///
/// # Errors
/// One sentence for the user.
pub(crate) fn doctor(args: &DoctorArgs) -> Result<ExitCode> {
    let mut findings: Vec<Finding> = vec![];
    let mut tell = |finding: Finding| {
        if !args.json {
            let Finding { check, verdict, text } = &finding;
            // The trial takes a second: what is known by then can be read meanwhile.
            let _ = print_lines([format!("{:<8} {check}: {text}", verdict.word())]);
        }
        findings.push(finding);
    };
    let well = runtime()?.block_on(examine(args.engine.address().as_deref(), &mut tell));
    if args.json {
        print_json(&findings)?;
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
