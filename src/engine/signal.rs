//! Signals: their names and numbers, as engines, users and exit codes write them.

use std::fmt;

/// Names of signals 1 to 31, in order: the numbers that they have on x86-64 and arm64 (signal(7)).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];
/// Other names for some of them.
const ALIASES: [(&str, u8); 3] = [("IOT", 6), ("CLD", 17), ("POLL", 29)];
/// SIGRTMIN and SIGRTMAX, as engines count; the two numbers below belong to the C library.
const REAL_TIME: std::ops::RangeInclusive<u8> = 34..=64;

/// A signal. Displayed as engines take it: by its name, for example `SIGTERM` or `SIGRTMIN+3`, or by its number if it has
/// no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signal(u8);

impl Signal {
    /// Cannot be caught.
    pub(crate) const KILL: Self = Self(9);

    /// Reads what a user writes: a number from 1 to 64, or a name in any case, with or without `SIG`. Real-time signals
    /// may be counted from either end, as in `RTMIN+20`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(signal) = Self::parse_exact(text) {
            return Some(signal);
        }
        let name = bare(text);
        let distance = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = match (name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
            (Some(up), _) => REAL_TIME.start().checked_add(distance(up)?)?,
            (_, Some(down)) => REAL_TIME.end().checked_sub(distance(down)?)?,
            (None, None) => return None,
        };
        REAL_TIME.contains(&number).then_some(Self(number))
    }

    /// Reads what Docker takes: as [`Self::parse`], but real-time signals only as `RTMIN`, `RTMIN+1` to `RTMIN+15`,
    /// `RTMAX-14` to `RTMAX-1` and `RTMAX`.
    pub(crate) fn parse_exact(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse() {
            return (1..=*REAL_TIME.end()).contains(&number).then_some(Self(number));
        }
        let name = bare(text);
        let alias = ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, number)| *number);
        let known = |number: &u8| Self(*number).name().is_some_and(|known| known == name);
        alias.or_else(|| (1..=*REAL_TIME.end()).find(known)).map(Self)
    }

    /// The signal that an exit code above 128 stands for, as shells count. Real-time signals are not distinguished from
    /// other codes.
    pub(crate) fn from_exit_code(code: i64) -> Option<Self> {
        let number = u8::try_from(code.checked_sub(128)?).ok()?;
        (1..=NAMES.len()).contains(&number.into()).then_some(Self(number))
    }

    /// The exit code of a process that it ends.
    pub(crate) const fn exit_code(self) -> i64 {
        128 + self.0 as i64
    }

    /// Its name without `SIG`.
    fn name(self) -> Option<String> {
        let (first, last) = (*REAL_TIME.start(), *REAL_TIME.end());
        match self.0 {
            number if number == first => Some("RTMIN".into()),
            number if number == last => Some("RTMAX".into()),
            number if number > first && number <= first + 15 => Some(format!("RTMIN+{}", number - first)),
            number if number > first => Some(format!("RTMAX-{}", last - number)),
            number => NAMES.get(usize::from(number) - 1).map(|&name| name.into()),
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "SIG{name}"),
            None => write!(f, "{}", self.0),
        }
    }
}

fn bare(text: &str) -> String {
    let upper = text.to_ascii_uppercase();
    upper.strip_prefix("SIG").map(str::to_owned).unwrap_or(upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_write_becomes_what_engines_know() {
        for (said, signal) in [
            ("term", "SIGTERM"),
            ("9", "SIGKILL"),
            ("32", "32"),
            ("64", "SIGRTMAX"),
            ("CLD", "SIGCHLD"),
            ("sigcld", "SIGCHLD"),
            ("XFSZ", "SIGXFSZ"),
            ("IOT", "SIGABRT"),
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
            let read = Signal::parse(said).unwrap();
            assert_eq!(read.to_string(), signal, "{said}");
            assert_eq!(Signal::parse_exact(signal), Some(read), "{signal}");
        }
        for none in [
            "",
            "0",
            "65",
            "-1",
            "NOPE",
            "RT",
            "SIG",
            "RTMIN+31",
            "RTMAX-31",
            "RTMIN-1",
            "RTMAX+1",
            "RTMIN3",
            "RTMIN++1",
            "RTMIN+-1",
            "RTMIN+999",
            "RTMIN+",
        ] {
            assert_eq!(Signal::parse(none), None, "{none}");
        }
        for none in ["RTMIN+0", "RTMIN+16", "RTMAX-15", "RTMAX-0"] {
            assert_eq!(Signal::parse_exact(none), None, "{none}");
        }
    }

    #[test]
    fn exit_codes() {
        for (code, name) in [(137, "SIGKILL"), (143, "SIGTERM"), (129, "SIGHUP"), (159, "SIGSYS")] {
            let signal = Signal::from_exit_code(code).unwrap();
            assert_eq!((signal.to_string().as_str(), signal.exit_code()), (name, code));
        }
        for none in [0, 1, 128, 160, 255, -1, i64::MIN, i64::MAX] {
            assert_eq!(Signal::from_exit_code(none), None, "{none}");
        }
    }
}
