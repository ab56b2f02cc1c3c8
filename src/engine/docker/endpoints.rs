//! Takes containers off their networks one at a time, for engines that lose count otherwise.
//!
//! Docker before 28.1 keeps the number of a network's endpoints in its store. Endpoints that are removed at the same time,
//! as when several containers are, can be counted as one. The engine then keeps the network ("has active endpoints", and
//! there is none) until it restarts. The endpoints are the smaller part of the work: containers without any can be removed
//! at the same time.

use bollard::Docker;
use bollard::models::NetworkDisconnectRequest;
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

use super::raw;
use crate::engine::ContainerId;

/// The first version of the API whose engines do not use that number.
const COUNTS_NO_LONGER: (usize, usize) = (1, 49);

/// Whose turn it is to remove endpoints; `None` if the engine needs no turns.
pub(super) struct Endpoints(Option<Mutex<()>>);

impl Endpoints {
    /// Those of a Docker engine, or of podman, which has no such number.
    pub(super) fn of(docker: &Docker, is_podman: bool) -> Self {
        let version = docker.client_version();
        let counts = (version.major_version, version.minor_version) < COUNTS_NO_LONGER;
        Self((counts && !is_podman).then(Mutex::default))
    }

    /// Takes a container that is to be removed off its networks. If that fails, the removal will do it: the turn is then
    /// returned, to be held until the container is gone.
    pub(super) async fn take_off(&self, docker: &Docker, id: &ContainerId) -> Option<MutexGuard<'_, ()>> {
        let turns = self.0.as_ref()?;
        let networks = networks_of(docker, id).await;
        if networks.as_ref().is_some_and(Vec::is_empty) {
            return None;
        }
        let turn = turns.lock().await;
        let Some(networks) = networks else { return Some(turn) };
        for network in networks {
            let request = NetworkDisconnectRequest { container: id.0.clone(), force: Some(true) };
            if docker.disconnect_network(&network, request).await.is_err() {
                return Some(turn);
            }
        }
        None
    }
}

/// Ids of the networks in which a container has an endpoint; `None` if that cannot be found out.
async fn networks_of(docker: &Docker, id: &ContainerId) -> Option<Vec<String>> {
    let container = raw::json(docker, &format!("/containers/{}/json", raw::encode(&id.0))).await.ok()?;
    let endpoints = container["NetworkSettings"]["Networks"].as_object()?.values();
    // A container that does not run is named in its networks, and has no endpoint in them.
    let has_one = |endpoint: &&Value| !raw::string(endpoint, "EndpointID").is_empty();
    Some(endpoints.filter(has_one).map(|endpoint| raw::string(endpoint, "NetworkID")).collect())
}

#[cfg(test)]
mod tests {
    use super::super::fake;
    use super::*;

    const TWO: &str = r#"{"NetworkSettings":{"Networks":{"a":{"NetworkID":"n1","EndpointID":"e1"},
        "b":{"NetworkID":"n2","EndpointID":""},"c":{"NetworkID":"n3","EndpointID":"e3"}}}}"#;

    /// What is asked of an engine to take a container off its networks, and whether the turn is kept.
    async fn take_off(container: (u16, &'static str), disconnected: u16) -> (Vec<String>, bool) {
        let engine = fake::engine(move |method, _| match method {
            "GET" => fake::answer(container.0, container.1),
            _ => fake::answer(disconnected, "{}"),
        });
        let endpoints = Endpoints(Some(Mutex::default()));
        let kept = endpoints.take_off(&engine.docker, &ContainerId("c1".into())).await.is_some();
        let asked = engine.asked().into_iter().filter(|line| line.starts_with("POST"));
        (asked.map(|line| line.replace("POST ", "")).collect(), kept)
    }

    #[tokio::test]
    async fn each_endpoint_is_removed_before_the_container() {
        let all = ["/networks/n1/disconnect", "/networks/n3/disconnect"];
        assert_eq!(take_off((200, TWO), 200).await, (all.map(str::to_owned).into(), false));
    }

    #[tokio::test]
    async fn where_that_fails_the_container_is_removed_in_its_turn() {
        assert_eq!(take_off((200, TWO), 500).await, (vec!["/networks/n1/disconnect".to_owned()], true));
        assert_eq!(take_off((500, "{}"), 200).await, (vec![], true));
    }

    #[tokio::test]
    async fn a_container_without_endpoints_waits_for_nobody() {
        let engine = fake::engine(|_, _| fake::answer(200, r#"{"NetworkSettings":{"Networks":{}}}"#));
        let endpoints = Endpoints(Some(Mutex::default()));
        let _other = endpoints.0.as_ref().unwrap().lock().await;
        assert!(endpoints.take_off(&engine.docker, &ContainerId("c1".into())).await.is_none());
    }

    #[tokio::test]
    async fn an_engine_that_does_not_count_is_asked_nothing() {
        let engine = fake::engine(|_, _| fake::answer(200, TWO));
        let version = bollard::ClientVersion { major_version: 1, minor_version: 48 };
        let older = Docker::connect_with_unix(engine.socket.to_str().unwrap(), 60, &version).unwrap();
        assert!(Endpoints::of(&older, false).0.is_some());
        assert!(Endpoints::of(&older, true).0.is_none());
        let none = Endpoints::of(&engine.docker, false);
        assert!(none.take_off(&engine.docker, &ContainerId("c1".into())).await.is_none());
        assert_eq!(engine.asked(), [""; 0]);
    }
}
