//! The report of a directory: one of artifacts, the data of a cluster, or a mount. All have `history` and the nodes' logs
//! in directories of the nodes' names.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use crate::cluster::NodeName;
use crate::history::HistoryLine;
use crate::timeline::{Evidence, Excerpt, Moments, Timeline, excerpt, report as page};

/// Logs of so many nodes are shown, first of those that have lines of the moment.
const NODES: usize = 12;
/// A longer line is taken for several, in bytes.
const LONGEST: u64 = 64 << 10;
/// So much at the end of a file is read if only that is shown, in bytes.
const END: i64 = 256 << 10;
/// Name of the file with the schedule of faults.
pub(super) const SCHEDULE: &str = "schedule";

/// The page for `timeline`, which was made of `lines`, with what `dir` has of the nodes.
pub(crate) fn report(timeline: &Timeline, lines: &[HistoryLine], dir: Option<&Path>) -> String {
    let moments = Moments::of(timeline);
    // Logs go on from mount to mount: what stands at their ends is of the last, as is the schedule.
    let is_last = timeline.mount.0 == timeline.mount.1;
    let (mut logs, mut others): (Vec<Excerpt>, Vec<Excerpt>) = (vec![], vec![]);
    let mut with_logs = 0;
    for (index, node) in timeline.nodes.iter().enumerate() {
        let files = dir.map(|dir| log_files(dir, &node.name, index)).unwrap_or_default();
        with_logs += usize::from(!files.is_empty());
        // All of a log is read, which takes its time.
        let is_enough = logs.len() == NODES || moments.are_none() && (others.len() == NODES || !is_last);
        if files.is_empty() || is_enough {
            continue;
        }
        let lines = files.into_iter().flat_map(|file| log_lines(file, moments.are_none()));
        let log = excerpt(&node.name, lines, &moments);
        let those = if log.is_moment { &mut logs } else { &mut others };
        if those.len() < NODES && (log.is_moment || is_last) {
            those.push(log);
        }
    }
    logs.append(&mut others);
    logs.truncate(NODES);
    let more_logs = with_logs - logs.len();
    let schedule = dir.filter(|_| is_last).and_then(|dir| fs::read_to_string(dir.join(SCHEDULE)).ok());
    page(&Evidence { timeline, lines, logs, more_logs, schedule: schedule.as_deref() })
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

/// The lines of a file, or only those at its end.
fn log_lines(path: PathBuf, only_end: bool) -> impl Iterator<Item = Vec<u8>> {
    let mut file = File::open(path).ok();
    // A shorter file has nothing so far from its end, and is read from its beginning.
    let is_cut = only_end && file.as_mut().is_some_and(|file| file.seek(SeekFrom::End(-END)).is_ok());
    let mut file = file.map(BufReader::new);
    let lines = std::iter::from_fn(move || {
        let mut line = vec![];
        let taken = file.as_mut()?.take(LONGEST).read_until(b'\n', &mut line);
        taken.is_ok_and(|taken| taken > 0).then_some(line)
    });
    lines.skip(usize::from(is_cut))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use serde_json::json;

    use super::*;
    use crate::history::RecordedHistory;

    /// The report about a mount of a history of two, each of so many nodes.
    fn report_of(mount: usize, nodes: usize, dir: &Path) -> String {
        let nodes: Vec<_> = (0..nodes).map(|index| json!({"name": NodeName::nth(index).to_string()})).collect();
        let mounted = json!({"cluster": {"phase": "mounted", "nodes": nodes}});
        let history = RecordedHistory::read(format!("{mounted}\n{mounted}\n").as_bytes()).unwrap();
        let timeline = Timeline::of(&history, Some(mount), None).unwrap();
        report(&timeline, &history.mounts[mount - 1], Some(dir))
    }

    #[test]
    fn the_ends_of_logs_and_the_schedule_are_of_the_last_mount() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("i001")).unwrap();
        fs::write(dir.path().join("i001/log"), "words of the last\n").unwrap();
        fs::write(dir.path().join(SCHEDULE), "at 1s crash i001\n").unwrap();
        for (mount, there) in [(1, false), (2, true)] {
            let page = report_of(mount, 1, dir.path());
            for text in ["words of the last", "at 1s crash i001"] {
                assert_eq!(page.contains(text), there, "{mount}: {text}");
            }
        }
    }

    #[test]
    fn of_many_nodes_it_says_how_many_logs_are_left_out_and_of_a_long_log_only_the_end_is_read() {
        let dir = tempfile::tempdir().unwrap();
        for index in 0..NODES + 3 {
            let node = dir.path().join(NodeName::nth(index).as_str());
            fs::create_dir(&node).unwrap();
            fs::write(node.join("log"), "x\n").unwrap();
        }
        let long = File::create(dir.path().join("i001/log")).unwrap();
        // A terabyte, which nobody can read in time.
        long.set_len(1 << 40).unwrap();
        long.write_all_at(b"\nthe end\n", (1 << 40) - 9).unwrap();
        let page = report_of(2, NODES + 3, dir.path());
        assert!(page.contains("The logs of 3 other nodes are not shown.") && page.contains("the end"));
        assert!(page.len() < 1 << 20, "{}", page.len());
    }
}
