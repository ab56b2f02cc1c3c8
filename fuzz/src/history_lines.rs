//! Bytes appended to a history in pieces, wherever they are cut: all lines of a piece are taken or none, what is taken is
//! there as it was, and every line that is there can be read, as EDN too.
//!
//! 0xff ends a piece.

use std::sync::Mutex;

use cthulhu::history::{Batch, History, HistoryEvent, HistoryLine, edn};

static DIR: Mutex<Option<tempfile::TempDir>> = Mutex::new(None);

pub fn takes(data: &[u8]) -> bool {
    let mut dir = DIR.lock().unwrap();
    let path = dir.get_or_insert_with(|| tempfile::tempdir().unwrap()).path().join("history");
    let _ = std::fs::remove_file(&path);
    let (mut wanted, mut takes_all) = (Vec::new(), true);
    for piece in data.split(|byte| *byte == 0xff) {
        // Opened anew for each piece: it goes on where it was.
        let history = History::open(&path).unwrap();
        let mut batch = Batch::default();
        let lines: Vec<_> = piece.split(|byte| *byte == b'\n').collect();
        let is_taken = lines.iter().all(|line| batch.push(line).is_ok());
        takes_all &= is_taken;
        if is_taken {
            history.append_test(&batch).unwrap();
            let kept = |line: &&[u8]| String::from_utf8_lossy(line.trim_ascii()).replace('\r', " ");
            wanted.extend(lines.iter().map(kept).filter(|line| !line.is_empty()));
        }
    }
    let mut writer = edn::Writer::default();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    let mut entries = Vec::new();
    for line in text.lines() {
        writer.line(line).unwrap();
        entries.push(HistoryLine::parse(line).unwrap());
    }
    assert_eq!(entries.len(), wanted.len());
    for (nth, (entry, wanted)) in entries.iter().zip(&wanted).enumerate() {
        assert_eq!(entry.seq, nth as u64 + 1);
        assert!(matches!(&entry.event, HistoryEvent::Test(object) if object.as_str() == wanted), "{wanted}");
    }
    takes_all
}
