//! The end of a command. The history records it however it comes.

use super::ControlError;
use crate::history::{CommandId, CommandOutcome, Recorder};

type Result<T> = std::result::Result<T, ControlError>;

/// Records the end of a command, also if it panics.
pub(super) struct CompletionGuard<'a> {
    recorder: &'a Recorder,
    id: CommandId,
    outcome: Option<CommandOutcome>,
}

impl<'a> CompletionGuard<'a> {
    pub(super) fn of(id: CommandId, recorder: &'a Recorder) -> Self {
        let broken_off = CommandOutcome::fail("EIO", "an error in cthulhu; what had begun may still happen");
        Self { recorder, id, outcome: Some(broken_off) }
    }

    pub(super) fn tell(self, answer: Result<()>) -> Result<()> {
        let outcome = answer.as_ref().map_or_else(ControlError::outcome, |()| CommandOutcome::Ok);
        self.tell_as(answer, outcome)
    }

    /// The command ended like this; the history records more about it.
    pub(super) fn tell_as(mut self, answer: Result<()>, outcome: CommandOutcome) -> Result<()> {
        self.outcome = Some(outcome);
        answer
    }
}

impl Drop for CompletionGuard<'_> {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome.take() {
            self.recorder.end(self.id, outcome);
        }
    }
}
