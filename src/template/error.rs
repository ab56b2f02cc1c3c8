//! What is wrong with a template, in one sentence.

use minijinja::ErrorKind;
use thiserror::Error;

use super::MAX_OUTPUT;

/// Why a template could not be rendered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{what}{}: {why}", .line.map(|line| format!(" line {line}")).unwrap_or_default())]
pub struct TemplateError {
    /// Which template, as the caller named it.
    pub(crate) what: String,
    /// The line in it, counted from 1; `None` if the template has but one line.
    pub(crate) line: Option<usize>,
    pub(crate) why: String,
}

impl TemplateError {
    pub(super) fn new(error: &minijinja::Error, what: &str, source: &str, names: &str) -> Self {
        let line = error.line().filter(|_| source.trim_end().contains('\n'));
        Self { what: what.to_owned(), line, why: why(error, names) }
    }
}

fn why(error: &minijinja::Error, names: &str) -> String {
    let detail = error.detail().unwrap_or_default().replace(['\n', '\r'], " ");
    match error.kind() {
        ErrorKind::OutOfFuel | ErrorKind::WriteFailure => {
            format!("it does not come to an end, or makes more than {} MiB of text", MAX_OUTPUT >> 20)
        }
        ErrorKind::UndefinedError if detail.is_empty() => format!("a name is not defined: there are {names}"),
        ErrorKind::UndefinedError => format!("{}: there are {names}", detail.replace("is undefined", "is not defined")),
        ErrorKind::SyntaxError => {
            format!("{detail}; what is not meant as a template goes between {{% raw %}} and {{% endraw %}}")
        }
        kind if detail.is_empty() => kind.to_string(),
        kind => format!("{kind}: {detail}"),
    }
}
