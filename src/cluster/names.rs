//! Which nodes a word stands for, and what a node is called where nodes are named.

use std::collections::HashMap;

use super::NodeName;

/// Words of the command language and of `partition` and `links` that stand for something else than a node.
pub(super) const RESERVED: [&str; 11] =
    ["*", "host", "hosts", "heal", "halves", "majority", "ring", "isolate", "bridge", "drop", "reject"];

/// The names of a cluster's nodes. Every node is `i001`, `i002`, … by its place. Nodes of services have names of their
/// own besides, and a service's name stands for all its nodes. `@NAME` stands for the nodes on a machine, or with a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    called: Vec<NodeName>,
    /// The nodes of every word but `i001`, …; empty in a cluster of numbered nodes.
    by_word: HashMap<String, Vec<usize>>,
    /// The machines by name, each with its nodes, if there are several.
    hosts: Vec<(String, Vec<usize>)>,
    /// The words for roles, each with the nodes that it stands for now.
    roles: Vec<(String, Vec<usize>)>,
}

/// How one node is named.
#[derive(Clone, Debug)]
pub(crate) struct NodeWords<'a> {
    /// What it is called: [`NodeName::choose`].
    pub(crate) name: &'a NodeName,
    /// Its service, whose name stands for all its nodes.
    pub(crate) service: Option<&'a str>,
    /// Other names of this node alone.
    pub(crate) aliases: &'a [String],
}

impl NodeName {
    /// What the node with this index is called: by the name that it has, unless that means something else where nodes
    /// are named.
    pub(crate) fn choose(index: usize, own: Option<&str>) -> Self {
        match own.filter(|own| !RESERVED.contains(own) && Self::parse_index(own).is_none()) {
            Some(own) => Self::of(own),
            None => Self::nth(index),
        }
    }
}

impl Names {
    /// So many nodes, `i001` and so on.
    pub(crate) fn numbered(nodes: usize) -> Self {
        Self { called: (0..nodes).map(NodeName::nth).collect(), by_word: HashMap::new(), hosts: vec![], roles: vec![] }
    }

    /// The names of these nodes, in order. Of words that two nodes claim, a node's name wins over an alias, and an alias
    /// over a service.
    pub(crate) fn of<'a>(nodes: impl Iterator<Item = NodeWords<'a>> + Clone) -> Self {
        let called: Vec<_> = nodes.clone().map(|node| node.name.clone()).collect();
        let mut by_word: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, node) in nodes.clone().enumerate() {
            node.service.into_iter().for_each(|service| by_word.entry(service.to_owned()).or_default().push(index));
        }
        for (index, node) in nodes.clone().enumerate() {
            by_word.extend(node.aliases.iter().map(|alias| (alias.clone(), vec![index])));
        }
        by_word.extend(called.iter().enumerate().map(|(index, name)| (name.to_string(), vec![index])));
        by_word.retain(|word, _| NodeName::parse_index(word).is_none() && !RESERVED.contains(&word.as_str()));
        Self { called, by_word, hosts: vec![], roles: vec![] }
    }

    /// The same for nodes on these machines.
    pub(crate) fn on_hosts(self, hosts: Vec<(String, Vec<usize>)>) -> Self {
        Self { hosts, ..self }
    }

    /// The same while words for roles stand for these nodes.
    pub(crate) fn with_roles(&self, roles: Vec<(String, Vec<usize>)>) -> Self {
        Self { roles, ..self.clone() }
    }

    /// The nodes of each machine, if there are several.
    pub(crate) fn by_host(&self) -> impl Iterator<Item = &[usize]> {
        self.hosts.iter().map(|(_, nodes)| nodes.as_slice())
    }

    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.called.len()
    }

    /// What a node is called.
    pub(crate) fn name(&self, index: usize) -> &NodeName {
        &self.called[index]
    }

    /// The nodes that a word stands for, in order; none if it stands for none.
    pub(crate) fn find(&self, word: &str) -> Vec<usize> {
        if let Some(name) = word.strip_prefix('@') {
            let named = self.hosts.iter().chain(&self.roles).find(|(word, _)| word == name);
            return named.map(|(_, nodes)| nodes.clone()).unwrap_or_default();
        }
        match NodeName::parse_index(word) {
            Some(index) if index < self.len() => vec![index],
            Some(_) => vec![],
            None => self.by_word.get(word).cloned().unwrap_or_default(),
        }
    }

    /// Whether nodes have names besides their numbers.
    pub(crate) fn are_own(&self) -> bool {
        !self.by_word.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(nodes: &[(&str, &str, &[&str])]) -> Names {
        let nodes: Vec<_> = nodes
            .iter()
            .enumerate()
            .map(|(index, (own, service, aliases))| {
                let aliases: Vec<String> = aliases.iter().map(|alias| (*alias).into()).collect();
                (NodeName::choose(index, Some(own)), *service, aliases)
            })
            .collect();
        let words = nodes.iter().map(|(name, service, aliases)| NodeWords { name, service: Some(*service), aliases });
        Names::of(words)
    }

    #[test]
    fn a_word_is_a_number_a_name_an_alias_or_a_service() {
        let names = names(&[("web-1", "web", &[]), ("web-2", "web", &["front"]), ("db", "db", &[])]);
        for (word, nodes) in [
            ("web", vec![0, 1]),
            ("web-2", vec![1]),
            ("front", vec![1]),
            ("db", vec![2]),
            ("i003", vec![2]),
            ("i004", vec![]),
            ("i3", vec![]),
            ("none", vec![]),
            ("*", vec![]),
        ] {
            assert_eq!(names.find(word), nodes, "{word}");
        }
        assert_eq!(names.name(1).as_str(), "web-2");
        assert!(names.are_own() && !Names::numbered(3).are_own());
        assert_eq!(Names::numbered(3).find("i003"), [2]);
    }

    #[test]
    fn at_stands_for_machines_and_for_roles() {
        let names = Names::numbered(4).on_hosts(vec![("a".into(), vec![0, 1]), ("b".into(), vec![2, 3])]);
        let with_roles = names.with_roles(vec![("leader".into(), vec![2])]);
        for (word, before, after) in [
            ("@a", vec![0, 1], vec![0, 1]),
            ("@leader", vec![], vec![2]),
            ("leader", vec![], vec![]),
            ("@x", vec![], vec![]),
        ] {
            assert_eq!((names.find(word), with_roles.find(word)), (before, after), "{word}");
        }
    }

    #[test]
    fn a_name_that_means_something_else_is_not_used() {
        let names = names(&[
            ("host", "host", &[]),
            ("halves", "halves", &["ring", "heal"]),
            ("i001", "i001", &[]),
            ("control", "control", &[]),
        ]);
        let called: Vec<_> = (0..4).map(|index| names.name(index).to_string()).collect();
        assert_eq!(called, ["i001", "i002", "i003", "control"]);
        assert!(["host", "halves", "ring", "heal"].iter().all(|word| names.find(word).is_empty()));
        assert_eq!(names.find("i001"), [0]);
    }
}
