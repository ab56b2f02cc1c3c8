//! Who had which role, and when.

use super::model::Span;
use crate::history::RoleEvent;

/// Most roles that are shown.
pub(crate) const MOST: usize = 4;

/// A role, and who had it.
#[derive(Debug)]
pub(crate) struct Role {
    /// As in `leader`.
    pub(crate) name: String,
    /// By time.
    pub(crate) held: Vec<Held>,
}

/// A time in which the same nodes had a role.
#[derive(Debug)]
pub(crate) struct Held {
    /// ns since the mount.
    pub(crate) from: i64,
    /// ns since the mount.
    pub(crate) to: i64,
    /// Their names.
    pub(crate) nodes: Vec<String>,
    /// Why it was not known any more.
    pub(crate) error: Option<String>,
}

impl Held {
    /// For the chart and its tooltip.
    pub(crate) fn span(&self) -> Span {
        let nodes = if self.nodes.is_empty() { "nobody".to_owned() } else { self.nodes.join(" ") };
        match &self.error {
            None => Span { from: self.from, to: self.to, text: nodes, detail: String::new() },
            Some(error) => {
                let detail = format!("unknown: {error}");
                Span { from: self.from, to: self.to, text: format!("{nodes} ?"), detail }
            }
        }
    }
}

impl Role {
    /// When a node had it.
    pub(crate) fn of<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a Held> {
        self.held.iter().filter(move |held| held.nodes.iter().any(|name| name == node))
    }
}

/// Collects the roles of a history.
#[derive(Default)]
pub(crate) struct Gathering(Vec<Role>);

impl Gathering {
    pub(crate) fn take(&mut self, at: i64, event: &RoleEvent) {
        let index = self.0.iter().position(|role| role.name == event.name).unwrap_or_else(|| {
            self.0.push(Role { name: event.name.clone(), held: vec![] });
            self.0.len() - 1
        });
        let held = &mut self.0[index].held;
        match held.last_mut() {
            Some(last) if last.nodes == event.nodes && last.error == event.error => return,
            Some(last) => last.to = at,
            None => {}
        }
        held.push(Held { from: at, to: at, nodes: event.nodes.clone(), error: event.error.clone() });
    }

    /// Ends what still holds.
    pub(crate) fn finish(mut self, end: i64) -> Vec<Role> {
        for role in &mut self.0 {
            if let Some(last) = role.held.last_mut() {
                last.to = end;
            }
            role.held.retain(|held| !held.nodes.is_empty() || held.error.is_some());
        }
        self.0
    }
}
