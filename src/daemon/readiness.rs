//! What makes a node ready, as the command line says it.

use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use regex::bytes::Regex;

use crate::cli::MountArgs;
use crate::engine::Engine;
use crate::provision::Provisioner;
use crate::watch::{Probe, exit_is_yes};

/// What was asked for.
enum Readiness {
    Port(u16),
    Log(Regex),
    Command(Vec<String>),
}

/// Checks the options.
///
/// # Errors
/// A sentence that names the option.
pub fn check(args: &MountArgs) -> Result<()> {
    wanted(args).map(drop)
}

/// The probe that was asked for, if one was.
///
/// # Errors
/// As [`check`].
pub fn probe(args: &MountArgs, engine: &Arc<dyn Engine>, provisioner: &Arc<Provisioner>) -> Result<Option<Probe>> {
    Ok(wanted(args)?.map(|wanted| match wanted {
        Readiness::Log(regex) => Probe::Log(regex),
        Readiness::Port(port) => {
            let provisioner = provisioner.clone();
            Probe::Ask(Box::new(move |index, _| {
                let provisioner = provisioner.clone();
                Box::pin(async move { provisioner.accepts(index, port).await })
            }))
        }
        Readiness::Command(argv) => {
            let (engine, argv) = (engine.clone(), Arc::new(argv));
            Probe::Ask(Box::new(move |_, container| {
                let (engine, argv) = (engine.clone(), argv.clone());
                Box::pin(async move { exit_is_yes(engine.exec(&container, &argv).await) })
            }))
        }
    }))
}

fn wanted(args: &MountArgs) -> Result<Option<Readiness>> {
    let mut all = vec![];
    if let Some(port) = args.ready_port {
        if port == 0 {
            bail!("--ready-port 0: a port is a number from 1 to 65535");
        }
        all.push(Readiness::Port(port));
    }
    if let Some(pattern) = &args.ready_log {
        if pattern.is_empty() {
            bail!("--ready-log: the expression is empty, and every line would match it");
        }
        let why = |error: regex::Error| {
            // The last line is the reason; those before it point at the place.
            let text = error.to_string();
            let reason = text.lines().next_back().unwrap_or_default().trim_start_matches("error: ").to_owned();
            anyhow!("--ready-log {pattern}: this is no regular expression: {reason}")
        };
        all.push(Readiness::Log(Regex::new(pattern).map_err(why)?));
    }
    if let Some(command) = &args.ready_cmd {
        all.push(Readiness::Command(command_line(command)?));
    }
    if all.len() > 1 {
        bail!("--ready-port, --ready-log and --ready-cmd: choose one of them");
    }
    Ok(all.pop())
}

/// As a HEALTHCHECK in a Dockerfile: a line for the shell, or words as a JSON array.
fn command_line(text: &str) -> Result<Vec<String>> {
    if text.trim().is_empty() {
        bail!("--ready-cmd: the command is empty");
    }
    if text.contains('\0') {
        bail!("--ready-cmd: there is a NUL byte in the command");
    }
    if !text.trim_start().starts_with('[') {
        return Ok(vec!["/bin/sh".into(), "-c".into(), text.into()]);
    }
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(words) if words.first().is_some_and(|word| !word.is_empty()) => Ok(words),
        Ok(_) => bail!("--ready-cmd {text}: the first word is the program to run, and there is none"),
        Err(error) if text.trim_start().starts_with("[\"") => {
            bail!("--ready-cmd {text}: this is no JSON array of words: {error}")
        }
        // `[ -f /ready ]` is a line for the shell.
        Err(_) => Ok(vec!["/bin/sh".into(), "-c".into(), text.into()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_lines_or_words() {
        let shell = |line: &str| vec!["/bin/sh".to_owned(), "-c".into(), line.into()];
        assert_eq!(command_line("a b").unwrap(), shell("a b"));
        assert_eq!(command_line("[ -f /x ]").unwrap(), shell("[ -f /x ]"));
        assert_eq!(command_line(r#"["/probe", "-x"]"#).unwrap(), ["/probe", "-x"]);
        for wrong in ["", " ", "[]", r#"[""]"#, "a\0"] {
            assert!(command_line(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn wrong_options_are_refused_in_one_sentence() {
        let args = |port, log: Option<&str>, cmd: Option<&str>| MountArgs {
            ready_port: port,
            ready_log: log.map(Into::into),
            ready_cmd: cmd.map(Into::into),
            ..MountArgs::default()
        };
        assert!(check(&args(None, None, None)).is_ok() && check(&args(None, Some("^a|b"), None)).is_ok());
        for wrong in [args(Some(0), None, None), args(None, Some("("), None), args(Some(1), None, Some("x"))] {
            let sentence = check(&wrong).unwrap_err().to_string();
            assert!(sentence.starts_with("--ready-") && !sentence.contains('\n'), "{sentence}");
        }
    }
}
