//! Finds where to go on in a history that an earlier daemon left, perhaps in the middle of a line.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use super::json::Members;

/// How much of the file's end is read first, in bytes.
const FIRST_LOOK: u64 = 64 * 1024;

/// Where the whole lines of a file end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileEnd {
    /// In bytes.
    pub(crate) len: u64,
    /// The number of the last line; 0 if there is none.
    pub(crate) seq: u64,
}

/// Repairs the end of a file, and returns where it is. A last line that lacks only its newline gets it. Part of a line
/// is cut off: its writer was killed before the write returned.
///
/// # Errors
/// From the file system; `InvalidData` if the file is not a history. Then it is left alone.
pub(super) fn mend(file: &File) -> io::Result<FileEnd> {
    let len = file.metadata()?.len();
    let (start, tail) = tail(file, len)?;
    let end = tail.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let (whole, torn) = tail.split_at(end);
    let last = whole.strip_suffix(b"\n").map(|lines| lines.rsplit(|&byte| byte == b'\n').next().unwrap_or(lines));
    let seq = match last {
        Some(line) => number(line).ok_or_else(foreign)?,
        None => 0,
    };
    let end = start + end as u64;
    if torn.is_empty() {
        return Ok(FileEnd { len, seq });
    }
    if number(torn) == Some(seq + 1) && file.write_all_at(b"\n", len).is_ok() {
        return Ok(FileEnd { len: len + 1, seq: seq + 1 });
    }
    if last.is_none() && !may_be_torn(torn) {
        return Err(foreign());
    }
    file.set_len(end)?;
    Ok(FileEnd { len: end, seq })
}

/// Where the last lines begin, and their bytes: at least one whole line, if the file has one.
fn tail(file: &File, len: u64) -> io::Result<(u64, Vec<u8>)> {
    let mut look = FIRST_LOOK;
    loop {
        let from = len.saturating_sub(look);
        let mut bytes = vec![0; usize::try_from(len - from).map_err(|_| foreign())?];
        file.read_exact_at(&mut bytes, from)?;
        if from == 0 {
            return Ok((0, bytes));
        }
        let newlines = bytes.iter().filter(|&&byte| byte == b'\n').count();
        if let (Some(at), true) = (bytes.iter().position(|&byte| byte == b'\n'), newlines > 1) {
            return Ok((from + at as u64 + 1, bytes.split_off(at + 1)));
        }
        look *= 2;
    }
}

/// The number of a line; `None` if this is no line of a history.
fn number(line: &[u8]) -> Option<u64> {
    let members: Members<'_> = serde_json::from_slice(line).ok()?;
    // The event may be of a kind that only a later version knows.
    members.get::<String>("time").ok()??;
    members.get::<u64>("mono_ns").ok()??;
    members.get("seq").ok()?
}

/// Whether a file without a whole line can be the beginning of a history's first line, or the zeros that a file system
/// leaves after a power failure.
fn may_be_torn(text: &[u8]) -> bool {
    const BEGINNING: &[u8] = b"{\"seq\":1,\"time\":\"";
    let common = text.len().min(BEGINNING.len());
    text[..common] == BEGINNING[..common] || text.iter().all(|&byte| byte == 0)
}

fn foreign() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "it is no history of cthulhu's: move it away")
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};

    use super::*;

    const LINE: &str = r#"{"seq":1,"time":"2026-11-25T07:00:31.123456789Z","mono_ns":5,"test":{"a":1}}"#;

    fn mended(text: &[u8]) -> (io::Result<FileEnd>, Vec<u8>) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        let end = mend(&file);
        let mut after = vec![];
        file.rewind().unwrap();
        file.read_to_end(&mut after).unwrap();
        (end, after)
    }

    #[test]
    fn a_torn_line_is_cut_and_a_whole_one_ended() {
        let second = LINE.replace("\"seq\":1", "\"seq\":2");
        let whole = format!("{LINE}\n{second}\n");
        for cut in 0..=whole.len() {
            let (end, after) = mended(&whole.as_bytes()[..cut]);
            let lines = match cut {
                _ if cut < LINE.len() => 0,
                _ if cut < whole.len() - 1 => 1,
                _ => 2,
            };
            let wanted = whole.split_inclusive('\n').take(lines).collect::<String>();
            assert_eq!(String::from_utf8(after).unwrap(), wanted, "{cut}");
            assert_eq!(end.unwrap(), FileEnd { len: wanted.len() as u64, seq: lines as u64 });
        }
    }

    #[test]
    fn what_a_lost_power_leaves_is_cut() {
        let text = format!("{LINE}\n\0\0\0\0");
        assert_eq!(mended(text.as_bytes()).1, format!("{LINE}\n").as_bytes());
        assert_eq!(mended(&[0; 5000]).0.unwrap(), FileEnd { len: 0, seq: 0 });
    }

    #[test]
    fn long_lines_are_found() {
        let long = LINE.replace("\"a\":1", &format!("\"a\":\"{}\"", "x".repeat(300_000)));
        let next = long.replace("\"seq\":1", "\"seq\":2");
        let whole = format!("{long}\n{next}\n");
        assert_eq!(mended(whole.as_bytes()).0.unwrap(), FileEnd { len: whole.len() as u64, seq: 2 });
        let torn = &whole.as_bytes()[..whole.len() - 100];
        assert_eq!(mended(torn).0.unwrap(), FileEnd { len: long.len() as u64 + 1, seq: 1 });
    }

    #[test]
    fn what_is_something_else_is_left_alone() {
        for text in ["Dear diary", "Dear diary,\ntoday\n", "{\"seq\":1}\n", &format!("{LINE}\nx\n")] {
            let (end, after) = mended(text.as_bytes());
            assert_eq!(end.unwrap_err().kind(), ErrorKind::InvalidData);
            assert_eq!(after, text.as_bytes());
        }
    }
}
