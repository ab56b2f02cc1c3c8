//! `extends`: a service over another one, of the same file or another.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::files::Files;
use super::merge::merge;
use super::model::Remark;
use super::reader::{Keys, Rule};
use super::tree::{Entry, Node, Value, absolute, shown_path};
use super::variables::Variables;

/// How many services may extend each other in a row.
const LONGEST_CHAIN: usize = 100;

/// How many values may come from services that others extend, in one file.
const MOST_VALUES: usize = 1_000_000;

/// What `extends` says.
#[derive(Default)]
struct Wish {
    service: Option<String>,
    file: Option<String>,
}

const EXTENDS: &Keys<Wish> = &[
    ("service", Rule::Read(|reader, wish, entry| wish.service = reader.text("extends: service", &entry.node))),
    ("file", Rule::Read(|reader, wish, entry| wish.file = reader.text("extends: file", &entry.node))),
];

/// Replaces each service of a file that extends another one.
///
/// # Errors
/// If a file cannot be read, or services extend each other in a circle.
pub(super) fn resolve(files: &mut Files, file: &mut Node, variables: &Variables) -> Result<(), Remark> {
    let Some(services) = file.get("services").map(|entry| entry.node.clone()) else { return Ok(()) };
    let mut chains = Chains { files, variables, others: HashMap::new(), values: 0 };
    let mut done = HashMap::new();
    for service in services.entries().iter().filter(|service| service.node.get("extends").is_some()) {
        done.insert(service.key.clone(), chains.extended(&services, service, &mut vec![])?);
    }
    let Value::Map(entries) = &mut file.value else { return Ok(()) };
    let services = entries.iter_mut().find(|entry| entry.key == "services");
    let Some(Value::Map(services)) = services.map(|services| &mut services.node.value) else { return Ok(()) };
    for service in services {
        if let Some(node) = done.remove(&service.key) {
            service.node = node;
        }
    }
    Ok(())
}

struct Chains<'f, 'r, 'v> {
    files: &'f mut Files<'r, 'v>,
    variables: &'f Variables,
    /// The services of files that others extend from.
    others: HashMap<PathBuf, Arc<Node>>,
    /// How many values came from them.
    values: usize,
}

impl Chains<'_, '_, '_> {
    /// The service with all that it extends under it. `trail` holds the services that extend this one, each with its file.
    fn extended(
        &mut self,
        services: &Node,
        service: &Entry,
        trail: &mut Vec<(PathBuf, String)>,
    ) -> Result<Node, Remark> {
        let Some(extends) = service.node.get("extends") else { return Ok(service.node.clone()) };
        let own = (absolute(&extends.mark.source.file), service.key.clone());
        let is_circle = trail.contains(&own);
        trail.push(own);
        if is_circle || trail.len() > LONGEST_CHAIN {
            let names: Vec<_> = trail.iter().map(|(_, name)| name.as_str()).collect();
            let text = if is_circle {
                format!("a service extends itself: {}", names.join(" -> "))
            } else {
                format!("more than {LONGEST_CHAIN} services extend each other, beginning with '{}'", names[0])
            };
            return Err(Remark { place: extends.mark.place(), text });
        }
        let mut over = service.node.clone();
        if let Value::Map(entries) = &mut over.value {
            entries.retain(|entry| entry.key != "extends");
        }
        let base = self.base(services, extends, trail)?;
        trail.pop();
        let Some(base) = base else { return Ok(over) };
        self.values += base.size();
        if self.values > MOST_VALUES {
            let text = format!("services extend too much: more than {MOST_VALUES} values");
            return Err(Remark { place: extends.mark.place(), text });
        }
        Ok(merge(base, over, &mut vec!["services".into(), service.key.clone()]))
    }

    /// The service that is extended, with all that it extends itself.
    fn base(
        &mut self,
        services: &Node,
        extends: &Entry,
        trail: &mut Vec<(PathBuf, String)>,
    ) -> Result<Option<Node>, Remark> {
        let mut wish = Wish::default();
        match &extends.node.value {
            Value::Text(name) => wish.service = Some(name.clone()),
            _ => self.files.reader.map("extends", &extends.node, EXTENDS, &mut wish),
        }
        let Some(name) = wish.service else {
            self.files.reader.refuse(&extends.node.mark, "extends names no service");
            return Ok(None);
        };
        let other;
        let (services, place) = match &wish.file {
            None => (services, "this file".to_owned()),
            Some(file) => {
                let path = shown_path(&extends.mark, file);
                other = self.other(&path)?;
                (&*other, path.display().to_string())
            }
        };
        let Some(base) = services.get(&name) else {
            let hint = self.files.reader.hint(&name, services.entries().iter().map(|entry| entry.key.as_str()));
            self.files
                .reader
                .refuse(&extends.node.mark, format!("extends: there is no service '{name}' in {place}{hint}"));
            return Ok(None);
        };
        self.extended(services, base, trail).map(Some)
    }

    /// The services of another file.
    fn other(&mut self, path: &PathBuf) -> Result<Arc<Node>, Remark> {
        if let Some(services) = self.others.get(path) {
            return Ok(services.clone());
        }
        let base = path.parent().map(absolute).unwrap_or_default();
        let file = self.files.file(path, &base, self.variables)?;
        let nothing = Node::made(&file.mark, Value::Null);
        let services = Arc::new(file.get("services").map_or(nothing, |entry| entry.node.clone()));
        self.others.insert(path.clone(), services.clone());
        Ok(services)
    }
}
