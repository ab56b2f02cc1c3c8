//! Writes to `history`: bytes become lines, lines are appended.

use std::io;

use rustix::io::Errno;

use super::layout::{File, Kind};
use super::write::{Written, whole_lines};
use super::{Fh, Tree};
use crate::history::{Batch, LONGEST_LINE};

/// What the answer to a write is that was not taken.
type Refusal = (Errno, String);

impl Tree {
    /// Appends the lines that `data` ends, all or none; the rest waits for its newline or for the end of the file's use.
    /// Where it is written does not matter: a history only grows.
    pub(super) fn append(&self, fh: Fh, data: &[u8]) -> Written {
        let lines = self.0.files.lock().line(fh).map(|buffer| whole_lines(buffer, data, LONGEST_LINE));
        let appended = match lines {
            Ok(Ok(lines)) => self.append_lines(&lines),
            Ok(Err(too_long)) => Err((Errno::INVAL, format!("history: {too_long}"))),
            Err(errno) => return Written::Now(Err(errno)),
        };
        match appended {
            Ok(()) => Written::Now(Ok(u32::try_from(data.len()).unwrap_or(u32::MAX))),
            Err(refusal) => {
                // Nor is what came after the last whole line.
                if let Ok(buffer) = self.0.files.lock().line(fh) {
                    buffer.clear();
                }
                self.refuse_append(refusal)
            }
        }
    }

    /// Appends a last line without a newline. If it is none it stays: another process may still write its end.
    pub(super) fn append_rest(&self, fh: Fh) -> Written {
        let Ok(line) = self.0.files.lock().line(fh).map(std::mem::take) else {
            return Written::Now(Ok(0));
        };
        match self.append_lines(&line) {
            Ok(()) => Written::Now(Ok(0)),
            Err(refusal) => {
                if let Ok(buffer) = self.0.files.lock().line(fh) {
                    buffer.splice(..0, line);
                }
                self.refuse_append(refusal)
            }
        }
    }

    fn append_lines(&self, lines: &[u8]) -> Result<(), Refusal> {
        let mut batch = Batch::default();
        for line in lines.split(|&byte| byte == b'\n') {
            batch.push(line).map_err(|why| {
                let shown = crate::cluster::shown(&String::from_utf8_lossy(&line[..line.len().min(256)]));
                (Errno::INVAL, format!("history: '{shown}' is {why}; a line must be one JSON object"))
            })?;
        }
        self.history().append_test(&batch).map_err(|error| (errno(&error), sentence(&error)))
    }

    fn refuse_append(&self, (errno, why): Refusal) -> Written {
        Written::Later(self.refuse(None, errno, &why))
    }

    /// There are more lines than before: wakes who waits for them.
    pub(super) fn grown(&self) {
        let history = self.0.layout.iter().find(|(_, entry)| entry.kind == Kind::File(File::History, None));
        if let (Some((ino, _)), Some(kernel)) = (history, self.0.kernel.get()) {
            let wakes = self.0.files.lock().take_wakes(ino);
            wakes.into_iter().for_each(|wake| kernel.wake(wake));
        }
    }
}

fn errno(error: &io::Error) -> Errno {
    // Without a number of the system's, it is closed.
    error.raw_os_error().map_or(Errno::BUSY, Errno::from_raw_os_error)
}

fn sentence(error: &io::Error) -> String {
    match errno(error) {
        Errno::BUSY => format!("history: nothing was appended: {error}"),
        Errno::NOSPC => "history: nothing was appended: no space is left on the device where it is kept".into(),
        _ => format!("history: nothing was appended: {error}"),
    }
}
