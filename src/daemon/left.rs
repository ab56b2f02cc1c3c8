//! Left-over clusters that only an engine knows of.

use std::time::Duration;

use super::owner::Owner;
use super::runtime::runtime;
use crate::fleet::connect;
use crate::provision::{Found, clusters};

/// How long an engine may take to be asked: who lists clusters does not want to wait.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(2);

/// What of this user's clusters is left in the engine, their daemons being gone, and its address. Clusters that say not
/// whose they are count too: earlier versions made such.
///
/// # Errors
/// Why the engine cannot be asked, a sentence.
pub(crate) fn left_in_engine(host: Option<&str>) -> Result<(Vec<Found>, String), String> {
    let runtime = runtime().map_err(|error| error.to_string())?;
    let asked = async {
        let engine = connect(host, ENGINE_TIMEOUT).await.map_err(|error| error.to_string())?;
        let found = tokio::time::timeout(ENGINE_TIMEOUT, clusters(engine.as_ref())).await;
        let mut found = found
            .map_err(|_| format!("the engine did not answer within {} s", ENGINE_TIMEOUT.as_secs()))?
            .map_err(|error| error.to_string())?;
        let uid = rustix::process::geteuid().as_raw();
        found.retain(|found| {
            found.uid.is_none_or(|owner| owner == uid) && Owner::all_gone(&found.owners, engine.info().local)
        });
        Ok((found, engine.info().address.clone()))
    };
    let answer = runtime.block_on(asked);
    // What hangs in it hangs without us.
    runtime.shutdown_background();
    answer
}
