//! Tables of what is open.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::Result;

/// An open file. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Fh(pub u64);

/// An open directory. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct DirFh(pub u64);

/// Open things by number. Users take a clone out, so an operation under way survives the close.
#[derive(Debug)]
pub(super) struct Handles<T> {
    open: RwLock<HashMap<u64, Arc<T>>>,
    last: AtomicU64,
}

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Self { open: RwLock::default(), last: AtomicU64::new(0) }
    }
}

impl<T> Handles<T> {
    pub(super) fn insert(&self, item: T) -> u64 {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.open.write().insert(number, Arc::new(item));
        number
    }

    pub(super) fn get(&self, number: u64) -> Result<Arc<T>> {
        self.open.read().get(&number).cloned().ok_or(Errno::BADF)
    }

    pub(super) fn remove(&self, number: u64) -> Result<Arc<T>> {
        self.open.write().remove(&number).ok_or(Errno::BADF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_never_reused() {
        let handles = Handles::default();
        let first = handles.insert("a");
        assert_eq!(*handles.get(first).unwrap(), "a");
        handles.remove(first).unwrap();
        assert_eq!(handles.get(first), Err(Errno::BADF));
        assert_eq!(handles.remove(first), Err(Errno::BADF));
        assert_ne!(handles.insert("b"), first);
    }
}
