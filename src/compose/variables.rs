//! Where the values of variables come from: the caller's environment, and then files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::dotenv;
use super::model::{Place, Remark};
use super::tree::read;

/// Variables by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    /// What the caller has, which wins.
    environment: Arc<BTreeMap<String, String>>,
    /// Of `.env`, or what was chosen instead.
    file: BTreeMap<String, String>,
}

impl Variables {
    pub(super) fn new(environment: BTreeMap<String, String>) -> Self {
        Self { environment: Arc::new(environment), file: BTreeMap::new() }
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.environment.get(name).or_else(|| self.file.get(name)).cloned()
    }

    /// These, and those of a file, which win over no others.
    ///
    /// # Errors
    /// If the file cannot be read, or a line of it.
    pub(super) fn with_file(&self, path: &Path) -> Result<Self, Remark> {
        let mut all = self.clone();
        for (name, value) in self.of_file(path, false)? {
            if !self.file.contains_key(&name) {
                all.file.insert(name, value);
            }
        }
        Ok(all)
    }

    /// The variables of a file, which may name ours.
    ///
    /// # Errors
    /// If the file cannot be read, or a line of it.
    pub(super) fn of_file(&self, path: &Path, is_raw: bool) -> Result<Vec<(String, String)>, Remark> {
        let text = read(path)?;
        let lookup = |name: &str| self.get(name);
        let parsed = if is_raw { dotenv::raw_variables(&text, &lookup) } else { dotenv::variables(&text, &lookup) };
        parsed.map_err(|bad| {
            let place = Place { file: path.into(), line: bad.line, column: 1 };
            Remark { place, text: bad.why }
        })
    }
}
