//! Signals as the engine reads them, and what they do to a simulated process.

use crate::engine::{EngineError, Result};

/// Linux's signals from 1 on.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];
/// Other names for some of them.
const ALIASES: [(&str, i64); 3] = [("IOT", 6), ("CLD", 17), ("POLL", 29)];
/// Those that end no simulated process: handled, ignored by default, or stopping it.
const HARMLESS: [&str; 11] = ["HUP", "USR1", "USR2", "CHLD", "CONT", "URG", "WINCH", "STOP", "TSTP", "TTIN", "TTOU"];
/// The first and the last real-time signal.
const FIRST_REAL_TIME: i64 = 34;
const LAST: i64 = 64;

/// A signal's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signal(i64);

impl Signal {
    /// Reads a number, or a name in any case with or without `SIG`.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = || EngineError::Refused(format!("Invalid signal: {text}"));
        if let Ok(number) = text.parse::<i64>() {
            return match number {
                1..=LAST => Ok(Self(number)),
                _ => Err(invalid()),
            };
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let place = NAMES.iter().position(|known| *known == name);
        let alias = || ALIASES.iter().find(|alias| alias.0 == name);
        match place {
            Some(place) => Ok(Self(place as i64 + 1)),
            None => alias().map(|alias| Self(alias.1)).or_else(|| real_time(name).map(Self)).ok_or_else(invalid),
        }
    }

    /// Its name, for example `SIGTERM`; the number alone for real-time signals.
    pub fn name(self) -> String {
        match NAMES.get(self.0 as usize - 1) {
            Some(name) => format!("SIG{name}"),
            None => self.0.to_string(),
        }
    }

    /// The exit code of a process that it ends; `None` if it ends none.
    pub fn exit_code(self) -> Option<i64> {
        let harmless = NAMES.get(self.0 as usize - 1).is_some_and(|name| HARMLESS.contains(name));
        (!harmless).then_some(128 + self.0)
    }
}

/// Docker's names: RTMIN, RTMIN+1 to RTMIN+15, RTMAX-14 to RTMAX-1, RTMAX.
fn real_time(name: &str) -> Option<i64> {
    let known = |distance: &str, most: i64| distance.parse().ok().filter(|distance| (1..=most).contains(distance));
    match name {
        "RTMIN" => Some(FIRST_REAL_TIME),
        "RTMAX" => Some(LAST),
        _ => match name.strip_prefix("RTMIN+") {
            Some(distance) => known(distance, 15).map(|distance| FIRST_REAL_TIME + distance),
            None => known(name.strip_prefix("RTMAX-")?, 14).map(|distance| LAST - distance),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_time_signals_have_dockers_names() {
        for (name, number) in
            [("SIGRTMIN", 34), ("RTMIN+3", 37), ("rtmin+15", 49), ("SIGRTMAX-14", 50), ("RTMAX-1", 63), ("RTMAX", 64)]
        {
            assert_eq!(Signal::parse(name).unwrap(), Signal(number), "{name}");
            assert_eq!(Signal(number).exit_code(), Some(128 + number));
        }
        for none in ["RTMIN+0", "RTMIN+16", "RTMAX-15", "RTMAX-0", "RTMIN-1", "RT"] {
            assert!(Signal::parse(none).is_err(), "{none}");
        }
    }
}
