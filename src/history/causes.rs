//! Why a node's state changed, as far as can be told.

use super::{Cause, CommandId};
use crate::cluster::State;

/// Names of signals by their numbers, which these have on every machine that containers of Linux run on.
const SIGNALS: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// Exit code of a process that SIGKILL ended.
pub(super) const KILLED: i64 = 128 + 9;

/// The signal that an exit code stands for, as shells count.
pub(super) fn signal(exit_code: i64) -> Option<&'static str> {
    let number = usize::try_from(exit_code.checked_sub(128)?).ok()?;
    SIGNALS.get(number.checked_sub(1)?).copied()
}

/// Why a run ended that no command has ended.
pub(super) fn of_exit(exit_code: Option<i64>, out_of_memory: bool) -> Cause {
    match exit_code {
        Some(KILLED) if out_of_memory => Cause::Oom,
        Some(code) if signal(code).is_some() => Cause::Signal,
        Some(_) | None => Cause::Exit,
    }
}

/// The command among those at work that can have brought a node from one state to another: `acting` is it and its verb.
pub(super) fn command(acting: Option<(CommandId, &'static str)>, from: State, to: State) -> Option<CommandId> {
    let (id, verb) = acting?;
    let can = match to {
        State::Exited => matches!(verb, "stop" | "kill" | "crash"),
        // A frozen node is thawed to die.
        State::Running if from == State::Paused => matches!(verb, "resume" | "stop" | "kill" | "crash"),
        // A start makes anew what is missing, and what has lost its sandbox.
        State::Running | State::Created | State::Missing => verb == "start",
        State::Paused => verb == "pause",
    };
    can.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        assert_eq!(signal(137), Some("SIGKILL"));
        assert_eq!(signal(143), Some("SIGTERM"));
        assert_eq!(signal(129), Some("SIGHUP"));
        assert_eq!(signal(159), Some("SIGSYS"));
        for none in [0, 1, 128, 160, 255, -1, i64::MIN, i64::MAX] {
            assert_eq!(signal(none), None, "{none}");
        }
        assert_eq!(of_exit(Some(137), false), Cause::Signal);
        assert_eq!(of_exit(Some(137), true), Cause::Oom);
        assert_eq!(of_exit(Some(3), true), Cause::Exit);
        assert_eq!(of_exit(None, false), Cause::Exit);
    }

    #[test]
    fn commands_cause_what_they_can() {
        let by = |verb| Some((CommandId(7), verb));
        assert_eq!(command(by("stop"), State::Running, State::Exited), Some(CommandId(7)));
        assert_eq!(command(by("kill"), State::Paused, State::Running), Some(CommandId(7)));
        assert_eq!(command(by("start"), State::Exited, State::Running), Some(CommandId(7)));
        assert_eq!(command(by("start"), State::Missing, State::Created), Some(CommandId(7)));
        assert_eq!(command(by("start"), State::Running, State::Exited), None);
        assert_eq!(command(by("kill"), State::Exited, State::Running), None);
        assert_eq!(command(by("pause"), State::Running, State::Exited), None);
        assert_eq!(command(by("resume"), State::Running, State::Missing), None);
        assert_eq!(command(None, State::Running, State::Exited), None);
    }
}
