//! What the daemon and an agent say to each other.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::passthrough::{Answer, Life, Name, Request};
use crate::sweep::{Planted, Swept};

/// Requests that may be on the way or in work. A further one waits on the daemon's side.
pub(super) const AT_ONCE: usize = 256;

/// Number of a frame that answers nothing: the agent says something by itself.
pub(super) const UNASKED: u64 = 0;

/// What the daemon sends. The numbers of its frames only increase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Message<'a> {
    /// The first of each connection. `life` is what the agent becomes, if this is its first connection. `lost` are the
    /// numbers of what was not answered over the last one.
    Hello { life: Life, lost: Vec<u64> },
    /// Are you there? Answered at once, whatever else is in work. Any frame renews the agent's lease.
    Beat,
    /// Serves a directory by this number.
    AddRoot { path: PathBuf, number: u64 },
    /// An operation on files.
    #[serde(borrow)]
    File(Request<'a>),
    /// Makes the directory `dir`, unless it is there, and plants that in it.
    Fill { dir: PathBuf, planted: Vec<Planted> },
    /// Deletes everything in a directory. It gets the owner and mode with which it was made.
    Empty { dir: PathBuf },
    /// Asks the kernel to forget files that were deleted without it.
    ForgetDeleted,
}

/// What the agent sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Reply {
    /// It is this life. It has seen all frames up to `seen`. Of the lost ones, those are still in work that `open` names;
    /// what the others hold is given back.
    Hello {
        life: Life,
        seen: u64,
        open: Vec<u64>,
    },
    Done,
    /// What the operation answers, or its errno.
    File(Result<Answer, i32>),
    /// What became of a directory that was to be emptied.
    Swept(Swept),
    /// It failed; a sentence for the daemon's user.
    Failed(String),
    /// Unasked: the kernel should forget a name.
    Forget(Name),
}
