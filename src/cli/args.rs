//! The arguments of mount, and what several subcommands take.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser};

use super::compose::FileArgs;
use super::container::ContainerArgs;
use super::group_args::GroupArgs;
use super::hosts::{HostArgs, PlaceArgs};
use crate::text::time;

/// The directory in which a path lies.
pub(super) fn parent(path: &Path) -> PathBuf {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

/// Arguments of mount.
#[derive(Clone, Debug, Args)]
pub(crate) struct MountArgs {
    /// Where to mount it: an empty directory, or one that is missing; then it is made, and removed at the end [default: ./cthulhu-fixture]
    pub(crate) mountpoint: Option<PathBuf>,
    /// How many nodes
    #[arg(short = 'n', long, default_value_t = 1, value_name = "N", conflicts_with = "file")]
    pub(crate) instances: usize,
    /// The image that they run [default: the built-in demo node]; with -f, the image of a service: SERVICE=IMAGE
    #[arg(short, long, alias = "docker-image", value_name = "IMAGE")]
    pub(crate) image: Vec<String>,
    /// Services of Compose files, in place of -n and -i.
    #[command(flatten)]
    pub(crate) files: FileArgs,
    /// Groups of nodes that differ.
    #[command(flatten)]
    pub(crate) groups: GroupArgs,
    /// The port that goes into config.json
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
    /// Publish that port of node k on host port BASE+k-1
    #[arg(long, value_name = "BASE")]
    pub(crate) publish: Option<u16>,
    /// Use an existing user-defined network
    #[arg(long, value_name = "NAME", conflicts_with = "subnet")]
    pub(crate) network: Option<String>,
    /// Make the network on this subnet [default: a free one]
    #[arg(long, value_name = "CIDR")]
    pub(crate) subnet: Option<String>,
    /// Put P- before container names, for a second cluster on one engine
    #[arg(long, value_name = "P", default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
    /// Set an environment variable in the nodes; the value is a template
    #[arg(short = 'e', long = "env", value_name = "K=V")]
    pub(crate) env: Vec<String>,
    /// Read environment variables from a file, K=V a line, taken as they are
    #[arg(long, value_name = "F")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Render the files in DIR, which are templates, into each node's etc
    #[arg(long, value_name = "DIR")]
    pub(crate) config: Option<PathBuf>,
    /// Render the files in DIR, which are templates, into each node's var: at its first start, and after reset
    #[arg(long, value_name = "DIR")]
    pub(crate) initial: Option<PathBuf>,
    /// Mount a host directory or file into the nodes
    #[arg(long, value_name = "SRC:DST[:ro]")]
    pub(crate) volume: Vec<String>,
    /// Where bindmounts/etc appears in a node
    #[arg(long, value_name = "PATH", help = "Where bindmounts/etc appears in a node [default: /opt/app/etc]")]
    pub(crate) etc_target: Option<String>,
    /// Where bindmounts/var appears in a node
    #[arg(long, value_name = "PATH", help = "Where bindmounts/var appears in a node [default: /opt/app/var]")]
    pub(crate) var_target: Option<String>,
    #[command(flatten)]
    pub(crate) container: ContainerArgs,
    /// Replace the image's entrypoint
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// A node is ready while its TCP port accepts connections
    #[arg(long, value_name = "PORT", group = "ready")]
    pub(crate) ready_port: Option<u16>,
    /// A node is ready once a line of its output matches; each run begins again
    #[arg(long, value_name = "REGEX", group = "ready")]
    pub(crate) ready_log: Option<String>,
    /// A node is ready while this exits with 0 in it: a line for /bin/sh, or a JSON array of words; a template
    #[arg(long, value_name = "CMD", group = "ready")]
    pub(crate) ready_cmd: Option<String>,
    /// How long the port or command may take to answer before the node counts as not ready [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) ready_timeout: Option<Duration>,
    /// How long to wait between two tries of the port or command [default: 100ms until the node is ready, then 1s]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) ready_interval: Option<Duration>,
    /// @NAME stands for the nodes that CMD prints, names or addresses: a line for /bin/sh, run here with CTHULHU set to the
    /// mountpoint
    #[arg(long, value_name = "NAME=CMD")]
    pub(crate) role: Vec<String>,
    /// The same with a command that is run in a node: a line for its /bin/sh, or a JSON array of words; a template
    #[arg(long, value_name = "NAME=CMD")]
    pub(crate) role_in_node: Vec<String>,
    /// How long CMD may take [default: 2s]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) role_timeout: Option<Duration>,
    /// How long after one answer CMD is run again [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) role_interval: Option<Duration>,
    /// How much of a node's output to keep in its log, for example 1g [default: 64m]
    #[arg(long, value_name = "BYTES")]
    pub(crate) log_limit: Option<String>,
    /// Keep bindmounts, logs and history in DIR, and continue with what is there
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Start all nodes too
    #[arg(long)]
    pub(crate) start: bool,
    /// Let other users use the mount
    #[arg(long)]
    pub(crate) allow_other: bool,
    /// Stay in the foreground and log to stderr
    #[arg(long)]
    pub(crate) foreground: bool,
    /// How long stop and restart wait before SIGKILL, unless -t says otherwise; whole seconds [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) stop_grace: Option<Duration>,
    /// Let the engine start nodes again as the services' `restart` says; without, a killed node stays dead
    #[arg(long, requires = "file")]
    pub(crate) restart_policies: bool,
    /// How long the start of all services may wait for those that others depend on [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) start_timeout: Option<Duration>,
    /// How long the engine may take for a command: seconds, or 500ms, 2m
    #[arg(long, value_name = "TIME", default_value = "30", value_parser = seconds)]
    pub(crate) timeout: Duration,
    /// Makes the random choices of partition the same each time: a number up to 2^64-1 [default: drawn; the history tells it]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    #[command(flatten)]
    pub(crate) hosts: HostArgs,
    #[command(flatten)]
    pub(crate) places: PlaceArgs,
    /// What the nodes run instead of the image's command; each argument is a template
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// What the command line gives without any argument.
impl Default for MountArgs {
    fn default() -> Self {
        #[derive(Parser)]
        struct Alone {
            #[command(flatten)]
            args: MountArgs,
        }
        Alone::parse_from(["mount"]).args
    }
}

impl MountArgs {
    /// The paths among them that are gone into.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let at = [self.mountpoint.as_deref().map_or(".".into(), parent)];
        let volumes = self.volume.iter().filter_map(|volume| Some(volume.split_once(':')?.0.into()));
        at.into_iter()
            .chain(volumes)
            .chain(self.env_file.clone())
            .chain(self.config.clone())
            .chain(self.initial.clone())
            .chain(self.files.paths())
            .chain(
                self.groups
                    .group_config
                    .iter()
                    .chain(&self.groups.group_initial)
                    .filter_map(|text| Some(text.split_once('=')?.1.into())),
            )
            .chain(self.data.clone())
            .collect()
    }
}

/// A time, as the command line takes it: seconds, or with a unit.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || "a time is a number of seconds above 0 and up to a day, such as 30, 30s, 500ms or 2m".into();
    time(text).filter(|time| !time.is_zero()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, millis) in [("30", 30_000), ("30s", 30_000), ("500ms", 500), ("2m", 120_000), ("0.5h", 1_800_000)] {
            assert_eq!(seconds(text).unwrap().as_millis(), millis, "{text}");
        }
        for wrong in ["", "s", "0", "0ms", "-1s", "25h", "1 s", "NaN", "inf", "1d"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
