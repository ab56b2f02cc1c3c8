//! Errors of settings.

/// Why a text is not a valid setting. Nothing has changed.
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
pub(crate) type Result<T> = std::result::Result<T, FaultError>;

/// [`FaultError::Invalid`] as a result.
pub(super) fn invalid<T>(why: impl Into<String>) -> Result<T> {
    Err(FaultError::Invalid(why.into()))
}
