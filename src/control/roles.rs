//! Words for roles in what is written: which nodes they mean is looked up each time.

use std::collections::BTreeMap;

use super::execute::Executor;
use crate::cluster::NamedRoles;

impl Executor {
    /// Asks who has the roles that a text names, and returns when that is known or cannot be found out.
    pub(crate) async fn ask_roles(&self, text: &str) -> NamedRoles {
        self.watch().ask_roles(&self.cluster().roles().needed(text)).await;
        self.cluster().roles().named_in(text)
    }

    /// What words for roles stand for, as the history has it.
    pub(super) fn recorded(&self, roles: &NamedRoles) -> BTreeMap<String, Vec<String>> {
        let names = |nodes: &[usize]| nodes.iter().map(|&index| self.name(index)).collect();
        roles.words.iter().map(|(word, nodes)| (word.clone(), names(nodes))).collect()
    }
}
