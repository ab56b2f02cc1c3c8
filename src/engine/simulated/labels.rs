//! The engine's filter by label.

use crate::engine::Labels;

/// Whether `labels` hold `wanted`, which is `key` or `key=value`.
pub(super) fn carries(labels: &Labels, wanted: &str) -> bool {
    labels.iter().any(|(key, value)| match wanted.split_once('=') {
        Some((wanted, with)) => key == wanted && value == with,
        None => key == wanted,
    })
}
