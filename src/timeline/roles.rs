//! Who had which role, and when.

use super::model::{Held, Role};
use crate::history::RoleEvent;

/// Most roles that are shown.
pub(crate) const MOST: usize = 4;

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
