//! Real packets, in a network namespace of their own: each test runs this binary again in one.

use crate::alone::alone;

mod packets;
mod rules;

/// Runs `body` in a network namespace where the loopback interface is up. `name` is the test's own, below this module.
fn in_namespace(name: &str, body: impl FnOnce()) {
    if !crate::skip::is_root() {
        return;
    }
    alone(&["unshare", "--net"], &format!("sandbox::queues::tests::{name}"), || {
        rules::loopback_up();
        body();
    });
}
