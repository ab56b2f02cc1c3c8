//! `cthulhu workload`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use super::args::seconds;
use super::{complain, print_lines};
use crate::check::Model;
use crate::runner::{self, OWN_FAILURE, Workload, usual_keys};
use crate::text::sentence;

/// What `--help` shows after the options.
pub(crate) const AFTER_HELP: &str = "Example:
  cthulhu run -n 3 -i my-kv -- cthulhu workload --model set --rate 100 --for 30s -- ./client.py
  cthulhu workload ./cluster --model register --keys 10 -- ./client.py

CLIENT is started once for each process. It reads lines such as
  {\"op\":\"add\",\"key\":\"k1\",\"value\":7}
does that at the node whose address is in CTHULHU_ADDRESS, and answers each with one of
  {\"type\":\"ok\"}                          it happened; {\"type\":\"ok\",\"value\":[1,2]} for what was read
  {\"type\":\"fail\",\"error\":\"no leader\"}    it did not happen
  {\"type\":\"info\",\"error\":\"timed out\"}    nobody knows

Exit status: 0 if the operations are as the model says, 1 if they are not, 4 if that is
unknown, 125 if they could not be done, 126 or 127 if there is no such CLIENT, 128+N after
signal N.";

/// Arguments of workload.
#[derive(Debug, Args)]
pub(crate) struct WorkloadArgs {
    /// Where the cluster is mounted [default: $CTHULHU]
    #[arg(value_name = "DIR")]
    pub(crate) mountpoint: Option<PathBuf>,
    /// What the system keeps, and what must be true of it
    #[arg(long, value_enum, value_name = "MODEL")]
    pub(crate) model: Model,
    /// How many clients there are at once
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) processes: u64,
    /// How many operations a second there are on average, of all processes
    #[arg(long, value_name = "N", default_value = "100", value_parser = rate)]
    pub(crate) rate: f64,
    /// How long, such as 30s or 2m; longer while a nemesis is at work
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = seconds)]
    pub(crate) time: Duration,
    /// How many keys are in use at once [default: 5 registers, numbers or lists; 1 set or queue]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) keys: Option<u64>,
    /// A node that clients talk to, or a service for all of its nodes; repeat it for others [default: all nodes]
    #[arg(long = "node", value_name = "NAME")]
    pub(crate) nodes: Vec<String>,
    /// How long a client may take to answer before it is killed and started again
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = seconds)]
    pub(crate) op_timeout: Duration,
    /// How long reading everything back at the end may take
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = seconds)]
    pub(crate) read_timeout: Duration,
    /// Draws the same operations again [default: drawn; it is printed]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Leave out the verdict
    #[arg(long)]
    pub(crate) no_check: bool,
    /// The program that does the operations
    #[arg(last = true, required = true, value_name = "CLIENT")]
    pub(crate) client: Vec<String>,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=100_000.0).contains(&rate) => Ok(rate),
        _ => Err("a rate is a number of operations a second, from 0.001 to 100000".into()),
    }
}

/// Does it, and says what came of it. What cannot be said is a failure of its own, and no violation.
pub(crate) fn workload(args: WorkloadArgs) -> ExitCode {
    let told = done(args).and_then(|end| print_lines(end.lines).map(|_| end.status));
    let status = told.unwrap_or_else(|error| {
        complain(&sentence(&error));
        OWN_FAILURE
    });
    status.into()
}

fn done(args: WorkloadArgs) -> Result<runner::WorkloadEnd> {
    let mountpoint = args.mountpoint.or_else(|| std::env::var_os("CTHULHU").map(PathBuf::from));
    let mountpoint = mountpoint.context("name the mountpoint of a cluster, or set CTHULHU to it")?;
    runner::workload(Workload {
        mountpoint,
        keys: args.keys.filter(|_| args.model != Model::Bank).unwrap_or_else(|| usual_keys(args.model)),
        model: args.model,
        client: args.client,
        processes: args.processes,
        rate: args.rate,
        time: args.time,
        nodes: args.nodes,
        op_timeout: args.op_timeout,
        read_timeout: args.read_timeout,
        seed: args.seed,
        check: !args.no_check,
    })
}
