//! Internal programs that are not started by hand. They are not subcommands: help, completions, manual pages and
//! suggestions do not show them, and no typing error starts them.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use super::log_to_stderr;
use crate::cluster::ClusterId;
use crate::engine::{self, Engine, EngineError};
use crate::selfimage::INTERNAL;
use crate::{agent, daemon, demo, provision, sandbox, sweep};

/// How long the engine may take to answer an agent.
const CONNECT: Duration = Duration::from_secs(10);

/// Options of `cthulhu demo`.
#[derive(Debug, Parser)]
#[command(name = "cthulhu demo", about = "The built-in demo node")]
struct DemoArgs {
    /// Who this node is and who its peers are, as JSON
    #[arg(long, value_name = "PATH", default_value = "/opt/app/etc/config.json")]
    config: PathBuf,
    /// File to append to [default: the node's own *.log in /opt/app/var, if there is one]
    #[arg(long, value_name = "PATH")]
    log: Option<PathBuf>,
}

/// Runs the one that the arguments name, if they name one: the daemon, a sandbox, what sweeps or guards a command by [`INTERNAL`] and its name,
/// the demo node, which does no harm anywhere, by its name alone.
pub(crate) fn run(args: &[OsString]) -> Option<ExitCode> {
    let word = |nth: usize| args.get(nth).and_then(|word| word.to_str());
    match (word(1)?, word(2), args.len()) {
        (INTERNAL, Some("daemon"), 3) => {
            log_to_stderr();
            // What failed has been reported to the parent, and logged.
            Some(if daemon::run_child().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        (INTERNAL, Some("sandbox"), 3) => Some(sandbox::run(None)),
        (INTERNAL, Some("sandbox"), 5) if word(3) == Some(sandbox::LEASE) => {
            let seconds: NonZeroU32 = word(4)?.parse().ok()?;
            Some(sandbox::run(Some(Duration::from_secs(seconds.get().into()))))
        }
        (INTERNAL, Some("agent"), 6 | 8) => {
            let acts_as = (word(3)?.parse().ok()?, word(4)?.parse().ok()?);
            let lease: NonZeroU32 = word(5)?.parse().ok()?;
            let left = word(6).map(str::to_owned).zip(word(7).map(str::to_owned));
            Some(run_agent(acts_as, Duration::from_secs(lease.get().into()), left))
        }
        (INTERNAL, Some(daemon::GUARD), 6) => Some(daemon::guard(word(3)?.parse().ok()?, args[4].as_ref(), &args[5])),
        (INTERNAL, Some("sweep"), 3) => Some(sweep::run(None)),
        (INTERNAL, Some("sweep"), 5) => Some(sweep::run(Some((word(3)?.parse().ok()?, word(4)?.parse().ok()?)))),
        ("demo", ..) => {
            let args = DemoArgs::parse_from(&args[1..]);
            Some(demo::run(&args.config, args.log.as_deref()))
        }
        _ => None,
    }
}

/// Serves the files of the nodes of one engine. With the engine's id, and a cluster, the cluster's containers are removed
/// from that engine when the daemon has not been heard of for the time of the lease.
fn run_agent(acts_as: (u32, u32), lease: Duration, left: Option<(String, String)>) -> ExitCode {
    log_to_stderr();
    let agent = agent::Agent::new(agent::BASE.into(), acts_as);
    agent::run(&agent, lease, || {
        let Some((engine, cluster)) = left else { return };
        let removed = daemon::runtime().map_err(|error| error.to_string()).and_then(|runtime| {
            runtime.block_on(remove_containers(&engine, &ClusterId(cluster))).map_err(|error| error.to_string())
        });
        if let Err(why) = removed {
            eprintln!("cthulhu agent: cannot remove what a dead daemon left: {why}");
        }
    })
}

async fn remove_containers(id: &str, cluster: &ClusterId) -> engine::Result<()> {
    let engine = engine::docker::connect(Some(&format!("unix://{}", agent::SOCKET)), CONNECT).await?;
    // The socket of another engine would have us remove what a living daemon uses.
    if id.is_empty() || engine.info().id != id {
        return Err(EngineError::Refused("the socket is another engine's".into()));
    }
    provision::remove_containers(&engine, cluster).await
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::commands::Cli;
    use super::*;

    #[test]
    fn no_subcommand_is_hidden_and_none_of_these_is_one() {
        let cli = Cli::command();
        assert!(cli.get_subcommands().all(|one| !one.is_hide_set()));
        for name in ["agent", "daemon", "sandbox", "sweep", "guard", "demo"] {
            assert!(cli.find_subcommand(name).is_none(), "{name}");
        }
        let error = Cli::try_parse_from(["cthulhu", "sleep"]).unwrap_err().to_string();
        assert!(!error.contains("sweep"), "{error}");
    }

    #[test]
    fn a_name_alone_or_with_a_directory_starts_none() {
        for line in [
            "cthulhu sweep /precious",
            "cthulhu sweep",
            "cthulhu daemon",
            "cthulhu sandbox",
            "cthulhu --internal",
            "cthulhu --internal sweep /precious",
            "cthulhu --internal sweep /precious /home",
            "cthulhu --internal sandbox 60",
            "cthulhu --internal sandbox --lease 0",
            "cthulhu --internal sandbox --lease 1.5",
            "cthulhu --internal sandbox --let 60",
            "cthulhu --internal agent",
            "cthulhu --internal agent 0 0",
            "cthulhu --internal agent 0 0 0",
            "cthulhu --internal agent root root 60",
            "cthulhu --internal agent 0 0 60 ID",
            "cthulhu --internal guard",
            "cthulhu --internal guard u / true",
            "cthulhu --internal mount",
        ] {
            let args: Vec<_> = line.split(' ').map(OsString::from).collect();
            assert!(run(&args).is_none(), "{line}");
        }
    }
}
