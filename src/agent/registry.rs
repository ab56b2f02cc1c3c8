//! Which numbers of a mount are whose.

use std::sync::{Arc, OnceLock, Weak};

use parking_lot::RwLock;

use crate::passthrough::{Elsewhere, KernelNotifier, Life, MOST_LIVES, Name, remote_root};

/// Roots and lives of one mount, each with `T`, which serves it.
pub(super) struct Registry<T> {
    table: RwLock<Table<T>>,
    kernel: OnceLock<Box<dyn KernelNotifier>>,
}

struct Table<T> {
    /// By index.
    roots: Vec<Weak<T>>,
    /// By life, from 1 on.
    lives: Vec<Weak<T>>,
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self { table: RwLock::new(Table { roots: vec![], lives: vec![] }), kernel: OnceLock::new() }
    }
}

impl<T> Registry<T> {
    /// Says whom to ask to forget files; the first call counts.
    pub(super) fn connect(&self, kernel: Box<dyn KernelNotifier>) {
        let _ = self.kernel.set(kernel);
    }

    pub(super) fn forget(&self, name: Name) {
        if let Some(kernel) = self.kernel.get() {
            kernel.forget(name);
        }
    }

    /// The number of a new root.
    pub(super) fn new_root(&self, server: &Arc<T>) -> u64 {
        let mut table = self.table.write();
        table.roots.push(Arc::downgrade(server));
        remote_root(table.roots.len() as u64 - 1)
    }

    /// A life that no agent had before. `None` when there are no more.
    pub(super) fn new_life(&self, server: &Arc<T>) -> Option<Life> {
        let mut table = self.table.write();
        if table.lives.len() >= usize::from(MOST_LIVES) {
            return None;
        }
        table.lives.push(Arc::downgrade(server));
        Some(table.lives.len() as Life)
    }

    pub(super) fn served_by(&self, at: Elsewhere) -> Option<Arc<T>> {
        let table = self.table.read();
        match at {
            Elsewhere::Root(index) => table.roots.get(usize::try_from(index).ok()?)?.upgrade(),
            Elsewhere::Found(life) => table.lives.get(usize::from(life).checked_sub(1)?)?.upgrade(),
        }
    }
}
