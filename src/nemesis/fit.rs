//! Whether a schedule can be performed on a cluster: its nodes, its roles, and the faults that are possible there.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::action::{Action, File};
use super::schedule::Schedule;
use crate::cluster::faults::{Faults, SeededRng};
use crate::cluster::{Names, can_stand_for_others, is_word_for_others};
use crate::text::shown;

/// What a schedule must fit.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// The names of the nodes.
    pub(crate) names: Arc<Names>,
    /// The roles, with the nodes that had them when they were last asked for.
    pub(crate) roles: BTreeMap<String, Vec<String>>,
    /// Why a fault is not possible, by its word: `rate`, `crash`.
    pub(crate) impossible: BTreeMap<String, String>,
}

impl Surroundings {
    /// The names of all nodes, in order.
    pub(crate) fn nodes(&self) -> Vec<String> {
        (0..self.names.len()).map(|index| self.names.name(index).to_string()).collect()
    }

    /// Whether every node, role and fault of a schedule is there, and no two episodes overlap on one node or file.
    ///
    /// # Errors
    /// A sentence that names the episode.
    pub(crate) fn fits(&self, schedule: &Schedule) -> Result<(), String> {
        for episode in &schedule.episodes {
            self.action(&episode.action).map_err(|why| format!("{episode}: {why}"))?;
        }
        match schedule.overlap(|word| self.nodes_of(word)) {
            None => Ok(()),
            Some((first, second)) => Err(schedule.collision(first, second, |nth| schedule.episodes[nth].to_string())),
        }
    }

    /// The names of the nodes that a word stands for; none for a role, which is known only when it is used.
    pub(crate) fn nodes_of(&self, word: &str) -> Vec<String> {
        self.find(word).into_iter().map(|index| self.names.name(index).to_string()).collect()
    }

    fn find(&self, word: &str) -> Vec<usize> {
        self.names.find(word)
    }

    fn action(&self, action: &Action) -> Result<(), String> {
        let unknown = |role: &str| !self.is_role(role) && self.find(&format!("@{role}")).is_empty();
        if let Some(role) = action.roles().iter().find(|role| unknown(role)) {
            if !self.roles.is_empty() && is_word_for_others(role) {
                return Err(format!("there is no @{} among {} nodes", shown(role), self.names.len()));
            }
            let there: Vec<_> = self.roles.keys().map(|role| format!("@{role}")).collect();
            let there = if there.is_empty() { "none were given (--role)".into() } else { there.join(", ") };
            return Err(format!("there is no role @{}; roles: {there}", shown(role)));
        }
        // For the grammars, each role is some node.
        let mut roles = action.roles();
        roles.dedup();
        let some_node = |role: &str| roles.iter().position(|one| one == role).unwrap_or_default() % self.names.len();
        let placeholder = |role: &str| self.is_role(role).then(|| vec![self.names.name(some_node(role)).to_string()]);
        let placeholder = action.map_roles(placeholder);
        self.grammar(&placeholder)?;
        let mut words: Vec<&str> = placeholder.words.split([' ', ';']).collect();
        match action.file {
            File::Control => words.truncate(1),
            // What a partition does to the traffic, unless it says otherwise.
            File::Partition if words[0] != "reject" => words = vec!["drop"],
            _ => {}
        }
        match words.iter().find_map(|word| Some((word, self.impossible.get(*word)?))) {
            Some((word, why)) => Err(format!("{word} is not possible here: {why}")),
            None => Ok(()),
        }
    }

    fn is_role(&self, role: &str) -> bool {
        self.roles.contains_key(role) || !self.roles.is_empty() && can_stand_for_others(role, self.names.len())
    }

    /// Reads the words as the file would that they are written to.
    fn grammar(&self, action: &Action) -> Result<(), String> {
        let no_node = |word: &str| format!("there is no node {}", shown(word));
        let mut faults = Faults::of(Arc::clone(&self.names));
        let read = match &action.file {
            File::Control => {
                return match action.nodes().iter().find(|word| self.find(word).is_empty()) {
                    Some(word) => Err(no_node(word)),
                    None => Ok(()),
                };
            }
            File::Partition => faults.set_partition(&action.words, &mut SeededRng::new(0)),
            File::Links => faults.set_links(&action.text()),
            File::Net(word) => match self.find(word).as_slice() {
                [index] => faults.set_net(*index, &action.words),
                [] => return Err(no_node(word)),
                _ => return Err(format!("{} stands for several nodes: name one", shown(word))),
            },
        };
        read.map_err(|error| error.to_string())
    }
}

/// The faults that the file `capabilities` says are not possible, with its reasons.
pub(crate) fn impossible(capabilities: &str) -> BTreeMap<String, String> {
    let lines = capabilities.lines().filter_map(|line| {
        let (word, rest) = line.split_once(' ')?;
        Some((word.to_owned(), rest.trim_start().strip_prefix("no ")?.trim().to_owned()))
    });
    lines.collect()
}
