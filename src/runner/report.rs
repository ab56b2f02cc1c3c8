//! The report of a directory: one of artifacts, the data of a cluster, or a mount. All have `history` and the nodes' logs
//! in directories of the nodes' names.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use crate::cluster::NodeName;
use crate::history::HistoryLine;
use crate::timeline::{Evidence, Excerpt, Moments, Timeline, excerpt, report as page};

/// Logs of so many nodes are shown, first of those that have lines of the moment.
const NODES: usize = 12;
/// A longer line is taken for several, in bytes.
const LONGEST: u64 = 64 << 10;
/// Names of the file with the schedule of faults.
pub(super) const SCHEDULE: &str = "schedule";

/// The page for `timeline`, which was made of `lines`, with what `dir` has of the nodes.
pub(crate) fn report(timeline: &Timeline, lines: &[HistoryLine], dir: Option<&Path>) -> String {
    let moments = Moments::of(timeline);
    let mut logs: Vec<Excerpt> = vec![];
    for (index, node) in timeline.nodes.iter().enumerate() {
        let files = dir.map(|dir| log_files(dir, &node.name, index)).unwrap_or_default();
        if !files.is_empty() {
            logs.push(excerpt(&node.name, files.into_iter().flat_map(log_lines), &moments));
        }
    }
    logs.sort_by_key(|log| !log.is_moment);
    logs.truncate(NODES);
    let schedule = dir.and_then(|dir| fs::read_to_string(dir.join(SCHEDULE)).ok());
    page(&Evidence { timeline, lines, logs, schedule: schedule.as_deref() })
}

/// The files of a node's log, the older one first. A directory is named as the node, or by its number.
fn log_files(dir: &Path, name: &str, index: usize) -> Vec<PathBuf> {
    // The name comes from the history, which anybody may have written.
    let mut components = Path::new(name).components();
    let is_name = matches!((components.next(), components.next()), (Some(Component::Normal(_)), None));
    let number = NodeName::nth(index).to_string();
    let names = is_name.then_some(name).into_iter().chain([number.as_str()]);
    let files = names.map(|name| ["log.old", "log"].map(|file| dir.join(name).join(file)));
    let is_file = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file());
    files
        .map(|files| files.into_iter().filter(is_file).collect())
        .find(|files: &Vec<_>| !files.is_empty())
        .unwrap_or_default()
}

fn log_lines(path: PathBuf) -> impl Iterator<Item = Vec<u8>> {
    let mut file = File::open(path).ok().map(BufReader::new);
    std::iter::from_fn(move || {
        let mut line = vec![];
        let taken = file.as_mut()?.take(LONGEST).read_until(b'\n', &mut line);
        taken.is_ok_and(|taken| taken > 0).then_some(line)
    })
}
