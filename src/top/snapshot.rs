//! What is known of a cluster at a moment, free of how it is shown.

/// A cluster at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Snapshot {
    pub(crate) mountpoint: String,
    pub(crate) image: String,
    /// Where its engines are; empty if not known.
    pub(crate) engine: String,
    pub(crate) nodes: Vec<Node>,
    /// Faults in force, a line each.
    pub(crate) faults: Vec<String>,
    /// Which node's log was asked for, and its last lines.
    pub(crate) log: Option<(usize, Vec<String>)>,
}

/// A node at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) ip: String,
    /// `None` while the engine cannot be reached.
    pub(crate) state: Option<String>,
    /// yes or no; empty if not known.
    pub(crate) ready: String,
    /// As a health check says; empty if there is none.
    pub(crate) health: String,
    /// Of its first process; empty unless running.
    pub(crate) pid: String,
    /// Of its last run; empty while none has ended.
    pub(crate) exit_code: String,
    /// When its run began, in ns since the Unix epoch; 0 if it does not run.
    pub(crate) started_at: i64,
    pub(crate) container: String,
    /// Which of the cluster's engines it is in.
    pub(crate) host: usize,
    /// The last line of its log.
    pub(crate) last_line: String,
    /// How many faults name it.
    pub(crate) faults: usize,
}

impl Node {
    /// Its state in a word, with the exit code if it has ended.
    pub(crate) fn state(&self) -> String {
        match self.state.as_deref() {
            None => "unknown".into(),
            Some("exited") if !self.exit_code.is_empty() => format!("exited {}", self.exit_code),
            Some(state) => state.to_owned(),
        }
    }

    /// yes or no, and what its health check says if it is not well.
    pub(crate) fn ready(&self) -> String {
        match self.health.as_str() {
            "unhealthy" => "unhealthy".into(),
            _ if self.ready.is_empty() => "-".into(),
            _ => self.ready.clone(),
        }
    }

    pub(crate) fn runs(&self) -> bool {
        matches!(self.state.as_deref(), Some("running" | "paused"))
    }

    /// How long its process has lived at `now` (ns since the epoch), as `12s`, `3m05s`, `2h07m`, `4d03h`; `-` if it doesn't.
    pub(crate) fn uptime(&self, now: i64) -> String {
        if !self.runs() || self.started_at <= 0 {
            return "-".into();
        }
        let seconds = now.saturating_sub(self.started_at).max(0) / 1_000_000_000;
        match seconds {
            ..60 => format!("{seconds}s"),
            60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
            3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
            _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
        }
    }
}

impl Snapshot {
    /// How many nodes have a process.
    pub(crate) fn up(&self) -> usize {
        self.nodes.iter().filter(|node| node.runs()).count()
    }

    /// Whether the engine cannot be reached, so that nothing is known of the nodes.
    pub(crate) fn is_unknown(&self) -> bool {
        !self.nodes.is_empty() && self.nodes.iter().all(|node| node.state.is_none())
    }
}

/// CPU in percent of one, such as `3.4%`; `-` if not known.
pub(crate) fn percent(cpu: Option<f64>) -> String {
    cpu.map_or_else(|| "-".into(), |cpu| if cpu < 99.95 { format!("{cpu:.1}%") } else { format!("{cpu:.0}%") })
}

/// Bytes, such as `12.3M`; `-` if not known.
pub(crate) fn bytes(number: Option<u64>) -> String {
    let Some(number) = number else { return "-".into() };
    let mut value = number as f64;
    let mut units = ["B", "K", "M", "G", "T"].iter();
    let mut unit = units.next().unwrap_or(&"B");
    while value >= 999.5 {
        let Some(next) = units.next() else { break };
        unit = next;
        value /= 1024.0;
    }
    if value < 9.95 && *unit != "B" { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(
            (percent(None), percent(Some(3.44)), percent(Some(212.7))),
            ("-".into(), "3.4%".into(), "213%".into())
        );
        let all = [None, Some(0), Some(999), Some(1000), Some(4 << 20), Some(123 << 20), Some(1 << 30)].map(bytes);
        assert_eq!(all, ["-", "0B", "999B", "1.0K", "4.0M", "123M", "1.0G"]);
    }

    #[test]
    fn uptimes_are_short() {
        let mut node = Node { state: Some("running".into()), started_at: 1_000_000_000, ..Node::default() };
        let at = |node: &Node, seconds: i64| node.uptime((seconds + 1) * 1_000_000_000);
        let all = [0, 59, 185, 7_625, 270_000].map(|seconds| at(&node, seconds));
        assert_eq!(all, ["0s", "59s", "3m05s", "2h07m", "3d03h"]);
        // The engine's clock may be ahead of ours.
        assert_eq!(at(&node, -100), "0s");
        node.state = Some("exited".into());
        node.exit_code = "137".into();
        assert_eq!((at(&node, 5), node.state()), ("-".into(), "exited 137".into()));
        node.state = None;
        assert_eq!(node.state(), "unknown");
    }
}
