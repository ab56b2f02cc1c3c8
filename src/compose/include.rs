//! Several files as one tree: `-f` over `-f`, and `include`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::extends::resolve as extend;
use super::files::Files;
use super::merge::{merge, remove_resets, same};
use super::model::{Place, Remark};
use super::reader::{Keys, Rule};
use super::tree::{Entry, Mark, Node, Value, absolute, shown_path};
use super::variables::Variables;

impl Files<'_, '_> {
    /// Files over each other, with all that they include. `trail` holds the files that include these.
    ///
    /// # Errors
    /// If a file cannot be read, or includes or extends itself.
    pub(super) fn project(
        &mut self,
        files: &[PathBuf],
        base: &Path,
        variables: &Variables,
        trail: &mut Vec<PathBuf>,
    ) -> Result<Node, Remark> {
        let mut whole: Option<Node> = None;
        for file in files {
            let mut node = self.file(file, base, variables)?;
            extend(self, &mut node, variables)?;
            whole = Some(match whole {
                None => node,
                Some(whole) => merge(whole, node, &mut vec![]),
            });
        }
        let Some(mut whole) = whole else {
            let place = Place { file: base.into(), line: 0, column: 0 };
            return Err(Remark { place, text: "no Compose file is named".into() });
        };
        remove_resets(&mut whole);
        let known = trail.len();
        trail.extend(files.iter().map(|file| resolved(file)));
        self.include(&mut whole, variables, trail)?;
        trail.truncate(known);
        Ok(whole)
    }

    fn include(&mut self, whole: &mut Node, variables: &Variables, trail: &mut Vec<PathBuf>) -> Result<(), Remark> {
        let Some(include) = whole.get("include").map(|entry| entry.node.clone()) else { return Ok(()) };
        for item in self.reader.items("include", &include) {
            let mut wish = Include::default();
            match &item.value {
                Value::Map(_) => self.reader.map("an include", item, INCLUDE, &mut wish),
                _ => wish.files = self.reader.texts("include", item),
            }
            if let Some(remote) = wish.files.iter().find(|file| file.contains("://") || file.starts_with("git@")) {
                let text = format!("include: '{remote}' is not on this machine: copy it here, and name that file");
                self.reader.refuse(&item.mark, text);
                continue;
            }
            let part = self.included(&item.mark, &wish, variables, trail)?;
            self.import(whole, part);
        }
        Ok(())
    }

    fn included(
        &mut self,
        mark: &Mark,
        wish: &Include,
        variables: &Variables,
        trail: &mut Vec<PathBuf>,
    ) -> Result<Node, Remark> {
        let files: Vec<_> = wish.files.iter().map(|file| shown_path(mark, file)).collect();
        if let Some(again) = files.iter().find(|file| trail.contains(&resolved(file))) {
            let names = trail.iter().skip_while(|file| **file != resolved(again)).chain([again]);
            let names: Vec<_> = names.map(|file| file.file_name().unwrap_or_default().to_string_lossy()).collect();
            return Err(Remark {
                place: mark.place(),
                text: format!("a file includes itself: {}", names.join(" -> ")),
            });
        }
        let first = files.first().and_then(|file| file.parent()).unwrap_or(Path::new("."));
        let base = wish.directory.as_ref().map_or_else(|| absolute(first), |directory| mark.path(directory));
        let mut variables = variables.clone();
        match &wish.env_files {
            Some(names) => {
                for name in names {
                    variables = variables.with_file(&mark.path(name))?;
                }
            }
            None if base.join(".env").is_file() => variables = variables.with_file(&base.join(".env"))?,
            None => {}
        }
        self.project(&files, &base, &variables, trail)
    }

    /// Adds what an included file defines.
    fn import(&mut self, whole: &mut Node, part: Node) {
        let Value::Map(sections) = part.value else { return };
        for section in sections {
            if !["services", "networks", "volumes", "secrets", "configs"].contains(&section.key.as_str()) {
                continue;
            }
            let Value::Map(entries) = section.node.value else { continue };
            let Value::Map(whole) = &mut whole.value else { return };
            if !whole.iter().any(|known| known.key == section.key) {
                let node = Node::made(&section.node.mark, Value::Map(vec![]));
                whole.push(Entry { key: section.key.clone(), mark: section.mark.clone(), node });
            }
            let Some(known) = whole.iter_mut().find(|known| known.key == section.key) else { continue };
            let Value::Map(known) = &mut known.node.value else { continue };
            self.import_section(known, entries);
        }
    }

    fn import_section(&mut self, known: &mut Vec<Entry>, entries: Vec<Entry>) {
        let at: HashMap<String, usize> = known.iter().enumerate().map(|(at, entry)| (entry.key.clone(), at)).collect();
        for entry in entries {
            match at.get(&entry.key).map(|at| &known[*at]) {
                None => known.push(entry),
                Some(there) if same(&there.node, &entry.node) => {}
                Some(there) => {
                    let text = format!("'{}' is defined in an included file too, at {}", entry.key, entry.mark.place());
                    self.reader.refuse(&there.mark, text);
                }
            }
        }
    }
}

/// What an item of `include` says.
#[derive(Default)]
struct Include {
    files: Vec<String>,
    directory: Option<String>,
    env_files: Option<Vec<String>>,
}

const INCLUDE: &Keys<Include> = &[
    ("path", Rule::Read(|reader, include, entry| include.files = reader.texts("include: path", &entry.node))),
    (
        "project_directory",
        Rule::Read(|reader, include, entry| {
            include.directory = reader.text("include: project_directory", &entry.node);
        }),
    ),
    (
        "env_file",
        Rule::Read(|reader, include, entry| include.env_files = Some(reader.texts("include: env_file", &entry.node))),
    ),
];

/// By which two names of one file are known.
fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| absolute(path))
}
