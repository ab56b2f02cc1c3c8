//! Which engine: options of every command that asks one.

use clap::Args;

/// Where the engine is.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct EngineArgs {
    /// The engine: unix://PATH, ssh://[USER@]HOST, tcp://HOST:PORT, or simulated: for none at all
    /// [default: DOCKER_HOST, the docker context, /var/run/docker.sock, podman's socket]
    #[arg(long, value_name = "URL")]
    host: Option<String>,
    /// The docker context that says where the engine is: see docker context ls
    #[arg(long, value_name = "NAME", conflicts_with = "host")]
    context: Option<String>,
}

impl EngineArgs {
    /// Its address; `None` for the usual engine.
    pub(crate) fn address(&self) -> Option<String> {
        self.host.clone().or_else(|| self.context.as_ref().map(|name| format!("context:{name}")))
    }
}
