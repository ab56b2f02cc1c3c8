//! The directory tree that a user sees, over the model of a cluster.
//!
//! Answers lookups, attributes, reads, writes and polls of synthesized files, testable without a mount. It never waits
//! for the engine: a write with commands becomes a [`Pending`] for the caller to await.

mod append;
mod files;
mod layout;
mod listing;
mod settings;
mod table;
mod unfinished;
mod write;

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use rustix::io::Errno;

use files::{Content, Files, OnDisk};
use layout::Kind;
pub use layout::Layout;
pub use listing::DirEntry;
use table::{DependsOn, File, Role};
pub use write::{LONGEST_WRITE, Pending, Position, Written};

use crate::cluster::{Change, Cluster, NamedRoles};
use crate::control::{ControlError, Executor, Target, parse};
use crate::history::History;
use crate::sync::Mutex;
use crate::watch::LogFile;

/// An inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ino(pub u64);

impl Ino {
    /// The root directory's.
    pub const ROOT: Self = Self(1);
    /// The layout's numbers are below this; a thread's own number of a file has the thread's id above.
    const THREADS: u32 = 32;
    /// All numbers of synthesized files are below this: Linux has thread ids of 22 bits.
    const END: u64 = 1 << 56;

    fn as_seen_by(self, thread: u32) -> Self {
        Self(self.0 | u64::from(thread) << Self::THREADS)
    }

    /// The number that the layout has for it.
    fn in_layout(self) -> Self {
        if self.0 < Self::END { Self(self.0 & u64::from(u32::MAX)) } else { self }
    }
}

/// A handle on an open file; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fh(pub u64);

/// Attributes of a synthesized entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// Its number.
    pub ino: Ino,
    pub(crate) kind: EntryKind,
    /// Its size in bytes.
    pub size: u64,
    /// Permission bits.
    pub perm: u16,
    pub(crate) nlink: u32,
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

/// Notifications to the kernel. The implementation never blocks its caller.
pub trait KernelNotifier: Send + Sync {
    /// Attributes of these are no longer what the kernel may remember.
    fn invalidate(&self, inos: Vec<Ino>);
    /// Runs this where notifying cannot deadlock.
    fn wake(&self, wake: Wake);
    /// Resolves when all earlier notifications have reached the kernel.
    fn flushed(&self) -> BoxFuture<'static, ()>;
}

/// Wakes a waiter in poll(2).
pub type Wake = Box<dyn FnOnce() + Send>;

/// The synthesized tree: a cheap handle.
#[derive(Clone)]
pub struct Tree(Arc<Inner>);

struct Inner {
    cluster: Cluster,
    executor: Executor,
    layout: Layout,
    files: Mutex<Files>,
    kernel: std::sync::OnceLock<Box<dyn KernelNotifier>>,
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

    /// Sets the receiver of notifications; only the first call counts.
    pub fn connect(&self, kernel: Box<dyn KernelNotifier>) {
        let _ = self.0.kernel.set(kernel);
    }

    /// The cluster that it shows.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.0.cluster
    }

    pub(crate) fn history(&self) -> &History {
        self.0.executor.recorder().history()
    }

    /// Executes the commands that are written to its files.
    pub(crate) fn executor(&self) -> &Executor {
        &self.0.executor
    }

    /// Begins no command any more. Returns whether some are under way still.
    pub fn close(&self) -> bool {
        self.0.executor.close()
    }

    /// Executes a line that names no roles as if it were written to the root's control.
    ///
    /// # Errors
    /// As the write.
    pub(crate) async fn execute(&self, line: &str) -> Result<(), ControlError> {
        match parse(line.as_bytes())? {
            Some(command) => {
                let invoked = self.0.executor.invoke(Target::Root, line, command, NamedRoles::default());
                self.0.executor.execute(invoked).await
            }
            None => Ok(()),
        }
    }

    /// The entry of that name in a directory, as a thread sees it; 0 for an unknown thread. A file whose writers wait
    /// has another number for each: while one waits, the kernel blocks all other opens (with O_TRUNC), writes and
    /// closes of that inode.
    ///
    /// # Errors
    /// ENOENT; ENOTDIR if `parent` is none.
    pub fn lookup(&self, parent: Ino, name: &OsStr, thread: u32) -> Result<Ino, Errno> {
        match &self.entry(parent)?.kind {
            Kind::Directory(_) => {
                let ino = self.0.layout.child(parent, name).ok_or(Errno::NOENT)?;
                Ok(self.as_seen_by(ino, thread))
            }
            Kind::File(..) | Kind::Link(_) => Err(Errno::NOTDIR),
        }
    }

    fn as_seen_by(&self, ino: Ino, thread: u32) -> Ino {
        if self.differs_by_thread(ino) { ino.as_seen_by(thread) } else { ino }
    }

    /// Whether each thread has a number of its own for it.
    pub(crate) fn differs_by_thread(&self, ino: Ino) -> bool {
        self.file(ino).is_some_and(|(file, _)| file.role.makes_writers_wait())
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
            Kind::File(File { role: Role::Log, .. }, node) => {
                let log = self.log(node.unwrap_or_default());
                of(EntryKind::File, log.size(), 0o444, 1, log.modified())
            }
            Kind::File(file, _) if file.role == Role::History => {
                let (size, mtime) = (self.history().size(), self.history().modified());
                of(EntryKind::File, size, file.perm, 1, mtime.unwrap_or(mounted_at))
            }
            Kind::File(file, _) => {
                let mut files = self.0.files.lock();
                self.refresh(&mut files, ino.in_layout());
                let (size, mtime) = files.size_and_mtime(ino.in_layout());
                of(EntryKind::File, size, file.perm, 1, mtime)
            }
        })
    }

    /// Whether the owner, who is root or not, may do what `wanted` says: bits as for access(2).
    ///
    /// # Errors
    /// `EACCES` if not.
    pub fn access(&self, ino: Ino, wanted: u32, root: bool) -> Result<(), Errno> {
        let perm = self.attr(ino)?.perm;
        let (owners, anyones_exec) = (u32::from(perm >> 6) & 0o7, u32::from(perm & 0o111 != 0));
        // As in the kernel: root may do all, but run only what somebody may run.
        let granted = if root { 0o6 | anyones_exec } else { owners };
        if wanted & !granted == 0 { Ok(()) } else { Err(Errno::ACCESS) }
    }

    /// Where a link points.
    ///
    /// # Errors
    /// EINVAL if it is not a symlink.
    pub fn readlink(&self, ino: Ino) -> Result<&str, Errno> {
        match &self.entry(ino)?.kind {
            Kind::Link(target) => Ok(target),
            Kind::Directory(_) | Kind::File(..) => Err(Errno::INVAL),
        }
    }

    /// Whether the kernel may cache an entry's attributes until it is notified.
    pub fn is_cacheable(&self, ino: Ino) -> bool {
        !self.differs_by_thread(ino) && self.file(ino).is_none_or(|(file, _)| !file.role.is_on_disk())
    }

    /// Whether it is a stream for poll(2), which can be read when there is more, and no value that changes.
    pub fn is_stream(&self, ino: Ino) -> bool {
        self.file(ino).is_some_and(|(file, _)| file.role == Role::History)
    }

    /// Opens a file. What is read through the handle is what the file said then, or when offset 0 was last read.
    ///
    /// # Errors
    /// EACCES to write what cannot be written; EHOSTDOWN for a live value while the engine cannot be reached.
    pub fn open(&self, ino: Ino, writes: bool) -> Result<Fh, Errno> {
        let ino = ino.in_layout();
        let Kind::File(file, node) = &self.entry(ino)?.kind else {
            return Err(Errno::ISDIR);
        };
        if writes && file.perm & 0o200 == 0 {
            return Err(Errno::ACCESS);
        }
        if file.role == Role::Log {
            let log = self.log(node.unwrap_or_default()).reader();
            return Ok(self.0.files.lock().open(ino, Some(OnDisk::Log(log))));
        }
        if file.role == Role::History {
            return Ok(self.0.files.lock().open(ino, Some(OnDisk::History(self.history().clone()))));
        }
        let mut files = self.0.files.lock();
        self.refresh(&mut files, ino);
        // A setting that is not known to be in force can still be set.
        if !(writes && file.role.is_setting()) {
            files.content(ino)?;
        }
        Ok(files.open(ino, None))
    }

    /// Reads from a handle: up to `size` bytes from `offset`.
    ///
    /// # Errors
    /// EBADF; EHOSTDOWN as for open; EIO if a log cannot be read.
    pub fn read(&self, fh: Fh, offset: u64, size: usize) -> Result<Vec<u8>, Errno> {
        let mut files = self.0.files.lock();
        if offset == 0 {
            let ino = files.ino(fh)?;
            self.refresh(&mut files, ino);
        }
        files.read(fh, offset, size)
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
        let (file, _) = self.file(files.ino(fh)?).ok_or(Errno::BADF)?;
        if !file.polled {
            return Ok(false);
        }
        files.poll(fh, wake)
    }

    /// Applies a change of the model: reads show it from now on, and the kernel drops what it has cached.
    pub fn changed(&self, change: Change) {
        match change {
            Change::None => {}
            Change::Node(index) => self.outdate([None, Some(index)], DependsOn::Nodes),
            Change::Network(index) => {
                self.outdate([None, Some(index)], DependsOn::Nodes);
                self.outdate(self.directories(), DependsOn::Faults);
            }
            Change::Reachable => {
                self.outdate(self.directories(), DependsOn::Nodes);
                self.outdate(self.directories(), DependsOn::Faults);
                self.outdate(self.directories(), DependsOn::Roles);
            }
            Change::Faults => self.outdate(self.directories(), DependsOn::Faults),
            Change::Roles => self.outdate(self.directories(), DependsOn::Roles),
        }
    }

    /// The root, and every node.
    fn directories(&self) -> impl Iterator<Item = Option<usize>> + use<> {
        std::iter::once(None).chain((0..self.0.cluster.len()).map(Some))
    }

    /// Notes that files of these directories may say something else now.
    fn outdate(&self, directories: impl IntoIterator<Item = Option<usize>>, depends_on: DependsOn) {
        let now = SystemTime::now();
        for node in directories {
            let mut files = self.0.files.lock();
            let mut forget = vec![];
            for (ino, file) in self.0.layout.files(node).filter(|(_, file)| file.depends_on == depends_on) {
                if file.polled {
                    // Its content decides whether waiters are woken.
                    self.set_in(&mut files, ino, self.content(file, node));
                } else if files.outdate(ino, now) {
                    forget.push(ino);
                }
            }
            // Still under the lock, and without blocking: the kernel is notified before anyone finds the new content.
            if let Some(kernel) = self.0.kernel.get().filter(|_| !forget.is_empty()) {
                kernel.invalidate(forget);
            }
        }
    }

    /// Renders a file that may say something else by now. Under the lock: of two changes at once, the later one is what stays.
    fn refresh(&self, files: &mut Files, ino: Ino) {
        if let Some((file, node)) = self.file(ino)
            && files.is_outdated(ino)
            && !file.role.is_on_disk()
            && file.role != Role::Error
        {
            let content = self.content(file, node);
            files.set(ino, content);
        }
    }

    fn content(&self, file: &File, node: Option<usize>) -> Content {
        file.content(&self.0.cluster, &self.0.executor, node)
    }

    fn set(&self, ino: Ino, content: impl FnOnce() -> Content) {
        self.set_in(&mut self.0.files.lock(), ino, content());
    }

    fn set_in(&self, files: &mut Files, ino: Ino, content: Content) {
        let Some(wakes) = files.set(ino, content) else { return };
        if let Some(kernel) = self.0.kernel.get() {
            kernel.invalidate(vec![ino]);
            wakes.into_iter().for_each(|wake| kernel.wake(wake));
        }
    }

    fn file(&self, ino: Ino) -> Option<(&'static File, Option<usize>)> {
        match self.0.layout.get(ino)?.kind {
            Kind::File(file, node) => Some((file, node)),
            Kind::Directory(_) | Kind::Link(_) => None,
        }
    }

    fn entry(&self, ino: Ino) -> Result<&layout::LayoutEntry, Errno> {
        self.0.layout.get(ino).ok_or(Errno::NOENT)
    }

    pub(crate) fn log(&self, index: usize) -> &LogFile {
        self.0.executor.log(index)
    }
}
