//! What an engine answers: descriptions of containers, events cut anywhere, pieces of logs, times.

use cthulhu::engine::docker::fuzzed;

pub fn takes(data: &[u8]) -> bool {
    let Some((which, rest)) = data.split_first() else { return false };
    match which % 4 {
        0 => {
            let Ok(text) = std::str::from_utf8(rest) else { return false };
            let Ok(seen) = fuzzed::inspection(text) else { return false };
            // Whole, and indenting it again changes nothing.
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::from_str::<serde_json::Value>(&seen.raw).unwrap(), value);
            assert_eq!(fuzzed::inspection(&seen.raw).unwrap(), seen);
            assert!(seen.started_at >= 0 && seen.pid.is_none_or(|pid| pid > 0));
            true
        }
        1 => {
            // The first byte says where to cut.
            let Some((cut, text)) = rest.split_first() else { return false };
            let whole = fuzzed::events(&[text]);
            let pieces: Vec<&[u8]> = text.chunks(usize::from(*cut) + 1).collect();
            assert_eq!(fuzzed::events(&pieces), whole);
            !whole.is_empty() && whole.iter().all(Result::is_ok)
        }
        2 => {
            let chunk = fuzzed::log_chunk(rest);
            assert!(rest.ends_with(&chunk.bytes));
            assert!(chunk.time >= 0 && (chunk.bytes.len() == rest.len() || chunk.bytes.len() + 41 > rest.len()));
            chunk.time > 0
        }
        _ => {
            let Ok(text) = std::str::from_utf8(rest) else { return false };
            let time = fuzzed::time(text);
            assert!(time.is_none_or(|time| time >= 0));
            fuzzed::address(text).is_ok() || time.is_some()
        }
    }
}
