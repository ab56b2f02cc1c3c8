//! `cthulhu man`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Command};
use clap_mangen::Man;

use super::print;

/// Arguments of man.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Of which subcommand [default: of cthulhu as a whole]
    pub(crate) subcommand: Option<String>,
    /// Write all pages into DIR, made if it is missing, as cthulhu.1, cthulhu-mount.1, ...
    #[arg(long, value_name = "DIR", conflicts_with = "subcommand")]
    pub(crate) dir: Option<PathBuf>,
}

/// Prints a page of the command line `whole`, or writes all.
///
/// # Errors
/// One sentence for the user.
pub(crate) fn man(args: &ManArgs, whole: Command) -> Result<ExitCode> {
    // Help has no page: it prints what the others say.
    let mut whole = whole.disable_help_subcommand(true);
    // Gives each subcommand its whole name.
    whole.build();
    let subcommands: Vec<_> = whole.get_subcommands().flat_map(with_subcommands).collect();
    if let Some(dir) = &args.dir {
        let cannot = || format!("cannot write manual pages into {}", dir.display());
        fs::create_dir_all(dir).with_context(cannot)?;
        for one in subcommands.into_iter().chain([&whole]) {
            fs::write(dir.join(page(one).get_filename()), rendered(one)?).with_context(cannot)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let Some(name) = &args.subcommand else { return print(&rendered(&whole)?) };
    let Some(found) = subcommands.iter().find(|one| short_name(one) == name) else {
        let there_are: Vec<_> = subcommands.iter().map(|one| short_name(one)).collect();
        bail!("no subcommand is named '{name}': there are {}", there_are.join(", "));
    };
    print(&rendered(found)?)
}

fn with_subcommands(command: &Command) -> impl Iterator<Item = &Command> {
    std::iter::once(command).chain(command.get_subcommands())
}

/// `mount`, or `compose-check` for one below another.
fn short_name(command: &Command) -> &str {
    let name = command.get_display_name().unwrap_or(command.get_name());
    name.strip_prefix("cthulhu-").unwrap_or(name)
}

fn rendered(command: &Command) -> Result<Vec<u8>> {
    let mut text = vec![];
    page(command).render(&mut text)?;
    Ok(text)
}

fn page(command: &Command) -> Man {
    Man::new(command.clone()).source(concat!("cthulhu ", env!("CARGO_PKG_VERSION")))
}
