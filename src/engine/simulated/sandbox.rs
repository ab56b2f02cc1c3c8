//! The sandbox process of a simulated container: it can do everything, and there is no network that would show it.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::SimulatedEngine;
use super::container::Container;
use crate::engine::{ContainerId, Network, Result};

/// What a sandbox process has been told.
#[derive(Debug, Default)]
pub(super) struct Sandbox {
    /// What it last brought about.
    desired: Value,
    /// Whether it refuses the next ones that it is told to bring about.
    refuses: VecDeque<bool>,
}

impl Sandbox {
    /// What concerns the network.
    fn answer(&mut self, request: &Value, addresses: &[String]) -> Option<Value> {
        Some(match request.get("op")?.as_str()? {
            "probe" => json!({
                "ok": true, "nftables": true, "reject": true, "numgen": true, "dup": true, "queue": "native",
                "netem": true, "htb": true, "sock_destroy": true, "ipv6": false,
            }),
            "apply" if self.refuses.pop_front().unwrap_or_default() => json!({"ok": false, "error": "told to refuse"}),
            "apply" => {
                self.desired = request["desired"].clone();
                json!({"ok": true, "addresses": addresses})
            }
            "abort" => json!({"ok": true, "sockets": 0}),
            _ => return None,
        })
    }
}

impl Container {
    /// What the sandbox process answers to a line, newline included. A node that runs in its network listens on every port.
    pub fn sandbox_answer(&mut self, line: &[u8], has_node: bool) -> Vec<u8> {
        let request: Value = serde_json::from_slice(line).unwrap_or_default();
        let addresses: Vec<_> = match (&self.spec.network, &self.endpoint) {
            (Network::Attached { address, .. }, Some(_)) => vec![address.to_string()],
            _ => Vec::new(),
        };
        let mut answer = if request.get("op").is_some_and(|op| op == "hello") {
            json!({"ok": true, "version": env!("CARGO_PKG_VERSION"), "addresses": addresses})
        } else if request.get("op").is_some_and(|op| op == "connect") {
            if has_node {
                json!({"ok": true, "connected": true})
            } else {
                json!({"ok": true, "connected": false, "error": "connection refused"})
            }
        } else if let Some(answer) = self.sandbox.answer(&request, &addresses) {
            answer
        } else {
            json!({"ok": false, "error": "unknown request"})
        };
        if let Some(id) = request.get("id") {
            answer["id"] = id.clone();
        }
        format!("{answer}\n").into_bytes()
    }
}

impl SimulatedEngine {
    /// What a sandbox was last told to bring about in its network; null if nothing.
    ///
    /// # Errors
    /// No such container.
    pub fn network_state(&self, sandbox: &ContainerId) -> Result<Value> {
        Ok(self.shared.world.lock().get(&sandbox.0)?.sandbox.desired.clone())
    }

    /// Whether a sandbox refuses the next changes of its network that it is told, one after the other.
    ///
    /// # Errors
    /// No such container.
    pub fn refuse_changes(&self, sandbox: &ContainerId, refuses: &[bool]) -> Result<()> {
        self.shared.world.lock().get_mut(&sandbox.0)?.sandbox.refuses.extend(refuses);
        Ok(())
    }

    /// Breaks the connections to a sandbox's process, which does not notice and lives on.
    ///
    /// # Errors
    /// No such container.
    pub fn break_attachments(&self, sandbox: &ContainerId) -> Result<()> {
        self.shared.world.lock().get_mut(&sandbox.0)?.attached.clear();
        Ok(())
    }
}
