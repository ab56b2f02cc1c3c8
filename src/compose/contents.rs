//! Configs and secrets: files with given contents.

use std::collections::HashMap;

use super::model::{FileContent, ServiceFile};
use super::reader::{Keys, Reader, Rule};
use super::tree::{Entry, Mark, Node, Value};
use super::values::{MODE, mode};
use crate::text::shown;

/// Permission bits if no file says them.
const DEFAULT_MODE: u32 = 0o444;

/// What the project defines, by name; `None` if that was refused.
pub(super) type Contents = HashMap<String, Option<FileContent>>;

const CONTENT: &Keys<Option<FileContent>> = &[
    (
        "file",
        Rule::Read(|reader, content, entry| {
            let path = reader.text("file", &entry.node);
            *content = path.map(|path| FileContent::Path(entry.node.mark.path(&path)));
        }),
    ),
    (
        "content",
        Rule::Read(|reader, content, entry| *content = reader.text("content", &entry.node).map(FileContent::Text)),
    ),
    (
        "environment",
        Rule::Read(|reader, content, entry| {
            let Some(name) = reader.text("environment", &entry.node) else { return };
            *content = reader.variables.get(&name).map(FileContent::Text);
            if content.is_none() {
                reader.refuse(&entry.node.mark, format!("the variable {} is not set", shown(&name)));
            }
        }),
    ),
    ("name", Rule::Ignore),
    ("labels", Rule::Ignore),
    (
        "external",
        Rule::Read(|reader, _, entry| {
            if reader.truth("external", &entry.node) != Some(false) {
                reader.refuse(&entry.mark, "external is refused: no swarm keeps it here; name a 'file'");
            }
        }),
    ),
    ("driver", Rule::Refuse("only a swarm has drivers; name a 'file'")),
    ("driver_opts", Rule::Refuse("only a swarm has drivers; name a 'file'")),
    ("template_driver", Rule::Refuse("only a swarm has templates; name a 'file'")),
];

/// Reads a config or secret of the project.
pub(super) fn read(reader: &mut Reader, entry: &Entry) -> Option<FileContent> {
    let (mut content, known) = (None, reader.refusals.len());
    reader.map("a config or secret", &entry.node, CONTENT, &mut content);
    if content.is_none() && reader.refusals.len() == known {
        reader.refuse(&entry.mark, "it has no content: say 'file', 'content' or 'environment'");
    }
    content
}

/// What a service says about one.
#[derive(Default)]
struct Wish {
    source: Option<String>,
    target: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
    mode: Option<u32>,
}

const WISH: &Keys<Wish> = &[
    ("source", Rule::Read(|reader, wish, entry| wish.source = reader.text("source", &entry.node))),
    ("target", Rule::Read(|reader, wish, entry| wish.target = reader.text("target", &entry.node))),
    ("uid", Rule::Read(|reader, wish, entry| wish.uid = reader.number("uid", &entry.node, "a user's number"))),
    ("gid", Rule::Read(|reader, wish, entry| wish.gid = reader.number("gid", &entry.node, "a group's number"))),
    (
        "mode",
        Rule::Read(|reader, wish, entry| {
            wish.mode = mode(&entry.node);
            if wish.mode.is_none() {
                reader.refuse(&entry.node.mark, format!("mode is not {MODE}"));
            }
        }),
    ),
];

/// A config or secret of a service, whose content is still to be found.
pub(super) struct FileWish {
    pub(super) file: ServiceFile,
    pub(super) mark: Mark,
}

/// Reads `configs` or `secrets` of a service.
pub(super) fn read_wishes(reader: &mut Reader, entry: &Entry, is_secret: bool) -> Vec<FileWish> {
    let mut wishes = vec![];
    for item in reader.items(&entry.key, &entry.node) {
        let mut wish = Wish::default();
        match &item.value {
            Value::Map(_) => reader.map("a config or secret of a service", item, WISH, &mut wish),
            _ => wish.source = reader.text(&entry.key, item),
        }
        let Some(name) = wish.source.take() else {
            if matches!(item.value, Value::Map(_)) {
                reader.refuse(&item.mark, format!("{}: it has no 'source', a name in the project's", entry.key));
            }
            continue;
        };
        wishes.push(file(item, name, wish, is_secret));
    }
    wishes
}

fn file(item: &Node, name: String, wish: Wish, is_secret: bool) -> FileWish {
    let target = match wish.target {
        Some(target) if target.starts_with('/') => target,
        target => {
            let directory = if is_secret { "/run/secrets/" } else { "/" };
            format!("{directory}{}", target.unwrap_or_else(|| name.clone()))
        }
    };
    let file = ServiceFile {
        place: item.mark.place(),
        name,
        is_secret,
        content: FileContent::Text(String::new()),
        target,
        uid: wish.uid,
        gid: wish.gid,
        mode: wish.mode.unwrap_or(DEFAULT_MODE),
    };
    FileWish { file, mark: item.mark.clone() }
}

/// Finds the contents; of two files at one path the later counts.
pub(super) fn fill(
    reader: &mut Reader,
    wishes: Vec<FileWish>,
    secrets: &Contents,
    configs: &Contents,
) -> Vec<ServiceFile> {
    let mut files = vec![];
    for FileWish { mut file, mark } in wishes {
        let (known, kind) = if file.is_secret { (secrets, "secret") } else { (configs, "config") };
        match known.get(&file.name) {
            Some(Some(content)) => {
                let bytes = if let FileContent::Text(text) = content { text.len() } else { 0 };
                if !reader.affords(&mark, bytes) {
                    return vec![];
                }
                file.content = content.clone();
                files.push((file.target.clone(), file));
            }
            Some(None) => {}
            None => {
                let hint = reader.hint(&file.name, known.keys().map(String::as_str));
                reader.refuse(&mark, format!("there is no {kind} '{}' in the project{hint}", shown(&file.name)));
            }
        }
    }
    super::reader::unique(files).into_iter().map(|(_, file)| file).collect()
}
