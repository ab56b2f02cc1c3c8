//! Reads what is appended to a history.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// So much of the history is read at once, in bytes.
const PIECE: usize = 256 * 1024;

/// Follows a history from its start.
#[derive(Debug)]
pub(crate) struct Follower {
    path: PathBuf,
    file: Option<File>,
    offset: u64,
    /// A line whose end has not been read yet.
    begun: Vec<u8>,
}

impl Follower {
    /// For the history at `path`, before anything is read.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: None, offset: 0, begun: vec![] }
    }

    /// Reads what is new, and calls `take` with each whole line, without its newline.
    ///
    /// # Errors
    /// Those of opening and reading the file; the next call goes on where this one has ended.
    pub(crate) fn read(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(File::open(&self.path)?),
        };
        let mut piece = vec![0; PIECE];
        loop {
            let length = file.read_at(&mut piece, self.offset)?;
            if length == 0 {
                return Ok(());
            }
            self.offset += length as u64;
            self.begun.extend_from_slice(&piece[..length]);
            let Some(end) = self.begun.iter().rposition(|byte| *byte == b'\n') else { continue };
            let rest = self.begun.split_off(end + 1);
            self.begun.split(|byte| *byte == b'\n').for_each(&mut take);
            self.begun = rest;
        }
    }
}
