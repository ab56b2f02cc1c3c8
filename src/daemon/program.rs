//! What a node runs: the templates of its environment and command, rendered.

use anyhow::{Result, bail};

use super::plan::NodeRecipe;
use crate::template::{Variables, render};

/// A node's command and environment.
pub(crate) struct Program {
    pub(crate) command: Option<Vec<String>>,
    /// `KEY=VALUE` each.
    pub(crate) env: Vec<String>,
}

impl Program {
    /// Renders what a recipe says for one node.
    ///
    /// # Errors
    /// A template's, which names the option or argument.
    pub(crate) fn render(recipe: &NodeRecipe, variables: &Variables) -> Result<Self> {
        let env = recipe.env.iter().map(|variable| {
            let name = &variable.name;
            let value = match variable.is_template {
                true => &text(&variable.value, &format!("-e {name}"), variables)?,
                false => &variable.value,
            };
            Ok(format!("{name}={value}"))
        });
        let words = recipe.command.iter().enumerate();
        let command = words.map(|(at, word)| text(word, &format!("COMMAND argument {}", at + 1), variables));
        let (env, command) = (env.collect::<Result<_>>()?, command.collect::<Result<Vec<_>>>()?);
        let command = if command.is_empty() { recipe.plain_command.clone() } else { Some(command) };
        Ok(Self { command, env })
    }
}

/// Renders the words of a command of `option` for one node.
pub(super) fn words(words: &[String], option: &str, variables: &Variables) -> Result<Vec<String>> {
    let words = words.iter().map(|word| text(word, option, variables)).collect::<Result<Vec<_>>>()?;
    if words.first().is_none_or(String::is_empty) {
        bail!("{option}: the first word is the program to run, and it is empty");
    }
    Ok(words)
}

/// Renders a template for an argument or a variable of a process. Neither can hold a NUL byte.
fn text(source: &str, what: &str, variables: &Variables) -> Result<String> {
    let text = render(source, what, variables)?;
    if text.contains('\0') {
        bail!("{what}: it has a NUL byte in it");
    }
    Ok(text)
}
