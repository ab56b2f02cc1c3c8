//! What a test's operations are held against, and what these operations are called.

/// A kind of data that a system is to keep, and what must be true of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Model {
    /// One value for each key; linearizable.
    Register,
    /// Values that are added, and all read at once.
    Set,
    /// Values that go in and come out once.
    Queue,
    /// Accounts whose total stays the same.
    Bank,
    /// A number for each key that only grows.
    Monotonic,
    /// A list of values for each key, which only grows at its end.
    List,
}

impl Model {
    /// All of them, in the order in which they are documented.
    pub(crate) const ALL: [Self; 6] = [Self::Register, Self::Set, Self::Queue, Self::Bank, Self::Monotonic, Self::List];

    /// As in `--model NAME` and in the history.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Set => "set",
            Self::Queue => "queue",
            Self::Bank => "bank",
            Self::Monotonic => "monotonic",
            Self::List => "list",
        }
    }

    /// The operations that it knows: the `f` of the test's lines.
    pub(crate) fn operations(self) -> &'static [&'static str] {
        match self {
            Self::Register => &["read", "write", "cas"],
            Self::Set => &["add", "read"],
            Self::Queue => &["enqueue", "dequeue", "drain"],
            Self::Bank => &["transfer", "read"],
            Self::Monotonic => &["inc", "read"],
            Self::List => &["append", "read"],
        }
    }
}
