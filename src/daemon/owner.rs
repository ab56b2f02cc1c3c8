//! Identifies the process that owns a cluster, so that no other process, nor one after a reboot, is mistaken for it.

use std::fmt;
use std::os::unix::fs::MetadataExt;

use crate::sys::{boot_id, process_start_time};

/// A process, distinguished from all others that had or will have its pid: `PID.START@BOOT.PIDNS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pid: u32,
    /// Clock ticks after boot (proc_pid_stat(5), field 22).
    start: u64,
    boot: String,
    /// Inode of its pid namespace, 0 if unknown.
    namespace: u64,
}

impl Owner {
    pub(crate) fn this_process() -> Self {
        let pid = std::process::id();
        let namespace = std::fs::metadata("/proc/self/ns/pid").map_or(0, |meta| meta.ino());
        Self { pid, start: process_start_time(pid).unwrap_or(0), boot: boot_id().unwrap_or_default(), namespace }
    }

    pub(super) fn parse(label: &str) -> Option<Self> {
        let (process, machine) = label.trim().split_once('@')?;
        let (pid, start) = process.split_once('.')?;
        let (boot, namespace) = machine.split_once('.')?;
        let namespace = namespace.parse().ok()?;
        Some(Self { pid: pid.parse().ok()?, start: start.parse().ok()?, boot: boot.to_owned(), namespace })
    }

    /// Its pid, if the owner that a label names lives in our pid namespace.
    pub(super) fn pid(label: &str) -> Option<u32> {
        let owner = Self::parse(label)?;
        let here = Self::this_process();
        let same = owner.boot == here.boot && owner.namespace == here.namespace;
        (same && process_start_time(owner.pid) == Some(owner.start)).then_some(owner.pid)
    }

    /// Whether the owner that a label names is surely gone. On the engine of this machine (`local`) another boot is an
    /// earlier one; in another pid namespace, or on another machine, it is unknown. A label that makes no sense names
    /// no owner.
    pub(crate) fn is_gone(label: &str, local: bool) -> bool {
        let Some(owner) = Self::parse(label) else {
            return true;
        };
        let here = Self::this_process();
        match (owner.boot == here.boot, owner.namespace == here.namespace) {
            (true, true) => process_start_time(owner.pid) != Some(owner.start),
            (true, false) => false,
            (false, _) => local,
        }
    }

    /// Whether every owner that labels name is certainly gone. Things without an owner are not ours.
    pub(crate) fn all_gone<'a>(labels: impl IntoIterator<Item = &'a String>, local: bool) -> bool {
        let mut labels = labels.into_iter().peekable();
        labels.peek().is_some() && labels.all(|label| Self::is_gone(label, local))
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}@{}.{}", self.pid, self.start, self.boot, self.namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_living_from_the_dead() {
        let me = Owner::this_process();
        assert_eq!(Owner::parse(&me.to_string()), Some(me.clone()));
        assert_eq!(Owner::pid(&me.to_string()), Some(me.pid));
        assert!(!Owner::is_gone(&me.to_string(), true));
        for dead in [Owner { start: me.start + 1, ..me.clone() }, Owner { pid: u32::MAX, ..me.clone() }] {
            assert!(Owner::is_gone(&dead.to_string(), false), "{dead}");
            assert_eq!(Owner::pid(&dead.to_string()), None);
        }
        let earlier = Owner { boot: "another".into(), ..me.clone() }.to_string();
        assert!(Owner::is_gone(&earlier, true) && !Owner::is_gone(&earlier, false));
        let elsewhere = Owner { namespace: me.namespace + 1, start: 1, ..me }.to_string();
        assert!(!Owner::is_gone(&elsewhere, true));
        let (living, dead) = (Owner::this_process().to_string(), earlier);
        assert!(Owner::all_gone([&dead, &dead], true));
        assert!(!Owner::all_gone([&dead, &living], true) && !Owner::all_gone([], true));
        for nonsense in ["", "1@", "1.2", "x.y@z.1", "@"] {
            assert!(Owner::is_gone(nonsense, false), "{nonsense}");
        }
    }
}
