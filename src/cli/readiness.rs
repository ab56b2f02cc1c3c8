//! What makes a node ready, as the options `--ready-...` give it.

use anyhow::{Result, bail};

use super::args::MountArgs;
use crate::daemon::{Readiness, line_pattern};
use crate::watch::Pace;

/// How often a node is asked.
pub(crate) fn pace(args: &MountArgs) -> Pace {
    let usual = Pace::default();
    Pace {
        until_ready: args.ready_interval.unwrap_or(usual.until_ready),
        once_ready: args.ready_interval.unwrap_or(usual.once_ready),
        timeout: args.ready_timeout.unwrap_or(usual.timeout),
    }
}

/// What makes the nodes ready, if one of the options says so.
///
/// # Errors
/// A sentence that names the option.
pub(crate) fn readiness(args: &MountArgs) -> Result<Option<Readiness>> {
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
        line_pattern(pattern)?;
        all.push(Readiness::Log(pattern.clone()));
    }
    if let Some(command) = &args.ready_cmd {
        all.push(Readiness::Command(command_line("--ready-cmd", command)?));
    }
    if all.len() > 1 {
        bail!("--ready-port, --ready-log and --ready-cmd: choose one of them");
    }
    Ok(all.pop())
}

/// As a HEALTHCHECK in a Dockerfile: a line for the shell, or words as a JSON array.
///
/// # Errors
/// A sentence that begins with the option.
pub(super) fn command_line(option: &str, text: &str) -> Result<Vec<String>> {
    if text.trim().is_empty() {
        bail!("{option}: the command is empty");
    }
    if text.contains('\0') {
        bail!("{option}: there is a NUL byte in the command");
    }
    if !text.trim_start().starts_with('[') {
        return Ok(vec!["/bin/sh".into(), "-c".into(), text.into()]);
    }
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(words) if words.first().is_some_and(|word| !word.is_empty()) => Ok(words),
        Ok(_) => bail!("{option} {text}: the first word is the program to run, and there is none"),
        Err(error) if text.trim_start().starts_with("[\"") => {
            bail!("{option} {text}: this is no JSON array of words: {error}")
        }
        // `[ -f /ready ]` is a line for the shell.
        Err(_) => Ok(vec!["/bin/sh".into(), "-c".into(), text.into()]),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn commands_are_lines_or_words() {
        let shell = |line: &str| vec!["/bin/sh".to_owned(), "-c".into(), line.into()];
        assert_eq!(command_line("--ready-cmd", "a b").unwrap(), shell("a b"));
        assert_eq!(command_line("--ready-cmd", "[ -f /x ]").unwrap(), shell("[ -f /x ]"));
        assert_eq!(command_line("--ready-cmd", r#"["/probe", "-x"]"#).unwrap(), ["/probe", "-x"]);
        for wrong in ["", " ", "[]", r#"[""]"#, "a\0"] {
            assert!(command_line("--ready-cmd", wrong).is_err(), "{wrong:?}");
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
        let check = readiness;
        assert!(check(&args(None, None, None)).is_ok() && check(&args(None, Some("^a|b"), None)).is_ok());
        let time = Some(Duration::from_secs(1));
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
