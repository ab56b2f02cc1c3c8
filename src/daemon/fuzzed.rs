//! What fuzzing reaches of this room: how it reads labels and what a user configures.

use std::path::{Path, PathBuf};

use super::options;
use super::owner::Owner;
use crate::cli::MountArgs;

/// An owner label as we would write it; `None` if it makes no sense.
pub fn owner(label: &str) -> Option<String> {
    Owner::parse(label).map(|owner| owner.to_string())
}

/// Whether the owner that a label names is gone, on this machine's engine.
pub fn owner_is_gone(label: &str) -> bool {
    Owner::is_gone(label, true)
}

/// The variables of a file.
pub fn env_file(path: &Path) -> Option<Vec<String>> {
    options::environment(&MountArgs { env_file: vec![path.to_owned()], ..MountArgs::default() }).ok()
}

/// A size.
pub fn bytes(text: &str) -> Option<i64> {
    options::bytes("--memory", text).ok()
}

/// Source and target of a volume.
pub fn volume(text: &str) -> Option<(PathBuf, String)> {
    options::volume(text, Path::new("/nowhere")).ok().map(|volume| (volume.source, volume.target))
}
