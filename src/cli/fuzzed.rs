//! What fuzzing reaches of this module: how it reads what a user configures.

use std::path::{Path, PathBuf};

use super::{container, environment, recipe};

/// The variables of a file, as name and value.
pub fn env_file(path: &Path) -> Option<Vec<(String, String)>> {
    let variables = environment::variables(&[path.to_owned()], &[]).ok()?;
    Some(variables.into_iter().map(|variable| (variable.name, variable.value)).collect())
}

/// A size in bytes.
pub fn bytes(text: &str) -> Option<i64> {
    container::bytes("--memory", text).ok()
}

/// Source and target of a volume.
pub fn volume(text: &str) -> Option<(PathBuf, String)> {
    recipe::volume(text, Path::new("/nowhere")).ok().map(|bind| (bind.source, bind.target))
}
