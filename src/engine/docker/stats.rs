//! What a container uses.

use bollard::Docker;
use serde_json::Value;

use super::raw;
use crate::engine::{ContainerId, Result, Usage};

/// Asks once. With `one-shot` the engine does not wait a second for a second sample; podman waits anyway.
pub(super) async fn stats(docker: &Docker, id: &ContainerId) -> Result<Usage> {
    let target = format!("/containers/{}/stats?stream=false&one-shot=true", raw::encode(&id.0));
    Ok(read(&raw::json(docker, &target).await?))
}

/// Picks out of the answer what we need: all of it is absent for a container that does not run.
fn read(answer: &Value) -> Usage {
    let memory = &answer["memory_stats"];
    // What `docker stats` leaves out too: cgroup v1, then v2.
    let cache = ["total_inactive_file", "inactive_file"].iter().find_map(|key| memory["stats"][key].as_u64());
    Usage {
        cpu: answer["cpu_stats"]["cpu_usage"]["total_usage"].as_u64().unwrap_or(0),
        memory: memory["usage"]
            .as_u64()
            .filter(|usage| *usage > 0)
            .map(|usage| usage.saturating_sub(cache.unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn memory_is_told_without_the_cache() {
        let v1 = json!({
            "cpu_stats": { "cpu_usage": { "total_usage": 7_000_000 } },
            "memory_stats": { "usage": 5000, "stats": { "total_inactive_file": 2000, "inactive_file": 1 } }
        });
        assert_eq!(read(&v1), Usage { cpu: 7_000_000, memory: Some(3000) });
        let v2 = json!({ "memory_stats": { "usage": 5000, "stats": { "inactive_file": 1000 } } });
        assert_eq!(read(&v2), Usage { cpu: 0, memory: Some(4000) });
    }

    #[test]
    fn what_does_not_run_uses_nothing() {
        for answer in
            [json!({}), json!({ "memory_stats": {}, "cpu_stats": null }), json!({ "memory_stats": { "usage": 0 } })]
        {
            assert_eq!(read(&answer), Usage::default());
        }
    }
}
