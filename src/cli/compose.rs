//! `cthulhu compose`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{print_json, print_lines};
use crate::compose::{Project, Remark, Request, describe, json, load};
use crate::engine::BRIDGE_PORTS;

/// Arguments of compose.
#[derive(Debug, Args)]
pub(crate) struct ComposeArgs {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: ComposeCommand,
}

/// The subcommands of compose.
#[derive(Debug, Subcommand)]
pub(crate) enum ComposeCommand {
    /// Tell what Compose files mean here, what is ignored and what is refused; nothing is made
    #[command(after_help = "Example:
  cthulhu compose check -f compose.yaml
  cthulhu compose check -f compose.yaml -f test.yaml --profile load --scale web=3

Exit status: 0 if the files can be mounted, 1 if anything is refused. No engine is needed.")]
    Check(CheckArgs),
}

/// Arguments of compose check.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) files: FileArgs,
    /// The image of a service, for one that is built
    #[arg(long, value_name = "SERVICE=IMAGE")]
    pub(crate) image: Vec<String>,
    /// Print JSON, in the shape of docker compose config
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which Compose files are read, and how.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct FileArgs {
    /// A Compose file; each is merged over those before it
    #[arg(short, long = "file", value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    /// Turn a profile on; * for all
    #[arg(long, value_name = "P", requires = "file")]
    pub(crate) profile: Vec<String>,
    /// How many nodes a service has
    #[arg(long, value_name = "SERVICE=N", requires = "file")]
    pub(crate) scale: Vec<String>,
    /// Only this service, and what it depends on
    #[arg(long, value_name = "SERVICE", requires = "file")]
    pub(crate) service: Vec<String>,
    /// Variables for the files [default: .env beside the first]
    #[arg(long, value_name = "F", requires = "file")]
    pub(crate) compose_env_file: Option<PathBuf>,
}

impl FileArgs {
    /// The paths among them that are gone into.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.file.iter().chain(&self.compose_env_file).cloned().collect()
    }

    /// What to read. `images`: those of services, `SERVICE=IMAGE` each.
    ///
    /// # Errors
    /// A sentence that names the option.
    pub(crate) fn request(&self, images: &[String]) -> Result<Request> {
        let scale = |(service, text): (String, String)| match text.parse() {
            Ok(replicas) if replicas <= BRIDGE_PORTS => Ok((service, replicas)),
            _ => bail!("--scale {service}={text}: a service has 0 to {BRIDGE_PORTS} nodes"),
        };
        Ok(Request {
            files: self.file.clone(),
            env_file: self.compose_env_file.clone(),
            profiles: self.profile.clone(),
            scale: pairs("--scale", &self.scale)?.into_iter().map(scale).collect::<Result<_>>()?,
            images: pairs("--image", images)?,
            services: self.service.clone(),
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
        })
    }
}

fn pairs(option: &str, given: &[String]) -> Result<BTreeMap<String, String>> {
    let pair = |text: &String| {
        let pair = text.split_once('=').filter(|(service, value)| !service.is_empty() && !value.is_empty());
        let (service, value) = pair.ok_or_else(|| anyhow!("{option} {text}: the form is SERVICE=VALUE"))?;
        Ok((service.to_owned(), value.to_owned()))
    };
    given.iter().map(pair).collect()
}

/// Does it.
///
/// # Errors
/// One sentence for the user.
pub(crate) fn compose(args: &ComposeArgs) -> Result<ExitCode> {
    let ComposeCommand::Check(args) = &args.command;
    if args.files.file.is_empty() {
        bail!("name the files to check: cthulhu compose check -f compose.yaml");
    }
    let project = load(&args.files.request(&args.image)?).map_err(|error| anyhow!("{error}"))?;
    if args.json {
        print_json(&JsonCheck::of(&project))?;
    } else {
        let said = |word: &'static str| move |remark: &Remark| format!("{}: {word}: {}", remark.place, remark.text);
        let warnings = project.warnings.iter().map(said("warning"));
        let refusals = project.refusals.iter().map(said("refused"));
        print_lines(describe(&project).into_iter().chain(warnings).chain(refusals))?;
    }
    Ok(if project.refusals.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What `--json` prints: the project, and what was remarked.
#[derive(Serialize)]
struct JsonCheck {
    #[serde(flatten)]
    project: serde_json::Value,
    warnings: Vec<JsonRemark>,
    refusals: Vec<JsonRemark>,
}

#[derive(Serialize)]
struct JsonRemark {
    file: String,
    line: u32,
    column: u32,
    text: String,
}

impl JsonCheck {
    fn of(project: &Project) -> Self {
        let file = |file: &Path| file.display().to_string();
        let remark = |remark: &Remark| JsonRemark {
            file: file(&remark.place.file),
            line: remark.place.line,
            column: remark.place.column,
            text: remark.text.clone(),
        };
        Self {
            project: json(project),
            warnings: project.warnings.iter().map(remark).collect(),
            refusals: project.refusals.iter().map(remark).collect(),
        }
    }
}
