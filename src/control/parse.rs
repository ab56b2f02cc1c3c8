//! The command language: one line, one [`Command`].

use std::time::Duration;

use super::ControlError;
use crate::cluster::shown;

/// Time between the stop signal and SIGKILL unless somebody says otherwise.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(1);
/// Longest grace that `-t` takes: a day.
const MAX_GRACE_SECONDS: u64 = 86_400;
/// The verbs, as a reader of an error wants them.
const VERBS: &str = "start, stop, restart, kill, crash, pause, resume, heal";

/// What is to be done to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Run it.
    Start,
    /// Stop signal, then SIGKILL.
    Stop {
        /// Time between the two; `None`: what the cluster's is.
        grace: Option<Duration>,
    },
    /// Stop, then start.
    Restart {
        /// As for stop.
        grace: Option<Duration>,
    },
    /// Send a signal.
    Kill {
        /// Its name, with `SIG`, or its number.
        signal: String,
    },
    /// As if the power failed.
    Crash,
    /// Freeze it.
    Pause,
    /// Thaw it.
    Resume,
    /// Take its network faults away, or all.
    Heal,
}

impl Verb {
    /// Its name in the command language.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop { .. } => "stop",
            Self::Restart { .. } => "restart",
            Self::Kill { .. } => "kill",
            Self::Crash => "crash",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Heal => "heal",
        }
    }
}

/// One parsed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// What to do.
    pub verb: Verb,
    /// To whom, as written; empty for all.
    pub nodes: Vec<String>,
}

/// Parses a line; `Ok(None)` if it is blank.
///
/// # Errors
/// [`ControlError::Invalid`] if it is no command.
pub fn parse(line: &[u8]) -> Result<Option<Command>, ControlError> {
    let invalid = |why: String| Err(ControlError::Invalid(why));
    if line.contains(&0) {
        return invalid("a command has a NUL byte in it".into());
    }
    let Ok(line) = std::str::from_utf8(line) else {
        return invalid("a command is not UTF-8 text".into());
    };
    let mut words = line.split_ascii_whitespace().peekable();
    let Some(verb) = words.next() else {
        return Ok(None);
    };
    let mut option = |flag: &str| -> Result<Option<String>, ControlError> {
        let Some(value) = words.peek().and_then(|word| word.strip_prefix(flag)).map(str::to_owned) else {
            return Ok(None);
        };
        words.next();
        if !value.is_empty() {
            return Ok(Some(value));
        }
        let missing = || ControlError::Invalid(format!("{verb}: {flag} needs a value"));
        Ok(Some(words.next().ok_or_else(missing)?.to_owned()))
    };
    let verb = match verb {
        "start" => Verb::Start,
        "stop" => Verb::Stop { grace: grace(option("-t")?)? },
        "restart" => Verb::Restart { grace: grace(option("-t")?)? },
        "kill" => Verb::Kill { signal: signal(option("-s")?)? },
        "crash" => Verb::Crash,
        "pause" => Verb::Pause,
        "resume" => Verb::Resume,
        "heal" => Verb::Heal,
        other => return invalid(format!("no such command: '{}'; there are {VERBS}", shown(other))),
    };
    let nodes: Vec<String> = words.map(str::to_owned).collect();
    if let Some(flag) = nodes.iter().find(|word| word.starts_with('-')) {
        let hint =
            if matches!(verb, Verb::Kill { .. }) { "; a signal is named with -s, as in kill -s TERM" } else { "" };
        return invalid(format!("{}: no such option: '{}'{hint}", verb.name(), shown(flag)));
    }
    Ok(Some(Command { verb, nodes }))
}

fn grace(seconds: Option<String>) -> Result<Option<Duration>, ControlError> {
    let Some(text) = seconds else {
        return Ok(None);
    };
    match text.parse::<u64>() {
        Ok(seconds) if seconds <= MAX_GRACE_SECONDS => Ok(Some(Duration::from_secs(seconds))),
        _ => Err(ControlError::Invalid(format!(
            "-t takes a whole number of seconds up to {MAX_GRACE_SECONDS}, not '{}'",
            shown(&text)
        ))),
    }
}

/// Names of the signals that have one and the same number nowhere, so names are what the engine is given (signal(7)).
const SIGNALS: [&str; 32] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL", "PROF",
    "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2",
    "VTALRM", "WINCH", "XCPU",
];

fn signal(name: Option<String>) -> Result<String, ControlError> {
    let Some(text) = name else {
        return Ok("SIGKILL".into());
    };
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if SIGNALS.contains(&bare) || bare == "XFSZ" {
        return Ok(format!("SIG{bare}"));
    }
    match text.parse::<u8>() {
        Ok(number @ 1..=64) => Ok(number.to_string()),
        _ => Err(ControlError::Invalid(format!("kill: no such signal: '{}'", shown(&text)))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(line: &str) -> Command {
        parse(line.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn commands() {
        assert_eq!(one(" start "), Command { verb: Verb::Start, nodes: vec![] });
        assert_eq!(one("stop").verb, Verb::Stop { grace: None });
        assert_eq!(one("stop -t 5 i002").verb, Verb::Stop { grace: Some(Duration::from_secs(5)) });
        assert_eq!(one("restart -t0").verb, Verb::Restart { grace: Some(Duration::ZERO) });
        assert_eq!(one("kill").verb, Verb::Kill { signal: "SIGKILL".into() });
        assert_eq!(
            one("kill -s term i001 i003"),
            Command { verb: Verb::Kill { signal: "SIGTERM".into() }, nodes: vec!["i001".into(), "i003".into()] }
        );
        assert_eq!(one("kill -s 9").verb, Verb::Kill { signal: "9".into() });
        assert_eq!(parse(b" \t").unwrap(), None);
    }

    #[test]
    fn what_is_no_command() {
        for line in [
            "stopp",
            "stop -t",
            "stop -t x",
            "stop -t -1",
            "stop -t 1.5",
            "kill -s NOPE",
            "kill -s 0",
            "kill -s 65",
            "start -x",
            "pause -t 1",
            "stop\0",
            "# stop",
            "stop -t 99999999999",
        ] {
            assert!(matches!(parse(line.as_bytes()), Err(ControlError::Invalid(_))), "{line:?}");
        }
        assert!(parse(&[0xff, 0xfe]).is_err());
    }

    proptest! {
        #[test]
        fn anything_is_answered(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&line);
        }
    }
}
