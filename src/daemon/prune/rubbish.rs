//! Emptying a directory that nodes have written to, as whatever user.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::engines::Engines;
use crate::engine::{Bind, ContainerSpec, Engine, EngineError, Network, while_it_answers};
use crate::selfimage;
use crate::sweep::{self, Swept};

/// How long an engine may leave a ping without an answer while it sweeps, which may take as long as it takes.
const SILENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const MAX_ANSWER: u64 = 1 << 16;

/// Deletes all that is in a directory, through a container what this user may not delete.
///
/// # Errors
/// Why not all could be deleted, and what to do.
pub async fn empty(dir: &Path, engines: &Engines) -> Result<(), String> {
    let path = dir.to_owned();
    let swept = tokio::task::spawn_blocking(move || sweep::open(&path).map(|dir| sweep::contents(dir.as_fd())));
    let swept = swept.await.map_err(|panic| panic.to_string())?.map_err(|error| error.to_string())?;
    if swept.left == 0 {
        return Ok(());
    }
    let why = swept.why.unwrap_or_default();
    if rustix::process::geteuid().is_root() {
        return Err(format!("{why} ({} of what is in it)", swept.left));
    }
    let by_hand = format!("it holds files of other users. Remove them with sudo rm -r {}", dir.display());
    let Some(engine) = engines.of_this_machine() else {
        return Err(format!("{by_hand}, or repeat cthulhu prune when an engine answers, through which it can be done"));
    };
    match through_container(engine, dir).await {
        Ok(swept) if swept.left == 0 => Ok(()),
        Ok(swept) => Err(format!("{by_hand}; through a container it failed: {}", swept.why.unwrap_or_default())),
        Err(error) => Err(format!("{by_hand}; through a container it failed: {error}")),
    }
}

/// Lets our own program delete it as root of a container, which has nothing but that directory and no network.
async fn through_container(engine: &Arc<dyn Engine>, dir: &Path) -> Result<Swept, EngineError> {
    let image = selfimage::ensure(engine.as_ref()).await?;
    let argv = image.argv.iter().cloned().chain(["sweep".into(), sweep::TARGET.into()]).collect();
    let spec = ContainerSpec {
        name: format!("cthulhu-sweep-{}", crate::daemon::new_id().map_err(|e| EngineError::Refused(e.to_string()))?),
        image: image.reference,
        entrypoint: Some(argv),
        command: None,
        env: vec![],
        labels: vec![],
        network: Network::None,
        binds: vec![Bind { source: dir.to_owned(), target: sweep::TARGET.into(), read_only: false }],
        volumes: vec![],
        user: Some("0:0".into()),
        memory: None,
        nano_cpus: None,
        cap_add: ["DAC_OVERRIDE", "FOWNER"].map(str::to_owned).to_vec(),
        cap_drop: vec!["ALL".into()],
        privileged: false,
        read_only: true,
        attached_stdin: true,
        // So that nothing is left of it, even if we end before it does.
        auto_remove: true,
        host_users: engine.info().setup.remaps_users,
    };
    let id = engine.create(&spec).await?;
    let work = async {
        let mut attached = engine.attach(&id).await?;
        engine.start(&id).await?;
        let mut answer = String::new();
        let read = (&mut attached.stdout).take(MAX_ANSWER).read_to_string(&mut answer).await;
        read.map_err(|error| EngineError::Unreachable(error.to_string()))?;
        Ok(answer)
    };
    let answer = while_it_answers(engine.as_ref(), SILENCE, work).await;
    // It may be on its way out by itself.
    let removed = engine.remove(&id).await;
    let swept = serde_json::from_str(answer?.trim());
    removed?;
    swept.map_err(|_| EngineError::Refused("it ended without a word".into()))
}
