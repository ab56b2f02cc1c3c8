//! A node's output on disk, of bounded size: the oldest part is cut.
//!
//! Two files hold it: `log`, which grows, and `log.old`, what came before. When `log` has grown to about half of the
//! limit, it replaces `log.old`, so nothing is ever rewritten. A file that does not begin with the node's first byte
//! begins with a line that says how much came before.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::sync::Mutex;

/// The smallest limit that can be kept, in bytes.
pub(crate) const SMALLEST_LIMIT: u64 = 64 << 10;

struct Segment {
    file: File,
    /// How many bytes of output came before it.
    start: u64,
    /// Length of its first line, if it says so.
    header: u64,
    /// Length of the file as far as readers see it.
    len: AtomicU64,
}

impl Segment {
    fn open(path: &Path) -> io::Result<Self> {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = File::options().read(true).append(true).create(true).custom_flags(flags).open(path)?;
        let mut head = [0; 128];
        let read = file.read_at(&mut head, 0)?;
        let (start, header) = parse_header(&head[..read]).unwrap_or((0, 0));
        let len = AtomicU64::new(file.metadata()?.len());
        Ok(Self { file, start, header, len })
    }

    /// A file with only its header, under a temporary name.
    fn create(path: &Path, start: u64, why: Cut) -> io::Result<Self> {
        let _ = fs::remove_file(path);
        let mut file = File::options().read(true).append(true).create_new(true).open(path)?;
        let header = header(start, why);
        file.write_all(header.as_bytes()).inspect_err(|_| drop(fs::remove_file(path)))?;
        let len = header.len() as u64;
        Ok(Self { file, start, header: len, len: AtomicU64::new(len) })
    }

    fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// How many bytes of output came before its end.
    fn end(&self) -> u64 {
        self.start + self.len() - self.header
    }

    fn read(&self, offset: u64, size: usize) -> io::Result<Vec<u8>> {
        let left = self.len().saturating_sub(offset);
        let mut bytes = vec![0; size.min(usize::try_from(left).unwrap_or(usize::MAX))];
        let got = self.file.read_at(&mut bytes, offset)?;
        bytes.truncate(got);
        Ok(bytes)
    }

    fn ends_a_line(&self) -> bool {
        let len = self.len();
        len == 0 || matches!(self.read(len - 1, 1).as_deref(), Ok(b"\n"))
    }
}

/// Why earlier output is cut.
#[derive(Clone, Copy)]
enum Cut {
    /// There is more than may be kept, in bytes.
    Limit(u64),
    Reset,
}

/// The first line of a file that does not begin with the node's first byte.
fn header(start: u64, why: Cut) -> String {
    let why = match why {
        Cut::Limit(limit) => format!("--log-limit {}", shown(limit)),
        Cut::Reset => "reset".into(),
    };
    format!("[cthulhu: {start} bytes cut before this line ({why})]\n")
}

/// Formats the limit in the largest unit that fits.
fn shown(limit: u64) -> String {
    for (shift, unit) in [(30, "g"), (20, "m"), (10, "k")] {
        if limit.is_multiple_of(1 << shift) {
            return format!("{}{unit}", limit >> shift);
        }
    }
    limit.to_string()
}

/// How much came before, and the length of the line that says so.
fn parse_header(head: &[u8]) -> Option<(u64, u64)> {
    let end = head.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&head[..end]).ok()?;
    let (start, rest) = line.strip_prefix("[cthulhu: ")?.split_once(" bytes cut before this line (")?;
    rest.strip_suffix(")]").filter(|why| *why == "reset" || why.starts_with("--log-limit "))?;
    Some((start.parse().ok()?, end as u64 + 1))
}

struct Segments {
    old: Option<Arc<Segment>>,
    new: Arc<Segment>,
    modified: SystemTime,
}

impl Segments {
    fn oldest(&self) -> &Arc<Segment> {
        self.old.as_ref().unwrap_or(&self.new)
    }
}

struct Inner {
    dir: PathBuf,
    limit: u64,
    segments: Mutex<Segments>,
    /// Held while writing. Whether the last line is complete.
    writing: Mutex<bool>,
    /// How often everything was cut.
    cuts: AtomicU64,
}

/// A node's output. Clones share it.
#[derive(Clone)]
pub(crate) struct LogFile(Arc<Inner>);

impl LogFile {
    /// Opens the files in a directory, or creates them.
    ///
    /// # Errors
    /// From the file system.
    pub(crate) fn open(dir: &Path, limit: u64) -> io::Result<Self> {
        let limit = limit.max(SMALLEST_LIMIT);
        let (new, old, next) = (dir.join("log"), dir.join("log.old"), dir.join("log.new"));
        let is_empty = |path: &Path| fs::symlink_metadata(path).map_or(true, |meta| meta.len() == 0);
        if !is_empty(&next) && is_empty(&new) && !is_empty(&old) {
            // Stopped between two renames.
            fs::rename(&next, &new)?;
        }
        let _ = fs::remove_file(&next);
        let mut segment = Segment::open(&new)?;
        let mut older = None;
        if fs::symlink_metadata(&old).is_ok() {
            let before = Segment::open(&old)?;
            let excess = before.end().checked_sub(segment.start);
            match excess.filter(|_| segment.header > 0) {
                // Stopped while the two were being joined.
                Some(excess) => {
                    let len = before.len() - excess;
                    before.file.set_len(len)?;
                    before.len.store(len, Ordering::Release);
                    older = Some(before);
                }
                // They do not belong together.
                None => fs::remove_file(&old)?,
            }
        } else if segment.len() > limit / 2 {
            (older, segment) = split(dir, segment, limit)?;
        }
        if older.as_ref().is_some_and(|older| older.len() + segment.len() > limit) {
            older = None;
            fs::remove_file(&old)?;
        }
        let modified = segment.file.metadata()?.modified()?;
        let ends_a_line = segment.ends_a_line();
        let segments = Segments { old: older.map(Arc::new), new: Arc::new(segment), modified };
        Ok(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            limit,
            segments: Mutex::new(segments),
            writing: Mutex::new(ends_a_line),
            cuts: AtomicU64::new(0),
        })))
    }

    /// Size in bytes of what a new reader finds.
    pub(crate) fn size(&self) -> u64 {
        let segments = self.0.segments.lock();
        let new = &segments.new;
        segments.old.as_ref().map_or(new.len(), |old| old.len() + new.len() - new.header)
    }

    /// How many bytes of output there were in all, including what was cut.
    pub(crate) fn total(&self) -> u64 {
        self.0.segments.lock().new.end()
    }

    /// When it last grew.
    pub(crate) fn modified(&self) -> SystemTime {
        self.0.segments.lock().modified
    }

    /// How often everything was cut so far: output that was asked for before a cut is not to be kept after it.
    pub(crate) fn cuts(&self) -> u64 {
        self.0.cuts.load(Ordering::Relaxed)
    }

    /// Appends a piece: all of it or nothing.
    ///
    /// # Errors
    /// From the file system.
    pub(crate) fn append(&self, piece: &[u8]) -> io::Result<()> {
        self.append_as(&mut self.0.writing.lock(), piece)
    }

    /// Appends a message of cthulhu's on a line of its own.
    ///
    /// # Errors
    /// From the file system.
    pub(crate) fn note(&self, text: &str) -> io::Result<()> {
        let mut ends_a_line = self.0.writing.lock();
        let before = if *ends_a_line { "" } else { "\n" };
        self.append_as(&mut ends_a_line, format!("{before}[cthulhu: {text}]\n").as_bytes())
    }

    fn append_as(&self, ends_a_line: &mut bool, piece: &[u8]) -> io::Result<()> {
        let mut segment = self.0.segments.lock().new.clone();
        let (len, half) = (segment.len(), self.0.limit / 2);
        // At the end of a line; within a line if that is too long.
        let grown = len + piece.len() as u64 > half || *ends_a_line && len >= half / 4 * 3;
        if grown && len > segment.header {
            segment = self.rotate(&segment, Cut::Limit(self.0.limit))?;
        }
        let len = segment.len();
        (&segment.file).write_all(piece).inspect_err(|_| {
            // The part that fitted would be there twice.
            let _ = segment.file.set_len(len);
        })?;
        segment.len.store(len + piece.len() as u64, Ordering::Release);
        *ends_a_line = piece.last().map_or(*ends_a_line, |last| *last == b'\n');
        self.0.segments.lock().modified = SystemTime::now();
        Ok(())
    }

    /// Cuts everything; the first line says so. Open readers continue to the end of what was there.
    ///
    /// # Errors
    /// From the file system.
    pub(crate) fn cut(&self) -> io::Result<()> {
        let mut ends_a_line = self.0.writing.lock();
        self.0.cuts.fetch_add(1, Ordering::Relaxed);
        let full = self.0.segments.lock().new.clone();
        if full.end() == 0 {
            return Ok(());
        }
        self.rotate(&full, Cut::Reset)?;
        let _ = fs::remove_file(self.0.dir.join("log.old"));
        let mut segments = self.0.segments.lock();
        (segments.old, segments.modified) = (None, SystemTime::now());
        *ends_a_line = true;
        Ok(())
    }

    fn rotate(&self, full: &Arc<Segment>, why: Cut) -> io::Result<Arc<Segment>> {
        let at = |name: &str| self.0.dir.join(name);
        let next = Arc::new(Segment::create(&at("log.new"), full.end(), why)?);
        match fs::rename(at("log"), at("log.old")) {
            // The file was removed. Readers still have it open; what came before does not belong to what follows.
            Err(error) if error.kind() == io::ErrorKind::NotFound => drop(fs::remove_file(at("log.old"))),
            renamed => renamed?,
        }
        fs::rename(at("log.new"), at("log"))?;
        let mut segments = self.0.segments.lock();
        segments.old = Some(full.clone());
        segments.new = next.clone();
        Ok(next)
    }

    /// Joins the files into one, `log`, for readers of the directory after the cluster's end. Nothing is appended any
    /// more.
    ///
    /// # Errors
    /// From the file system: there are still two files then.
    pub(crate) fn join(&self) -> io::Result<()> {
        let _writing = self.0.writing.lock();
        let (old, new) = {
            let segments = self.0.segments.lock();
            let Some(old) = segments.old.clone() else { return Ok(()) };
            (old, segments.new.clone())
        };
        let at = |name: &str| self.0.dir.join(name);
        let mut from = File::open(at("log"))?;
        from.seek(SeekFrom::Start(new.header))?;
        let joined = io::copy(&mut from.take(new.len() - new.header), &mut &old.file);
        joined.inspect_err(|_| drop(old.file.set_len(old.len())))?;
        fs::rename(at("log.old"), at("log"))
    }

    pub(crate) fn reader(&self) -> LogReader {
        let segments = self.0.segments.lock();
        let (first, second) = (segments.oldest().clone(), segments.new.clone());
        LogReader { first, second, at: 0, log: self.clone() }
    }
}

/// Cuts one file of more than half of the limit in two, as if it had grown here.
fn split(dir: &Path, whole: Segment, limit: u64) -> io::Result<(Option<Segment>, Segment)> {
    let mut border = whole.len() - limit / 2;
    while border < whole.len() {
        let bytes = whole.read(border, 64 << 10)?;
        if let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            border += end as u64 + 1;
            break;
        }
        border += bytes.len().max(1) as u64;
    }
    let border = border.clamp(whole.header, whole.len());
    let tail = Segment::create(&dir.join("log.new"), whole.start + border - whole.header, Cut::Limit(limit))?;
    let mut from = &whole.file;
    from.seek(SeekFrom::Start(border))?;
    io::copy(&mut from, &mut &tail.file)?;
    tail.len.store(tail.file.metadata()?.len(), Ordering::Release);
    fs::rename(dir.join("log"), dir.join("log.old"))?;
    fs::rename(dir.join("log.new"), dir.join("log"))?;
    whole.file.set_len(border)?;
    whole.len.store(border, Ordering::Release);
    Ok((Some(whole), tail))
}

/// Reads output from where it began, even if the oldest part is cut meanwhile.
pub(crate) struct LogReader {
    log: LogFile,
    /// The oldest file when it began. Held open, so its content stays readable.
    first: Arc<Segment>,
    /// The latest file when it began, held open too.
    second: Arc<Segment>,
    /// The offset at which that file begins, for this reader.
    at: u64,
}

impl LogReader {
    /// Reads up to `size` bytes. Reading at 0 starts over with the oldest output there is. If the next bytes have been
    /// cut meanwhile, it continues with the line that says so.
    ///
    /// # Errors
    /// From the file system.
    pub(crate) fn read(&mut self, offset: u64, size: usize) -> io::Result<Vec<u8>> {
        let mut bytes = self.read_in_one(offset, size)?;
        // Programs take a short read of a regular file for its end.
        while bytes.len() < size {
            let more = self.read_in_one(offset + bytes.len() as u64, size - bytes.len())?;
            if more.is_empty() {
                break;
            }
            bytes.extend(more);
        }
        Ok(bytes)
    }

    /// As [`Self::read`], of one of the two files: less where that ends.
    fn read_in_one(&mut self, offset: u64, size: usize) -> io::Result<Vec<u8>> {
        let (old, new) = {
            let segments = self.log.0.segments.lock();
            (segments.old.clone(), segments.new.clone())
        };
        if offset == 0 || offset < self.at {
            (self.first, self.second, self.at) = (old.as_ref().unwrap_or(&new).clone(), new.clone(), 0);
        }
        let place = offset - self.at;
        if place < self.first.len() {
            return self.first.read(place, size);
        }
        let place = self.first.start + (place - self.first.header);
        for segment in [Some(&new), old.as_ref()].into_iter().flatten() {
            if place >= segment.start {
                return segment.read(place - segment.start + segment.header, size);
            }
        }
        if (self.second.start..self.second.end()).contains(&place) {
            return self.second.read(place - self.second.start + self.second.header, size);
        }
        (self.first, self.second, self.at) = (old.unwrap_or_else(|| new.clone()), new, offset);
        self.first.read(0, size)
    }
}

#[cfg(test)]
mod tests;
