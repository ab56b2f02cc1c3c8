//! Why a text is no setting.

/// Why a text is no setting; nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// A sentence that names the word, and says what to write instead.
    #[error("{0}")]
    Invalid(String),
    /// There is no node of that name.
    #[error("no node is named '{0}'")]
    NoSuchNode(String),
}

/// Result of reading a text.
pub type Result<T> = std::result::Result<T, FaultError>;

/// [`FaultError::Invalid`] as a result.
pub(super) fn invalid<T>(why: impl Into<String>) -> Result<T> {
    Err(FaultError::Invalid(why.into()))
}
