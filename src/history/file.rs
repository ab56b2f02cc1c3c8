//! The file: lines go to its end, one after the other, whole.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use tracing::{info, warn};

use super::entry::{ClusterEntry, Kind, Moment, body, write_line};
use super::mend::mend;
use super::{Batch, CommandId};

/// How much of our own lines is kept in memory while there is no room for them, in bytes.
const MOST_KEPT: usize = 4 << 20;
/// Wait before they are tried again, when nobody else writes meanwhile.
const NO_ROOM: Duration = Duration::from_secs(1);

/// A cheap handle on a history.
#[derive(Clone)]
pub struct History(Arc<Inner>);

/// Told that there are more lines. It never blocks, and never appends.
pub type OnGrowth = Box<dyn Fn() + Send + Sync>;

struct Inner {
    file: File,
    /// Length of the whole lines: nobody is shown more.
    len: AtomicU64,
    /// Number of the last line when it was opened.
    opened_at: u64,
    writing: Mutex<Writing>,
    on_growth: OnceLock<OnGrowth>,
    retrying: AtomicBool,
}

struct Writing {
    seq: u64,
    /// The last wall time told.
    wall: SystemTime,
    /// Our own lines for which there was no room, in order.
    kept: VecDeque<(Moment, String)>,
    kept_bytes: usize,
    /// How many were not even kept after those, and when the first.
    lost: Option<(Moment, u64)>,
    /// Something lies behind the last whole line.
    torn: bool,
    closed: bool,
}

impl History {
    /// Opens a history, or begins one. A part of a line at its end, which a killed daemon has left, is cut off.
    ///
    /// # Errors
    /// From the file system; `InvalidData` if the file is something else.
    pub fn open(path: &Path) -> io::Result<Self> {
        let no_follow = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC).bits();
        let flags = i32::try_from(no_follow).unwrap_or_default();
        let mut options = File::options();
        let file =
            options.read(true).write(true).create(true).truncate(false).mode(0o644).custom_flags(flags).open(path)?;
        let end = mend(&file)?;
        let writing = Writing {
            seq: end.seq,
            wall: SystemTime::UNIX_EPOCH,
            kept: VecDeque::new(),
            kept_bytes: 0,
            lost: None,
            torn: false,
            closed: false,
        };
        Ok(Self(Arc::new(Inner {
            file,
            len: AtomicU64::new(end.len),
            opened_at: end.seq,
            writing: Mutex::new(writing),
            on_growth: OnceLock::new(),
            retrying: AtomicBool::new(false),
        })))
    }

    /// Says whom to tell of more lines; the first call counts.
    pub fn on_growth(&self, told: OnGrowth) {
        let _ = self.0.on_growth.set(told);
    }

    /// The id of the first command of this mount: higher than any earlier one here, as every command has a line.
    pub(super) fn first_command(&self) -> CommandId {
        CommandId(self.0.opened_at + 1)
    }

    /// Length in bytes: always of whole lines.
    pub fn size(&self) -> u64 {
        self.0.len.load(Ordering::Acquire)
    }

    /// When it was last written to.
    ///
    /// # Errors
    /// From the file system.
    pub fn modified(&self) -> io::Result<SystemTime> {
        self.0.file.metadata()?.modified()
    }

    /// Up to `size` bytes from `offset`.
    ///
    /// # Errors
    /// From the file system.
    pub fn read(&self, offset: u64, size: usize) -> io::Result<Vec<u8>> {
        let there = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; size.min(there)];
        let got = self.0.file.read_at(&mut bytes, offset)?;
        bytes.truncate(got);
        Ok(bytes)
    }

    /// Appends lines of our own, next to each other. They are kept in memory while there is no room for them.
    pub(super) fn append(&self, kinds: &[Kind]) {
        let bodies: Vec<String> = kinds.iter().map(body).collect();
        let grown = {
            let mut writing = self.0.writing.lock();
            if writing.closed || bodies.is_empty() {
                return;
            }
            let now = writing.now();
            // What is kept comes first.
            let mut written = self.write_kept(&mut writing);
            if written.is_ok() {
                written = self.write(&mut writing, bodies.iter().map(|body| (now, body.as_str())));
            }
            if let Err(error) = &written {
                for body in bodies {
                    writing.keep(now, body);
                }
                self.try_again_later(error);
            }
            written.is_ok()
        };
        if grown {
            self.tell();
        }
    }

    /// Appends a test's lines, next to each other: all of them or none.
    ///
    /// # Errors
    /// From the file system; `Other` once the history is closed.
    pub fn append_test(&self, lines: &Batch) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        {
            let mut writing = self.0.writing.lock();
            if writing.closed {
                return Err(io::Error::other("the cluster is being taken down"));
            }
            self.write_kept(&mut writing)?;
            let now = writing.now();
            self.write(&mut writing, lines.bodies().map(|body| (now, body)))?;
        }
        self.tell();
        Ok(())
    }

    /// Appends last lines, and takes none any more.
    pub(super) fn close(&self, kinds: &[Kind]) {
        self.append(kinds);
        let mut writing = self.0.writing.lock();
        writing.closed = true;
        let lost = writing.kept.len() as u64 + writing.lost.map_or(0, |(_, lost)| lost);
        if lost > 0 {
            warn!(lost, "no room for the last lines of the history");
        }
    }

    /// One write of whole lines. One that fails leaves nothing.
    fn write<'a>(&self, writing: &mut Writing, lines: impl Iterator<Item = (Moment, &'a str)>) -> io::Result<()> {
        let len = self.size();
        if writing.torn {
            self.0.file.set_len(len)?;
            writing.torn = false;
        }
        let mut text = String::new();
        let mut seq = writing.seq;
        for (at, body) in lines {
            seq += 1;
            write_line(&mut text, seq, at, body);
        }
        if let Err(error) = self.0.file.write_all_at(text.as_bytes(), len) {
            // A part may have found room.
            writing.torn = self.0.file.set_len(len).is_err();
            return Err(error);
        }
        writing.seq = seq;
        self.0.len.store(len + text.len() as u64, Ordering::Release);
        Ok(())
    }

    /// Writes what is kept, as far as there is room.
    fn write_kept(&self, writing: &mut Writing) -> io::Result<()> {
        while let Some((at, body)) = writing.kept.pop_front() {
            if let Err(error) = self.write(writing, std::iter::once((at, body.as_str()))) {
                writing.kept.push_front((at, body));
                return Err(error);
            }
            writing.kept_bytes -= body.len();
        }
        if let Some((at, lost)) = writing.lost {
            let line = body(&Kind::Cluster(ClusterEntry::LinesLost { lost }));
            self.write(writing, std::iter::once((at, line.as_str())))?;
            writing.lost = None;
        }
        Ok(())
    }

    fn tell(&self) {
        if let Some(told) = self.0.on_growth.get() {
            told();
        }
    }

    /// Tries again every now and then until there is room: nobody tells when there is.
    fn try_again_later(&self, error: &io::Error) {
        if self.0.retrying.swap(true, Ordering::AcqRel) {
            return;
        }
        warn!(%error, "cannot write the history; its lines are kept until it works");
        let weak = Arc::downgrade(&self.0);
        let begun = std::thread::Builder::new().name("history".into()).spawn(move || {
            while !Self::tried(&weak) {
                std::thread::sleep(NO_ROOM);
            }
        });
        if begun.is_err() {
            // The next line tries again.
            self.0.retrying.store(false, Ordering::Release);
        }
    }

    /// Whether there is nothing more to try.
    fn tried(history: &Weak<Inner>) -> bool {
        let Some(history) = history.upgrade().map(Self) else { return true };
        let done = {
            let mut writing = history.0.writing.lock();
            let done = writing.closed || history.write_kept(&mut writing).is_ok();
            if done {
                // Under the lock: whoever keeps a line after this begins anew.
                history.0.retrying.store(false, Ordering::Release);
            }
            done
        };
        history.tell();
        if done {
            info!("the history is written again");
        }
        done
    }
}

impl Writing {
    /// Both clocks. The wall's may be set back: it stands still then, until it is where it was.
    fn now(&mut self) -> Moment {
        self.wall = self.wall.max(SystemTime::now());
        let mono = clock_gettime(ClockId::Monotonic);
        let mono_ns = mono.tv_sec.unsigned_abs() * 1_000_000_000 + mono.tv_nsec.unsigned_abs();
        Moment { wall: self.wall, mono_ns }
    }

    fn keep(&mut self, at: Moment, body: String) {
        if let Some((_, lost)) = &mut self.lost {
            *lost += 1;
        } else if self.kept_bytes + body.len() > MOST_KEPT {
            self.lost = Some((at, 1));
        } else {
            self.kept_bytes += body.len();
            self.kept.push_back((at, body));
        }
    }
}

/// The whole lines of a history that may be written meanwhile, up to where it ends now.
///
/// # Errors
/// From the file system, for the file at once, for a line when it comes to it.
pub fn read_lines(path: &Path) -> io::Result<impl Iterator<Item = io::Result<String>>> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut lines = BufReader::with_capacity(1 << 16, file.take(len));
    Ok(std::iter::from_fn(move || {
        let mut line = vec![];
        match lines.read_until(b'\n', &mut line) {
            // A part of a line is one that is being written, or that a killed daemon has left.
            Ok(_) if line.last() != Some(&b'\n') => None,
            Ok(_) => {
                line.pop();
                Some(String::from_utf8(line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)))
            }
            Err(error) => Some(Err(error)),
        }
    }))
}
