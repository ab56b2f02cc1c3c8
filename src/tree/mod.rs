//! The tree room: the directory tree that a user sees, over the model of a cluster.
//!
//! Answers lookups, attributes, reads, writes and polls of synthesized files, testable without a mount. It never waits
//! for the engine: a write that commands something becomes a [`Pending`] that somebody else awaits.

mod append;
mod files;
mod layout;
mod listing;
mod render;
mod settings;
mod write;

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rustix::io::Errno;

use files::{Content, Files, OnDisk};
pub use layout::{File, Kind, Layout};
pub use listing::DirEntry;
pub use write::{Pending, Position, Written};

use crate::cluster::{Change, Cluster};
use crate::control::{ControlError, Executor, Target, parse};
use crate::history::History;
use crate::watch::LogFile;

/// An inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ino(pub u64);

impl Ino {
    /// The root directory's.
    pub const ROOT: Self = Self(1);
}

/// A handle on an open file; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fh(pub u64);

/// Attributes of a synthesized entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// Its number.
    pub ino: Ino,
    /// Its type.
    pub kind: EntryKind,
    /// Its size in bytes.
    pub size: u64,
    /// Permission bits.
    pub perm: u16,
    /// Links to it.
    pub nlink: u32,
    /// When its content last changed.
    pub mtime: SystemTime,
}

/// Type of a synthesized entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A file.
    File,
    /// A symbolic link.
    Link,
}

/// What must be told to the kernel. The implementation never blocks its caller.
pub trait Kernel: Send + Sync {
    /// Attributes of these are no longer what the kernel may remember.
    fn invalidate(&self, inos: Vec<Ino>);
    /// Runs this where notifying cannot deadlock.
    fn wake(&self, wake: Wake);
    /// Resolves when all that was told before has reached the kernel.
    fn flushed(&self) -> BoxFuture<'static, ()>;
}

/// Wakes who waits in poll(2).
pub type Wake = Box<dyn FnOnce() + Send>;

/// The synthesized tree: a cheap handle.
#[derive(Clone)]
pub struct Tree(Arc<Inner>);

struct Inner {
    cluster: Cluster,
    executor: Executor,
    layout: Layout,
    files: Mutex<Files>,
    kernel: std::sync::OnceLock<Box<dyn Kernel>>,
    mounted_at: SystemTime,
}

impl Tree {
    /// A tree over a cluster whose commands `executor` runs.
    pub fn new(cluster: Cluster, executor: Executor, layout: Layout) -> Self {
        let mounted_at = SystemTime::now();
        let tree = Self(Arc::new(Inner {
            files: Mutex::new(Files::new(mounted_at)),
            kernel: std::sync::OnceLock::new(),
            mounted_at,
            cluster,
            executor,
            layout,
        }));
        tree.changed(Change::Reachable);
        let inner = Arc::downgrade(&tree.0);
        tree.history().on_growth(Box::new(move || {
            if let Some(inner) = inner.upgrade() {
                Self(inner).grown();
            }
        }));
        tree
    }

    /// Says whom to tell of changes; the first call counts.
    pub fn connect(&self, kernel: Box<dyn Kernel>) {
        let _ = self.0.kernel.set(kernel);
    }

    /// The cluster that it shows.
    pub fn cluster(&self) -> &Cluster {
        &self.0.cluster
    }

    /// What has happened.
    pub fn history(&self) -> &History {
        self.0.executor.recorder().history()
    }

    /// Begins no command any more. Returns whether some are under way still.
    pub fn close(&self) -> bool {
        self.0.executor.close()
    }

    /// Executes a line as if it were written to the root's control.
    ///
    /// # Errors
    /// As the write.
    pub async fn execute(&self, line: &str) -> Result<(), ControlError> {
        match parse(line.as_bytes())? {
            Some(command) => self.0.executor.execute(self.0.executor.invoke(Target::Root, line, command)).await,
            None => Ok(()),
        }
    }

    /// The entry of that name in a directory.
    ///
    /// # Errors
    /// ENOENT; ENOTDIR if `parent` is none.
    pub fn lookup(&self, parent: Ino, name: &OsStr) -> Result<Ino, Errno> {
        match &self.entry(parent)?.kind {
            Kind::Directory(_) => self.0.layout.child(parent, name).ok_or(Errno::NOENT),
            Kind::File(..) | Kind::Link(_) => Err(Errno::NOTDIR),
        }
    }

    /// Type of an entry; a number that is not ours is a directory of bindmounts.
    pub fn kind(&self, ino: Ino) -> EntryKind {
        match self.0.layout.get(ino).map(|entry| &entry.kind) {
            Some(Kind::File(..)) => EntryKind::File,
            Some(Kind::Link(_)) => EntryKind::Link,
            Some(Kind::Directory(_)) | None => EntryKind::Directory,
        }
    }

    /// Attributes of an entry.
    ///
    /// # Errors
    /// ENOENT.
    pub fn attr(&self, ino: Ino) -> Result<Attr, Errno> {
        let mounted_at = self.0.mounted_at;
        let of = |kind, size, perm, nlink, mtime| Attr { ino, kind, size, perm, nlink, mtime };
        Ok(match &self.entry(ino)?.kind {
            Kind::Directory(children) => {
                let directories =
                    children.iter().filter(|(_, child)| self.kind(*child) == EntryKind::Directory).count();
                of(EntryKind::Directory, 0, 0o755, 2 + directories as u32, mounted_at)
            }
            Kind::Link(target) => of(EntryKind::Link, target.len() as u64, 0o777, 1, mounted_at),
            Kind::File(File::Log, node) => {
                let log = self.log(node.unwrap_or_default());
                of(EntryKind::File, log.size(), 0o444, 1, log.modified())
            }
            Kind::File(File::History, _) => {
                let (size, mtime) = (self.history().size(), self.history().modified());
                of(EntryKind::File, size, File::History.perm(), 1, mtime.unwrap_or(mounted_at))
            }
            Kind::File(file, _) => {
                let (size, mtime) = self.0.files.lock().size_and_mtime(ino);
                of(EntryKind::File, size, file.perm(), 1, mtime)
            }
        })
    }

    /// Where a link points.
    ///
    /// # Errors
    /// EINVAL if it is none.
    pub fn readlink(&self, ino: Ino) -> Result<&str, Errno> {
        match &self.entry(ino)?.kind {
            Kind::Link(target) => Ok(target),
            Kind::Directory(_) | Kind::File(..) => Err(Errno::INVAL),
        }
    }

    /// Whether the kernel may remember an entry's attributes until told otherwise.
    pub fn is_cacheable(&self, ino: Ino) -> bool {
        !matches!(self.0.layout.get(ino).map(|entry| &entry.kind), Some(Kind::File(file, _)) if file.is_on_disk())
    }

    /// Whether it is a stream for poll(2), which can be read when there is more, and no value that changes.
    pub fn is_stream(&self, ino: Ino) -> bool {
        matches!(self.0.layout.get(ino).map(|entry| &entry.kind), Some(Kind::File(File::History, _)))
    }

    /// Opens a file. What is read through the handle is what the file said then, or when offset 0 was last read.
    ///
    /// # Errors
    /// EACCES to write what cannot be written; EHOSTDOWN for a live value while the engine cannot be reached.
    pub fn open(&self, ino: Ino, writes: bool) -> Result<Fh, Errno> {
        let Kind::File(file, node) = &self.entry(ino)?.kind else {
            return Err(Errno::ISDIR);
        };
        if writes && file.perm() & 0o200 == 0 {
            return Err(Errno::ACCESS);
        }
        if *file == File::Log {
            let log = self.log(node.unwrap_or_default()).reader();
            return Ok(self.0.files.lock().open(ino, Some(OnDisk::Log(log))));
        }
        if *file == File::History {
            return Ok(self.0.files.lock().open(ino, Some(OnDisk::History(self.history().clone()))));
        }
        let mut files = self.0.files.lock();
        // A setting that is not known to be in force can still be set.
        if !(writes && file.is_of_faults()) {
            files.content(ino)?;
        }
        Ok(files.open(ino, None))
    }

    /// Reads from a handle: up to `size` bytes from `offset`.
    ///
    /// # Errors
    /// EBADF; EHOSTDOWN as for open; EIO if a log cannot be read.
    pub fn read(&self, fh: Fh, offset: u64, size: usize) -> Result<Vec<u8>, Errno> {
        self.0.files.lock().read(fh, offset, size)
    }

    /// Forgets a handle.
    pub fn release(&self, fh: Fh) {
        self.0.files.lock().release(fh);
    }

    /// Whether a handle's value has changed since it was read, or a stream has more than was read; if not and `wake` is given, calls it when it does.
    ///
    /// # Errors
    /// EBADF.
    pub fn poll(&self, fh: Fh, wake: Option<Wake>) -> Result<bool, Errno> {
        let mut files = self.0.files.lock();
        let Some(Kind::File(file, _)) = self.0.layout.get(files.ino(fh)?).map(|entry| &entry.kind) else {
            return Err(Errno::BADF);
        };
        if !file.is_pollable() {
            return Ok(false);
        }
        files.poll(fh, wake)
    }

    /// Takes a change of the model in: what is read from now on tells it, and the kernel forgets what it remembered.
    pub fn changed(&self, change: Change) {
        let concerns = |file: File, node: &Option<usize>| match change {
            Change::None => false,
            Change::Node(index) => !file.is_of_faults() && node.is_none_or(|node| node == index),
            Change::Network(index) => file.is_of_faults() || node.is_none_or(|node| node == index),
            Change::Reachable => true,
            Change::Faults => file.is_of_faults(),
        };
        for (ino, entry) in self.0.layout.iter() {
            if let Kind::File(file, node) = &entry.kind
                && concerns(*file, node)
                && !(file.is_on_disk() || *file == File::Error)
            {
                self.set(ino, |cluster| match file {
                    File::Capabilities => Ok(self.0.executor.capabilities().into_bytes()),
                    _ => render::render(cluster, *file, *node),
                });
            }
        }
    }

    fn set(&self, ino: Ino, content: impl FnOnce(&Cluster) -> Content) {
        let mut files = self.0.files.lock();
        // Rendered under the lock: of two changes at once, the later one is what stays.
        let Some(wakes) = files.set(ino, content(&self.0.cluster)) else {
            return;
        };
        // Still under the lock, and never blocking: whoever finds the new content has the kernel told before him.
        if let Some(kernel) = self.0.kernel.get() {
            kernel.invalidate(vec![ino]);
            wakes.into_iter().for_each(|wake| kernel.wake(wake));
        }
    }

    fn entry(&self, ino: Ino) -> Result<&layout::Entry, Errno> {
        self.0.layout.get(ino).ok_or(Errno::NOENT)
    }

    /// A node's output.
    pub fn log(&self, index: usize) -> &LogFile {
        self.0.executor.log(index)
    }
}
