//! What the machine gives to the daemon.

use std::fs;
use std::path::Path;

use indicatif::HumanBytes;

use super::{Finding, Verdict};
use crate::daemon::state_home;
use crate::sys;

/// CGROUP2_SUPER_MAGIC of linux/magic.h.
const CGROUP2: rustix::fs::FsWord = 0x6367_7270;
/// Descriptors of a daemon beside those of its nodes, and for each node, measured with 100 of them and rounded up.
const DESCRIPTORS: (u64, u64) = (40, 4);
/// Less free space than this is reported.
const LITTLE_ROOM: u64 = 1 << 30;

/// Which version of control groups the machine has; every one will do.
pub(crate) fn cgroup() -> Finding {
    let finding = |verdict, text: &str| Finding::new("cgroup", verdict, text);
    match rustix::fs::statfs("/sys/fs/cgroup") {
        Ok(about) if about.f_type == CGROUP2 => finding(Verdict::Ok, "version 2"),
        Ok(_) if Path::new("/sys/fs/cgroup/memory").exists() => finding(Verdict::Ok, "version 1"),
        _ => finding(Verdict::Unknown, "no /sys/fs/cgroup can be seen from here; the engine has to know"),
    }
}

/// How many nodes the limit of open files allows.
pub(crate) fn descriptors() -> Finding {
    let finding = |verdict, text: String| Finding::new("open files", verdict, text);
    let Some(limit) = sys::most_nofile() else {
        return finding(Verdict::Ok, "no limit".into());
    };
    let nodes = limit.saturating_sub(DESCRIPTORS.0) / DESCRIPTORS.1;
    let text = format!("the hard limit of {limit} is enough for about {nodes} nodes");
    // Whether it is enough for one, the trial says.
    if nodes < 100 {
        finding(Verdict::Note, format!("{text}; more with ulimit -Hn 4096 as root, or in /etc/security/limits.conf"))
    } else {
        finding(Verdict::Ok, text)
    }
}

/// Room for what nodes write.
pub(crate) fn state() -> Finding {
    let finding = |verdict, text: String| Finding::new("state", verdict, text);
    let home = match state_home() {
        Ok(home) => home,
        Err(error) => return finding(Verdict::Problem, error.to_string()),
    };
    let Some(there) = home.ancestors().find(|path| fs::metadata(path).is_ok()) else {
        return finding(Verdict::Unknown, format!("{} cannot be seen", home.display()));
    };
    match rustix::fs::statvfs(there) {
        Ok(about) => {
            let free = about.f_bavail.saturating_mul(about.f_frsize);
            let text = format!("{} are free for {}", HumanBytes(free), home.display());
            if free < LITTLE_ROOM {
                finding(Verdict::Note, format!("only {text}: make room, or set XDG_STATE_HOME to another disk"))
            } else {
                finding(Verdict::Ok, text)
            }
        }
        Err(error) => finding(Verdict::Unknown, format!("{}: {error}", there.display())),
    }
}
