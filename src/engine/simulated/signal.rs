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
/// The last real-time signal.
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
            None => alias().map(|alias| Self(alias.1)).ok_or_else(invalid),
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
