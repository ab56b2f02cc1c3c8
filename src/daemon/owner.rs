//! Says which process owns a cluster, in a way that another process, or another boot, cannot be mistaken for.

use std::fmt;

use crate::sys::{boot_id, process_start_time};

/// A process, told apart from every other that has had or will have its pid: `PID.START@BOOT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pid: u32,
    /// Clock ticks after boot (proc_pid_stat(5), field 22).
    start: u64,
    boot: String,
}

impl Owner {
    /// This process.
    pub fn this_process() -> Self {
        let pid = std::process::id();
        Self { pid, start: process_start_time(pid).unwrap_or(0), boot: boot_id().unwrap_or_default() }
    }

    /// Whether the owner that a label names still lives. One that makes no sense does not.
    pub fn lives(label: &str) -> bool {
        let parsed = label.split_once('@').and_then(|(process, boot)| {
            let (pid, start) = process.split_once('.')?;
            Some(Self { pid: pid.parse().ok()?, start: start.parse().ok()?, boot: boot.to_owned() })
        });
        parsed.is_some_and(|owner| {
            boot_id().is_ok_and(|boot| boot == owner.boot) && process_start_time(owner.pid) == Some(owner.start)
        })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}@{}", self.pid, self.start, self.boot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_living_from_the_dead() {
        let me = Owner::this_process();
        assert!(Owner::lives(&me.to_string()));
        for dead in [
            Owner { start: me.start + 1, ..me.clone() },
            Owner { pid: u32::MAX, ..me.clone() },
            Owner { boot: "another".into(), ..me.clone() },
        ] {
            assert!(!Owner::lives(&dead.to_string()), "{dead}");
        }
        for nonsense in ["", "1@", "1.2", "x.y@z", "@"] {
            assert!(!Owner::lives(nonsense), "{nonsense}");
        }
    }
}
