//! A text and what is known of a node, to the text that this node gets.
//!
//! Pure: it reads no file and knows no container. The only code that names minijinja. Never lets a template run, grow or
//! recurse without end: what the engine's own budget does not see, the size of a template and a deadline bound, and a look at the memory that it takes.

mod engine;
mod error;
mod variables;

#[cfg(test)]
mod tests;

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::sys::resident_bytes;

pub(crate) use error::TemplateError;
pub use variables::Nodes;
pub(crate) use variables::{TemplateNode, Variables};

/// Bytes of a text with tags in it. Its tags can nest as deep as it is long, and the engine follows that by recursion.
pub(crate) const MAX_SIZE: usize = 128 << 10;
/// Bytes that a template may make: what the engine's budget comes to. The engine pays for an output only once it is written.
const MAX_OUTPUT: usize = 64 << 20;
/// Bytes of stack for a byte of template: the engine was seen to take 1,100 (`----1`, built without optimization).
const STACK_A_BYTE: usize = 2048;
/// Bytes of stack besides.
const STACK: usize = 4 << 20;
/// How long one rendering may take. The engine's budget does not see what becomes text only when it is printed, such as
/// `[1] * 99999999` or lists in lists in lists.
const DEADLINE: Duration = Duration::from_secs(5);
/// By how many bytes the process may grow meanwhile, seen so often. Neither does the budget see what becomes text before it is
/// printed, by `~` say.
const MAX_MEMORY: u64 = 512 << 20;
const LOOK: Duration = Duration::from_millis(10);

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

/// Renders on a thread with a stack for the worst template. It is abandoned at the deadline, or when it takes too much
/// memory. Its process ends soon after a wrong template, and the thread with it.
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
    rendered_by(&receive, what, resident_bytes)
}

/// What the thread renders, unless it is given up. `resident` returns how much memory the process takes.
fn rendered_by(
    receive: &Receiver<Result<String, TemplateError>>,
    what: &str,
    resident: impl Fn() -> u64,
) -> Result<String, TemplateError> {
    let (began, before) = (Instant::now(), resident());
    loop {
        match receive.recv_timeout(LOOK) {
            Ok(rendered) => return rendered,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(failed(what, "the template engine failed on it".into()));
            }
            Err(RecvTimeoutError::Timeout) if resident() > before + MAX_MEMORY => {
                return Err(failed(what, format!("it takes more than {} MiB of memory", MAX_MEMORY >> 20)));
            }
            Err(RecvTimeoutError::Timeout) if began.elapsed() > DEADLINE => {
                return Err(failed(what, format!("it does not come to an end within {} s", DEADLINE.as_secs())));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
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
