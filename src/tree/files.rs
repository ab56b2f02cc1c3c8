//! Contents and open handles of synthesized files.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use rustix::io::Errno;

use super::unfinished::{Gathered, Refusal, Unfinished};
use super::{Fh, Ino, Wake};
use crate::history::History;
use crate::watch::LogReader;

/// What a file says, or why it says nothing.
pub(crate) type Content = Result<Vec<u8>, Errno>;

struct Value {
    content: Result<Arc<[u8]>, Errno>,
    /// Size while there is content; the last known one while there is none.
    size: u64,
    mtime: SystemTime,
    version: u64,
    /// When something changed that it depends on and that the content does not show yet.
    outdated: Option<SystemTime>,
}

/// What is read from the disk, not from a snapshot.
pub(super) enum OnDisk {
    Log(LogReader),
    History(History),
}

impl OnDisk {
    fn read(&mut self, offset: u64, size: usize) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Log(log) => log.read(offset, size),
            Self::History(history) => history.read(offset, size),
        }
    }
}

struct Handle {
    ino: Ino,
    snapshot: Arc<[u8]>,
    /// Version of the value that was last read through it.
    version: u64,
    on_disk: Option<OnDisk>,
    /// Where the last read through it ended.
    read_to: u64,
    /// What is written next is a whole new state, and does not go on with the one before.
    anew: bool,
    wake: Option<Wake>,
}

/// Values of files, and handles on them.
pub(super) struct Files {
    values: HashMap<Ino, Value>,
    /// Files that were not requested yet: when they last changed.
    untouched: HashMap<Ino, SystemTime>,
    handles: HashMap<Fh, Handle>,
    unfinished: Unfinished,
    next: u64,
    mounted_at: SystemTime,
}

impl Files {
    pub(crate) fn new(mounted_at: SystemTime) -> Self {
        let unfinished = Unfinished::default();
        Self {
            values: HashMap::new(),
            untouched: HashMap::new(),
            handles: HashMap::new(),
            unfinished,
            next: 1,
            mounted_at,
        }
    }

    /// Size in bytes and time of the last change.
    pub(crate) fn size_and_mtime(&self, ino: Ino) -> (u64, SystemTime) {
        self.values.get(&ino).map_or((0, self.mounted_at), |value| (value.size, value.mtime))
    }

    /// What the file says now.
    pub(crate) fn content(&self, ino: Ino) -> Result<Arc<[u8]>, Errno> {
        self.values.get(&ino).map_or_else(|| Ok(Arc::from([])), |value| value.content.clone())
    }

    /// Notes that what a file says may have changed. Returns whether its content was up to date before.
    pub(crate) fn outdate(&mut self, ino: Ino, now: SystemTime) -> bool {
        let Some(value) = self.values.get_mut(&ino) else {
            // Not requested yet.
            self.untouched.insert(ino, now);
            return false;
        };
        value.outdated.replace(now).is_none()
    }

    /// Whether a file has to be rendered before it is shown.
    pub(crate) fn is_outdated(&self, ino: Ino) -> bool {
        self.values.get(&ino).is_none_or(|value| value.outdated.is_some())
    }

    /// Changes a file's content. `None` if it is as before; else the waiters for the change.
    pub(crate) fn set(&mut self, ino: Ino, content: Content) -> Option<Vec<Wake>> {
        let content: Result<Arc<[u8]>, Errno> = content.map(Into::into);
        if let Some(old) = self.values.get_mut(&ino)
            && old.content == content
        {
            old.outdated = None;
            return None;
        }
        let old = self.values.get(&ino);
        let size = match &content {
            Ok(bytes) => bytes.len() as u64,
            Err(_) => old.map_or(0, |old| old.size),
        };
        let mtime = match old {
            Some(old) => old.outdated.unwrap_or_else(SystemTime::now),
            None => self.untouched.remove(&ino).unwrap_or(self.mounted_at),
        };
        let version = old.map_or(0, |old| old.version) + 1;
        self.values.insert(ino, Value { content, size, mtime, version, outdated: None });
        Some(self.take_wakes(ino))
    }

    /// The waiters for a change of a file.
    pub(crate) fn take_wakes(&mut self, ino: Ino) -> Vec<Wake> {
        let handles = self.handles.values_mut().filter(|handle| handle.ino == ino);
        handles.filter_map(|handle| handle.wake.take()).collect()
    }

    pub(crate) fn open(&mut self, ino: Ino, on_disk: Option<OnDisk>) -> Fh {
        let fh = Fh(self.next);
        self.next += 1;
        let handle = Handle {
            ino,
            snapshot: self.content(ino).unwrap_or_else(|_| Arc::from([])),
            version: self.version(ino),
            on_disk,
            read_to: 0,
            anew: false,
            wake: None,
        };
        self.handles.insert(fh, handle);
        fh
    }

    fn version(&self, ino: Ino) -> u64 {
        self.values.get(&ino).map_or(0, |value| value.version)
    }

    fn handle(&mut self, fh: Fh) -> Result<&mut Handle, Errno> {
        self.handles.get_mut(&fh).ok_or(Errno::BADF)
    }

    pub(crate) fn ino(&mut self, fh: Fh) -> Result<Ino, Errno> {
        Ok(self.handle(fh)?.ino)
    }

    /// The unfinished lines of a handle that is open, and others.
    pub(crate) fn unfinished(&mut self, fh: Fh) -> Result<&mut Unfinished, Errno> {
        self.handle(fh)?;
        Ok(&mut self.unfinished)
    }

    /// Takes a write, as [`Unfinished::gather`].
    ///
    /// # Errors
    /// EBADF; those of [`Unfinished::gather`].
    pub(crate) fn gather(&mut self, fh: Fh, data: &[u8], longest: usize) -> Result<Gathered, Refusal> {
        self.unfinished(fh).map_err(|errno| (errno, "the file is not open".to_owned()))?.gather(fh, data, longest)
    }

    /// What is written through the handle from now on is a whole new state.
    pub(crate) fn begin_anew(&mut self, fh: Fh) {
        if let Ok(handle) = self.handle(fh) {
            handle.anew = true;
            self.unfinished.take(fh);
        }
    }

    /// Whether what is written is a whole new state.
    pub(crate) fn is_anew(&mut self, fh: Fh) -> bool {
        self.handle(fh).is_ok_and(|handle| handle.anew)
    }

    /// The new state has been taken: what comes now adds to it.
    pub(crate) fn goes_on(&mut self, fh: Fh) {
        if let Ok(handle) = self.handle(fh) {
            handle.anew = false;
        }
    }

    pub(crate) fn read(&mut self, fh: Fh, offset: u64, size: usize) -> Result<Vec<u8>, Errno> {
        let handle = self.handle(fh)?;
        if let Some(file) = &mut handle.on_disk {
            let bytes = file.read(offset, size).map_err(|_| Errno::IO)?;
            handle.read_to = offset + bytes.len() as u64;
            return Ok(bytes);
        }
        // As sysfs: a reader that starts over reads what is true now.
        if offset == 0 {
            let ino = handle.ino;
            let (content, version) = (self.content(ino), self.version(ino));
            let handle = self.handle(fh)?;
            // A reader that saw why there is no value has seen this change too.
            handle.version = version;
            handle.snapshot = content?;
        }
        let bytes = &self.handle(fh)?.snapshot;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        Ok(bytes[start..bytes.len().min(start.saturating_add(size))].to_vec())
    }

    pub(crate) fn poll(&mut self, fh: Fh, wake: Option<Wake>) -> Result<bool, Errno> {
        let ino = self.ino(fh)?;
        let current = self.version(ino);
        let handle = self.handle(fh)?;
        let news = match &handle.on_disk {
            Some(OnDisk::History(history)) => history.size() > handle.read_to,
            Some(OnDisk::Log(_)) | None => handle.version != current,
        };
        if news {
            return Ok(true);
        }
        if wake.is_some() {
            handle.wake = wake;
        }
        Ok(false)
    }

    pub(crate) fn release(&mut self, fh: Fh) {
        self.handles.remove(&fh);
        self.unfinished.take(fh);
    }
}
