//! The last lines of a node's log, fit for a terminal.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use crate::text::plain;

/// So many lines are shown,
const LINES: usize = 10;
/// from this number of bytes at the end.
const BYTES: u64 = 16 * 1024;

/// A log is written as the engine hands output on, and nothing shows when the last of it has come: it counts as
/// complete when it has not grown for [`STILL`], or after [`LONGEST`].
const STILL: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(1);

/// The last lines of the log of a node that has just ended; control characters are escaped.
///
/// # Errors
/// Those of reading it.
pub(crate) fn log_end(path: &Path) -> io::Result<Vec<String>> {
    let mut size = std::fs::metadata(path)?.len();
    for _ in 0..LONGEST.as_millis() / STILL.as_millis() {
        std::thread::sleep(STILL);
        let now = std::fs::metadata(path)?.len();
        if now == size && now > 0 {
            break;
        }
        size = now;
    }
    log_so_far(path)
}

/// The last lines of a node's log as it is now; control characters are escaped.
///
/// # Errors
/// Those of reading it.
pub(crate) fn log_so_far(path: &Path) -> io::Result<Vec<String>> {
    let size = std::fs::metadata(path)?.len();
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(size.saturating_sub(BYTES)))?;
    let mut text = vec![];
    file.take(BYTES).read_to_end(&mut text)?;
    Ok(last_lines(&text))
}

fn last_lines(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let mut lines: Vec<_> = text.lines().rev().filter(|line| !line.trim().is_empty()).take(LINES).map(plain).collect();
    lines.reverse();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_and_nothing_harmful() {
        let many: String = (0..50).map(|nth| format!("line {nth}\n")).collect();
        let lines = last_lines(many.as_bytes());
        assert_eq!((lines.len(), lines[0].as_str(), lines[9].as_str()), (10, "line 40", "line 49"));
        assert_eq!(last_lines(b"\x1b[31mred\x07\tx\r\n\n\xff\n"), ["\\u{1b}[31mred\\u{7}\tx", "\u{fffd}"]);
        assert_eq!(last_lines("a\u{202e}b\u{9b}c".as_bytes()), ["a\\u{202e}b\\u{9b}c"]);
        assert!(last_lines(b"\n\n").is_empty() && last_lines(b"").is_empty());
    }
}
