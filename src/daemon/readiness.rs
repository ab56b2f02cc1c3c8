//! What makes a node ready, from the plan to the probe that asks.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use regex::bytes::Regex;

use super::plan::{NodeRecipe, Readiness};
use super::program::words;
use crate::engine::Engine;
use crate::provision::Provisioner;
use crate::template::Variables;
use crate::watch::{Answer, Ask, Probe, exit_answers};

/// What is looked for in one node.
pub(crate) enum Sign {
    Port(u16),
    Line(Regex),
    Command(Vec<String>),
}

/// What a recipe asks for, rendered for one node.
///
/// # Errors
/// A sentence that names the option.
pub(crate) fn render(recipe: &NodeRecipe, variables: &Variables) -> Result<Option<Sign>> {
    Ok(match &recipe.readiness {
        None => None,
        Some(Readiness::Port(port)) => Some(Sign::Port(*port)),
        Some(Readiness::Log(pattern)) => Some(Sign::Line(line_pattern(pattern)?)),
        Some(Readiness::Command(words)) => Some(Sign::Command(self::words(words, "--ready-cmd", variables)?)),
    })
}

/// The expression of `--ready-log`.
///
/// # Errors
/// A sentence that names the option.
pub(crate) fn line_pattern(pattern: &str) -> Result<Regex> {
    Regex::new(pattern).map_err(|error| {
        // The last line is the reason; those before it point at the place.
        let text = error.to_string();
        let reason = text.lines().next_back().unwrap_or_default().trim_start_matches("error: ").to_owned();
        anyhow!("--ready-log {pattern}: this is no regular expression: {reason}")
    })
}

/// The probe of the node at `index`, if its recipe has one.
///
/// # Errors
/// As [`render`].
pub(crate) fn probe(
    recipe: &NodeRecipe,
    index: usize,
    variables: &Variables,
    engine: &Arc<dyn Engine>,
    provisioner: &Arc<Provisioner>,
) -> Result<Option<Probe>> {
    let question: Ask = match render(recipe, variables)? {
        None => return Ok(None),
        Some(Sign::Line(regex)) => return Ok(Some(Probe::Log(regex))),
        Some(Sign::Port(port)) => {
            let provisioner = provisioner.clone();
            Box::new(move |_| {
                let provisioner = provisioner.clone();
                Box::pin(async move { Ok(port_answers(port, provisioner.accepts(index, port).await?)) })
            })
        }
        Some(Sign::Command(command)) => {
            let (engine, command) = (engine.clone(), Arc::new(command));
            Box::new(move |container| {
                let (engine, command) = (engine.clone(), command.clone());
                Box::pin(async move { engine.exec(&container, &command).await.map(exit_answers) })
            })
        }
    };
    Ok(Some(Probe::Ask { question, pace: recipe.pace }))
}

fn port_answers(port: u16, there: Result<(), String>) -> Answer {
    match there {
        Ok(()) => Answer::Yes,
        Err(why) if why == "connection refused" => Answer::no(format!("connection refused by port {port}")),
        Err(why) => Answer::no(format!("port {port}: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_says_why_not() {
        assert_eq!(port_answers(7, Ok(())), Answer::Yes);
        let refused = std::io::ErrorKind::ConnectionRefused.to_string();
        assert_eq!(port_answers(7, Err(refused)), Answer::no("connection refused by port 7"));
        assert_eq!(port_answers(7, Err("timed out".into())), Answer::no("port 7: timed out"));
    }
}
