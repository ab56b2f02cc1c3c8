//! One file over another, as Compose merges them.

use std::collections::HashMap;

use super::reader::unique;
use super::tree::{Entry, Mark, Node, Tag, Value};

/// How the values of two files become one.
enum How {
    /// Maps by their keys, lists one after the other, else the later one.
    Deep,
    /// The later one.
    Replace,
    /// As `Deep`, where a list is another way to write a map: each item is a key, with a value behind a separator perhaps.
    Pairs(Option<char>),
    /// Lists one after the other, where an item takes the place of one with the same key.
    Items(fn(&Node) -> Option<String>),
}

fn how(path: &[&str]) -> How {
    match path {
        ["services", _, "command" | "entrypoint"]
        | ["services", _, "healthcheck", "test"]
        | ["services", _, "ulimits", _] => How::Replace,
        ["services", _, "environment" | "labels" | "annotations" | "sysctls"]
        | ["services", _, "build", "args" | "labels"]
        | ["services", _, "deploy", "labels"]
        | ["networks" | "volumes", _, "labels"] => How::Pairs(Some('=')),
        ["services", _, "depends_on" | "networks"] => How::Pairs(None),
        ["services", _, "volumes"] => How::Items(mount_target),
        ["services", _, "devices"] => How::Items(device_target),
        ["services", _, "secrets" | "configs"] => How::Items(file_target),
        ["services", _, "env_file"] => How::Items(|node| text_of(node, &["path"])),
        ["networks", _, "ipam", "config"] => How::Items(|node| text_of(node, &["subnet"])),
        _ => How::Deep,
    }
}

/// Merges `over` over `base`; `path` leads from the root of the files to both.
pub(super) fn merge(base: Node, over: Node, path: &mut Vec<String>) -> Node {
    match over.tag {
        Some(Tag::Override | Tag::Reset) => return over,
        // Nothing stands behind the key.
        None if over.is_null() => return base,
        None => {}
    }
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    let how = how(&words);
    let (base, over) = match how {
        How::Replace => return over,
        How::Pairs(separator) => (as_map(base, separator), as_map(over, separator)),
        How::Deep if matches!(words[..], ["services", _, "build"]) => (as_build(base), as_build(over)),
        How::Deep | How::Items(_) => (base, over),
    };
    let mark = base.mark.clone();
    let value = match (base.value, over.value) {
        (Value::Map(base), Value::Map(over)) => Value::Map(merge_maps(base, over, path)),
        (Value::List(base), Value::List(over)) => Value::List(merge_lists(base, over, &how)),
        (Value::List(base), over_value) if is_scalar(&over_value) => {
            Value::List(merge_lists(base, vec![Node { mark: over.mark, tag: None, value: over_value }], &how))
        }
        (base_value, Value::List(over)) if is_scalar(&base_value) && !matches!(base_value, Value::Null) => {
            Value::List(merge_lists(vec![Node { mark: mark.clone(), tag: None, value: base_value }], over, &how))
        }
        (_, value) => return Node { mark: over.mark, tag: None, value },
    };
    Node { mark, tag: None, value }
}

fn merge_maps(mut base: Vec<Entry>, over: Vec<Entry>, path: &mut Vec<String>) -> Vec<Entry> {
    let at = index(&base);
    for entry in over {
        match at.get(&entry.key) {
            None => base.push(entry),
            Some(at) => {
                let known = &mut base[*at];
                path.push(entry.key);
                let nothing = Node::made(&known.mark, Value::Null);
                let node = std::mem::replace(&mut known.node, nothing);
                known.node = merge(node, entry.node, path);
                path.pop();
            }
        }
    }
    base
}

/// Where each key is.
fn index(entries: &[Entry]) -> HashMap<String, usize> {
    entries.iter().enumerate().map(|(at, entry)| (entry.key.clone(), at)).collect()
}

fn merge_lists(mut base: Vec<Node>, over: Vec<Node>, how: &How) -> Vec<Node> {
    let key: fn(&Node) -> Option<String> = match how {
        How::Items(key) => *key,
        _ => |node| node.scalar().filter(|_| !node.is_null()),
    };
    let mut at: HashMap<String, usize> =
        base.iter().enumerate().filter_map(|(index, node)| Some((key(node)?, index))).collect();
    for node in over {
        match key(&node) {
            Some(name) => match at.get(&name) {
                Some(index) => base[*index] = node,
                None => {
                    at.insert(name, base.len());
                    base.push(node);
                }
            },
            None => base.push(node),
        }
    }
    base
}

fn is_scalar(value: &Value) -> bool {
    !matches!(value, Value::List(_) | Value::Map(_))
}

/// A list of keys as a map.
fn as_map(node: Node, separator: Option<char>) -> Node {
    let Value::List(items) = node.value else { return node };
    let entry = |item: Node| {
        let text = item.scalar()?;
        let (key, value) = match separator.and_then(|separator| text.split_once(separator)) {
            Some((key, value)) => (key.to_owned(), Value::Text(value.to_owned())),
            None => (text, Value::Null),
        };
        let node = Node { mark: item.mark.clone(), tag: None, value };
        Some((key.clone(), Entry { key, mark: item.mark, node }))
    };
    let entries = unique(items.into_iter().filter_map(entry).collect());
    let entries = entries.into_iter().map(|(_, entry)| entry).collect();
    Node { mark: node.mark, tag: node.tag, value: Value::Map(entries) }
}

/// `build: DIR` is short for a map.
fn as_build(node: Node) -> Node {
    if !matches!(node.value, Value::Text(_)) {
        return node;
    }
    let mark: Mark = node.mark.clone();
    let entry = Entry { key: "context".into(), mark: mark.clone(), node };
    Node::made(&mark, Value::Map(vec![entry]))
}

/// The text of the first of these keys that a map has; a scalar itself.
fn text_of(node: &Node, keys: &[&str]) -> Option<String> {
    match &node.value {
        Value::Map(_) => keys.iter().find_map(|key| node.get(key)?.node.scalar()),
        _ => node.scalar(),
    }
}

fn mount_target(node: &Node) -> Option<String> {
    let text = text_of(node, &["target"])?;
    Some(if matches!(node.value, Value::Map(_)) { text } else { volume_parts(&text).1.to_owned() })
}

fn device_target(node: &Node) -> Option<String> {
    let text = text_of(node, &["target", "source"])?;
    let mut parts = text.split(':');
    let host = parts.next()?.to_owned();
    Some(parts.next().map_or(host, str::to_owned))
}

fn file_target(node: &Node) -> Option<String> {
    text_of(node, &["target", "source"])
}

/// Source, target and options of a short volume: `[SOURCE:]TARGET[:OPTIONS]`.
pub(super) fn volume_parts(text: &str) -> (Option<&str>, &str, Option<&str>) {
    let mut parts = text.splitn(3, ':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(source), Some(target), options) => (Some(source), target, options),
        _ => (None, text, None),
    }
}

/// Takes away what stands with `!reset`.
pub(super) fn remove_resets(node: &mut Node) {
    match &mut node.value {
        Value::Map(entries) => {
            entries.retain(|entry| entry.node.tag != Some(Tag::Reset));
            entries.iter_mut().for_each(|entry| remove_resets(&mut entry.node));
        }
        Value::List(items) => {
            items.retain(|item| item.tag != Some(Tag::Reset));
            items.iter_mut().for_each(remove_resets);
        }
        _ => {}
    }
}

/// Whether both say the same, wherever they stand.
pub(super) fn same(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.key == b.key && same(&a.node, &b.node))
        }
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(_) | Value::List(_), _) | (_, Value::Map(_) | Value::List(_)) => false,
        _ => a.scalar() == b.scalar(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tree::{Source, parse};
    use super::*;

    fn tree(text: &str) -> Node {
        let source = Source { file: std::path::Path::new("x").into(), base: "/".into() };
        parse(text, &Arc::new(source)).unwrap()
    }

    /// On a line, as JSON without quotes.
    fn shown(node: &Node) -> String {
        match &node.value {
            Value::Map(entries) => {
                let entries: Vec<_> =
                    entries.iter().map(|entry| format!("{}: {}", entry.key, shown(&entry.node))).collect();
                format!("{{{}}}", entries.join(", "))
            }
            Value::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
            _ => node.scalar().unwrap(),
        }
    }

    #[test]
    fn keys_merge_as_in_compose() {
        for (base, over, wanted) in [
            ("image: a", "image: b", "image: b"),
            ("image: a", "image:", "image: a"),
            ("image: a", "user: b", "image: a, user: b"),
            ("command: [a, b]", "command: c", "command: c"),
            ("entrypoint: [a]", "entrypoint: [b]", "entrypoint: [b]"),
            (
                "healthcheck: {test: [CMD, a], retries: 1}",
                "healthcheck: {test: b}",
                "healthcheck: {test: b, retries: 1}",
            ),
            ("environment: [A=1, B=2]", "environment: {B: 3, C: }", "environment: {A: 1, B: 3, C: }"),
            ("environment: [A=1, A=2]", "environment: [B]", "environment: {A: 2, B: }"),
            ("ports: ['80:80']", "ports: ['80:80', '81:81']", "ports: [80:80, 81:81]"),
            ("dns: 1.1.1.1", "dns: [8.8.8.8]", "dns: [1.1.1.1, 8.8.8.8]"),
            ("dns: [1.1.1.1]", "dns: 8.8.8.8", "dns: [1.1.1.1, 8.8.8.8]"),
            ("volumes: ['a:/x', 'b:/y']", "volumes: ['c:/x:ro']", "volumes: [c:/x:ro, b:/y]"),
            (
                "volumes: ['a:/x']",
                "volumes: [{type: tmpfs, target: /x}, /y]",
                "volumes: [{type: tmpfs, target: /x}, /y]",
            ),
            ("networks: [a, b]", "networks: {b: {aliases: [x]}}", "networks: {a: , b: {aliases: [x]}}"),
            (
                "depends_on: [a]",
                "depends_on: {a: {condition: service_healthy}}",
                "depends_on: {a: {condition: service_healthy}}",
            ),
            ("ulimits: {nofile: {soft: 1, hard: 2}}", "ulimits: {nofile: 3}", "ulimits: {nofile: 3}"),
            ("build: ./a", "build: {target: t}", "build: {context: ./a, target: t}"),
            ("ports: [1, 2]", "ports: !override [3]", "ports: [3]"),
            ("ports: [1, 2]\nimage: a", "ports: !reset []", "image: a"),
            ("ports: !reset [1]\nimage: a", "ports: !reset\nimage: b", "image: b"),
            (
                "devices: ['/dev/a:/dev/x']",
                "devices: ['/dev/b:/dev/x:r', /dev/c]",
                "devices: [/dev/b:/dev/x:r, /dev/c]",
            ),
            ("secrets: [a]", "secrets: [{source: a, mode: 1}, b]", "secrets: [{source: a, mode: 1}, b]"),
        ] {
            let service = |text: &str| tree(&format!("services:\n  s:\n    {}", text.replace('\n', "\n    ")));
            let mut merged = merge(service(base), service(over), &mut vec![]);
            remove_resets(&mut merged);
            assert_eq!(shown(&merged), format!("{{services: {{s: {{{wanted}}}}}}}"), "{base} <- {over}");
        }
    }
}
