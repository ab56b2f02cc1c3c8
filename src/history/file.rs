//! The file: appends whole lines to it, one after the other.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use tracing::{info, warn};

use super::line::{ClusterEvent, HistoryEvent, Moment, write_line};
use super::recover::mend;
use super::{Batch, CommandId};
use crate::sync::Mutex;

/// Most that is kept in memory of the daemon's own lines while the disk is full, in bytes.
const MOST_KEPT: usize = 4 << 20;
/// Time between two attempts to write them.
const NO_ROOM: Duration = Duration::from_secs(1);

/// The history of a mounted cluster, open for appending. Clones share it.
#[derive(Clone)]
pub struct History(Arc<Inner>);

/// Called when there are more lines. It must not block, and must not append.
pub(crate) type OnGrowth = Box<dyn Fn() + Send + Sync>;

struct Inner {
    file: File,
    /// Length of the whole lines: readers see no more than that.
    len: AtomicU64,
    /// Number of the last line when the file was opened.
    opened_at: u64,
    writing: Mutex<Writing>,
    on_growth: OnceLock<OnGrowth>,
    retrying: AtomicBool,
}

struct Writing {
    seq: u64,
    /// The wall time of the last line.
    wall: SystemTime,
    /// The daemon's own lines for which there was no room, in order.
    kept: VecDeque<(Moment, String)>,
    kept_bytes: usize,
    /// How many more were dropped after those, and when the first one was.
    lost: Option<(Moment, u64)>,
    /// Part of a line is left behind the last whole one, because a write failed.
    torn: bool,
    closed: bool,
}

impl History {
    /// Opens a history, or begins one. Part of a line at its end, left by a killed daemon, is cut off.
    ///
    /// # Errors
    /// From the file system; `InvalidData` if the file is not a history.
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

    /// Sets what is called when there are more lines. Only the first call counts.
    pub(crate) fn on_growth(&self, told: OnGrowth) {
        let _ = self.0.on_growth.set(told);
    }

    /// The id of the first command of this mount. It is higher than any earlier one, because every command has a line.
    pub(super) fn first_command(&self) -> CommandId {
        CommandId(self.0.opened_at + 1)
    }

    /// In bytes; always whole lines.
    pub(crate) fn size(&self) -> u64 {
        self.0.len.load(Ordering::Acquire)
    }

    /// When it was last written to.
    ///
    /// # Errors
    /// From the file system.
    pub(crate) fn modified(&self) -> io::Result<SystemTime> {
        self.0.file.metadata()?.modified()
    }

    /// Up to `size` bytes from `offset`.
    ///
    /// # Errors
    /// From the file system.
    pub(crate) fn read(&self, offset: u64, size: usize) -> io::Result<Vec<u8>> {
        let there = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; size.min(there)];
        let got = self.0.file.read_at(&mut bytes, offset)?;
        bytes.truncate(got);
        Ok(bytes)
    }

    /// Appends the daemon's own lines, next to each other. They are kept in memory while the disk is full.
    pub(super) fn append(&self, events: &[HistoryEvent]) {
        let bodies: Vec<String> = events.iter().map(HistoryEvent::body).collect();
        let grown = {
            let mut writing = self.0.writing.lock();
            if writing.closed || bodies.is_empty() {
                return;
            }
            let now = writing.now();
            // Kept lines come first.
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

    /// Appends the last lines. Later ones are refused.
    pub(super) fn close(&self, events: &[HistoryEvent]) {
        self.append(events);
        let mut writing = self.0.writing.lock();
        writing.closed = true;
        let lost = writing.kept.len() as u64 + writing.lost.map_or(0, |(_, lost)| lost);
        if lost > 0 {
            warn!(lost, "no room for the last lines of the history");
        }
    }

    /// Writes whole lines in one write. If it fails, nothing of it stays in the file.
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
            // Part of it may have been written.
            writing.torn = self.0.file.set_len(len).is_err();
            return Err(error);
        }
        writing.seq = seq;
        self.0.len.store(len + text.len() as u64, Ordering::Release);
        Ok(())
    }

    /// Writes kept lines until one fails.
    fn write_kept(&self, writing: &mut Writing) -> io::Result<()> {
        while let Some((at, body)) = writing.kept.pop_front() {
            if let Err(error) = self.write(writing, std::iter::once((at, body.as_str()))) {
                writing.kept.push_front((at, body));
                return Err(error);
            }
            writing.kept_bytes -= body.len();
        }
        if let Some((at, lost)) = writing.lost {
            let line = HistoryEvent::Cluster(ClusterEvent::LinesLost { lost }).body();
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

    /// Tries again from time to time: nothing notifies us when the disk has room.
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

    /// Writes kept lines. Returns whether this was the last attempt.
    fn tried(history: &Weak<Inner>) -> bool {
        let Some(history) = history.upgrade().map(Self) else { return true };
        let done = {
            let mut writing = history.0.writing.lock();
            let done = writing.closed || history.write_kept(&mut writing).is_ok();
            if done {
                // Under the lock: the next line that is kept starts another thread.
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
    /// Reads both clocks. If the wall clock was set back, its time stands still until it has caught up.
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

/// The whole lines of a history, as far as it reaches now. The daemon may be writing to it.
///
/// # Errors
/// From the file system: of opening at once, of reading with the line.
pub(crate) fn read_lines(path: &Path) -> io::Result<impl Iterator<Item = io::Result<String>>> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut lines = BufReader::with_capacity(1 << 16, file.take(len));
    Ok(std::iter::from_fn(move || {
        let mut line = vec![];
        match lines.read_until(b'\n', &mut line) {
            // Part of a line: it is being written, or a killed daemon left it.
            Ok(_) if line.last() != Some(&b'\n') => None,
            Ok(_) => {
                line.pop();
                Some(String::from_utf8(line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)))
            }
            Err(error) => Some(Err(error)),
        }
    }))
}
