//! What each node runs: the templates of `-e` and COMMAND, rendered.

use anyhow::{Result, bail};

use super::options::Plan;
use crate::provision::Program;
use crate::template::{Nodes, Variables, render};

/// The program of every node, in order.
///
/// # Errors
/// A template's, which names the option or argument.
pub fn programs(plan: &Plan, nodes: &Nodes) -> Result<Vec<Program>> {
    (0..nodes.len()).map(|index| program(plan, &nodes.variables(index))).collect()
}

fn program(plan: &Plan, variables: &Variables) -> Result<Program> {
    // What is in a file of --env-file stays as it is.
    let mut env = plan.env.clone();
    for one in &plan.args.env {
        let (key, value) = one.split_once('=').unwrap_or((one, ""));
        env.push(format!("{key}={}", text(value, &format!("-e {key}"), variables)?));
    }
    let words = plan.args.command.iter().enumerate();
    let command = words.map(|(at, word)| text(word, &format!("COMMAND argument {}", at + 1), variables));
    let command = command.collect::<Result<Vec<_>>>()?;
    Ok(Program { command: (!command.is_empty()).then_some(command), env })
}

/// Neither an argument nor a variable of a process can hold a NUL byte.
pub(super) fn text(source: &str, what: &str, variables: &Variables) -> Result<String> {
    let text = render(source, what, variables)?;
    if text.contains('\0') {
        bail!("{what}: it has a NUL byte in it");
    }
    Ok(text)
}
