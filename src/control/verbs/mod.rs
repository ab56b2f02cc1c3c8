//! The verbs of the command language, a file each.

mod crash;
mod dependencies;
mod first_start;
mod heal;
mod kill;
mod pause;
mod reset;
mod restart;
mod resume;
mod start;
mod stop;
mod verb;

use super::ControlError;
use super::execute::Command;
use crate::text::shown;
pub(crate) use first_start::FirstStart;
use verb::{Verb, Words};

/// All of them, as the usage lists them.
static VERBS: [&Verb; 9] = [
    &start::START,
    &stop::STOP,
    &restart::RESTART,
    &kill::KILL,
    &crash::CRASH,
    &pause::PAUSE,
    &resume::RESUME,
    &heal::HEAL,
    &reset::RESET,
];

/// The verbs' names.
pub fn names() -> impl Iterator<Item = &'static str> {
    VERBS.iter().map(|verb| verb.name)
}

/// Reads a line; `Ok(None)` if it is blank.
///
/// # Errors
/// [`ControlError::Invalid`] if it is not a command.
pub fn parse(line: &[u8]) -> Result<Option<Command>, ControlError> {
    let invalid = |why: String| Err(ControlError::Invalid(why));
    if line.contains(&0) {
        return invalid("a command has a NUL byte in it".into());
    }
    let Ok(line) = std::str::from_utf8(line) else {
        return invalid("a command is not UTF-8 text".into());
    };
    let mut words = line.split_ascii_whitespace();
    let Some(name) = words.next() else {
        return Ok(None);
    };
    let Some(verb) = VERBS.iter().find(|verb| verb.name == name) else {
        let names: Vec<_> = names().collect();
        return invalid(format!("no such command: '{}'; there are {}", shown(name), names.join(", ")));
    };
    let mut words = Words::new(verb.name, words);
    let action = (verb.parse)(&mut words)?;
    Ok(Some(Command { verb: verb.name, action, nodes: words.nodes(verb.hint)? }))
}

/// Whether a node that a command with this verb ends was asked to end and had time for it, so that it is no fault.
pub(crate) fn is_orderly(verb: &str) -> bool {
    VERBS.iter().any(|known| known.name == verb && known.is_orderly)
}

/// The verb that ends what a command with this verb does, if that lasts: `resume` for `pause`.
pub(crate) fn ended_by(verb: &str) -> Option<&'static str> {
    VERBS.iter().find(|known| known.name == verb)?.ended_by
}

/// What `cat control` shows: a script that writes its arguments to itself.
pub(crate) fn script(at_root: bool) -> String {
    let (nodes, whom) = if at_root { (" [NODE...]", "the nodes named, or all") } else { ("", "this node") };
    let line = |verb: &&Verb| {
        let options = if verb.options.is_empty() { String::new() } else { format!(" {}", verb.options) };
        (format!("{}{options}{nodes}", verb.name), verb.help)
    };
    let lines: Vec<_> = VERBS.iter().map(line).collect();
    let width = lines.iter().map(|(usage, _)| usage.len()).max().unwrap_or_default();
    let usage: Vec<_> = lines.iter().map(|(usage, help)| format!("#   {usage:<width$}  {help}")).collect();
    include_str!("control.sh").replace("@USAGE@", &usage.join("\n")).replace("@WHOM@", whom)
}

#[cfg(test)]
mod tests;
