//! The subcommands, and the flags of the original fixture.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::args::{MountArgs, parent};
use super::hosts::HostArgs;
use super::{check, compose, doctor, history, list, man, nemesis, prune, run, shrink, timeline, top, wait, workload};

/// Mounts a live cluster of containers as a directory, for testing distributed systems.
#[derive(Debug, Parser)]
#[command(
    name = "cthulhu",
    version,
    about,
    after_help = "Example:
  cthulhu mount -n 3 ./cluster        # three demo nodes
  echo start > cluster/control
  cat cluster/status
  echo 'i001 | i002 i003' > cluster/partition    # cut the network between them
  cthulhu umount ./cluster

The flags of the original fixture work too:
  cthulhu --instances 3 --docker-image hello-world --fixture-root /tmp --fixture-name demo"
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Mount a cluster and go to the background once it can be used
    #[command(after_help = "Example:
  cthulhu mount -n 3 -i my-kv --port 7000 ./cluster -- my-kv --level debug

What the network between the nodes is like is written to files in it:
  echo 'i001 | i002 i003' > cluster/partition

Values of -e, COMMAND and the files in --config DIR are templates (Jinja syntax).
They are rendered for each node with: name, index (from 1), self (its address),
port, peers (the others' addresses), nodes (name, ip, index of each), master.
  cthulhu mount -n 3 -i my-kv -e 'JOIN={{ peers | join(\",\") }}' ./cluster")]
    Mount(Box<MountArgs>),
    /// Unmount a cluster; returns when everything is gone
    #[command(after_help = "Example:\n  cthulhu umount ./cluster")]
    Umount(UmountArgs),
    /// Run a command with a cluster of its own: mount, start, wait until ready, run, take down
    #[command(after_help = run::AFTER_HELP)]
    Run(Box<run::RunArgs>),
    /// Have clients of yours do operations on the system in a cluster, and tell whether what they saw is right
    #[command(after_help = workload::AFTER_HELP)]
    Workload(Box<workload::WorkloadArgs>),
    /// Wait until nodes are ready, running, healthy, or have exited
    #[command(after_help = "Example:
  echo start > cluster/control
  cthulhu wait cluster                          # all nodes
  cthulhu wait cluster/i001 cluster/i002 --for exited --timeout 2m

Exit status: 0 when all are there; 1 as soon as a node has died instead (its exit
code and the end of its log are shown), and for any other error; 124 when the
time is over.")]
    Wait(wait::WaitArgs),
    /// Work with Compose files
    #[command(after_help = "Example:\n  cthulhu compose check -f compose.yaml")]
    Compose(compose::ComposeArgs),
    /// List the clusters that you have here, mounted or left over
    #[command(after_help = "Example:\n  cthulhu ls --json")]
    Ls(list::LsArgs),
    /// Print what has happened in a cluster: commands, changes of state, lines of its tests
    #[command(after_help = "Example:
  cthulhu history ./cluster | jq -c 'select(.state)'
  cthulhu history ./cluster --format edn > history.edn

While it is mounted, tail -f ./cluster/history follows it.")]
    History(history::HistoryArgs),
    /// Tell whether the operations that a test has recorded fit a model: a register, a set, a queue, a bank, a number, a list
    #[command(after_help = check::AFTER_HELP)]
    Check(check::CheckArgs),
    /// Remove what is left of clusters whose daemon is gone, and what nodes of unmounted ones wrote
    #[command(
        after_help = "Shows what it is and asks first.\n\nExample:\n  cthulhu prune --yes\n  cthulhu prune ./cluster"
    )]
    Prune(prune::PruneArgs),
    /// Tell what works on this machine, and what to do about what doesn't
    #[command(
        after_help = "The exit status says whether mount works; to see it, a cluster of one demo node is mounted for a moment.\n\n\
        Example:\n  cthulhu doctor || exit 1"
    )]
    Doctor(doctor::DoctorArgs),
    /// Draw a picture of what happened: nodes, commands, faults, the test's operations
    #[command(after_help = "Example:
  cthulhu timeline ./cluster -o timeline.html
  cthulhu timeline artifacts/history -o timeline.svg")]
    Timeline(timeline::TimelineArgs),
    /// Perform a schedule of faults on a mounted cluster: one that is drawn from a seed, or a file
    #[command(after_help = "Example:
  cthulhu nemesis --seed 7 --for 30s ./cluster
  cthulhu nemesis --seed 7 --dry-run ./cluster > schedule
  cthulhu nemesis --schedule schedule ./cluster

A schedule has a line for each episode:
  at 1.2s for 2.4s crash @leader
  at 5s for 3s partition isolate i001
  at 9s for 2s i002/net delay 50ms 10ms

At its end, or on a signal, all is healed.

Exit status: 0 if all went as the schedule says; 1 if not, or not all is healed;
128+N if signal N came.")]
    Nemesis(nemesis::NemesisArgs),
    /// Do again to a cluster what a history tells
    #[command(after_help = "Example:
  cthulhu replay artifacts/run-5f0c31aa ./cluster
  cthulhu replay artifacts/run-5f0c31aa --roles --dry-run > schedule

The times are the same, what the cluster does then need not be.")]
    Replay(nemesis::ReplayArgs),
    /// Find the smallest part of a schedule with which a test still fails
    #[command(after_help = "Example:
  cthulhu shrink schedule -n 3 -i my-kv -- ./test

Each candidate is run by cthulhu run, with a cluster of its own, as often as it takes to
see it fail, if it does. COMMAND fails with an exit status from 1 to 123, except 4, which
says that it came to no verdict.

Exit status: 0 if there is a result; 1 if not, as the test fails too seldom.")]
    Shrink(shrink::ShrinkArgs),
    /// Follow a cluster on a screen: states, uptime, cpu, memory, faults, the last line of each log
    #[command(after_help = "Example:
  cthulhu top ./cluster
  cthulhu top --once ./cluster        # a table; so does a pipe

Keys: q, Esc and ^C quit; arrows, j and k choose a node; Enter shows its log.")]
    Top(top::TopArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  cthulhu completions bash > /etc/bash_completion.d/cthulhu")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print a manual page, or write all of them
    #[command(after_help = "Example:
  cthulhu man | man -l -
  cthulhu man mount | man -l -
  cthulhu man --dir /usr/local/share/man/man1")]
    Man(man::ManArgs),
}

impl Command {
    /// The paths among the arguments that are gone into: one may lead into a mount that does not answer. Of a mountpoint that
    /// is made or taken away, that is the directory in which it lies.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        match self {
            Self::Mount(args) => args.paths(),
            Self::Umount(args) => vec![parent(&args.mountpoint)],
            Self::Run(args) => {
                args.mount.paths().into_iter().chain(args.artifacts.clone()).chain([std::env::temp_dir()]).collect()
            }
            Self::Wait(args) => args.paths.clone(),
            Self::Compose(compose::ComposeArgs { command: compose::ComposeCommand::Check(args) }) => args.files.paths(),
            Self::History(args) => vec![args.of.clone()],
            Self::Check(args) => vec![args.source.clone()],
            Self::Prune(args) => args.mountpoints.iter().map(|at| parent(at)).collect(),
            Self::Timeline(args) => {
                let output = args.output.as_deref().map(parent);
                std::iter::once(args.source.clone()).chain(output).collect()
            }
            Self::Top(args) => vec![args.mountpoint.clone()],
            Self::Nemesis(args) => std::iter::once(args.cluster.clone()).chain(args.schedule.clone()).collect(),
            Self::Replay(args) => std::iter::once(args.of.clone()).chain(args.cluster.clone()).collect(),
            Self::Shrink(args) => vec![args.schedule.clone(), std::env::temp_dir()],
            Self::Man(args) => args.dir.clone().into_iter().collect(),
            Self::Doctor(_) => vec![std::env::temp_dir()],
            Self::Workload(args) => args.mountpoint.clone().into_iter().collect(),
            Self::Ls(_) | Self::Completions { .. } => vec![],
        }
    }
}

/// Arguments of umount.
#[derive(Debug, Args)]
pub(crate) struct UmountArgs {
    /// Where the cluster is mounted
    pub(crate) mountpoint: PathBuf,
    /// The engines, when its daemon is gone [default: those that it had].
    #[command(flatten)]
    pub(crate) hosts: HostArgs,
}

/// The flags of the tool that this one comes from.
#[derive(Debug, Parser)]
#[command(name = "cthulhu", disable_help_subcommand = true)]
pub(crate) struct Original {
    /// How many nodes
    #[arg(long, default_value_t = 1)]
    pub(crate) instances: usize,
    /// The image that they run
    #[arg(long)]
    pub(crate) docker_image: Option<String>,
    /// The directory in which the mountpoint lies
    #[arg(long, default_value = ".")]
    pub(crate) fixture_root: PathBuf,
    /// Name of the mountpoint in it
    #[arg(long, default_value = "cthulhu-fixture")]
    pub(crate) fixture_name: PathBuf,
    /// An existing network
    #[arg(long)]
    pub(crate) docker_bridge: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_hold() {
        Cli::command().debug_assert();
        Original::command().debug_assert();
    }

    #[test]
    fn what_is_gone_into_is_asked_first() {
        for (line, paths) in [
            ("mount", "."),
            ("mount /a/b --config c --volume /d:/e:ro --env-file f --data g", "/a /d f c g"),
            ("umount /a/b", "/a"),
            ("umount b", "."),
            ("wait a b", "a b"),
            ("history a", "a"),
            ("check a --model set", "a"),
            ("timeline a -o /b/c", "a /b"),
            ("top a", "a"),
            ("workload a --model set -- b", "a"),
            ("prune /a/b c", "/a ."),
            ("compose check -f a -f b --compose-env-file c", "a b c"),
            ("ls", ""),
        ] {
            let command = Cli::parse_from(["cthulhu"].into_iter().chain(line.split(' '))).command;
            let wanted: Vec<_> = paths.split_whitespace().map(PathBuf::from).collect();
            assert_eq!(command.paths(), wanted, "{line}");
        }
    }
}
