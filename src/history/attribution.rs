//! Finds out why a node's state changed.

use super::{Cause, CommandId};
use crate::cluster::State;
use crate::engine::Signal;

/// Which changes of a node's state, from one to another, a command can cause.
pub(crate) type CanCause = fn(State, State) -> bool;

/// The cause of a run's end if no command ended it.
pub(super) fn of_exit(exit_code: Option<i64>, out_of_memory: bool) -> Cause {
    match exit_code.map(Signal::from_exit_code) {
        Some(Some(Signal::KILL)) if out_of_memory => Cause::Oom,
        Some(Some(_)) => Cause::Signal,
        Some(None) | None => Cause::Exit,
    }
}

/// The command at work on a node, if it can have brought the node from one state to the other.
pub(super) fn command(acting: Option<(CommandId, CanCause)>, from: State, to: State) -> Option<CommandId> {
    acting.filter(|(_, can_cause)| can_cause(from, to)).map(|(id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits() {
        assert_eq!(of_exit(Some(137), false), Cause::Signal);
        assert_eq!(of_exit(Some(137), true), Cause::Oom);
        assert_eq!(of_exit(Some(143), true), Cause::Signal);
        assert_eq!(of_exit(Some(3), true), Cause::Exit);
        assert_eq!(of_exit(None, false), Cause::Exit);
    }
}
