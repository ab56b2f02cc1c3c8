//! What was written and is no whole line yet, in all open files.

use std::collections::HashMap;

use rustix::io::Errno;

use super::Fh;

/// Bytes that all open files together may keep.
const MOST: usize = 32 << 20;

/// The answer to a write that was refused completely.
pub(super) type Refusal = (Errno, String);

/// The beginnings of lines.
#[derive(Default)]
pub(super) struct Unfinished {
    lines: HashMap<Fh, Vec<u8>>,
    /// Of memory.
    bytes: usize,
}

/// Whole lines, out of a write and what came before it.
pub(super) struct Gathered {
    /// Each with its newline.
    pub(crate) lines: Vec<u8>,
    /// So many bytes of them came before.
    begun: usize,
}

impl Unfinished {
    /// What is begun in an open file.
    pub(crate) fn get(&self, fh: Fh) -> &[u8] {
        self.lines.get(&fh).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn take(&mut self, fh: Fh) -> Vec<u8> {
        let line = self.lines.remove(&fh).unwrap_or_default();
        self.bytes -= line.capacity();
        line
    }

    /// Puts back what was taken out, before what came meanwhile.
    pub(crate) fn put_back(&mut self, fh: Fh, mut line: Vec<u8>) {
        line.extend(self.take(fh));
        if !line.is_empty() {
            self.bytes += line.capacity();
            self.lines.insert(fh, line);
        }
    }

    /// Takes a write: the whole lines are returned, the rest stays.
    ///
    /// # Errors
    /// `EINVAL` for a line of more than `longest` bytes, `ENOBUFS` if more would stay than is kept; nothing is taken then.
    pub(crate) fn gather(&mut self, fh: Fh, data: &[u8], longest: usize) -> Result<Gathered, Refusal> {
        let mut lines = self.take(fh);
        let begun = lines.len();
        lines.extend_from_slice(data);
        let whole = lines.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let too_long = lines.split(|&byte| byte == b'\n').position(|line| line.len() > longest);
        let full = whole < lines.len() && self.bytes + lines.len() - whole > MOST;
        if let Some(nth) = too_long {
            self.nothing_taken(fh, &Gathered { lines, begun }, Some(nth));
            return Err((Errno::INVAL, format!("a line is longer than {longest} bytes")));
        }
        if full {
            self.nothing_taken(fh, &Gathered { lines, begun }, None);
            let most = MOST >> 20;
            let why = format!(
                "{most} MiB of lines without an end wait in open files: end lines with a newline, and close files"
            );
            return Err((Errno::NOBUFS, why));
        }
        let rest = lines.split_off(whole);
        self.put_back(fh, rest);
        Ok(Gathered { lines, begun: begun.min(whole) })
    }

    /// Makes it as it was before the write: what was begun by earlier ones stays, unless it is the beginning of `bad`,
    /// the line that was wrong, counted from 0: that cannot be completed.
    pub(crate) fn nothing_taken(&mut self, fh: Fh, write: &Gathered, bad: Option<usize>) {
        self.take(fh);
        if bad != Some(0) {
            self.put_back(fh, write.lines[..write.begun].to_vec());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FH: Fh = Fh(1);

    #[test]
    fn whole_lines_come_out_and_the_rest_stays() {
        let mut unfinished = Unfinished::default();
        assert_eq!(unfinished.gather(FH, b"on", 9).unwrap().lines, b"");
        assert_eq!(unfinished.gather(FH, b"e\ntwo\nthr", 9).unwrap().lines, b"one\ntwo\n");
        assert_eq!(unfinished.get(FH), b"thr");
        assert_eq!(unfinished.take(FH), b"thr");
        assert_eq!((unfinished.bytes, unfinished.lines.len()), (0, 0));
    }

    #[test]
    fn a_write_of_which_nothing_is_taken_leaves_what_came_before() {
        let mut unfinished = Unfinished::default();
        unfinished.gather(FH, b"beg", 5).unwrap();
        for (write, left) in
            [("un\nlonger than that\n", "beg"), ("un\nlonger than that", "beg"), ("un too long\nx\n", "")]
        {
            assert_eq!(unfinished.gather(FH, write.as_bytes(), 5).err().unwrap().0, Errno::INVAL);
            assert_eq!(unfinished.get(FH), left.as_bytes(), "{write}");
        }
        unfinished.gather(FH, b"beg", 5).unwrap();
        let gathered = unfinished.gather(FH, b"un\nbad\nmo", 5).unwrap();
        unfinished.nothing_taken(FH, &gathered, Some(1));
        assert_eq!(unfinished.get(FH), b"beg");
        let gathered = unfinished.gather(FH, b"un\nbad\nmo", 5).unwrap();
        unfinished.nothing_taken(FH, &gathered, Some(0));
        assert_eq!((unfinished.get(FH), unfinished.bytes), (&b""[..], 0));
    }

    #[test]
    fn all_open_files_together_keep_so_much() {
        let mut unfinished = Unfinished::default();
        let half = vec![b'x'; 1 << 16];
        let refused = (1..).map(Fh).find(|fh| unfinished.gather(*fh, &half, usize::MAX).is_err()).unwrap();
        assert!(unfinished.bytes <= MOST && unfinished.bytes > MOST - 2 * half.len());
        let (errno, why) = unfinished.gather(refused, &half, usize::MAX).err().unwrap();
        assert_eq!(errno, Errno::NOBUFS);
        assert!(why.contains("32 MiB"), "{why}");
        assert_eq!(unfinished.gather(refused, b"a whole line\n", usize::MAX).unwrap().lines, b"a whole line\n");
        assert!(unfinished.gather(FH, b"y", usize::MAX).is_err(), "nor do begun ones grow");
        assert_eq!(unfinished.get(FH), half, "nothing was taken");
        unfinished.gather(FH, b"\n", usize::MAX).unwrap();
        unfinished.gather(refused, &half, usize::MAX).unwrap();
    }
}
