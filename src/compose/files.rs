//! Compose files as trees, with their variables replaced.

use std::path::Path;
use std::sync::Arc;

use super::interpolate::interpolate;
use super::model::Remark;
use super::reader::Reader;
use super::tree::{Node, Source, Value, parse, read};
use super::variables::Variables;

/// How many files may be read, included ones too.
const MOST_FILES: usize = 500;

/// Reads files into trees.
pub(super) struct Files<'r, 'v> {
    pub(super) reader: &'r mut Reader<'v>,
    read: usize,
}

impl<'r, 'v> Files<'r, 'v> {
    pub(super) fn new(reader: &'r mut Reader<'v>) -> Self {
        Self { reader, read: 0 }
    }

    /// One file, with its variables replaced.
    ///
    /// # Errors
    /// If it cannot be read, or is no YAML.
    pub(super) fn file(&mut self, path: &Path, base: &Path, variables: &Variables) -> Result<Node, Remark> {
        self.read += 1;
        let source = Arc::new(Source { file: path.into(), base: base.into() });
        if self.read > MOST_FILES {
            let text = format!("is one file too many: at most {MOST_FILES} may be included");
            return Err(Remark { place: source.whole().place(), text });
        }
        let mut node = parse(&read(path)?, &source)?;
        if !matches!(node.value, Value::Map(_)) {
            let text = format!("a Compose file is a map with 'services', not {}", node.kind());
            return Err(Remark { place: node.mark.place(), text });
        }
        self.replace_variables(&mut node, variables);
        Ok(node)
    }

    fn replace_variables(&mut self, node: &mut Node, variables: &Variables) {
        match &mut node.value {
            Value::List(items) => items.iter_mut().for_each(|item| self.replace_variables(item, variables)),
            Value::Map(entries) => {
                entries.iter_mut().for_each(|entry| self.replace_variables(&mut entry.node, variables));
            }
            Value::Text(text) if text.contains('$') => match interpolate(text, &|name| variables.get(name)) {
                Ok(done) => {
                    for name in &done.unset {
                        self.reader.warn(&node.mark, format!("the variable {name} is not set: it is taken as empty"));
                    }
                    *text = done.text;
                }
                Err(why) => {
                    self.reader.refuse(&node.mark, why);
                    text.clear();
                }
            },
            _ => {}
        }
    }
}
