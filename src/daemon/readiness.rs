//! What makes a node ready, as the command line says it.

use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use regex::bytes::Regex;

use super::program::text;
use crate::cli::MountArgs;
use crate::engine::Engine;
use crate::provision::Provisioner;
use crate::template::{Nodes, Variables};
use crate::watch::{Answer, Pace, Probe, exit_answers};

/// What was asked for.
enum Readiness {
    Port(u16),
    Log(Regex),
    /// Of each node, in order.
    Command(Vec<Vec<String>>),
}

/// Checks the options, templates included.
///
/// # Errors
/// A sentence that names the option.
pub fn check(args: &MountArgs, nodes: &Nodes) -> Result<()> {
    wanted(args, nodes).map(drop)
}

/// When the probe asks.
pub fn pace(args: &MountArgs) -> Pace {
    let usual = Pace::default();
    let interval = args.ready_interval.map(|time| time.0);
    Pace {
        until_ready: interval.unwrap_or(usual.until_ready),
        once_ready: interval.unwrap_or(usual.once_ready),
        timeout: args.ready_timeout.map_or(usual.timeout, |time| time.0),
    }
}

/// The probe that was asked for, if one was.
///
/// # Errors
/// As [`check`].
pub fn probe(
    args: &MountArgs,
    nodes: &Nodes,
    engine: &Arc<dyn Engine>,
    provisioner: &Arc<Provisioner>,
) -> Result<Option<Probe>> {
    Ok(wanted(args, nodes)?.map(|wanted| match wanted {
        Readiness::Log(regex) => Probe::Log(regex),
        Readiness::Port(port) => {
            let provisioner = provisioner.clone();
            Probe::Ask(Box::new(move |index, _| {
                let provisioner = provisioner.clone();
                Box::pin(async move { Ok(port_answers(port, provisioner.accepts(index, port).await?)) })
            }))
        }
        Readiness::Command(commands) => {
            let (engine, commands) = (engine.clone(), Arc::new(commands));
            Probe::Ask(Box::new(move |index, container| {
                let (engine, commands) = (engine.clone(), commands.clone());
                Box::pin(async move { engine.exec(&container, &commands[index]).await.map(exit_answers) })
            }))
        }
    }))
}

fn port_answers(port: u16, there: Result<(), String>) -> Answer {
    match there {
        Ok(()) => Answer::Yes,
        Err(why) if why == "connection refused" => Answer::no(format!("connection refused by port {port}")),
        Err(why) => Answer::no(format!("port {port}: {why}")),
    }
}

fn wanted(args: &MountArgs, nodes: &Nodes) -> Result<Option<Readiness>> {
    let mut all = vec![];
    let asks = args.ready_port.is_some() || args.ready_cmd.is_some();
    for (option, time) in [("--ready-timeout", args.ready_timeout), ("--ready-interval", args.ready_interval)] {
        if time.is_some() && !asks {
            bail!("{option}: it is about --ready-port or --ready-cmd, and there is neither");
        }
    }
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
        let words = command_line(command)?;
        let commands = (0..nodes.len()).map(|index| rendered(&words, &nodes.variables(index)));
        all.push(Readiness::Command(commands.collect::<Result<_>>()?));
    }
    if all.len() > 1 {
        bail!("--ready-port, --ready-log and --ready-cmd: choose one of them");
    }
    Ok(all.pop())
}

/// The command of one node: each word is a template.
fn rendered(words: &[String], variables: &Variables) -> Result<Vec<String>> {
    let words = words.iter().map(|word| text(word, "--ready-cmd", variables)).collect::<Result<Vec<_>>>()?;
    if words.first().is_none_or(String::is_empty) {
        bail!("--ready-cmd: the first word is the program to run, and it is empty");
    }
    Ok(words)
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

    fn nodes() -> Nodes {
        Nodes::new(8080, [("i001".to_owned(), [10, 0, 0, 2].into()), ("i002".to_owned(), [10, 0, 0, 3].into())])
    }

    #[test]
    fn each_node_has_a_command_of_its_own() {
        let commands = |text: &str| {
            let args = MountArgs { ready_cmd: Some(text.into()), ..MountArgs::default() };
            match wanted(&args, &nodes()) {
                Ok(Some(Readiness::Command(commands))) => {
                    Ok(commands.into_iter().map(|words| words.join(" ")).collect())
                }
                Ok(_) => panic!("no command"),
                Err(error) => Err(error.to_string()),
            }
        };
        let ok = |text: &str| -> Vec<String> { commands(text).unwrap() };
        assert_eq!(ok("test -e /{{ name }}"), ["/bin/sh -c test -e /i001", "/bin/sh -c test -e /i002"]);
        let words = r#"["/probe", "{{ peers | join(\",\") }}", "{{ self }}"]"#;
        assert_eq!(ok(words), ["/probe 10.0.0.3 10.0.0.2", "/probe 10.0.0.2 10.0.0.3"]);
        for wrong in ["{{ nobody }}", "{{", r#"["{{ '' }}"]"#, r#"["/probe", "{{ peers[7].x }}"]"#] {
            let sentence = commands(wrong).unwrap_err();
            assert!(sentence.starts_with("--ready-cmd"), "{sentence}");
        }
    }

    #[test]
    fn a_port_says_why_not() {
        assert_eq!(port_answers(7, Ok(())), Answer::Yes);
        let refused = std::io::ErrorKind::ConnectionRefused.to_string();
        assert_eq!(port_answers(7, Err(refused)), Answer::no("connection refused by port 7"));
        assert_eq!(port_answers(7, Err("timed out".into())), Answer::no("port 7: timed out"));
    }

    #[test]
    fn wrong_options_are_refused_in_one_sentence() {
        let args = |port, log: Option<&str>, cmd: Option<&str>| MountArgs {
            ready_port: port,
            ready_log: log.map(Into::into),
            ready_cmd: cmd.map(Into::into),
            ..MountArgs::default()
        };
        let check = |args: &MountArgs| check(args, &nodes());
        assert!(check(&args(None, None, None)).is_ok() && check(&args(None, Some("^a|b"), None)).is_ok());
        let time = Some(crate::cli::Seconds::default());
        let unasked = MountArgs { ready_interval: time, ..args(None, Some("x"), None) };
        assert!(check(&MountArgs { ready_interval: time, ready_timeout: time, ..args(Some(1), None, None) }).is_ok());
        let late = MountArgs { ready_timeout: time, ..MountArgs::default() };
        for wrong in
            [args(Some(0), None, None), args(None, Some("("), None), args(Some(1), None, Some("x")), unasked, late]
        {
            let sentence = check(&wrong).unwrap_err().to_string();
            assert!(sentence.starts_with("--ready-") && !sentence.contains('\n'), "{sentence}");
        }
    }
}
