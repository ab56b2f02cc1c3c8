//! What the command line can say.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde::{Deserialize, Serialize};

use super::{DoctorArgs, LsArgs, ManArgs, PruneArgs};

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
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
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
    #[command(after_help = super::run::AFTER_HELP)]
    Run(Box<super::run::RunArgs>),
    /// Wait until nodes are ready, running, healthy, or have exited
    #[command(after_help = "Example:
  echo start > cluster/control
  cthulhu wait cluster                          # all nodes
  cthulhu wait cluster/i001 cluster/i002 --for exited --timeout 2m

Exit status: 0 when all are there; 1 as soon as a node has died instead (its exit
code and the end of its log are shown), and for any other error; 124 when the
time is over.")]
    Wait(super::wait::WaitArgs),
    /// List the clusters that you have here, mounted or left over
    #[command(after_help = "Example:\n  cthulhu ls --json")]
    Ls(LsArgs),
    /// Print what has happened in a cluster: commands, changes of state, lines of its tests
    #[command(after_help = "Example:
  cthulhu history ./cluster | jq -c 'select(.state)'
  cthulhu history ./cluster --format edn > history.edn

While it is mounted, tail -f ./cluster/history follows it.")]
    History(super::history::HistoryArgs),
    /// Remove what is left of clusters whose daemon is gone, and what nodes of unmounted ones wrote
    #[command(
        after_help = "Shows what it is and asks first.\n\nExample:\n  cthulhu prune --yes\n  cthulhu prune ./cluster"
    )]
    Prune(PruneArgs),
    /// Tell what works on this machine, and what to do about what doesn't
    #[command(
        after_help = "The exit status says whether mount works; to see it, a cluster of one demo node is mounted for a moment.\n\n\
        Example:\n  cthulhu doctor || exit 1"
    )]
    Doctor(DoctorArgs),
    /// Draw a picture of what happened: nodes, commands, faults, the test's operations
    #[command(after_help = "Example:
  cthulhu timeline ./cluster -o timeline.html
  cthulhu timeline artifacts/history -o timeline.svg")]
    Timeline(super::TimelineArgs),
    /// Follow a cluster on a screen: states, uptime, cpu, memory, faults, the last line of each log
    #[command(after_help = "Example:
  cthulhu top ./cluster
  cthulhu top --once ./cluster        # a table; so does a pipe

Keys: q, Esc and ^C quit; arrows, j and k choose a node; Enter shows its log.")]
    Top(super::TopArgs),
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
    Man(ManArgs),
    /// The background half of mount
    #[command(hide = true)]
    Daemon,
    /// The process in a sandbox container
    #[command(hide = true)]
    Sandbox,
    /// The process that deletes what nodes wrote, as root in a container
    #[command(hide = true)]
    Sweep(crate::sweep::Args),
    /// The built-in demo node
    #[command(hide = true)]
    Demo(crate::demo::Args),
}

/// Arguments of umount.
#[derive(Debug, Args)]
pub struct UmountArgs {
    /// Where the cluster is mounted
    pub mountpoint: PathBuf,
    /// The engine, when its daemon is gone: unix://PATH, tcp://HOST:PORT [default: as for mount]
    #[arg(long, value_name = "URL")]
    pub host: Option<String>,
}

/// Arguments of mount.
#[derive(Clone, Debug, Default, Args, Serialize, Deserialize)]
pub struct MountArgs {
    /// Where to mount it: an empty directory, or one that is missing; then it is made, and removed at the end [default: ./cthulhu-fixture]
    pub mountpoint: Option<PathBuf>,
    /// How many nodes
    #[arg(short = 'n', long, default_value_t = 1, value_name = "N")]
    pub instances: usize,
    /// The image that they run [default: the built-in demo node]
    #[arg(short, long, alias = "docker-image", value_name = "IMAGE")]
    pub image: Option<String>,
    /// The port that goes into config.json
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Publish that port of node k on host port BASE+k-1
    #[arg(long, value_name = "BASE")]
    pub publish: Option<u16>,
    /// Use an existing user-defined network
    #[arg(long, value_name = "NAME", conflicts_with = "subnet")]
    pub network: Option<String>,
    /// Make the network on this subnet [default: a free one]
    #[arg(long, value_name = "CIDR")]
    pub subnet: Option<String>,
    /// Put P- before container names, for a second cluster on one engine
    #[arg(long, value_name = "P", default_value = "", hide_default_value = true)]
    pub prefix: String,
    /// Set an environment variable in the nodes; the value is a template
    #[arg(short = 'e', long = "env", value_name = "K=V")]
    pub env: Vec<String>,
    /// Read environment variables from a file, K=V a line, taken as they are
    #[arg(long, value_name = "F")]
    pub env_file: Vec<PathBuf>,
    /// Render the files in DIR, which are templates, into each node's etc
    #[arg(long, value_name = "DIR")]
    pub config: Option<PathBuf>,
    /// Mount a host directory or file into the nodes
    #[arg(long, value_name = "SRC:DST[:ro]")]
    pub volume: Vec<String>,
    /// Where bindmounts/etc appears in a node
    #[arg(long, value_name = "PATH", default_value = "/opt/app/etc")]
    pub etc_target: String,
    /// Where bindmounts/var appears in a node
    #[arg(long, value_name = "PATH", default_value = "/opt/app/var")]
    pub var_target: String,
    /// Limit a node's memory, for example 512m
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<String>,
    /// Limit a node's CPUs, for example 0.5
    #[arg(long, value_name = "N")]
    pub cpus: Option<f64>,
    /// Add a capability to the nodes
    #[arg(long, value_name = "CAP")]
    pub cap_add: Vec<String>,
    /// Run the nodes privileged
    #[arg(long)]
    pub privileged: bool,
    /// Run the nodes as this user
    #[arg(long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Replace the image's entrypoint
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<String>,
    /// A node is ready while its TCP port accepts connections
    #[arg(long, value_name = "PORT", group = "ready")]
    pub ready_port: Option<u16>,
    /// A node is ready once a line of its output matches, anew in each run
    #[arg(long, value_name = "REGEX", group = "ready")]
    pub ready_log: Option<String>,
    /// A node is ready while this exits with 0 in it: a line for /bin/sh, or a JSON array of words; a template
    #[arg(long, value_name = "CMD", group = "ready")]
    pub ready_cmd: Option<String>,
    /// How long the port or command may take to answer before the node counts as not ready [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    #[serde(default, with = "as_maybe_seconds")]
    pub ready_timeout: Option<Seconds>,
    /// How long to wait between two tries of the port or command [default: 100ms until the node is ready, then 1s]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    #[serde(default, with = "as_maybe_seconds")]
    pub ready_interval: Option<Seconds>,
    /// How much of a node's output to keep in its log, for example 1g [default: 64m]
    #[arg(long, value_name = "BYTES")]
    pub log_limit: Option<String>,
    /// Keep bindmounts, logs and history in DIR, and continue with what is there
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Start all nodes too
    #[arg(long)]
    pub start: bool,
    /// Let other users use the mount
    #[arg(long)]
    pub allow_other: bool,
    /// Stay in the foreground and log to stderr
    #[arg(long)]
    pub foreground: bool,
    /// How long stop and restart wait before SIGKILL, unless -t says otherwise; whole seconds [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    #[serde(default, with = "as_maybe_seconds")]
    pub stop_grace: Option<Seconds>,
    /// How long the engine may take for a command: seconds, or 500ms, 2m
    #[arg(long, value_name = "TIME", default_value = "30", value_parser = seconds)]
    #[serde(with = "as_seconds")]
    pub timeout: Seconds,
    /// Makes the random choices of partition the same each time: a number up to 2^64-1 [default: drawn; the history tells it]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// The engine: unix://PATH, tcp://HOST:PORT, or simulated: for none at all
    /// [default: DOCKER_HOST, the docker context, /var/run/docker.sock, podman's socket]
    #[arg(long, value_name = "URL")]
    pub host: Option<String>,
    /// What the nodes run instead of the image's command; each argument is a template
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// A time in seconds that defaults to the contract's 30.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl Default for Seconds {
    fn default() -> Self {
        Self(Duration::from_secs(30))
    }
}

/// A time, as the command line takes it: seconds, or with a unit.
pub(super) fn seconds(text: &str) -> Result<Seconds, String> {
    const UNITS: [(&str, f64); 4] = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let with_unit = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (number, factor) = with_unit.unwrap_or((text, 1.0));
    match number.parse::<f64>().map(|number| number * factor) {
        Ok(value) if value > 0.0 && value <= 86_400.0 => Ok(Seconds(Duration::from_secs_f64(value))),
        _ => Err("a time is a number of seconds above 0 and up to a day, such as 30, 30s, 500ms or 2m".into()),
    }
}

mod as_seconds {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Duration, Seconds};

    pub fn serialize<S: Serializer>(time: &Seconds, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(time.0.as_secs_f64())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Seconds, D::Error> {
        let seconds = f64::deserialize(from)?;
        Duration::try_from_secs_f64(seconds).map(Seconds).map_err(serde::de::Error::custom)
    }
}

mod as_maybe_seconds {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Seconds;

    #[derive(Serialize, Deserialize)]
    struct Time(#[serde(with = "super::as_seconds")] Seconds);

    pub fn serialize<S: Serializer>(time: &Option<Seconds>, to: S) -> Result<S::Ok, S::Error> {
        time.map(Time).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Seconds>, D::Error> {
        Ok(Option::<Time>::deserialize(from)?.map(|time| time.0))
    }
}

/// The flags of the tool that this one comes from.
#[derive(Debug, Parser)]
#[command(name = "cthulhu", disable_help_subcommand = true)]
pub struct Original {
    /// How many nodes
    #[arg(long, default_value_t = 1)]
    pub instances: usize,
    /// The image that they run
    #[arg(long)]
    pub docker_image: Option<String>,
    /// The directory in which the mountpoint lies
    #[arg(long, default_value = ".")]
    pub fixture_root: PathBuf,
    /// Name of the mountpoint in it
    #[arg(long, default_value = "cthulhu-fixture")]
    pub fixture_name: PathBuf,
    /// An existing network
    #[arg(long)]
    pub docker_bridge: Option<String>,
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
    fn times_have_units() {
        for (text, millis) in [("30", 30_000), ("30s", 30_000), ("500ms", 500), ("2m", 120_000), ("0.5h", 1_800_000)] {
            assert_eq!(seconds(text).unwrap().0.as_millis(), millis, "{text}");
        }
        for wrong in ["", "s", "0", "0ms", "-1s", "25h", "1 s", "NaN", "inf", "1d"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn arguments_survive_the_way_to_the_daemon() {
        let line = "cthulhu mount -n 3 -i x --timeout 2s --ready-interval 250ms -e A=B ./c -- run --fast";
        let Command::Mount(args) = Cli::parse_from(line.split(' ')).command else { panic!("no mount") };
        let text = serde_json::to_string(&args).unwrap();
        let back: MountArgs = serde_json::from_str(&text).unwrap();
        assert_eq!(format!("{back:?}"), format!("{args:?}"));
        assert_eq!(back.command, ["run", "--fast"]);
        assert!(Cli::try_parse_from(["cthulhu", "mount", "--timeout", "0"]).is_err());
    }
}
