//! The options `--group` and `--group-…`.

use clap::Args;

/// Arguments about groups. All but the first say of one group what is otherwise said of all nodes.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct GroupArgs {
    /// COUNT nodes of IMAGE, in place of -n and -i: called NAME, or NAME-1, NAME-2, … if there are several
    #[arg(long, value_name = "NAME:COUNT:IMAGE", conflicts_with_all = ["instances", "image", "file"])]
    pub(crate) group: Vec<String>,
    /// What the nodes of a group run instead of the image's command: words as in a shell, each a template
    #[arg(long, value_name = "NAME=COMMAND")]
    pub(crate) group_command: Vec<String>,
    /// As -e, for a group
    #[arg(long, value_name = "NAME=K=V")]
    pub(crate) group_env: Vec<String>,
    /// As --config, for a group
    #[arg(long, value_name = "NAME=DIR")]
    pub(crate) group_config: Vec<String>,
    /// As --initial, for a group
    #[arg(long, value_name = "NAME=DIR")]
    pub(crate) group_initial: Vec<String>,
    /// As --memory, for a group
    #[arg(long, value_name = "NAME=BYTES")]
    pub(crate) group_memory: Vec<String>,
    /// As --user, for a group
    #[arg(long, value_name = "NAME=USER[:GROUP]")]
    pub(crate) group_user: Vec<String>,
    /// As --ready-port, for a group
    #[arg(long, value_name = "NAME=PORT")]
    pub(crate) group_ready_port: Vec<String>,
    /// As --ready-log, for a group
    #[arg(long, value_name = "NAME=REGEX")]
    pub(crate) group_ready_log: Vec<String>,
    /// As --ready-cmd, for a group
    #[arg(long, value_name = "NAME=CMD")]
    pub(crate) group_ready_cmd: Vec<String>,
}
