//! A YAML file as a tree in which each value knows where it stands.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::NonFiniteFloatPolicy;
use serde_saphyr::{Spanned, Tagged, alias_limits, budget, options};

use super::model::{Place, Remark};

/// The longest file.
const LONGEST_FILE: u64 = 4 << 20;
/// How many nodes aliases may stand for in one file.
const MOST_BY_ALIASES: usize = 200_000;

/// A file, and where relative paths in it begin.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) file: Arc<Path>,
    /// Absolute.
    pub(super) base: PathBuf,
}

impl Source {
    /// The file as a whole.
    pub(super) fn whole(self: &Arc<Self>) -> Mark {
        Mark { source: self.clone(), line: 0, column: 0 }
    }
}

/// A place in a [`Source`].
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) source: Arc<Source>,
    line: u32,
    column: u32,
}

impl Mark {
    pub(super) fn place(&self) -> Place {
        Place { file: self.source.file.clone(), line: self.line, column: self.column }
    }

    /// An absolute path, of one that may be relative to where the paths of this source begin.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        lexically_clean(&self.source.base.join(path))
    }
}

/// Without `.` and `..`, as compose shows paths.
pub(super) fn lexically_clean(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(clean.pop()),
            part => clean.push(part),
        }
    }
    clean
}

/// A file named in a file, as it is shown: as the other one is.
pub(super) fn shown_path(mark: &Mark, file: &str) -> PathBuf {
    let beside = mark.source.file.parent().unwrap_or(Path::new(""));
    // Both begin at the same place, unless the base is not where the file lies.
    if absolute(beside) == mark.source.base { lexically_clean(&beside.join(file)) } else { mark.path(file) }
}

/// Absolute, and without `.` and `..`.
pub(super) fn absolute(path: &Path) -> PathBuf {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    lexically_clean(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
}

/// A value.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) mark: Mark,
    pub(super) tag: Option<Tag>,
    pub(super) value: Value,
}

/// What a value has before it that changes how it is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// `!reset`: the key is taken away.
    Reset,
    /// `!override`: it replaces what is there.
    Override,
}

/// What kinds of values there are.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// As the shortest decimal text.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value. Each key of a map is there once.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Of the key.
    pub(super) mark: Mark,
    pub(super) node: Node,
}

impl Node {
    /// A value that no file has, at the place of what it follows from.
    pub(super) fn made(mark: &Mark, value: Value) -> Self {
        Self { mark: mark.clone(), tag: None, value }
    }

    pub(super) fn entries(&self) -> &[Entry] {
        if let Value::Map(entries) = &self.value { entries } else { &[] }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// How many values there are.
    pub(super) fn size(&self) -> usize {
        1 + match &self.value {
            Value::List(items) => items.iter().map(Self::size).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.node.size()).sum(),
            _ => 0,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// A value that is no list and no map, as text; that of null is empty.
    pub(super) fn scalar(&self) -> Option<String> {
        match &self.value {
            Value::Null => Some(String::new()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Number(text) | Value::Text(text) => Some(text.clone()),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// For a sentence: "a list".
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// The text of a file.
///
/// # Errors
/// If it is missing, no regular file, too long, or no UTF-8.
pub(super) fn read(path: &Path) -> Result<String, Remark> {
    let place = || Place { file: path.into(), line: 0, column: 0 };
    let wrong = |text: String| Remark { place: place(), text };
    let cannot = |error: std::io::Error| wrong(format!("cannot be read: {}", crate::text::sentence(&error)));
    let found = fs::metadata(path).map_err(cannot)?;
    if !found.is_file() {
        return Err(wrong("is no regular file".into()));
    }
    let mut bytes = vec![];
    // A file may grow, and those in /proc have no length.
    let opened = fs::File::open(path).map_err(cannot)?;
    opened.take(LONGEST_FILE + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LONGEST_FILE {
        return Err(wrong(format!("has more than {} MiB", LONGEST_FILE >> 20)));
    }
    String::from_utf8(bytes).map_err(|_| wrong("is no UTF-8 text".into()))
}

/// Reads YAML.
///
/// # Errors
/// What is no YAML, or too much of it, and where.
pub(super) fn parse(text: &str, source: &Arc<Source>) -> Result<Node, Remark> {
    let options = options! {
        with_snippet: false,
        strict_booleans: true,
        legacy_octal_numbers: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        budget: budget! { enforce_alias_anchor_ratio: false },
        alias_limits: alias_limits! { max_total_replayed_events: MOST_BY_ALIASES },
    };
    let raw: Raw = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let at = error.location();
        let number = |number: u64| u32::try_from(number).unwrap_or(0);
        let mark = at.map_or(source.whole(), |at| mark(source, number(at.line()), number(at.column())));
        Remark { place: mark.place(), text: plain(&error) }
    })?;
    located(raw, source)
}

/// What the library says, without the place, which it puts at the end.
fn plain(error: &serde_saphyr::Error) -> String {
    let text = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
    if text.starts_with("YAML document too large or too complex") {
        return format!("it is too large, or its aliases stand for too much: at most {MOST_BY_ALIASES} values");
    }
    let end = text.find(" at line ").unwrap_or(text.len());
    text[..end].lines().collect::<Vec<_>>().join(" ")
}

fn mark(source: &Arc<Source>, line: u32, column: u32) -> Mark {
    Mark { source: source.clone(), line, column }
}

/// As the library hands it over.
struct Raw(Spanned<Tagged<RawValue>>);

enum RawValue {
    Plain(Value),
    List(Vec<Raw>),
    Map(Vec<(Spanned<String>, Raw)>),
}

fn located(raw: Raw, source: &Arc<Source>) -> Result<Node, Remark> {
    let at = |span: &serde_saphyr::Location| {
        let number = |number: u64| u32::try_from(number).unwrap_or(0);
        mark(source, number(span.line()), number(span.column()))
    };
    let mark = at(&raw.0.defined);
    let Tagged(value, tag) = raw.0.value;
    let tag = match tag.as_deref() {
        Some("!reset") => Some(Tag::Reset),
        Some("!override") => Some(Tag::Override),
        Some(tag) if !tag.starts_with("tag:yaml.org,2002:") && tag != "!" => {
            let text = format!("the tag {tag} is unknown: there are !reset and !override");
            return Err(Remark { place: mark.place(), text });
        }
        _ => None,
    };
    let value = match value {
        RawValue::Plain(value) => value,
        RawValue::List(items) => {
            Value::List(items.into_iter().map(|item| located(item, source)).collect::<Result<_, _>>()?)
        }
        RawValue::Map(entries) => {
            let entry = |(key, value): (Spanned<String>, Raw)| {
                Ok(Entry { mark: at(&key.defined), key: key.value, node: located(value, source)? })
            };
            Value::Map(entries.into_iter().map(entry).collect::<Result<_, Remark>>()?)
        }
    };
    Ok(Node { mark, tag, value })
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Raw)
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Plain(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<RawValue, E> {
        Ok(RawValue::Plain(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<RawValue, E> {
        Ok(RawValue::Plain(Value::Number(value.to_string())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<RawValue, E> {
        Ok(RawValue::Plain(Value::Number(value.to_string())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<RawValue, E> {
        Ok(RawValue::Plain(Value::Number(value.to_string())))
    }

    fn visit_str<E>(self, text: &str) -> Result<RawValue, E> {
        Ok(RawValue::Plain(Value::Text(text.into())))
    }

    fn visit_string<E>(self, text: String) -> Result<RawValue, E> {
        Ok(RawValue::Plain(Value::Text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<RawValue, A::Error> {
        let mut list = vec![];
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(RawValue::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<RawValue, A::Error> {
        let mut map = vec![];
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(RawValue::Map(map))
    }
}
