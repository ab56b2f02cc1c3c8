//! Arguments in, exit status and sentences out.

mod args;
mod check;
mod commands;
mod compose;
mod container;
mod doctor;
mod environment;
#[cfg(any(feature = "fuzzing", test))]
pub mod fuzzed;
mod group_args;
mod groups;
mod history;
mod hosts;
mod internal;
mod list;
mod man;
mod nemesis;
mod plan;
mod prune;
mod readiness;
mod recipe;
mod roles;
mod run;
mod services;
mod shrink;
mod timeline;
mod top;
mod wait;
mod workload;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser};
use serde::Serialize;

use args::MountArgs;
use commands::{Cli, Command, Original};

use crate::daemon;
use crate::text::{harmless, harmless_json};

/// Does what the arguments say.
///
/// # Errors
/// One sentence for the user.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    if let Some(status) = internal::run(&args) {
        return Ok(status);
    }
    let command = match original(&args) {
        Some(original) => Command::Mount(Box::new(from_original(original))),
        None => Cli::parse_from(args).command,
    };
    let mut paths = command.paths();
    paths.extend(daemon::state_home());
    match command {
        // Says whether its mount answers by itself, with an exit status of its own.
        Command::Workload(_) => act(command),
        // These go on for long, and look by themselves whether their mount answers.
        Command::Mount(_)
        | Command::Run(_)
        | Command::Top(_)
        | Command::Nemesis(_)
        | Command::Replay(_)
        | Command::Shrink(_) => {
            daemon::check_answers(&paths)?;
            act(command)
        }
        Command::Check(_) => check::or_unknown(daemon::within_reach(&paths, move || act(command))),
        _ => daemon::within_reach(&paths, move || act(command)),
    }
}

fn act(command: Command) -> Result<ExitCode> {
    match command {
        Command::Mount(args) => mount(*args),
        Command::Umount(args) => {
            let paths = daemon::ClusterPaths::of(&args.mountpoint)?;
            let at = paths.mountpoint.display();
            match daemon::umount(&paths, &args.hosts.addresses()?)? {
                Some(daemon::Kept { data, lacks_files: false }) => {
                    print_lines([format!("unmounted {at}; what the nodes wrote is in {}", data.display())])
                }
                Some(daemon::Kept { data, lacks_files: true }) => print_lines([format!(
                    "unmounted {at}; logs and history are in {}, and what nodes on other machines wrote in bindmounts/ is gone",
                    data.display()
                )]),
                None => Ok(ExitCode::SUCCESS),
            }
        }
        Command::Ls(args) => list::list(&args),
        Command::History(args) => history::history(&args),
        Command::Check(args) => check::check(&args),
        Command::Compose(args) => compose::compose(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Prune(args) => prune::prune(&args),
        Command::Wait(args) => wait::run(&args),
        Command::Run(args) => run::run(*args),
        Command::Workload(args) => Ok(workload::workload(*args)),
        Command::Nemesis(args) => nemesis::nemesis(args),
        Command::Replay(args) => nemesis::replay(args),
        Command::Shrink(args) => shrink::run(args),
        Command::Timeline(args) => timeline::timeline(&args),
        Command::Top(args) => crate::top::run(&args.mountpoint, args.once),
        Command::Completions { shell } => {
            let mut script = vec![];
            clap_complete::generate(shell, &mut Cli::command(), "cthulhu", &mut script);
            print(&script)
        }
        Command::Man(args) => man::man(&args, Cli::command()),
    }
}

fn mount(args: MountArgs) -> Result<ExitCode> {
    let plan = plan::plan(args)?;
    if plan.foreground {
        log_to_stderr();
        daemon::mount_in_foreground(&plan)?;
    } else {
        return print(format!("{}\n", daemon::mount_in_background(&plan)?).as_bytes());
    }
    Ok(ExitCode::SUCCESS)
}

/// The arguments as the original's, if they are: flags from the start, and none of ours.
fn original(args: &[OsString]) -> Option<Original> {
    let first = args.get(1)?.to_str()?;
    let ours = ["-h", "--help", "-V", "--version"];
    (first.starts_with("--") && !ours.contains(&first)).then(|| Original::parse_from(args))
}

fn from_original(original: Original) -> MountArgs {
    let mut network = original.docker_bridge;
    if network.as_deref().is_some_and(|name| matches!(name, "docker0" | "bridge")) {
        eprintln!("the default bridge cannot pin addresses: a network is made for the cluster instead");
        network = None;
    }
    MountArgs {
        mountpoint: Some(original.fixture_root.join(original.fixture_name)),
        instances: original.instances,
        image: original.docker_image.into_iter().collect(),
        network,
        ..MountArgs::default()
    }
}

/// Prints lines, each made harmless: names and labels come from an engine, where others may have chosen them.
fn print_lines(lines: impl IntoIterator<Item = String>) -> Result<ExitCode> {
    let text: String = lines.into_iter().map(|line| harmless(&line) + "\n").collect();
    print(text.as_bytes())
}

/// Prints JSON, made harmless.
fn print_json(value: &impl Serialize) -> Result<ExitCode> {
    let text = format!("{:#}\n", serde_json::to_value(value)?);
    print(harmless_json(&text).as_bytes())
}

/// A line on stderr that begins with our name.
fn complain(line: &str) {
    tell(&format!("cthulhu: {line}"));
}

/// A line on stderr, made harmless. A reader that is gone is not a failure.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", harmless(line));
}

/// Prints what we have made ourselves, as it is. A reader that has seen enough, as in `cthulhu man | head`, is not a
/// failure.
fn print(text: &[u8]) -> Result<ExitCode> {
    match std::io::stdout().write_all(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("CTHULHU_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("cthulhu=info,warn"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .log_internal_errors(false)
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn flags_of_the_original() {
        let line = "cthulhu --instances 3 --docker-image hello-world --fixture-root /tmp --fixture-name demo";
        let args = from_original(original(&words(line)).unwrap());
        assert_eq!(args.mountpoint.unwrap().to_str(), Some("/tmp/demo"));
        assert_eq!((args.instances, args.image), (3, vec!["hello-world".to_owned()]));
        for ours in ["cthulhu", "cthulhu mount -n 3", "cthulhu --help", "cthulhu -V"] {
            assert!(original(&words(ours)).is_none(), "{ours}");
        }
    }
}
