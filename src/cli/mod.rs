//! The cli room: arguments in, exit status and sentences out.

mod args;
mod doctor;
mod history;
mod list;
mod man;
mod prune;
mod run;
mod timeline;
mod top;
mod wait;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser};

pub use args::{Cli, Command, MountArgs, Original, Seconds, UmountArgs};
pub use doctor::DoctorArgs;
pub use list::LsArgs;
pub use man::ManArgs;
pub use prune::PruneArgs;
pub use timeline::TimelineArgs;
pub use top::TopArgs;

use crate::daemon;

/// Does what the arguments say.
///
/// # Errors
/// One sentence for the user.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let command = match original(&args) {
        Some(original) => return mount(from_original(original)),
        None => Cli::parse_from(args).command,
    };
    match command {
        Command::Mount(args) => mount(*args),
        Command::Umount(args) => {
            let place = daemon::Place::of(&args.mountpoint)?;
            let at = place.mountpoint.display();
            match daemon::umount(&place, args.host.as_deref())? {
                Some(kept) => {
                    print(format!("unmounted {at}; what the nodes wrote is in {}\n", kept.display()).as_bytes())
                }
                None => Ok(ExitCode::SUCCESS),
            }
        }
        Command::Ls(args) => list::list(&args),
        Command::History(args) => history::history(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Prune(args) => prune::prune(&args),
        Command::Wait(args) => wait::run(&args),
        Command::Run(args) => run::run(*args),
        Command::Timeline(args) => timeline::timeline(&args),
        Command::Top(args) => crate::top::run(&args.mountpoint, args.once),
        Command::Completions { shell } => {
            let mut script = vec![];
            clap_complete::generate(shell, &mut Cli::command(), "cthulhu", &mut script);
            print(&script)
        }
        Command::Man(args) => man::man(&args),
        Command::Daemon => {
            log_to_stderr();
            // What failed has been reported to the parent, and logged.
            Ok(if daemon::run_child().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Sandbox => Ok(crate::sandbox::run()),
        Command::Sweep(args) => Ok(crate::sweep::run(&args)),
        Command::Demo(args) => Ok(crate::demo::run(&args)),
    }
}

fn mount(args: MountArgs) -> Result<ExitCode> {
    let plan = daemon::Plan::new(args)?;
    if plan.args.network.as_deref() == Some("bridge") {
        anyhow::bail!("the default bridge cannot pin addresses: leave --network out, and a network is made");
    }
    if plan.args.foreground {
        log_to_stderr();
        daemon::mount_in_foreground(&plan)?;
    } else {
        return print(format!("{}\n", daemon::mount_in_background(&plan)?).as_bytes());
    }
    Ok(ExitCode::SUCCESS)
}

/// An error and its causes in one line, without the numbers that only a C programmer reads.
pub fn sentence(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let mut parts = text.split(" (os error ");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once(')').map_or(part, |(_, rest)| rest));
    }
    plain.replace('\n', " ")
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
        image: original.docker_image,
        network,
        port: 8080,
        etc_target: "/opt/app/etc".into(),
        var_target: "/opt/app/var".into(),
        ..MountArgs::default()
    }
}

/// A reader that has seen enough, as in `cthulhu man | head`, is no failure.
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
    fn sentences_have_no_numbers() {
        let error = anyhow::Error::from(std::io::Error::from_raw_os_error(2)).context("cannot read x");
        assert_eq!(sentence(&error), "cannot read x: No such file or directory");
    }

    #[test]
    fn flags_of_the_original() {
        let line = "cthulhu --instances 3 --docker-image hello-world --fixture-root /tmp --fixture-name demo";
        let args = from_original(original(&words(line)).unwrap());
        assert_eq!(args.mountpoint.unwrap().to_str(), Some("/tmp/demo"));
        assert_eq!((args.instances, args.image.as_deref()), (3, Some("hello-world")));
        for ours in ["cthulhu", "cthulhu mount -n 3", "cthulhu --help", "cthulhu -V"] {
            assert!(original(&words(ours)).is_none(), "{ours}");
        }
    }
}
