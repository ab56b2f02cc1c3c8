//! `cthulhu check`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use super::history::find;
use super::{complain, print_json, print_lines};
use crate::check::{Model, Options};
use crate::runner::{self, Checked, UNKNOWN};
use crate::text::sentence;

/// What `--help` shows after the options.
pub(crate) const AFTER_HELP: &str = "Example:
  echo '{\"process\":0,\"type\":\"invoke\",\"f\":\"add\",\"value\":7}' >> cluster/history
  echo '{\"process\":0,\"type\":\"ok\",\"f\":\"add\",\"value\":7}' >> cluster/history
  echo '{\"process\":1,\"type\":\"invoke\",\"f\":\"read\"}' >> cluster/history
  echo '{\"process\":1,\"type\":\"ok\",\"f\":\"read\",\"value\":[7]}' >> cluster/history
  cthulhu check cluster --model set

Operations of the models (f: value of invoke -> value of ok):
  register   write: V; read: null -> V; cas: [OLD,NEW]
  set        add: V; read: null -> [V,...]
  queue      enqueue: V; dequeue: null -> V, null if empty; drain: null -> [V,...]
  bank       transfer: {\"from\":A,\"to\":B,\"amount\":N}; read: null -> {A:N,...}
  monotonic  inc: null -> N; read: null -> N
  list       append: V; read: null -> [V,...]

Exit status: 0 good; 1 violated; 4 unknown, also when there is no history or it
has no such operations.";

/// Arguments of check.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Where a cluster is or was mounted, or a directory that has its data or artifacts: the verdict is appended to the history there. Or a history itself, which stays as it is
    #[arg(value_name = "DIR|FILE")]
    pub(crate) source: PathBuf,
    /// What the operations are held against
    #[arg(long)]
    pub(crate) model: Model,
    /// Which mount, where the history tells of several; counted from 1 [default: the last]
    #[arg(long, value_name = "N")]
    pub(crate) mount: Option<usize>,
    /// Of a bank: the total of all accounts [default: that of the first read]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) total: Option<i64>,
    /// Of a bank: no account may be below 0
    #[arg(long)]
    pub(crate) no_negative: bool,
    /// Print the verdict as JSON, as it is in the history
    #[arg(long)]
    pub(crate) json: bool,
}

impl ValueEnum for Model {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

/// Checks a history.
///
/// # Errors
/// One sentence for the user.
pub(crate) fn check(args: &CheckArgs) -> Result<ExitCode> {
    let checked = checked(args)?;
    if args.json {
        print_json(&checked.verdict)?;
    } else {
        print_lines(checked.text().lines().map(str::to_owned))?;
    }
    Ok(checked.status().into())
}

/// What could not be checked is unknown. It must not end with 1, which is for what was found in a history.
pub(crate) fn or_unknown(done: Result<ExitCode>) -> Result<ExitCode> {
    done.or_else(|error| {
        complain(&sentence(&error));
        Ok(UNKNOWN.into())
    })
}

fn checked(args: &CheckArgs) -> Result<Checked> {
    let path = find(&args.source)?;
    let options = Options { mount: args.mount, total: args.total, no_negative: args.no_negative, ..Options::default() };
    let checked = runner::check(&path, args.model, &options)?;
    // Among the lines of the last mount, it would be taken for a verdict on that.
    if path != args.source
        && args.mount.is_none()
        && let Err(error) = runner::record(&path, &checked.verdict)
    {
        complain(&sentence(&error));
    }
    Ok(checked)
}
