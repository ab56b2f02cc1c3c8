//! The engine over the Docker API: Docker Engine from 20.10 on, and podman's imitation of it.
//!
//! [`DockerEngine`] implements [`Engine`]; each file here holds one kind of call.
//! Nothing outside this folder names bollard.

mod attach;
mod connect;
mod containers;
mod endpoints;
mod error;
mod events;
mod exec;
#[cfg(test)]
mod fake;
mod frames;
#[cfg(any(feature = "fuzzing", test))]
pub mod fuzzed;
mod images;
mod info;
mod inspection;
mod locate;
mod logs;
mod networks;
mod raw;
mod spec;
mod ssh;
mod stats;
mod terminal;
mod time;
mod tls;
mod transport;
mod volumes;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;

use self::endpoints::Endpoints;
use super::{
    Attachment, BoxStream, Clock, ContainerId, ContainerSpec, Engine, EngineInfo, Event, Exit, Inspection, Labels,
    Listed, ListedImage, ListedNetwork, ListedVolume, LogChunk, NewNetwork, PullProgress, Result, Usage,
};

pub use connect::connect;
pub use locate::is_plain_beyond_loopback;
pub(crate) use time::parse as parse_time;

/// A connection to an engine that speaks the Docker API. Over a local socket every request opens a connection of its own; elsewhere
/// connections are kept.
pub struct DockerEngine {
    docker: Docker,
    info: EngineInfo,
    endpoints: Endpoints,
}

impl DockerEngine {
    fn new(docker: Docker, info: EngineInfo) -> Self {
        let endpoints = Endpoints::of(&docker, is_podman(&info));
        Self { docker, info, endpoints }
    }
}

fn is_podman(info: &EngineInfo) -> bool {
    info.description.starts_with("Podman")
}

#[async_trait]
impl Engine for DockerEngine {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    async fn ping(&self) -> Result<()> {
        self.docker.ping().await.map(drop).map_err(error::from_bollard)
    }

    async fn clock(&self) -> Result<Clock> {
        info::clock(&self.docker).await
    }

    async fn swarm_nodes(&self) -> Result<Vec<String>> {
        info::swarm_nodes(&self.docker).await
    }

    async fn create_with_warnings(&self, spec: &ContainerSpec) -> Result<(ContainerId, Vec<String>)> {
        let created = containers::create(&self.docker, spec).await?;
        for endpoint in spec.network.endpoints().iter().skip(1) {
            if let Err(error) = networks::connect(&self.docker, &created.0, endpoint).await {
                if let Err(why) = self.remove(&created.0).await {
                    tracing::warn!(container = %spec.name, %why, "cannot remove a container without all of its endpoints");
                }
                return Err(error);
            }
        }
        Ok(created)
    }

    async fn start(&self, id: &ContainerId) -> Result<()> {
        containers::start(&self.docker, id).await
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        containers::stop(&self.docker, id, grace).await
    }

    async fn kill(&self, id: &ContainerId, signal: &str) -> Result<()> {
        containers::kill(&self.docker, id, signal).await
    }

    async fn pause(&self, id: &ContainerId) -> Result<()> {
        self.docker.pause_container(&id.0).await.map_err(error::from_bollard)
    }

    async fn unpause(&self, id: &ContainerId) -> Result<()> {
        self.docker.unpause_container(&id.0).await.map_err(error::from_bollard)
    }

    async fn remove(&self, id: &ContainerId) -> Result<()> {
        let _turn = self.endpoints.take_off(&self.docker, id).await;
        containers::remove(&self.docker, id, is_podman(&self.info)).await
    }

    async fn inspect(&self, id: &ContainerId) -> Result<Inspection> {
        inspection::inspect(&self.docker, id).await
    }

    async fn list(&self, label: Option<&str>) -> Result<Vec<Listed>> {
        containers::list(&self.docker, label).await
    }

    async fn events(&self, label: &str) -> Result<BoxStream<Result<Event>>> {
        events::subscribe(&self.docker, self.info.local, label).await
    }

    async fn logs(&self, id: &ContainerId, since: i64, follow: bool) -> Result<BoxStream<Result<LogChunk>>> {
        Ok(logs::read(&self.docker, id, since, follow))
    }

    async fn stats(&self, id: &ContainerId) -> Result<Usage> {
        stats::stats(&self.docker, id).await
    }

    async fn exec(&self, id: &ContainerId, argv: &[String]) -> Result<Exit> {
        exec::run(&self.docker, id, argv).await
    }

    async fn attach(&self, id: &ContainerId) -> Result<Attachment> {
        attach::attach(&self.docker, id).await
    }

    async fn has_image(&self, reference: &str) -> Result<bool> {
        images::present(&self.docker, reference).await
    }

    async fn image_volumes(&self, reference: &str) -> Result<Vec<String>> {
        images::volumes(&self.docker, reference).await
    }

    async fn pull(&self, reference: &str) -> Result<BoxStream<Result<PullProgress>>> {
        Ok(images::pull(&self.docker, reference))
    }

    async fn import(&self, reference: &str, archive: Vec<u8>) -> Result<()> {
        images::import(&self.docker, reference, archive).await
    }

    async fn list_images(&self, name: &str) -> Result<Vec<ListedImage>> {
        images::list(&self.docker, name).await
    }

    async fn remove_image(&self, reference: &str) -> Result<()> {
        images::remove(&self.docker, reference).await
    }

    async fn create_network(&self, name: &str, network: &NewNetwork, labels: &Labels) -> Result<String> {
        networks::create(&self.docker, name, network, labels).await
    }

    async fn list_networks(&self, label: Option<&str>) -> Result<Vec<ListedNetwork>> {
        networks::list(&self.docker, label).await
    }

    async fn network(&self, name: &str) -> Result<ListedNetwork> {
        networks::inspect(&self.docker, name).await
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        networks::remove(&self.docker, name).await
    }

    async fn create_volume(&self, name: &str, labels: &Labels, directory: Option<&Path>) -> Result<()> {
        volumes::create(&self.docker, name, labels, directory).await
    }

    async fn list_volumes(&self, label: Option<&str>) -> Result<Vec<ListedVolume>> {
        volumes::list(&self.docker, label).await
    }

    async fn volume_mountpoint(&self, name: &str) -> Result<PathBuf> {
        volumes::mountpoint(&self.docker, name).await
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        volumes::remove(&self.docker, name).await
    }
}
