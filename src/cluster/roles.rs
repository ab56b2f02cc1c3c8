//! Roles: which nodes have them as far as is known, and the words that stand for those nodes.

use std::sync::Arc;

use super::NodeName;
use super::names::RESERVED;

/// The words for the nodes that have none of the roles: all of them, and one of them with its number.
const OTHERS: &str = "others";
const OTHER: &str = "other";

/// What is known of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Role {
    /// As in `leader`.
    pub(crate) name: String,
    /// The nodes that have it, by index and in order; the last known ones while it is unknown.
    pub(crate) nodes: Vec<usize>,
    /// Why it is not known now: a sentence.
    pub(crate) unknown: Option<Arc<str>>,
}

/// The roles of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Roles {
    all: Vec<Role>,
    /// How many nodes the cluster has.
    nodes: usize,
}

/// What the words for roles in a text stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NamedRoles {
    /// Each word without its `@`, and its nodes: at least one.
    pub(crate) words: Vec<(String, Vec<usize>)>,
    /// Why another word stands for no node: a sentence.
    pub(crate) missing: Option<String>,
}

/// What a word stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Role(usize),
    Others,
    /// Counted from 1.
    Other(usize),
}

/// Checks the name of a role.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_role_name(name: &str) -> Result<(), &'static str> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(good) || name.len() > 63 {
        return Err("a role's name has letters, digits, '_', '.' and '-', begins with a letter or digit, and has at \
                    most 63 characters");
    }
    if RESERVED.contains(&name) || NodeName::parse_index(name).is_some() || is_word_for_others(name) {
        return Err("that word has another meaning where nodes are named");
    }
    Ok(())
}

/// Whether a word stands for nodes without a role.
pub(crate) fn is_word_for_others(word: &str) -> bool {
    word == OTHERS || word.strip_prefix(OTHER).is_some_and(|number| number.chars().all(|c| c.is_ascii_digit()))
}

/// Whether a word can stand for nodes without a role in a cluster of so many nodes.
pub(crate) fn can_stand_for_others(word: &str, nodes: usize) -> bool {
    word == OTHERS || nth_other(word).is_some_and(|nth| nth <= nodes)
}

/// Which of the nodes without a role a word stands for, counted from 1. There is only the one spelling: not `other01`, not
/// `other+1`.
fn nth_other(word: &str) -> Option<usize> {
    let digits = word.strip_prefix(OTHER)?;
    digits.parse().ok().filter(|nth: &usize| *nth > 0 && nth.to_string() == digits)
}

impl Roles {
    /// Roles of these names in a cluster of so many nodes, of which none runs yet.
    pub(super) fn new(names: &[String], nodes: usize) -> Self {
        let unknown = Some("no node runs".into());
        let role = |name: &String| Role { name: name.clone(), nodes: vec![], unknown: unknown.clone() };
        Self { all: names.iter().map(role).collect(), nodes }
    }

    /// Each of them, in order.
    pub(crate) fn all(&self) -> &[Role] {
        &self.all
    }

    /// The roles that must be known for the words in a text.
    pub(crate) fn needed(&self, text: &str) -> Vec<usize> {
        let words = self.words(text);
        match words.iter().any(|(_, word)| !matches!(word, Word::Role(_))) {
            true => (0..self.all.len()).collect(),
            false => (0..self.all.len()).filter(|at| words.iter().any(|(_, word)| *word == Word::Role(*at))).collect(),
        }
    }

    /// What the words in a text stand for.
    pub(crate) fn named_in(&self, text: &str) -> NamedRoles {
        let mut named = NamedRoles::default();
        for (text, word) in self.words(text) {
            match self.nodes_of(word) {
                Ok(nodes) => named.words.push((text.to_owned(), nodes)),
                Err(why) => drop(named.missing.get_or_insert(why)),
            }
        }
        named
    }

    /// Notes what the answer to a question was: the nodes that have the role, or why that is not known. Returns whether
    /// that is new.
    pub(super) fn note(&mut self, at: usize, answer: Result<Vec<usize>, Arc<str>>) -> bool {
        let Role { nodes, unknown, .. } = &mut self.all[at];
        let before = (nodes.clone(), unknown.clone());
        *unknown = answer.map(|now| *nodes = now).err();
        before != (nodes.clone(), unknown.clone())
    }

    /// The words for roles in a text, each once and without its `@`.
    fn words<'a>(&self, text: &'a str) -> Vec<(&'a str, Word)> {
        let mut found = vec![];
        if self.all.is_empty() {
            return found;
        }
        let words = text.split(|c: char| c.is_whitespace() || matches!(c, '|' | '>'));
        for word in words.filter_map(|word| word.strip_prefix('@')) {
            let role = || self.all.iter().position(|role| role.name == word).map(Word::Role);
            let others = || (word == OTHERS).then_some(Word::Others);
            let other = || nth_other(word).map(Word::Other);
            let known = role().or_else(others).or_else(other).map(|meaning| (word, meaning));
            found.extend(known.filter(|known| !found.contains(known)));
        }
        found
    }

    fn nodes_of(&self, word: Word) -> Result<Vec<usize>, String> {
        let known = |role: &'_ Role| match &role.unknown {
            Some(why) => Err(format!("@{} is not known: {why}", role.name)),
            None => Ok(role.nodes.clone()),
        };
        if let Word::Role(at) = word {
            let role = &self.all[at];
            let nodes = known(role)?;
            return if nodes.is_empty() { Err(format!("no node is @{} now", role.name)) } else { Ok(nodes) };
        }
        let taken = self.all.iter().map(known).collect::<Result<Vec<_>, _>>()?.concat();
        let others: Vec<_> = (0..self.nodes).filter(|node| !taken.contains(node)).collect();
        match word {
            Word::Other(nth) => others
                .get(nth - 1)
                .map(|node| vec![*node])
                .ok_or_else(|| format!("there is no @{OTHER}{nth} now: {} nodes have none of the roles", others.len())),
            _ if others.is_empty() => Err(format!("there are no @{OTHERS} now: every node has a role")),
            _ => Ok(others),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(answers: &[(&str, Result<Vec<usize>, &str>)]) -> Roles {
        let names: Vec<_> = answers.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut roles = Roles::new(&names, 4);
        for (at, (_, answer)) in answers.iter().enumerate() {
            roles.note(at, answer.clone().map_err(Into::into));
        }
        roles
    }

    fn named(roles: &Roles, text: &str) -> Vec<(String, Vec<usize>)> {
        let NamedRoles { words, missing } = roles.named_in(text);
        assert_eq!(missing, None, "{text}");
        words
    }

    #[test]
    fn words_stand_for_the_nodes_that_have_roles_and_for_the_rest() {
        let roles = roles(&[("leader", Ok(vec![1])), ("arbiter", Ok(vec![])), ("log-1", Ok(vec![1, 3]))]);
        let words = |words: &[(&str, &[usize])]| -> Vec<_> {
            words.iter().map(|(word, nodes)| ((*word).to_owned(), nodes.to_vec())).collect()
        };
        assert_eq!(named(&roles, "crash @leader i001 @log-1 @leader"), words(&[("leader", &[1]), ("log-1", &[1, 3])]));
        assert_eq!(named(&roles, "@leader|@others"), words(&[("leader", &[1]), ("others", &[0, 2])]));
        assert_eq!(
            named(&roles, "@other1>@other2 drop\n@leader>* drop"),
            words(&[("other1", &[0]), ("other2", &[2]), ("leader", &[1])])
        );
        for text in ["", "leader others", "@host @x @", "@other @other0 @other01 @other+1 @othersx", "a@leader"] {
            assert_eq!(named(&roles, text), [], "{text}");
        }
        assert_eq!(roles.needed("@log-1 @x"), [2]);
        assert_eq!(roles.needed("@other2"), [0, 1, 2]);
        assert_eq!(roles.needed("i001 x"), [0; 0]);
    }

    #[test]
    fn a_word_without_a_node_has_a_reason() {
        let known = roles(&[("leader", Ok(vec![1])), ("arbiter", Ok(vec![]))]);
        let unknown = roles(&[("leader", Ok(vec![1])), ("arbiter", Err("exit status 1"))]);
        let all = roles(&[("leader", Ok(vec![0, 1, 2, 3]))]);
        for (roles, text, why) in [
            (&known, "@arbiter", "no node is @arbiter now"),
            (&known, "@other4", "there is no @other4 now: 3 nodes have none of the roles"),
            (&unknown, "@leader @arbiter", "@arbiter is not known: exit status 1"),
            (&unknown, "@others", "@arbiter is not known: exit status 1"),
            (&all, "@others", "there are no @others now: every node has a role"),
        ] {
            assert_eq!(roles.named_in(text).missing.as_deref(), Some(why), "{text}");
        }
        assert_eq!(unknown.named_in("@leader @arbiter").words, [("leader".to_owned(), vec![1])]);
    }

    #[test]
    fn others_are_no_more_than_there_are_nodes() {
        let good = ["others", "other1", "other3"].map(|word| can_stand_for_others(word, 3));
        let bad = ["other", "other0", "other4", "other01", "leader"].map(|word| can_stand_for_others(word, 3));
        assert_eq!((good, bad), ([true; 3], [false; 5]));
    }

    #[test]
    fn what_was_known_last_stays() {
        let mut roles = Roles::new(&["leader".into()], 3);
        assert_eq!(roles.all()[0].unknown.as_deref(), Some("no node runs"));
        assert!(roles.note(0, Ok(vec![2])) && !roles.note(0, Ok(vec![2])));
        assert!(roles.note(0, Err("why".into())) && !roles.note(0, Err("why".into())));
        assert_eq!((&roles.all()[0].nodes[..], roles.all()[0].unknown.as_deref()), (&[2][..], Some("why")));
        assert!(roles.note(0, Ok(vec![])));
        assert_eq!((&roles.all()[0].nodes[..], &roles.all()[0].unknown), (&[][..], &None));
    }

    #[test]
    fn names_that_mean_something_else_are_refused() {
        for good in ["leader", "a", "0", "shard-1.master", "another", "othersx", "i1"] {
            assert_eq!(check_role_name(good), Ok(()), "{good}");
        }
        for wrong in ["", "-a", "a b", "a|b", "a>b", "@a", "ä", "host", "ring", "i001", "other", "other7", "others"] {
            assert!(check_role_name(wrong).is_err(), "{wrong}");
        }
    }
}
