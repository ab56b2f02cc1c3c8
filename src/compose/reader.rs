//! Reading values out of the tree by tables of keys, and the remarks on the way.

use std::path::Path;

use super::model::Remark;
use super::tree::{Entry, Mark, Node, Value, lexically_clean};
use super::variables::Variables;
use crate::text::shown;

/// What is done with a key.
pub(super) enum Rule<T> {
    /// It is read into the target.
    Read(fn(&mut Reader, &mut T, &Entry)),
    /// It is ignored, with this warning.
    Warn(&'static str),
    /// It is refused, for this reason.
    Refuse(&'static str),
    /// It is ignored, and nothing is lost by it.
    Ignore,
}

/// All keys that a place may have, but `x-*`.
pub(super) type Keys<T> = [(&'static str, Rule<T>)];

/// Holds what was remarked, and what the remarks are about.
pub(super) struct Reader<'a> {
    pub(super) variables: &'a Variables,
    pub(super) warnings: Vec<Remark>,
    pub(super) refusals: Vec<Remark>,
    /// What every remark begins with: `service 'web'`; may be empty.
    pub(super) subject: String,
    /// Bytes of variables and contents that services have got from elsewhere.
    spent: usize,
}

/// How many bytes of variables and contents services may get from elsewhere, all together.
const MOST_BYTES: usize = 16 << 20;
/// After so many refusals, no nearest name is looked for: that takes time with each.
const MOST_HINTS: usize = 200;

impl<'a> Reader<'a> {
    pub(super) fn new(variables: &'a Variables) -> Self {
        Self { variables, warnings: vec![], refusals: vec![], subject: String::new(), spent: 0 }
    }

    pub(super) fn warn(&mut self, at: &Mark, text: impl AsRef<str>) {
        let remark = self.remark(at, text.as_ref());
        self.warnings.push(remark);
    }

    pub(super) fn refuse(&mut self, at: &Mark, text: impl AsRef<str>) {
        let remark = self.remark(at, text.as_ref());
        self.refusals.push(remark);
    }

    fn remark(&self, at: &Mark, text: &str) -> Remark {
        let text = if self.subject.is_empty() { text.to_owned() } else { format!("{}: {text}", self.subject) };
        Remark { place: at.place(), text }
    }

    /// Does what the table says with each key of a map. `what` is the place in words: "a service".
    pub(super) fn map<T>(&mut self, what: &str, node: &Node, keys: &Keys<T>, target: &mut T) {
        let Value::Map(entries) = &node.value else {
            return self.refuse(&node.mark, format!("{what} is a map, not {}", node.kind()));
        };
        for entry in entries.iter().filter(|entry| !entry.key.starts_with("x-") || entry.key == "x-cthulhu") {
            let key = &entry.key;
            // Of `a service`, the key says enough; below it, the place is needed too.
            let path =
                if what.starts_with("a ") || what.starts_with("an ") { key.clone() } else { format!("{what}: {key}") };
            match keys.iter().find(|(name, _)| name == key) {
                None => {
                    let hint = self.hint(key, keys.iter().map(|(name, _)| *name));
                    self.refuse(&entry.mark, format!("'{}' is no key of {what}{hint}", shown(key)));
                }
                Some((_, Rule::Read(read))) if !entry.node.is_null() => read(self, target, entry),
                Some((_, Rule::Warn(why))) if !entry.node.is_null() => {
                    self.warn(&entry.mark, format!("{path} is ignored: {why}"));
                }
                Some((_, Rule::Refuse(why))) if !entry.node.is_null() => {
                    self.refuse(&entry.mark, format!("{path} is refused: {why}"));
                }
                Some(_) => {}
            }
        }
    }

    /// The items of a list.
    pub(super) fn items<'n>(&mut self, what: &str, node: &'n Node) -> &'n [Node] {
        if let Value::List(items) = &node.value {
            return items;
        }
        self.refuse(&node.mark, format!("{what} is a list, not {}", node.kind()));
        &[]
    }

    /// A text, or a number or truth value as one. Never with a NUL in it, which no program can get.
    pub(super) fn text(&mut self, what: &str, node: &Node) -> Option<String> {
        let text = node.scalar().filter(|_| !node.is_null());
        match &text {
            None => self.refuse(&node.mark, format!("{what} is a text, not {}", node.kind())),
            Some(text) if text.contains('\0') => {
                self.refuse(&node.mark, format!("{what} has a NUL character in it"));
                return None;
            }
            Some(_) => {}
        }
        text
    }

    /// A text that `parse` takes; `form` says what it takes.
    pub(super) fn parsed<T>(
        &mut self,
        what: &str,
        node: &Node,
        form: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(what, node)?;
        let value = parse(&text);
        if value.is_none() {
            self.refuse(&node.mark, format!("{what}: '{}' is not {form}", shown(&text)));
        }
        value
    }

    /// A number within a range.
    pub(super) fn number<T: std::str::FromStr>(&mut self, what: &str, node: &Node, form: &str) -> Option<T> {
        self.parsed(what, node, form, |text| text.parse().ok())
    }

    /// As YAML 1.2 writes it, or as YAML 1.1 did.
    pub(super) fn truth(&mut self, what: &str, node: &Node) -> Option<bool> {
        self.parsed(what, node, "true or false", |text| match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Some(true),
            "false" | "no" | "off" | "n" => Some(false),
            _ => None,
        })
    }

    /// Texts: a list of them, or a single one.
    pub(super) fn texts(&mut self, what: &str, node: &Node) -> Vec<String> {
        match &node.value {
            Value::List(items) => items.iter().filter_map(|item| self.text(what, item)).collect(),
            _ => self.text(what, node).into_iter().collect(),
        }
    }

    /// Pairs: a map, or a list of texts that one of `separators` divides. A value of `None` was not given. Of equal keys the last
    /// counts, at the place of the first.
    pub(super) fn pairs(&mut self, what: &str, node: &Node, separators: &[char]) -> Vec<(String, Option<String>)> {
        let mut pairs = vec![];
        match &node.value {
            Value::Map(entries) => {
                for entry in entries {
                    let value = if entry.node.is_null() { None } else { Some(self.text(what, &entry.node)) };
                    match value {
                        None => pairs.push((entry.key.clone(), None)),
                        Some(value) => pairs.extend(value.map(|value| (entry.key.clone(), Some(value)))),
                    }
                }
            }
            Value::List(items) => {
                for text in items.iter().filter_map(|item| self.text(what, item)) {
                    let pair = text.split_once(separators);
                    let value = pair.map(|(_, value)| value.to_owned());
                    pairs.push((pair.map_or(text.as_str(), |(key, _)| key).to_owned(), value));
                }
            }
            _ => self.refuse(&node.mark, format!("{what} is a map or a list, not {}", node.kind())),
        }
        unique(pairs)
    }

    /// The same with an empty value for one that was not given.
    pub(super) fn full_pairs(&mut self, what: &str, node: &Node, separators: &[char]) -> Vec<(String, String)> {
        let pairs = self.pairs(what, node, separators);
        pairs.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect()
    }

    /// An absolute path in a container.
    pub(super) fn target(&mut self, what: &str, node: &Node) -> Option<String> {
        self.parsed(what, node, "an absolute path in the container", clean_target)
    }

    /// The end of a sentence about an unknown word: the one that was probably meant, or a few that there are.
    pub(super) fn hint<'n>(&self, word: &str, names: impl Iterator<Item = &'n str> + Clone) -> String {
        if word.len() > 64 || self.refusals.len() > MOST_HINTS || names.clone().next().is_none() {
            return String::new();
        }
        let names = names.filter(|name| name.len() <= 64);
        let distance = |name: &&str| strsim::damerau_levenshtein(word, name);
        let nearest = names.clone().min_by_key(distance).filter(|name| distance(name) <= 1 + name.len() / 4);
        match nearest {
            Some(name) => format!(": did you mean '{name}'?"),
            None if names.clone().count() <= 12 => format!(": there are {}", names.collect::<Vec<_>>().join(", ")),
            None => String::new(),
        }
    }

    /// Whether a service may get so many bytes more; a refusal says so if not.
    pub(super) fn affords(&mut self, mark: &Mark, bytes: usize) -> bool {
        self.spent += bytes;
        if self.spent > MOST_BYTES {
            let text = format!("variables and contents of all services have more than {} MiB", MOST_BYTES >> 20);
            self.refuse(mark, text);
        }
        self.spent <= MOST_BYTES
    }

    /// Warnings and refusals in the order of their places, each once.
    pub(super) fn finish(mut self) -> (Vec<Remark>, Vec<Remark>) {
        for remarks in [&mut self.warnings, &mut self.refusals] {
            remarks.sort();
            remarks.dedup();
        }
        (self.warnings, self.refusals)
    }
}

/// An absolute path in a container, without `.`, `..` and further slashes.
pub(super) fn clean_target(text: &str) -> Option<String> {
    text.starts_with('/').then(|| lexically_clean(Path::new(text)).to_string_lossy().into_owned())
}

/// Of equal keys the last counts, at the place of the first.
pub(super) fn unique<T>(pairs: Vec<(String, T)>) -> Vec<(String, T)> {
    let mut all: Vec<(String, T)> = vec![];
    let mut at = std::collections::HashMap::new();
    for (key, value) in pairs {
        match at.get(&key) {
            Some(index) => all[*index] = (key, value),
            None => {
                at.insert(key.clone(), all.len());
                all.push((key, value));
            }
        }
    }
    all
}
