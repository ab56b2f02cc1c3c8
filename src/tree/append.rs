//! Writes to `history`: bytes become lines, lines are appended.

use std::io;

use rustix::io::Errno;

use super::table::Role;
use super::unfinished::Refusal;
use super::write::Written;
use super::{Fh, Tree};
use crate::history::{Batch, LONGEST_LINE};

impl Tree {
    /// Appends the lines that `data` ends, all or none; the rest waits for its newline or for the end of the file's use.
    /// Where it is written does not matter: a history only grows.
    pub(super) fn append(&self, fh: Fh, data: &[u8]) -> Written {
        let gathered = self.0.files.lock().gather(fh, data, LONGEST_LINE);
        let gathered = match gathered {
            Ok(gathered) => gathered,
            Err((errno, why)) => return self.refuse_append((errno, format!("history: {why}"))),
        };
        match self.append_lines(&gathered.lines) {
            Ok(()) => Written::Now(Ok(u32::try_from(data.len()).unwrap_or(u32::MAX))),
            Err((bad, refusal)) => {
                if let Ok(unfinished) = self.0.files.lock().unfinished(fh) {
                    unfinished.nothing_taken(fh, &gathered, bad);
                }
                self.refuse_append(refusal)
            }
        }
    }

    /// Appends a last line without a newline. If it is not a valid line it stays: another process may still write its
    /// end.
    pub(super) fn append_rest(&self, fh: Fh) -> Written {
        let Ok(line) = self.0.files.lock().unfinished(fh).map(|unfinished| unfinished.take(fh)) else {
            return Written::Now(Ok(0));
        };
        match self.append_lines(&line) {
            Ok(()) => Written::Now(Ok(0)),
            Err((_, refusal)) => {
                if let Ok(unfinished) = self.0.files.lock().unfinished(fh) {
                    unfinished.put_back(fh, line);
                }
                self.refuse_append(refusal)
            }
        }
    }

    /// Appends all lines, or none and says why, and which of them is wrong, if that is it.
    fn append_lines(&self, lines: &[u8]) -> Result<(), (Option<usize>, Refusal)> {
        let mut batch = Batch::default();
        for (nth, line) in lines.split(|&byte| byte == b'\n').enumerate() {
            batch.push(line).map_err(|why| {
                let shown = crate::text::shown(&String::from_utf8_lossy(&line[..line.len().min(256)]));
                let why = format!("history: '{shown}' is {why}; a line must be one JSON object");
                (Some(nth), (Errno::INVAL, why))
            })?;
        }
        self.history().append_test(&batch).map_err(|error| (None, (errno(&error), sentence(&error))))
    }

    fn refuse_append(&self, (errno, why): Refusal) -> Written {
        Written::Later(self.refuse(None, errno, &why))
    }

    /// There are more lines than before: wakes waiting readers.
    pub(super) fn grown(&self) {
        let history = self.0.layout.file(None, Role::History);
        if let (Some(ino), Some(kernel)) = (history, self.0.kernel.get()) {
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
