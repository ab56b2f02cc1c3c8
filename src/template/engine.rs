//! The template engine, set up.

use std::fmt;
use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, escape_formatter};

use super::{MAX_OUTPUT, TemplateError, Variables};

/// What one rendering may use: a unit is a step of the template, or 64 bytes of text that it makes.
const BUDGET: u64 = 1_000_000;

/// Bytes that one list or map may have as text. The engine charges as much for one that a filter turns into text.
const MAX_LIST: usize = MAX_OUTPUT / 16;

pub(super) fn render(source: &str, what: &str, variables: &Variables) -> Result<String, TemplateError> {
    let mut made = Output(vec![]);
    environment()
        .and_then(|environment| {
            let template = environment.template_from_named_str(what, source)?;
            template.render_captured_to(&variables.values, &mut made).map(drop)
        })
        .map_err(|error| TemplateError::new(&error, what, source, variables.names))?;
    // The engine writes whole strings.
    Ok(String::from_utf8(made.0).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build()?;
    environment.set_syntax(syntax);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(BUDGET));
    // Errors then say which expression was not defined.
    environment.set_debug(true);
    // What lives on from one turn of a loop to the next can nest deeper than any stack.
    environment.remove_global("namespace");
    environment.remove_global("debug");
    // As configuration files write it; Python's True is known to few of them.
    environment.set_formatter(|out, state, value| match value.kind() {
        ValueKind::Bool => out.write_str(if value.is_true() { "true" } else { "false" }).map_err(Error::from),
        // The engine pays for an output only once all of it is written. What a block captures is written into memory, and
        // a small list of lists of lists can be endless as text.
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
            fmt::Write::write_fmt(&mut Measured(MAX_LIST), format_args!("{value}")).map_err(Error::from)?;
            escape_formatter(out, state, value)
        }
        _ => escape_formatter(out, state, value),
    });
    Ok(environment)
}

/// Keeps nothing, and fails at what is longer than the bytes that are left.
struct Measured(usize);

impl fmt::Write for Measured {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}

/// What has been made, within [`MAX_OUTPUT`].
struct Output(Vec<u8>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
