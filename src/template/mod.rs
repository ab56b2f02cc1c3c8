//! The template room: a text and what is known of a node, to the text that this node gets.
//!
//! Pure: it reads no file and knows no container. The only code that names minijinja. Never lets a template run, grow or
//! recurse without end: what the engine's own budget does not see, the size of a template and a deadline bound.

mod engine;
mod error;
mod variables;

#[cfg(test)]
mod tests;

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

pub use error::TemplateError;
pub use variables::{Nodes, Variables};

/// Bytes of a text with tags in it. Its tags can nest as deep as it is long, and the engine follows that by recursion.
pub const MAX_SIZE: usize = 128 << 10;
/// Bytes of stack for a byte of template: the engine was seen to take 1,100 (`----1`, built without optimization).
const STACK_A_BYTE: usize = 2048;
/// Bytes of stack besides.
const STACK: usize = 4 << 20;
/// How long one rendering may take. The engine's budget does not see what becomes text only when it is printed, such as
/// `[1] * 99999999` or lists in lists in lists.
const DEADLINE: Duration = Duration::from_secs(5);

/// Renders a template (Jinja syntax) for one node. `what` names it in errors: a path, or `-e KEY`.
///
/// White space stays as it is, the newline at the end too, but for what `{%-` and `-%}` take away. A text without tags
/// may have any size, others [`MAX_SIZE`].
///
/// # Errors
/// One sentence: where, and what is wrong. A name or attribute that is not defined is an error.
pub fn render(source: &str, what: &str, variables: &Variables) -> Result<String, TemplateError> {
    if !["{{", "{%", "{#"].iter().any(|tag| source.contains(tag)) {
        return Ok(source.to_owned());
    }
    if source.len() > MAX_SIZE {
        return Err(failed(what, format!("a text with template tags has at most {} KiB", MAX_SIZE >> 10)));
    }
    render_apart(source, what, variables)
}

/// Renders on a thread with a stack for the worst template, which is given up at the deadline: whoever has a template that
/// wrong ends soon, and the thread with it.
fn render_apart(source: &str, what: &str, variables: &Variables) -> Result<String, TemplateError> {
    let (send, receive) = channel();
    let owned = (source.to_owned(), what.to_owned(), variables.clone());
    let rendering = move || {
        let (source, what, variables) = owned;
        let _ = send.send(engine::render(&source, &what, &variables));
    };
    let stack = STACK + source.len() * STACK_A_BYTE;
    let thread = thread::Builder::new().name("template".into()).stack_size(stack).spawn(rendering);
    thread.map_err(|error| failed(what, format!("cannot be rendered: {error}")))?;
    receive.recv_timeout(DEADLINE).unwrap_or_else(|error| match error {
        RecvTimeoutError::Timeout => {
            Err(failed(what, format!("it does not come to an end within {} s", DEADLINE.as_secs())))
        }
        RecvTimeoutError::Disconnected => Err(failed(what, "the template engine failed on it".into())),
    })
}

fn failed(what: &str, why: String) -> TemplateError {
    TemplateError { what: what.to_owned(), line: None, why }
}

/// Renders a template for every node, and keeps nothing.
///
/// # Errors
/// As [`render`]: the first.
pub fn check(source: &str, what: &str, nodes: &Nodes) -> Result<(), TemplateError> {
    (0..nodes.len()).try_for_each(|index| render(source, what, &nodes.variables(index)).map(drop))
}
