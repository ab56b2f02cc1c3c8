//! Reads a history line by line, however long it is, as [`super::RecordedHistory`] does the whole of it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::HistoryLine;
use super::json::Members;

/// Most bytes of a line. Those that cthulhu writes are far shorter.
const LONGEST: u64 = 64 << 20;

/// The lines of a history, one after the other; an error is a sentence, and the last item.
pub(crate) struct HistoryLines<R> {
    reader: R,
    /// Counted from 1.
    number: u64,
    bytes: Vec<u8>,
    /// How many lines were passed over: their kind is unknown, or their members are not what they should be.
    pub(crate) skipped: u64,
    /// Whether the last line was cut off in the middle of being written.
    pub(crate) torn: bool,
    is_over: bool,
}

impl HistoryLines<BufReader<std::io::Take<File>>> {
    /// Of a file, as long as it is now.
    ///
    /// # Errors
    /// From the file system.
    pub(crate) fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self::of(BufReader::with_capacity(1 << 16, file.take(len))))
    }
}

impl<R: BufRead> HistoryLines<R> {
    fn of(reader: R) -> Self {
        Self { reader, number: 0, bytes: vec![], skipped: 0, torn: false, is_over: false }
    }

    fn read(&mut self) -> Result<Option<HistoryLine>, String> {
        loop {
            self.bytes.clear();
            let line = self.reader.by_ref().take(LONGEST).read_until(b'\n', &mut self.bytes);
            let length = line.map_err(|error| error.to_string())?;
            self.number += 1;
            let is_whole = self.bytes.ends_with(b"\n");
            if length as u64 == LONGEST && !is_whole {
                return Err(format!("line {} is longer than any line of a history", self.number));
            }
            if self.bytes.is_empty() {
                return match (self.number, self.skipped) {
                    (1, _) => Err("the history is empty: nothing has happened yet".into()),
                    _ => Ok(None),
                };
            }
            if self.bytes.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice::<Members<'_>>(&self.bytes) {
                Ok(members) => match HistoryLine::of(&members) {
                    Ok(line) => return Ok(Some(line)),
                    Err(_) => self.skipped += 1,
                },
                Err(_) if !is_whole => {
                    self.torn = true;
                    return Ok(None);
                }
                Err(error) => {
                    let reason = error.to_string();
                    let reason = reason.split(" at line ").next().unwrap_or_default();
                    return Err(format!(
                        "line {} is no JSON object ({reason}): a history has one on each line",
                        self.number
                    ));
                }
            }
        }
    }
}

impl<R: BufRead> Iterator for HistoryLines<R> {
    type Item = Result<HistoryLine, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let line = self.read().transpose();
        self.is_over = !matches!(line, Some(Ok(_)));
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<Result<u64, String>>, u64, bool) {
        let mut lines = HistoryLines::of(text.as_bytes());
        let read = lines.by_ref().map(|line| line.map(|line| line.seq)).collect();
        (read, lines.skipped, lines.torn)
    }

    #[test]
    fn a_line_at_a_time() {
        let text = "{\"seq\":1,\"test\":{}}\n\n{\"weather\":1}\n{\"seq\":2,\"test\":{}}\n";
        assert_eq!(read(text), (vec![Ok(1), Ok(2)], 1, false));
        assert_eq!(read(&format!("{text}{{\"se")), (vec![Ok(1), Ok(2)], 1, true));
        let whole = "{\"seq\":1,\"test\":{}}";
        assert_eq!(read(whole), (vec![Ok(1)], 0, false), "only the newline is missing");
    }

    #[test]
    fn what_is_no_history_ends_it() {
        let (lines, ..) = read("{\"seq\":1,\"test\":{}}\nno\n{\"seq\":2,\"test\":{}}\n");
        assert_eq!(lines.len(), 2);
        let why = lines[1].as_ref().unwrap_err();
        assert!(why.starts_with("line 2 is no JSON object (expected ident): a history"), "{why}");
        assert_eq!(read("").0.len(), 1);
        let mut endless = HistoryLines::of(BufReader::new(std::io::repeat(b'x')));
        assert_eq!(endless.next(), Some(Err("line 1 is longer than any line of a history".into())));
        assert_eq!(endless.next(), None);
    }
}
