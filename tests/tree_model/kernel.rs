//! The kernel's side: what it remembers of attributes, and what it has been told to forget.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use cthulhu::tree::{Attr, Ino, KernelNotifier, Tree, Wake};
use futures_util::future::BoxFuture;

/// A kernel that hears of nothing before it must: what it is told waits until somebody asks for it to have arrived.
#[derive(Default)]
pub struct Cache(Mutex<State>);

#[derive(Default)]
struct State {
    remembered: HashMap<Ino, Attr>,
    on_the_way: HashSet<Ino>,
}

impl Cache {
    /// stat(2): remembers what it is told for as long as it may.
    pub fn getattr(&self, tree: &Tree, ino: Ino) {
        let attr = tree.attr(ino).unwrap();
        if tree.is_cacheable(ino) {
            self.0.lock().unwrap().remembered.insert(ino, attr);
        }
    }

    /// What it remembers is true, or it has been told already that it isn't.
    pub fn check_told(&self, tree: &Tree) {
        let state = self.0.lock().unwrap();
        for (ino, attr) in state.remembered.iter().filter(|(ino, _)| !state.on_the_way.contains(ino)) {
            assert_eq!(*attr, tree.attr(*ino).unwrap(), "nobody told the kernel");
        }
    }

    /// What it remembers is true.
    pub fn check_true(&self, tree: &Tree) {
        for (ino, attr) in &self.0.lock().unwrap().remembered {
            assert_eq!(*attr, tree.attr(*ino).unwrap(), "the kernel had not heard when the write was answered");
        }
    }
}

/// The way to the kernel.
pub struct Way(pub Arc<Cache>);

impl KernelNotifier for Way {
    fn invalidate(&self, inos: Vec<Ino>) {
        self.0.0.lock().unwrap().on_the_way.extend(inos);
    }

    fn wake(&self, wake: Wake) {
        wake();
    }

    fn flushed(&self) -> BoxFuture<'static, ()> {
        let mut state = self.0.0.lock().unwrap();
        let State { remembered, on_the_way } = &mut *state;
        for ino in on_the_way.drain() {
            remembered.remove(&ino);
        }
        Box::pin(async {})
    }
}
