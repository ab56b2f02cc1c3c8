//! What a verb is, and how its options are read.

use std::iter::Peekable;
use std::str::SplitAsciiWhitespace;
use std::sync::Arc;
use std::time::Duration;

use super::super::ControlError;
use super::super::execute::Action;
use crate::text::shown;

/// Longest grace that `-t` takes, in seconds: a day.
const MAX_GRACE: u64 = 86_400;

/// A verb of the command language.
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    /// Its options, as the usage shows them.
    pub(crate) options: &'static str,
    /// What it does, as the usage says it. `@WHOM@` is replaced by the nodes that it is about.
    pub(crate) help: &'static str,
    /// Whether a node that it ends was asked to end and had time for it, so that the timeline takes this for no fault.
    pub(crate) is_orderly: bool,
    /// The verb that ends what it does, if what it does lasts until then.
    pub(crate) ended_by: Option<&'static str>,
    /// What to add when an option is refused.
    pub(super) hint: &'static str,
    pub(super) parse: fn(&mut Words<'_>) -> Result<Arc<dyn Action>, ControlError>,
}

/// The words of a line that follow the verb.
pub(crate) struct Words<'a> {
    verb: &'static str,
    left: Peekable<SplitAsciiWhitespace<'a>>,
}

impl<'a> Words<'a> {
    pub(super) fn new(verb: &'static str, left: SplitAsciiWhitespace<'a>) -> Self {
        Self { verb, left: left.peekable() }
    }

    /// The value of an option, if it comes next: `-t 5` or `-t5`.
    pub(super) fn option(&mut self, flag: &str) -> Result<Option<&'a str>, ControlError> {
        let Some(value) = self.left.peek().and_then(|word| word.strip_prefix(flag)) else {
            return Ok(None);
        };
        self.left.next();
        if !value.is_empty() {
            return Ok(Some(value));
        }
        let missing = || ControlError::Invalid(format!("{}: {flag} needs a value", self.verb));
        self.left.next().map(Some).ok_or_else(missing)
    }

    /// Whether an option without a value comes next.
    pub(super) fn flag(&mut self, flag: &str) -> bool {
        self.left.next_if(|word| *word == flag).is_some()
    }

    /// `-t SECONDS`, the time between the stop signal and SIGKILL.
    pub(super) fn grace(&mut self) -> Result<Option<Duration>, ControlError> {
        let Some(text) = self.option("-t")? else {
            return Ok(None);
        };
        match text.parse::<u64>() {
            Ok(seconds) if seconds <= MAX_GRACE => Ok(Some(Duration::from_secs(seconds))),
            _ => Err(ControlError::Invalid(format!(
                "-t takes a whole number of seconds up to {MAX_GRACE}, not '{}'",
                shown(text)
            ))),
        }
    }

    /// What is left: names of nodes. `hint` is what to say of an option that the verb does not have.
    pub(super) fn nodes(self, hint: &str) -> Result<Vec<String>, ControlError> {
        let nodes: Vec<String> = self.left.map(str::to_owned).collect();
        match nodes.iter().find(|word| word.starts_with('-')) {
            Some(flag) => Err(ControlError::Invalid(format!("{}: no such option: '{}'{hint}", self.verb, shown(flag)))),
            None => Ok(nodes),
        }
    }
}

/// A grace as [`Words::grace`] reads it.
pub(super) fn write_grace(grace: Option<Duration>) -> String {
    grace.map(|grace| format!("-t {}", grace.as_secs())).unwrap_or_default()
}
