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

/// From SIGRTMIN to SIGRTMAX: 34 to 64 where the engines count.
const REAL_TIME: u8 = 30;

fn signal(name: Option<String>) -> Result<String, ControlError> {
    let Some(text) = name else {
        return Ok("SIGKILL".into());
    };
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if SIGNALS.contains(&bare) || bare == "XFSZ" {
        return Ok(format!("SIG{bare}"));
    }
    if bare == "CLD" {
        return Ok("SIGCHLD".into());
    }
    if let Some(name) = real_time(bare) {
        return Ok(name);
    }
    match text.parse::<u8>() {
        Ok(number @ 1..=64) => Ok(number.to_string()),
        _ => Err(ControlError::Invalid(format!("kill: no such signal: '{}'", shown(&text)))),
    }
}

/// A real-time signal, in the way in which Docker and podman name it: counted from the nearer end (bash's `kill -l`).
fn real_time(name: &str) -> Option<String> {
    let distance = |text: &str| text.parse::<u8>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let from_first = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => 0,
        (_, Some("")) => REAL_TIME,
        (Some(rest), _) => distance(rest.strip_prefix('+')?)?,
        (_, Some(rest)) => REAL_TIME.checked_sub(distance(rest.strip_prefix('-')?)?)?,
        (None, None) => return None,
    };
    match from_first {
        0 => Some("SIGRTMIN".into()),
        REAL_TIME => Some("SIGRTMAX".into()),
        up @ 1..=15 => Some(format!("SIGRTMIN+{up}")),
        up @ 16..REAL_TIME => Some(format!("SIGRTMAX-{}", REAL_TIME - up)),
        _ => None,
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
    fn signals_have_the_names_that_engines_know() {
        for (said, signal) in [
            ("CLD", "SIGCHLD"),
            ("sigcld", "SIGCHLD"),
            ("XFSZ", "SIGXFSZ"),
            ("RTMIN", "SIGRTMIN"),
            ("rtmin+0", "SIGRTMIN"),
            ("SIGRTMIN+3", "SIGRTMIN+3"),
            ("rtmin+15", "SIGRTMIN+15"),
            ("RTMIN+16", "SIGRTMAX-14"),
            ("RTMIN+30", "SIGRTMAX"),
            ("sigrtmax", "SIGRTMAX"),
            ("RTMAX-0", "SIGRTMAX"),
            ("RTMAX-1", "SIGRTMAX-1"),
            ("RTMAX-14", "SIGRTMAX-14"),
            ("RTMAX-15", "SIGRTMIN+15"),
            ("RTMAX-30", "SIGRTMIN"),
        ] {
            assert_eq!(one(&format!("kill -s {said}")).verb, Verb::Kill { signal: signal.into() }, "{said}");
        }
        for none in [
            "RTMIN+31",
            "RTMAX-31",
            "RTMIN-1",
            "RTMAX+1",
            "RTMIN3",
            "RTMIN++1",
            "RTMIN+-1",
            "RTMIN+999",
            "RTMIN+",
            "RT",
            "SIG",
        ] {
            assert!(parse(format!("kill -s {none}").as_bytes()).is_err(), "{none}");
        }
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
