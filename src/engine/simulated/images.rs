//! Images, as far as references go.

use std::collections::{HashMap, HashSet};

use crate::engine::{EngineError, ListedImage, Result};

/// The images that are there, and those that no registry has.
#[derive(Default)]
pub(super) struct Images {
    present: HashSet<String>,
    missing: HashSet<String>,
    /// Paths declared as volumes, of images that have any.
    volumes: HashMap<String, Vec<String>>,
}

impl Images {
    pub(crate) fn has(&self, reference: &str) -> bool {
        self.present.contains(&full_reference(reference))
    }

    pub(crate) fn add(&mut self, reference: &str) {
        self.present.insert(full_reference(reference));
    }

    pub(crate) fn declare(&mut self, reference: &str, paths: &[&str]) {
        let mut paths: Vec<_> = paths.iter().map(|path| (*path).to_owned()).collect();
        paths.sort();
        self.volumes.insert(full_reference(reference), paths);
    }

    pub(crate) fn volumes(&self, reference: &str) -> Result<Vec<String>> {
        if !self.has(reference) {
            return Err(EngineError::NotFound(format!("No such image: {reference}")));
        }
        Ok(self.volumes.get(&full_reference(reference)).cloned().unwrap_or_default())
    }

    /// Those of a name, which have no bytes.
    pub(crate) fn list(&self, name: &str) -> Vec<ListedImage> {
        let is_it = |reference: &&String| reference.rsplit_once(':').is_some_and(|(start, _)| start == name);
        let mut found: Vec<_> = self.present.iter().filter(is_it).cloned().collect();
        found.sort();
        found.into_iter().map(|reference| ListedImage { reference, size: 0 }).collect()
    }

    pub(crate) fn remove(&mut self, reference: &str) {
        self.present.remove(&full_reference(reference));
    }

    /// Whether two references name one image.
    pub(crate) fn same(one: &str, other: &str) -> bool {
        full_reference(one) == full_reference(other)
    }

    /// Makes it impossible to pull.
    pub(crate) fn miss(&mut self, reference: &str) {
        self.missing.insert(full_reference(reference));
    }

    /// Whether a pull of it fails.
    pub(crate) fn missing(&self, reference: &str) -> bool {
        reference.starts_with("missing") || self.missing.contains(&full_reference(reference))
    }
}

/// `nginx` is `docker.io/library/nginx:latest`; the form without registry and with tag stands for all.
fn full_reference(reference: &str) -> String {
    let short = reference.strip_prefix("docker.io/").unwrap_or(reference);
    let short = short.strip_prefix("library/").unwrap_or(short);
    let last = short.rsplit('/').next().unwrap_or(short);
    if last.contains([':', '@']) { short.to_owned() } else { format!("{short}:latest") }
}
