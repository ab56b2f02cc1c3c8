//! What a line of a schedule writes, and what ends it.

use std::fmt;

use crate::control::{ended_by, parse};
use crate::text::shown;

/// The file of a mount that is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum File {
    /// The root's `control`.
    Control,
    /// The root's `partition`.
    Partition,
    /// The root's `links`.
    Links,
    /// The `net` of the node that this word names.
    Net(String),
}

/// As in a schedule.
impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control => f.write_str("control"),
            Self::Partition => f.write_str("partition"),
            Self::Links => f.write_str("links"),
            Self::Net(node) => write!(f, "{node}/net"),
        }
    }
}

/// One thing to do to a cluster: words for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Action {
    pub(crate) file: File,
    /// As they are written, but lines of `links` are separated by `;`. Single blanks between words.
    pub(crate) words: String,
}

/// As a schedule has it; [`Action::parse`] reads it back.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            File::Control => f.write_str(&self.words),
            file => write!(f, "{file} {}", self.words),
        }
    }
}

impl Action {
    /// A file and what is written to it.
    pub(crate) fn new(file: File, words: impl Into<String>) -> Self {
        Self { file, words: words.into() }
    }

    /// Reads what a line of a schedule says to do.
    ///
    /// # Errors
    /// A sentence. Whether nodes of these names exist, and what is written to the files of faults, is not looked at.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let Some((first, rest)) = words.split_first() else {
            return Err("it does not say what to do".into());
        };
        let setting = match (*first, first.strip_suffix("/net")) {
            ("partition", _) => File::Partition,
            ("links", _) => File::Links,
            (_, Some(node)) => File::Net(node.to_owned()),
            _ => {
                parse(text.as_bytes()).map_err(|error| {
                    format!("{error}; or write partition …, links … or NODE/net …, as in partition isolate i001")
                })?;
                return Ok(Self::new(File::Control, words.join(" ")));
            }
        };
        if rest.is_empty() || rest == ["heal"] {
            return Err(format!("{first}: say what is to be in force; it is cleared at the end of its time"));
        }
        Ok(Self::new(setting, rest.join(" ")))
    }

    /// What is written to the file.
    pub(crate) fn text(&self) -> String {
        match self.file {
            File::Links => self.words.split(';').map(|line| format!("{}\n", line.trim())).collect(),
            _ => format!("{}\n", self.words),
        }
    }

    /// The verb of a command.
    pub(crate) fn verb(&self) -> Option<&str> {
        (self.file == File::Control).then(|| self.words.split(' ').next().unwrap_or_default())
    }

    /// The nodes that a command names; none for all, and none for other files.
    pub(crate) fn nodes(&self) -> Vec<String> {
        let command = (self.file == File::Control).then(|| parse(self.words.as_bytes()).ok().flatten()).flatten();
        command.map(|command| command.nodes).unwrap_or_default()
    }

    /// The same command for these nodes.
    pub(super) fn of_nodes<'a>(&'a self, nodes: impl Iterator<Item = &'a str>) -> Self {
        let named = self.nodes();
        let others = self.words.split(' ').filter(|word| !named.iter().any(|node| node == word));
        Self::new(self.file.clone(), others.chain(nodes).collect::<Vec<_>>().join(" "))
    }

    /// Whether it has an end: what it does is in force until then.
    pub(crate) fn has_end(&self) -> bool {
        self.verb().is_none_or(|verb| ended_by(verb).is_some())
    }

    /// Whether it lasts if the schedule does not say how long. A signal that is sent is over at once.
    pub(crate) fn lasts_by_itself(&self) -> bool {
        self.has_end() && !(self.verb() == Some("kill") && self.words.contains(" -s"))
    }

    /// What ends it; `None` if it has no end. An empty text clears a file.
    pub(crate) fn end(&self) -> Option<Self> {
        let words = match self.verb() {
            None => String::new(),
            Some(verb) => {
                let nodes = self.nodes().into_iter().map(|node| format!(" {node}"));
                nodes.fold(ended_by(verb)?.to_owned(), |words, node| words + &node)
            }
        };
        Some(Self::new(self.file.clone(), words))
    }

    /// The words with an `@` in front, as in `@leader`, wherever a node may be named.
    pub(crate) fn roles(&self) -> Vec<String> {
        let mut roles = vec![];
        self.map_roles(|role| {
            roles.push(role.to_owned());
            None
        });
        roles
    }

    /// The same with nodes in place of some of its `@` words, which `nodes` gets without their `@`.
    pub(crate) fn map_roles(&self, mut nodes: impl FnMut(&str) -> Option<Vec<String>>) -> Self {
        self.map_words(|word| Some(nodes(word.strip_prefix('@')?)?.join(" ")))
    }

    /// The same with others in place of some of its words.
    pub(super) fn map_words(&self, mut other: impl FnMut(&str) -> Option<String>) -> Self {
        // What separates words in the grammars of all files.
        const SEPARATORS: [char; 4] = [' ', '>', '|', ';'];
        let mut mapped = |text: &str| {
            let pieces = text.split_inclusive(SEPARATORS).map(|piece| {
                let word = piece.trim_end_matches(SEPARATORS);
                other(word).map_or_else(|| piece.to_owned(), |other| other + &piece[word.len()..])
            });
            pieces.collect::<String>()
        };
        let file = match &self.file {
            File::Net(node) => File::Net(mapped(node)),
            file => file.clone(),
        };
        Self { file, words: mapped(&self.words) }
    }

    /// A few words for a sentence.
    pub(crate) fn shown(&self) -> String {
        shown(&self.to_string())
    }
}
