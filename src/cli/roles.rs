//! The options `--role…`.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;

use super::args::seconds;
use super::readiness::command_line;
use crate::cluster::check_role_name;
use crate::daemon::{PlannedRole, PlannedRoles, RoleCommand};

/// How long a question may take, and how long after an answer the next one begins, unless given.
const TIMEOUT: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_secs(1);

/// Arguments about roles.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RoleArgs {
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
}

impl RoleArgs {
    /// The roles that nodes can have.
    ///
    /// # Errors
    /// A sentence that names the option.
    pub(super) fn planned(&self) -> Result<PlannedRoles> {
        let here = self.role.iter().map(|text| {
            let (name, line) = named("--role", text)?;
            if line.trim().is_empty() {
                bail!("--role {name}=: the command is empty");
            }
            if line.contains('\0') {
                bail!("--role {name}: there is a NUL byte in the command");
            }
            Ok(PlannedRole { name, command: RoleCommand::Here(line.into()) })
        });
        let in_node = self.role_in_node.iter().map(|text| {
            let (name, line) = named("--role-in-node", text)?;
            let words = command_line(&format!("--role-in-node {name}"), line)?;
            Ok(PlannedRole { name, command: RoleCommand::InNode(words) })
        });
        let all: Vec<_> = here.chain(in_node).collect::<Result<_>>()?;
        let mut seen = HashSet::new();
        if let Some(twice) = all.iter().find(|role| !seen.insert(&role.name)) {
            bail!("--role {}: that role is there twice", twice.name);
        }
        for (option, time) in [("--role-timeout", self.role_timeout), ("--role-interval", self.role_interval)] {
            if time.is_some() && all.is_empty() {
                bail!("{option}: it is about --role or --role-in-node, and there is neither");
            }
        }
        let directory = match all.is_empty() {
            true => PathBuf::from("/"),
            false => std::env::current_dir().context("--role: cannot tell the working directory")?,
        };
        let timeout = self.role_timeout.unwrap_or(TIMEOUT);
        Ok(PlannedRoles { all, directory, timeout, interval: self.role_interval.unwrap_or(INTERVAL) })
    }
}

/// The name of a role, and what follows it.
fn named<'a>(option: &str, text: &'a str) -> Result<(String, &'a str)> {
    let wrong = || anyhow!("{option} {text}: the form is NAME=CMD, as in leader='./who-leads'");
    let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
    check_role_name(name).map_err(|why| anyhow!("{option} {text}: {why}"))?;
    Ok((name.to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(here: &[&str], in_node: &[&str]) -> Result<Vec<(String, String)>> {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let args = RoleArgs { role: texts(here), role_in_node: texts(in_node), ..RoleArgs::default() };
        let shown = |command| match command {
            RoleCommand::Here(line) => line,
            RoleCommand::InNode(words) => words.join("|"),
        };
        Ok(args.planned()?.all.into_iter().map(|role| (role.name, shown(role.command))).collect())
    }

    #[test]
    fn roles_are_read() {
        let pair = |name: &str, command: &str| (name.to_owned(), command.to_owned());
        assert_eq!(
            planned(&["a=x=y z", "b=c"], &["c=q {{ self }}", r#"d=["/p", "-x"]"#]).unwrap(),
            [pair("a", "x=y z"), pair("b", "c"), pair("c", "/bin/sh|-c|q {{ self }}"), pair("d", "/p|-x")]
        );
    }

    #[test]
    fn wrong_ones_are_refused_in_one_sentence() {
        for (here, in_node) in [
            (vec!["leader"], vec![]),
            (vec!["leader="], vec![]),
            (vec!["leader= "], vec![]),
            (vec!["=x"], vec![]),
            (vec!["i001=x"], vec![]),
            (vec!["others=x"], vec![]),
            (vec!["host=x"], vec![]),
            (vec!["a=x", "a=y"], vec![]),
            (vec!["a=x"], vec!["a=y"]),
            (vec![], vec!["a="]),
            (vec![], vec!["a=[]"]),
            (vec![], vec!["a b=x"]),
        ] {
            let sentence = planned(&here, &in_node).unwrap_err().to_string();
            assert!(sentence.starts_with("--role") && !sentence.contains('\n'), "{sentence}");
        }
        let time = Some(Duration::from_secs(1));
        for lonely in [
            RoleArgs { role_timeout: time, ..RoleArgs::default() },
            RoleArgs { role_interval: time, ..RoleArgs::default() },
        ] {
            assert!(lonely.planned().unwrap_err().to_string().contains("there is neither"));
        }
    }
}
