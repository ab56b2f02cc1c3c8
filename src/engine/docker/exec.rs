//! Programs run in a running container.

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use futures_util::StreamExt;

use super::{error, raw};
use crate::engine::{ContainerId, EngineError, Exit, OUTPUT_KEPT, Result};

/// A shell's exit status for a program that cannot be started.
const CANNOT_START: i64 = 126;

/// Runs a program to its end. Its output ends when it has, or when whatever it has left behind closes it.
pub(super) async fn run(docker: &Docker, id: &ContainerId, argv: &[String]) -> Result<Exit> {
    let options = CreateExecOptions {
        cmd: Some(argv.to_vec()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..CreateExecOptions::default()
    };
    let created = docker.create_exec(&id.0, options).await.map_err(error::from_bollard)?;
    let (mut kept, mut stdout) = (vec![], vec![]);
    match docker.start_exec(&created.id, None::<StartExecOptions>).await.map_err(error::from_bollard) {
        Ok(StartExecResults::Attached { mut output, .. }) => {
            while let Some(piece) = output.next().await {
                let Ok(piece) = piece else { continue };
                let is_stdout = matches!(piece, LogOutput::StdOut { .. });
                let piece = piece.into_bytes();
                let piece = &piece[..piece.len().min(OUTPUT_KEPT - kept.len())];
                kept.extend_from_slice(piece);
                stdout.extend_from_slice(if is_stdout { piece } else { &[] });
            }
        }
        Ok(StartExecResults::Detached) => {}
        // Docker: no such program in the container. (Podman, and Docker with some runtimes, report it in the status
        // only.)
        Err(EngineError::Refused(why)) => return Ok(Exit { code: CANNOT_START, output: why.into_bytes(), stdout }),
        Err(error) => return Err(error),
    }
    let seen = raw::json(docker, &format!("/exec/{}/json", raw::encode(&created.id))).await?;
    // One that still runs has none.
    let code = seen["ExitCode"].as_i64().filter(|_| seen["Running"] != true);
    code.map(|code| Exit { code, output: kept, stdout }).ok_or_else(|| raw::nonsense("an exec has no exit status"))
}
