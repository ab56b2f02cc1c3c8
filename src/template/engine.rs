//! The template engine, set up.

use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, escape_formatter};

use super::{TemplateError, Variables};

/// What one rendering may use: a unit is a step of the template, or 64 bytes of text that it makes.
const BUDGET: u64 = 1_000_000;
/// Bytes that a template may make: what [`BUDGET`] comes to. The engine pays for an output only once it is written.
pub(super) const MAX_OUTPUT: usize = 64 << 20;

pub(super) fn render(source: &str, what: &str, variables: &Variables) -> Result<String, TemplateError> {
    let mut made = Output(vec![]);
    environment()
        .and_then(|environment| {
            let template = environment.template_from_named_str(what, source)?;
            template.render_captured_to(variables.values(), &mut made).map(drop)
        })
        .map_err(|error| TemplateError::new(&error, what, source))?;
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
    // Errors then tell which expression was not defined.
    environment.set_debug(true);
    // What lives on from one turn of a loop to the next can nest deeper than any stack.
    environment.remove_global("namespace");
    environment.remove_global("debug");
    // As configuration files write it; Python's True is known to few of them.
    environment.set_formatter(|out, state, value| match value.kind() {
        ValueKind::Bool => out.write_str(if value.is_true() { "true" } else { "false" }).map_err(Error::from),
        _ => escape_formatter(out, state, value),
    });
    Ok(environment)
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
