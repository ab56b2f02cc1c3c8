//! Why a command failed: an errno for the program, a sentence for its reader.

use std::time::Duration;

use rustix::io::Errno;

use crate::engine::EngineError;
use crate::history::CommandOutcome;

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The line is not a command.
    #[error("{0}")]
    Invalid(String),
    /// No node of that name.
    #[error("no node is named '{0}'")]
    NoSuchNode(String),
    /// A word for a role stands for no node now.
    #[error("{0}")]
    NoRole(String),
    /// The node does not run.
    #[error("{node} is not running ({state})")]
    NotRunning {
        /// Which node.
        node: String,
        /// Its state.
        state: String,
    },
    /// Its state forbids the command.
    #[error("{0}")]
    Busy(String),
    /// This machine or this version cannot do it.
    #[error("{0}")]
    Unsupported(String),
    /// A signal ended the caller's wait; what had begun continues.
    #[error("interrupted; what had begun goes on, and may take effect")]
    Interrupted,
    /// The deadline passed.
    #[error("{node}: the engine did not answer within {} s; what had begun may still happen", .after.as_secs())]
    TimedOut {
        /// Which node.
        node: String,
        /// The deadline.
        after: Duration,
    },
    /// The time for something else than the engine's answer is over.
    #[error("{0}")]
    Overdue(String),
    /// A sandbox did not answer; nothing has changed elsewhere.
    #[error("{node}: its sandbox did not answer within {} s; the others have what was in force before, and it gets that when it answers", .after.as_secs_f64())]
    SandboxSilent {
        /// Which node's.
        node: String,
        /// The deadline.
        after: Duration,
    },
    /// No connection to the engine.
    #[error("{0}")]
    Unreachable(String),
    /// The engine refused.
    #[error("{0}")]
    Refused(String),
    /// Several nodes failed: the first one's errno, all sentences.
    #[error("{}", each_once(.0))]
    Several(Vec<ControlError>),
}

/// Their sentences, one that several have only once.
fn each_once(errors: &[ControlError]) -> String {
    let mut sentences: Vec<_> = vec![];
    for error in errors {
        let sentence = error.to_string();
        if !sentences.contains(&sentence) {
            sentences.push(sentence);
        }
    }
    sentences.join("; ")
}

impl ControlError {
    /// The errno that the write answers.
    pub(crate) fn errno(&self) -> Errno {
        match self {
            Self::Invalid(_) => Errno::INVAL,
            Self::NoSuchNode(_) => Errno::NOENT,
            Self::NoRole(_) => Errno::AGAIN,
            Self::NotRunning { .. } => Errno::SRCH,
            Self::Busy(_) => Errno::BUSY,
            Self::Unsupported(_) => Errno::OPNOTSUPP,
            Self::Interrupted => Errno::INTR,
            Self::TimedOut { .. } | Self::Overdue(_) | Self::SandboxSilent { .. } => Errno::TIMEDOUT,
            Self::Unreachable(_) => Errno::HOSTDOWN,
            Self::Refused(_) => Errno::IO,
            Self::Several(all) => all.first().map_or(Errno::IO, Self::errno),
        }
    }

    /// The name of that errno.
    pub(crate) fn errno_name(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "EINVAL",
            Self::NoSuchNode(_) => "ENOENT",
            Self::NoRole(_) => "EAGAIN",
            Self::NotRunning { .. } => "ESRCH",
            Self::Busy(_) => "EBUSY",
            Self::Unsupported(_) => "EOPNOTSUPP",
            Self::Interrupted => "EINTR",
            Self::TimedOut { .. } | Self::Overdue(_) | Self::SandboxSilent { .. } => "ETIMEDOUT",
            Self::Unreachable(_) => "EHOSTDOWN",
            Self::Refused(_) => "EIO",
            Self::Several(all) => all.first().map_or("EIO", Self::errno_name),
        }
    }

    /// How the history records it.
    pub(crate) fn outcome(&self) -> CommandOutcome {
        CommandOutcome::fail(self.errno_name(), self.to_string())
    }

    /// What an engine's error means for a command on `node`.
    pub(crate) fn from_engine(node: &str, error: EngineError) -> Self {
        match error {
            EngineError::Unreachable(_) | EngineError::Denied(_) => Self::Unreachable(format!("{node}: {error}")),
            EngineError::TimedOut(after) => Self::TimedOut { node: node.into(), after },
            EngineError::NotFound(_) | EngineError::Conflict(_) | EngineError::Refused(_) => {
                Self::Refused(format!("{node}: the engine refused: {error}"))
            }
        }
    }
}
