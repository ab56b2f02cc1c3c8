//! What is read back from labels of containers and from files in the state directory: owners, records, names of nodes.
#![no_main]

use cthulhu::cluster::NodeName;
use cthulhu::daemon::{Record, fuzzed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(record) = serde_json::from_slice::<Record>(data) {
        let text = serde_json::to_string(&record).unwrap();
        let again: Record = serde_json::from_str(&text).unwrap();
        assert_eq!(format!("{again:?}"), format!("{record:?}"));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(index) = NodeName::parse_index(text) {
        assert_eq!(NodeName::nth(index).as_str(), text);
    }
    match fuzzed::owner(text) {
        Some(owner) => assert_eq!(fuzzed::owner(&owner), Some(owner)),
        // What makes no sense is nobody's, and is never taken for a living daemon's.
        None => assert!(fuzzed::owner_is_gone(text)),
    }
});
