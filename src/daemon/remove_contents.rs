//! Empties a directory that nodes have written to, as any user.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::AsyncReadExt;

use super::data::DataLock;
use super::names::new_id;
use crate::engine::{Bind, ContainerSpec, Engine, EngineError, Labels, RunOptions, Stdin, while_it_answers};
use crate::selfimage;
use crate::sweep::{self, Swept};

/// How long an engine may leave a ping without an answer while it sweeps, which may take as long as it takes.
const SILENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const MAX_ANSWER: u64 = 1 << 16;

/// A file may appear while others are deleted, from a program that works in the directory: so often it is tried.
const TRIES: usize = 3;

/// How a directory is emptied.
#[derive(Clone, Default)]
pub(crate) struct Emptying {
    /// User and group to which the directory itself is given back, with the mode that it was made with.
    pub(crate) owner: Option<(u32, u32)>,
    /// Labels of the container that deletes, if one has to, by which others find it.
    pub(crate) labels: Labels,
    /// Held until nothing is deleted any more, also if nobody waits for it.
    pub(crate) lock: Option<Arc<Mutex<DataLock>>>,
}

/// Deletes everything in a directory. What this user may not delete is deleted through a container of `engine`, one whose
/// containers see the files of this machine.
///
/// # Errors
/// Why not everything could be deleted, and what to do.
pub(crate) async fn empty(dir: &Path, engine: Option<&Arc<dyn Engine>>, how: &Emptying) -> Result<(), String> {
    let (path, Emptying { owner, lock, .. }) = (dir.to_owned(), how.clone());
    let swept = tokio::task::spawn_blocking(move || {
        let _held = lock;
        let mut tries = 1..=TRIES;
        loop {
            let swept = sweep::empty(&path, owner);
            if tries.next().is_none() || swept.as_ref().map_or(true, |swept| swept.left == 0) {
                return swept;
            }
        }
    });
    let why = match swept.await.map_err(|panic| panic.to_string())? {
        Ok(swept) if swept.left == 0 => return Ok(()),
        Ok(swept) => format!("{} ({} of what is in it)", swept.why.unwrap_or_default(), swept.left),
        Err(error) => format!("{}: {error}", dir.display()),
    };
    if rustix::process::geteuid().is_root() {
        return Err(why);
    }
    let by_hand = format!("it holds files of other users. Remove them with sudo rm -r {}", dir.display());
    let Some(engine) = engine else {
        return Err(format!("{by_hand}, or repeat cthulhu prune when an engine answers, through which it can be done"));
    };
    match through_container(engine, dir, how).await {
        Ok(swept) if swept.left == 0 => Ok(()),
        Ok(swept) => Err(format!("{by_hand}; through a container it failed: {}", swept.why.unwrap_or_default())),
        Err(error) => Err(format!("{by_hand}; through a container it failed: {error}")),
    }
}

/// Lets our own program delete it as root of a container, which has nothing but that directory and no network.
async fn through_container(engine: &Arc<dyn Engine>, dir: &Path, how: &Emptying) -> Result<Swept, EngineError> {
    let image = selfimage::ensure(engine.as_ref()).await?;
    let argv = image.internal("sweep");
    let spec = ContainerSpec {
        name: format!("cthulhu-sweep-{}", new_id().map_err(|e| EngineError::Refused(e.to_string()))?),
        image: image.reference,
        entrypoint: Some(argv),
        command: how.owner.map(|(user, group)| vec![user.to_string(), group.to_string()]),
        labels: how.labels.clone(),
        binds: vec![Bind { source: dir.to_owned(), target: sweep::TARGET.into(), read_only: false }],
        run: RunOptions {
            user: Some("0:0".into()),
            cap_add: ["CHOWN", "DAC_OVERRIDE", "FOWNER"].map(str::to_owned).to_vec(),
            cap_drop: vec!["ALL".into()],
            read_only: true,
            ..RunOptions::default()
        },
        stdin: Stdin::UntilDetached,
        // So that nothing is left of it, even if we end before it does.
        auto_remove: true,
        host_users: engine.info().setup.remaps_users,
        // Above all no network.
        ..ContainerSpec::default()
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
