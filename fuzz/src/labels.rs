//! What is read back from labels of containers and from files in the state directory: owners, records, names of nodes.

use cthulhu::cluster::NodeName;
use cthulhu::daemon::{Record, fuzzed};

pub fn takes(data: &[u8]) -> bool {
    let record = serde_json::from_slice::<Record>(data);
    if let Ok(record) = &record {
        let text = serde_json::to_string(&record).unwrap();
        let again: Record = serde_json::from_str(&text).unwrap();
        assert_eq!(format!("{again:?}"), format!("{record:?}"));
    }
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let index = NodeName::parse_index(text);
    if let Some(index) = index {
        assert_eq!(NodeName::nth(index).as_str(), text);
    }
    let owner = fuzzed::owner(text);
    match &owner {
        Some(label) => assert_eq!(fuzzed::owner(label), owner),
        // What makes no sense is nobody's, and is never taken for a living daemon's.
        None => assert!(fuzzed::owner_is_gone(text)),
    }
    record.is_ok() || index.is_some() || owner.is_some()
}
