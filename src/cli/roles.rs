//! The options `--role…`.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::args::MountArgs;
use super::readiness::command_line;
use crate::cluster::check_role_name;
use crate::daemon::{PlannedRole, PlannedRoles, RoleCommand};

/// How long a question may take, and how long after an answer the next one begins, unless given.
const TIMEOUT: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_secs(1);

/// The roles that nodes can have.
///
/// # Errors
/// A sentence that names the option.
pub(crate) fn planned(args: &MountArgs) -> Result<PlannedRoles> {
    let here = args.role.iter().map(|text| {
        let (name, line) = named("--role", text)?;
        if line.trim().is_empty() {
            bail!("--role {name}=: the command is empty");
        }
        if line.contains('\0') {
            bail!("--role {name}: there is a NUL byte in the command");
        }
        Ok(PlannedRole { name, command: RoleCommand::Here(line.into()) })
    });
    let in_node = args.role_in_node.iter().map(|text| {
        let (name, line) = named("--role-in-node", text)?;
        let words = command_line(&format!("--role-in-node {name}"), line)?;
        Ok(PlannedRole { name, command: RoleCommand::InNode(words) })
    });
    let all: Vec<_> = here.chain(in_node).collect::<Result<_>>()?;
    let mut seen = HashSet::new();
    if let Some(twice) = all.iter().find(|role| !seen.insert(&role.name)) {
        bail!("--role {}: that role is there twice", twice.name);
    }
    for (option, time) in [("--role-timeout", args.role_timeout), ("--role-interval", args.role_interval)] {
        if time.is_some() && all.is_empty() {
            bail!("{option}: it is about --role or --role-in-node, and there is neither");
        }
    }
    let directory = match all.is_empty() {
        true => PathBuf::from("/"),
        false => std::env::current_dir().context("--role: cannot tell the working directory")?,
    };
    let timeout = args.role_timeout.unwrap_or(TIMEOUT);
    Ok(PlannedRoles { all, directory, timeout, interval: args.role_interval.unwrap_or(INTERVAL) })
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

    fn read(here: &[&str], in_node: &[&str]) -> Result<Vec<(String, String)>> {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let args = MountArgs { role: texts(here), role_in_node: texts(in_node), ..MountArgs::default() };
        let shown = |command| match command {
            RoleCommand::Here(line) => line,
            RoleCommand::InNode(words) => words.join("|"),
        };
        Ok(planned(&args)?.all.into_iter().map(|role| (role.name, shown(role.command))).collect())
    }

    #[test]
    fn roles_are_read() {
        let pair = |name: &str, command: &str| (name.to_owned(), command.to_owned());
        assert_eq!(
            read(&["a=x=y z", "b=c"], &["c=q {{ self }}", r#"d=["/p", "-x"]"#]).unwrap(),
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
            let sentence = read(&here, &in_node).unwrap_err().to_string();
            assert!(sentence.starts_with("--role") && !sentence.contains('\n'), "{sentence}");
        }
        let time = Some(Duration::from_secs(1));
        for lonely in [
            MountArgs { role_timeout: time, ..MountArgs::default() },
            MountArgs { role_interval: time, ..MountArgs::default() },
        ] {
            assert!(planned(&lonely).unwrap_err().to_string().contains("there is neither"));
        }
    }
}
