//! What a picture shows of one mount, free of how it is drawn.

use super::operations::Lane;
use super::verdicts::{Anomaly, Verdict};
use crate::cluster::State;
use crate::history::Cause;

/// Why a node is in a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Why {
    /// `None` if the history does not say how the node came to the state.
    pub(crate) cause: Option<Cause>,
    /// The command's index in [`Timeline::commands`].
    pub(crate) command: Option<usize>,
    /// Exit code of the run that ended.
    pub(crate) exit_code: Option<i64>,
    /// Name of the signal that ended it.
    pub(crate) signal: Option<String>,
    /// The signal came because the grace of a stop had run out.
    pub(crate) grace_expired: bool,
}

/// A time in which a node was in one state.
#[derive(Debug)]
pub(crate) struct Stay {
    /// ns since the mount.
    pub(crate) from: i64,
    /// ns since the mount.
    pub(crate) to: i64,
    /// One state all the time: neighbours differ.
    pub(crate) state: State,
    /// How the node came to it.
    pub(crate) why: Why,
}

impl Stay {
    /// Whether the node cannot be reached though it should be.
    pub(crate) fn is_down(&self) -> bool {
        matches!(self.state, State::Exited | State::Missing)
    }
}

/// A time in which something held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// ns since the mount.
    pub(crate) from: i64,
    /// ns since the mount.
    pub(crate) to: i64,
    /// In a few words, for the chart.
    pub(crate) text: String,
    /// All of it, for a tooltip; empty if `text` says it all.
    pub(crate) detail: String,
}

#[derive(Debug, Default)]
pub(crate) struct Node {
    /// As in `i001`.
    pub(crate) name: String,
    /// Its IPv4 address; empty if unknown.
    pub(crate) ip: String,
    /// Its states, without a gap from the first line of the mount to the last.
    pub(crate) stays: Vec<Stay>,
    /// The times in which it was ready.
    pub(crate) ready: Vec<Span>,
    /// The times in which it was unhealthy.
    pub(crate) unhealthy: Vec<Span>,
    /// What faults did to it; spans may overlap.
    pub(crate) faults: Vec<Span>,
    /// The times in which it had a role; spans may overlap.
    pub(crate) roles: Vec<Span>,
}

/// One line that was written to a `control` file or a file of faults.
#[derive(Debug)]
pub(crate) struct Command {
    /// When it was written, in ns since the mount.
    pub(crate) from: i64,
    /// When the write returned, in ns since the mount; `None` if it never was.
    pub(crate) to: Option<i64>,
    /// As it was written, without the blanks around it.
    pub(crate) line: String,
    /// The indices of the nodes that it means.
    pub(crate) nodes: Vec<usize>,
    /// If it failed: those of `nodes` for which it did not.
    pub(crate) went_well: Vec<usize>,
    /// The errno and the sentence; `None` if it did not fail.
    pub(crate) failure: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// A command asked for it, and it does no harm.
    Asked,
    /// A command asked for it: a kill, a fault.
    Harm,
    Failure,
    /// No command asked for it.
    Surprise,
}

/// Something that happened, worth a sentence.
#[derive(Debug)]
pub(crate) struct Incident {
    /// ns since the mount.
    pub(crate) at: i64,
    /// What decides which incidents are shown.
    pub(crate) weight: Weight,
    /// Indices of the nodes in whose lanes its number stands.
    pub(crate) nodes: Vec<usize>,
    /// The sentence, without a full stop.
    pub(crate) text: String,
}

/// The schedules of a mount.
#[derive(Debug)]
pub(crate) struct Nemesis {
    /// What they were drawn from, and how long they are: `seed 7, 12 episodes`.
    pub(crate) head: String,
    /// By their begins; they may overlap.
    pub(crate) episodes: Vec<Span>,
    /// From when all was healed to the end of the quiet time.
    pub(crate) quiet: Vec<Span>,
    /// What went otherwise than the schedule says: when, and a sentence.
    pub(crate) errors: Vec<(i64, String)>,
}

/// A role, and who had it.
#[derive(Debug)]
pub(crate) struct Role {
    /// As in `leader`.
    pub(crate) name: String,
    /// By time.
    pub(crate) held: Vec<Held>,
}

/// A time in which the same nodes had a role.
#[derive(Debug)]
pub(crate) struct Held {
    /// ns since the mount.
    pub(crate) from: i64,
    /// ns since the mount.
    pub(crate) to: i64,
    /// Their names.
    pub(crate) nodes: Vec<String>,
    /// Why it was not known any more.
    pub(crate) error: Option<String>,
}

impl Held {
    /// For the chart and its tooltip.
    pub(crate) fn span(&self) -> Span {
        let nodes = if self.nodes.is_empty() { "nobody".to_owned() } else { self.nodes.join(" ") };
        match &self.error {
            None => Span { from: self.from, to: self.to, text: nodes, detail: String::new() },
            Some(error) => {
                let detail = format!("unknown: {error}");
                Span { from: self.from, to: self.to, text: format!("{nodes} ?"), detail }
            }
        }
    }

    /// For a table: `i002`, or `unknown (last i002): exit status 1`.
    pub(crate) fn sentence(&self) -> String {
        match (&self.error, self.nodes.as_slice()) {
            (None, nodes) => nodes.join(" "),
            (Some(error), []) => format!("unknown: {error}"),
            (Some(error), nodes) => format!("unknown (last {}): {error}", nodes.join(" ")),
        }
    }
}

impl Role {
    /// When a node had it.
    pub(crate) fn of<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a Held> {
        self.held.iter().filter(move |held| held.nodes.iter().any(|name| name == node))
    }
}

/// How a picture ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With the last line of the mount.
    Unmounted,
    /// With the last line that there is.
    Unrecorded,
    /// Now: the cluster is mounted.
    Now,
}

/// One mount, as it is drawn.
#[derive(Debug)]
pub(crate) struct Timeline {
    pub(crate) id: String,
    /// The image that its nodes run.
    pub(crate) image: String,
    /// Wall time of the first line, RFC 3339.
    pub(crate) start: String,
    /// ns from the first line to the end.
    pub(crate) duration: i64,
    /// Which mount of the history this is, counted from 1, and of how many.
    pub(crate) mount: (usize, usize),
    pub(crate) end: End,
    /// In their order in the cluster.
    pub(crate) nodes: Vec<Node>,
    /// In the order in which they began.
    pub(crate) commands: Vec<Command>,
    /// The last verdict of each model, the worst first.
    pub(crate) verdicts: Vec<Verdict>,
    /// What performed schedules of faults, if anything did.
    pub(crate) nemesis: Option<Nemesis>,
    /// Who had which role.
    pub(crate) roles: Vec<Role>,
    /// Each set of network faults that was in force, and each time without a sandbox. Crashes are states of nodes.
    pub(crate) faults: Vec<Span>,
    /// When the engine could not be reached.
    pub(crate) outages: Vec<Span>,
    /// The test's own operations.
    pub(crate) lanes: Vec<Lane>,
    /// What the reader should see first, by time.
    pub(crate) incidents: Vec<Incident>,
    /// How many more there are that matter less.
    pub(crate) more_incidents: usize,
    /// What the reader must know of the history itself, in sentences.
    pub(crate) notes: Vec<String>,
}

impl Timeline {
    /// How many operations of the test there are.
    pub(crate) fn operations(&self) -> usize {
        self.lanes.iter().map(|lane| lane.operations.len()).sum()
    }

    /// The anomalies that are shown, with their numbers in the picture. Incidents are counted on from there.
    pub(crate) fn anomalies(&self) -> impl Iterator<Item = (usize, &Anomaly)> {
        (1..).zip(self.verdicts.iter().flat_map(|verdict| &verdict.anomalies))
    }

    /// The incidents with their numbers in the picture.
    pub(crate) fn incidents(&self) -> impl Iterator<Item = (usize, &Incident)> {
        (self.anomalies().count() + 1..).zip(&self.incidents)
    }
}
