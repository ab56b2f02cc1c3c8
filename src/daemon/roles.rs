//! How it is found out which nodes have the roles, from the plan to the questions that are asked.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::host_command::{HostCommand, answer, late, too_long};
use super::machines::Machines;
use super::plan::{Plan, RoleCommand};
use super::program::words;
use crate::cluster::{Cluster, State, is_word_for_others};
use crate::engine::{Engine, OUTPUT_KEPT};
use crate::template::Nodes;
use crate::watch::{AskRole, RoleQuestion};

/// The option that gives [`RoleCommand::InNode`].
const IN_NODE: &str = "--role-in-node";

/// Refuses names that `@` stands before for something else in a cluster over machines of these names.
///
/// # Errors
/// A sentence.
pub(super) fn check_names(plan: &Plan, machines: &[String]) -> Result<()> {
    let is_taken = |name: &String| plan.roles.all.iter().any(|role| role.name == *name) || is_word_for_others(name);
    match machines.iter().find(|name| is_taken(name)) {
        Some(name) if machines.len() > 1 && !plan.roles.all.is_empty() => {
            bail!(
                "a machine is called {name}, so @{name} cannot stand for a role or for the nodes without one: choose another name"
            )
        }
        _ => Ok(()),
    }
}

/// The commands for a role on all nodes, rendered.
///
/// # Errors
/// A template's, which names the option.
pub(super) fn render(words: &[String], nodes: &Nodes, count: usize) -> Result<Vec<Vec<String>>> {
    (0..count).map(|index| self::words(words, IN_NODE, &nodes.variables(index))).collect()
}

/// The questions about all roles, in order.
///
/// # Errors
/// As [`render`].
pub(super) fn questions(
    plan: &Plan,
    cluster: &Cluster,
    nodes: &Nodes,
    machines: &Machines,
) -> Result<Vec<RoleQuestion>> {
    let question = |command: &RoleCommand| -> Result<AskRole> {
        Ok(match command {
            RoleCommand::Here(line) => here(HostCommand {
                line: line.clone(),
                directory: plan.roles.directory.clone(),
                mountpoint: plan.paths.mountpoint.clone(),
                umask: plan.umask,
                limit: plan.roles.timeout,
            }),
            RoleCommand::InNode(words) => {
                let commands = render(words, nodes, plan.len())?.into_iter().enumerate();
                let asked = commands.map(|(index, command)| Asked {
                    engine: machines.engine_of(index).clone(),
                    command,
                    turn: Arc::default(),
                });
                in_node(NodesAsked { cluster: cluster.clone(), nodes: asked.collect(), limit: plan.roles.timeout })
            }
        })
    };
    let all = plan.roles.all.iter();
    all.map(|role| Ok(RoleQuestion { question: question(&role.command)?, interval: plan.roles.interval })).collect()
}

fn here(command: HostCommand) -> AskRole {
    Box::new(move || {
        let command = command.clone();
        Box::pin(async move { command.output().await })
    })
}

fn in_node(nodes: NodesAsked) -> AskRole {
    let nodes = Arc::new(nodes);
    Box::new(move || {
        let nodes = nodes.clone();
        Box::pin(async move { nodes.ask().await })
    })
}

/// A cluster whose nodes are asked.
struct NodesAsked {
    cluster: Cluster,
    nodes: Vec<Asked>,
    /// How long all of them may take.
    limit: Duration,
}

/// A node that is asked.
struct Asked {
    engine: Arc<dyn Engine>,
    command: Vec<String>,
    /// Held while the command runs there, also when nobody waits for it any more: an exec cannot be ended.
    turn: Arc<Mutex<()>>,
}

impl NodesAsked {
    /// Asks the running nodes in order until one answers. One that is silent leaves the others their share of the time.
    async fn ask(&self) -> Result<String, String> {
        let runs =
            |index: &usize| self.cluster.is_node_reachable(*index) && self.cluster.node(*index).state == State::Running;
        let running: Vec<_> = (0..self.nodes.len()).filter(runs).collect();
        let end = Instant::now() + self.limit;
        let mut failure = None;
        for (nth, &index) in running.iter().enumerate() {
            let left = end.saturating_duration_since(Instant::now());
            match self.ask_node(index, left / (running.len() - nth) as u32).await {
                Ok(text) => return Ok(text),
                Err(why) => failure = failure.or(Some(format!("{}: {why}", self.cluster.node_spec(index).name))),
            }
        }
        Err(match (failure, running.len()) {
            (None, _) => "no node runs".into(),
            (Some(why), 1) => why,
            (Some(why), count) => format!("none of {count} nodes answers; {why}"),
        })
    }

    async fn ask_node(&self, index: usize, limit: Duration) -> Result<String, String> {
        let Asked { engine, command, turn } = &self.nodes[index];
        let container = self.cluster.node(index).container.clone().ok_or("it has no container")?;
        let turn = turn.clone().try_lock_owned().map_err(|_| "it has not answered an earlier question yet")?;
        let (engine, command) = (engine.clone(), command.clone());
        let asking = tokio::spawn(async move {
            let _turn = turn;
            engine.exec(&container, &command).await
        });
        match timeout(limit, asking).await {
            // Of more, the answer may be what is missing.
            Ok(Ok(Ok(exit))) if exit.code == 0 && exit.output.len() >= OUTPUT_KEPT => Err(too_long(OUTPUT_KEPT)),
            Ok(Ok(Ok(exit))) => answer(exit.code, &exit.stdout, &exit.output),
            Ok(Ok(Err(error))) => Err(error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(late(limit)),
        }
    }
}
