//! The sandbox process of a simulated container. It accepts every fault; there is no network to apply it to.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::Ipv4Addr;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::SimulatedEngine;
use crate::engine::{ContainerId, Result};

/// State of a sandbox process.
#[derive(Debug, Default)]
pub(super) struct Sandbox {
    /// The state that it last applied, unparsed: most are never looked at.
    desired: Option<Box<RawValue>>,
    /// Whether it refuses the next states, in order.
    refuses: VecDeque<bool>,
}

#[derive(Deserialize)]
struct Request<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    op: Cow<'a, str>,
    #[serde(borrow)]
    desired: Option<&'a RawValue>,
}

impl Sandbox {
    /// What the sandbox process answers to a line, newline included. `addresses` are what it has in its networks; a
    /// node that runs there listens on every port.
    pub(crate) fn answer_line(&mut self, line: &[u8], addresses: &[Ipv4Addr], has_node: bool) -> Vec<u8> {
        let Ok(request) = serde_json::from_slice::<Request>(line) else {
            return b"{\"ok\":false,\"error\":\"unknown request\"}\n".to_vec();
        };
        let mut answer = match &*request.op {
            "hello" => json!({"ok": true, "version": env!("CARGO_PKG_VERSION"), "addresses": addresses}),
            "connect" if has_node => json!({"ok": true, "connected": true}),
            "connect" => json!({"ok": true, "connected": false, "error": "connection refused"}),
            "probe" => json!({
                "ok": true, "nftables": true, "reject": true, "numgen": true, "dup": true, "queue": "native",
                "netem": true, "htb": true, "sock_destroy": true, "ipv6": false,
            }),
            "apply" if self.refuses.pop_front().unwrap_or_default() => json!({"ok": false, "error": "told to refuse"}),
            "apply" => {
                self.desired = request.desired.map(ToOwned::to_owned);
                json!({"ok": true, "addresses": addresses})
            }
            "abort" => json!({"ok": true, "sockets": 0}),
            _ => json!({"ok": false, "error": "unknown request"}),
        };
        if let Some(id) = request.id {
            answer["id"] = id.into();
        }
        format!("{answer}\n").into_bytes()
    }
}

impl SimulatedEngine {
    /// The state that a sandbox last applied; null if none.
    ///
    /// # Errors
    /// No such container.
    pub fn network_state(&self, sandbox: &ContainerId) -> Result<Value> {
        let world = self.shared.world.lock();
        let desired = &world.get(&sandbox.0)?.sandbox.desired;
        Ok(desired.as_ref().and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default())
    }

    /// Sets whether a sandbox refuses the next changes of its network, one after the other.
    ///
    /// # Errors
    /// No such container.
    pub fn refuse_changes(&self, sandbox: &ContainerId, refuses: &[bool]) -> Result<()> {
        self.shared.world.lock().get_mut(&sandbox.0)?.sandbox.refuses.extend(refuses);
        Ok(())
    }

    /// Breaks the connections to a sandbox's process, which does not notice and keeps running.
    ///
    /// # Errors
    /// No such container.
    pub fn break_attachments(&self, sandbox: &ContainerId) -> Result<()> {
        self.shared.world.lock().get_mut(&sandbox.0)?.attached.clear();
        Ok(())
    }
}
