//! What fuzzing reaches of this module: how it reads labels.

use super::owner::Owner;

/// An owner label as we would write it; `None` if it makes no sense.
pub fn owner(label: &str) -> Option<String> {
    Owner::parse(label).map(|owner| owner.to_string())
}

/// Whether the owner that a label names is gone, on this machine's engine.
pub fn owner_is_gone(label: &str) -> bool {
    Owner::is_gone(label, true)
}
