//! `cthulhu ls`.

use std::process::ExitCode;

use anyhow::Result;

use super::{LsArgs, print};
use crate::daemon::records;

/// Prints the clusters of this user.
///
/// # Errors
/// One sentence for the user.
pub fn list(args: &LsArgs) -> Result<ExitCode> {
    let records = records()?;
    if args.json {
        let all: Vec<_> = records
            .iter()
            .map(|(record, daemon)| {
                let mut value = serde_json::to_value(record).unwrap_or_default();
                value["state"] = state(*daemon).into();
                value
            })
            .collect();
        return print(format!("{:#}\n", serde_json::Value::Array(all)).as_bytes());
    }
    let mut text = format!("{:<10} {:>5}  {:<29} {}\n", "STATE", "NODES", "IMAGE", "MOUNTPOINT");
    for (record, daemon) in &records {
        let (state, at) = (state(*daemon), record.mountpoint.display());
        text.push_str(&format!("{state:<10} {:>5}  {:<29} {at}\n", record.nodes, record.image));
    }
    print(text.as_bytes())
}

/// A record whose daemon is gone stands for what that one could not remove.
fn state(daemon: Option<u32>) -> &'static str {
    if daemon.is_some() { "mounted" } else { "left over" }
}
