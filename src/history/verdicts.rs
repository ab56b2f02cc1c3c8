//! The verdicts of a history.

use std::io;
use std::path::Path;

use super::{ClusterEvent, HistoryEvent, HistoryLine, VerdictEvent, read_lines};

/// Adds a verdict; it takes the place of those before on the same model and the same operations, or fewer.
pub(crate) fn replace_verdict(verdicts: &mut Vec<VerdictEvent>, new: VerdictEvent) {
    verdicts.retain(|old| old.model != new.model || old.after < new.after);
    verdicts.push(new);
}

/// The verdicts that count, on each model, in the last mount of a history.
///
/// # Errors
/// Those of reading it. Lines that are none of a history are passed over.
pub(crate) fn last_verdicts(history: &Path) -> io::Result<Vec<VerdictEvent>> {
    let mut verdicts = vec![];
    for line in read_lines(history)? {
        let line = line?;
        // Most lines are neither, and need not be taken apart.
        if !line.contains("\"verdict\"") && !line.contains("\"mounted\"") {
            continue;
        }
        match HistoryLine::parse(&line).map(|line| line.event) {
            Ok(HistoryEvent::Verdict(verdict)) => replace_verdict(&mut verdicts, verdict),
            Ok(HistoryEvent::Cluster(ClusterEvent::Mounted { .. })) => verdicts.clear(),
            _ => {}
        }
    }
    Ok(verdicts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_verdict_counts_on_each_model_and_the_same_operations() {
        let verdict_after = |after: u64, model: &str, result: &str| {
            format!(
                r#"{{"verdict":{{"model":"{model}","result":"{result}","text":"","operations":1,"after":{after}}}}}"#
            )
        };
        let verdict = |model: &str, result: &str| verdict_after(0, model, result);
        let mounted = r#"{"cluster":{"phase":"mounted"}}"#.to_owned();
        let test = r#"{"test":{"verdict":{"model":"set","result":"violated","text":"","operations":1}}}"#.to_owned();
        let lines = [
            mounted.clone(),
            verdict("list", "violated"),
            mounted,
            verdict("set", "violated"),
            verdict_after(20, "set", "unknown"),
            verdict("bank", "unknown"),
            verdict("set", "good"),
            verdict_after(10, "bank", "violated"),
            verdict_after(30, "bank", "good"),
            verdict_after(40, "set", "unknown"),
            verdict_after(30, "set", "good"),
            test,
            "{".into(),
        ];
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        let told = last_verdicts(&path).unwrap();
        let told: Vec<_> = told.iter().map(|one| (one.model.as_str(), one.result)).collect();
        use crate::history::VerdictResult::{Good, Unknown, Violated};
        let bank = [("bank", Unknown), ("bank", Violated), ("bank", Good)];
        assert_eq!(told, [&bank[..1], &[("set", Good)], &bank[1..], &[("set", Good)]].concat());
        assert!(last_verdicts(&dir.path().join("none")).is_err());
    }
}
