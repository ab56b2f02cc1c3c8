//! The same random operations through the passthrough and on a plain directory must give the same results and trees.

use super::super::{Attr, Fh, SetAttr, WriteMode, XattrReply};
use super::*;
use proptest::prelude::*;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, XattrFlags};

mod listing;

use listing::Listing;

#[derive(Clone, Debug)]
enum Op {
    Create(Place, bool),
    Write(Place, u64, Vec<u8>),
    Append(Place, Vec<u8>),
    Truncate(Place, u64),
    Mkdir(Place),
    Symlink(Place, String),
    Link(Place, Place),
    Rename(Place, Place, u32),
    Unlink(Place),
    Rmdir(Place),
    Chmod(Place, u32),
    Read(Place),
    /// Opens a file and keeps it open, whatever becomes of its name.
    Hold(Place),
    Held(usize, Held),
    SetXattr(Place, &'static str, Vec<u8>, i32),
    GetXattr(Place, &'static str),
    ListXattr(Place),
    RemoveXattr(Place, &'static str),
    OpenDir(Option<&'static str>),
    /// Reads this number of entries of an open listing.
    ReadDir(usize, usize),
    CloseDir(usize),
}

/// What is done to a file that is held open.
#[derive(Clone, Debug)]
enum Held {
    Read(u64, usize),
    Write(u64, Vec<u8>),
    Truncate(u64),
    /// Size, links, mode.
    Stat,
    Close,
}

/// A directory's name, or none for the root, and a name in it.
#[derive(Clone, Debug)]
struct Place(Option<&'static str>, &'static str);

fn place() -> impl Strategy<Value = Place> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    (prop::option::of(name.clone()), name).prop_map(|(dir, name)| Place(dir, name))
}

fn held() -> impl Strategy<Value = Held> {
    let bytes = prop::collection::vec(any::<u8>(), 1..40);
    prop_oneof![
        3 => (0..200u64, 0..100usize).prop_map(|(at, size)| Held::Read(at, size)),
        3 => (0..200u64, bytes).prop_map(|(at, data)| Held::Write(at, data)),
        1 => (0..300u64).prop_map(Held::Truncate),
        2 => Just(Held::Stat),
        1 => Just(Held::Close),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let bytes = prop::collection::vec(any::<u8>(), 0..40);
    let value = prop::collection::vec(any::<u8>(), 0..20);
    let xattr = || prop::sample::select(vec!["user.x", "user.y"]);
    prop_oneof![
        (place(), any::<bool>()).prop_map(|(at, exclusive)| Op::Create(at, exclusive)),
        (place(), 0..200u64, bytes.clone()).prop_map(|(at, offset, data)| Op::Write(at, offset, data)),
        (place(), bytes).prop_map(|(at, data)| Op::Append(at, data)),
        (place(), 0..300u64).prop_map(|(at, size)| Op::Truncate(at, size)),
        place().prop_map(Op::Mkdir),
        place().prop_map(Op::Mkdir),
        (place(), "[abc/.]{1,5}").prop_map(|(at, target)| Op::Symlink(at, target)),
        (place(), place()).prop_map(|(from, to)| Op::Link(from, to)),
        (place(), place()).prop_map(|(from, to)| Op::Rename(from, to, 0)),
        (place(), place(), 1..4u32).prop_map(|(from, to, flags)| Op::Rename(from, to, flags)),
        place().prop_map(Op::Unlink),
        place().prop_map(Op::Rmdir),
        (place(), 0..0o1000u32).prop_map(|(at, mode)| Op::Chmod(at, mode | 0o700)),
        place().prop_map(Op::Read),
        place().prop_map(Op::Hold),
        place().prop_map(Op::Hold),
        (any::<usize>(), held()).prop_map(|(which, what)| Op::Held(which, what)),
        (any::<usize>(), held()).prop_map(|(which, what)| Op::Held(which, what)),
        (place(), xattr(), value, 0..3i32).prop_map(|(at, name, value, flags)| Op::SetXattr(at, name, value, flags)),
        (place(), xattr()).prop_map(|(at, name)| Op::GetXattr(at, name)),
        place().prop_map(Op::ListXattr),
        (place(), xattr()).prop_map(|(at, name)| Op::RemoveXattr(at, name)),
        prop::option::of(prop::sample::select(vec!["a", "b", "c"])).prop_map(Op::OpenDir),
        (any::<usize>(), 1..4usize).prop_map(|(which, room)| Op::ReadDir(which, room)),
        (any::<usize>(), 1..4usize).prop_map(|(which, room)| Op::ReadDir(which, room)),
        any::<usize>().prop_map(Op::CloseDir),
    ]
}

/// What an operation answers: the bytes that it read, or its error.
type Outcome = std::result::Result<Vec<u8>, Errno>;

/// A kernel's side of the passthrough: it walks name by name and remembers what it has to forget.
struct Session<'a> {
    bed: &'a Bed,
    held: Vec<u64>,
    files: Vec<(u64, Fh)>,
    listings: Vec<Listing>,
}

impl Session<'_> {
    fn held(&mut self, entry: FileEntry) -> Attr {
        self.held.push(entry.attr.ino);
        entry.attr
    }

    fn parent(&mut self, at: &Place) -> crate::passthrough::Result<u64> {
        let Some(dir) = at.0 else {
            return Ok(self.bed.root);
        };
        let attr = self.bed.lookup(dir)?.attr;
        self.held.push(attr.ino);
        if attr.kind == libc::S_IFDIR { Ok(attr.ino) } else { Err(Errno::NOTDIR) }
    }

    fn find(&mut self, at: &Place) -> crate::passthrough::Result<Attr> {
        let parent = self.parent(at)?;
        let entry = self.bed.fs.lookup(parent, OsStr::new(at.1))?;
        Ok(self.held(entry))
    }

    fn set(&mut self, at: &Place, set: &SetAttr) -> Outcome {
        let attr = self.find(at)?;
        // The kernel would follow a symlink; here it ends.
        if attr.kind == libc::S_IFLNK {
            return Err(Errno::LOOP);
        }
        self.bed.fs.setattr(attr.ino, None, set).map(|_| Vec::new())
    }

    fn with_open(&mut self, at: &Place, flags: i32, work: impl FnOnce(Fh) -> Outcome) -> Outcome {
        let fh = self.bed.fs.open(self.find(at)?.ino, flags)?;
        let outcome = work(fh);
        self.bed.fs.release(fh)?;
        outcome
    }

    fn apply(&mut self, op: &Op) -> Outcome {
        let fs = &self.bed.fs;
        let os = OsStr::new;
        match op {
            Op::Create(at, exclusive) => {
                let parent = self.parent(at)?;
                let flags = libc::O_WRONLY | if *exclusive { libc::O_EXCL } else { 0 };
                let (entry, fh) = fs.create(us(), parent, os(at.1), 0o644, flags)?;
                self.held(entry);
                fs.release(fh)?;
            }
            Op::Write(at, offset, data) => {
                let write = |fh| fs.write(fh, *offset, data, WriteMode::default()).map(|_| Vec::new());
                return self.with_open(at, libc::O_WRONLY, write);
            }
            Op::Append(at, data) => {
                let write =
                    |fh| fs.write(fh, 0, data, WriteMode { append: true, ..WriteMode::default() }).map(|_| Vec::new());
                return self.with_open(at, libc::O_WRONLY | libc::O_APPEND, write);
            }
            Op::Read(at) => {
                return self.with_open(at, libc::O_RDONLY, |fh| fs.read(fh, 0, 1 << 16));
            }
            Op::Truncate(at, size) => {
                return self.set(at, &SetAttr { size: Some(*size), ..SetAttr::default() });
            }
            Op::Chmod(at, mode) => {
                return self.set(at, &SetAttr { mode: Some(*mode), ..SetAttr::default() });
            }
            Op::Mkdir(at) => {
                let parent = self.parent(at)?;
                let entry = fs.mkdir(us(), parent, os(at.1), 0o755)?;
                self.held(entry);
            }
            Op::Symlink(at, target) => {
                let parent = self.parent(at)?;
                let entry = fs.symlink(us(), parent, os(at.1), os(target))?;
                self.held(entry);
            }
            Op::Link(from, to) => {
                let (attr, parent) = (self.find(from)?, self.parent(to)?);
                let entry = fs.link(attr.ino, parent, os(to.1))?;
                assert_eq!(self.held(entry).ino, attr.ino);
            }
            Op::Rename(from, to, flags) => {
                let (old, new) = (self.parent(from)?, self.parent(to)?);
                fs.rename(old, os(from.1), new, os(to.1), *flags)?;
            }
            Op::Hold(at) => {
                let ino = self.find(at)?.ino;
                self.files.push((ino, fs.open(ino, libc::O_RDWR)?));
            }
            Op::Held(which, what) if !self.files.is_empty() => {
                let which = which % self.files.len();
                return self.on_held(which, what);
            }
            Op::SetXattr(at, name, value, flags) => fs.setxattr(self.find(at)?.ino, os(name), value, *flags)?,
            Op::RemoveXattr(at, name) => fs.removexattr(self.find(at)?.ino, os(name))?,
            Op::GetXattr(at, name) => return fs.getxattr(self.find(at)?.ino, os(name), 100).map(data),
            Op::ListXattr(at) => {
                return fs.listxattr(self.find(at)?.ino, 1000, true).map(|names| sorted(&data(names)));
            }
            Op::OpenDir(dir) => {
                let ino = match dir {
                    Some(dir) => self.bed.lookup(dir).map(|entry| self.held(entry).ino),
                    None => Ok(self.bed.root),
                };
                self.listings.extend(ino.ok().and_then(|ino| Listing::open(self.bed, *dir, ino)));
            }
            Op::ReadDir(which, room) if !self.listings.is_empty() => {
                let which = which % self.listings.len();
                self.listings[which].read(self.bed, *room);
            }
            Op::CloseDir(which) if !self.listings.is_empty() => {
                self.listings.swap_remove(which % self.listings.len()).close(self.bed);
            }
            Op::Held(..) | Op::ReadDir(..) | Op::CloseDir(_) => {}
            Op::Unlink(at) => fs.unlink(self.parent(at)?, os(at.1))?,
            Op::Rmdir(at) => fs.rmdir(self.parent(at)?, os(at.1))?,
        }
        Ok(Vec::new())
    }
}

impl Session<'_> {
    fn on_held(&mut self, which: usize, what: &Held) -> Outcome {
        let (fs, (ino, fh)) = (&self.bed.fs, self.files[which]);
        Ok(match what {
            Held::Read(at, size) => fs.read(fh, *at, *size as u32)?,
            Held::Write(at, data) => fs.write(fh, *at, data, WriteMode::default())?.to_string().into_bytes(),
            Held::Truncate(size) => {
                fs.setattr(ino, Some(fh), &SetAttr { size: Some(*size), ..SetAttr::default() })?;
                vec![]
            }
            Held::Stat => {
                let attr = fs.getattr(ino, Some(fh))?;
                format!("{} {} {:o}", attr.size, attr.nlink, attr.perm).into_bytes()
            }
            Held::Close => {
                fs.release(fh)?;
                self.files.swap_remove(which);
                vec![]
            }
        })
    }
}

fn data(reply: XattrReply) -> Vec<u8> {
    match reply {
        XattrReply::Data(data) => data,
        XattrReply::Size(_) => panic!("a size, where the data was asked for"),
    }
}

/// Names of attributes come in any order. Of those that the system sets, each file has its own.
fn sorted(names: &[u8]) -> Vec<u8> {
    let mut names: Vec<_> = names.split(|byte| *byte == 0).filter(|name| name.starts_with(b"user.")).collect();
    names.sort_unstable();
    names.concat()
}

/// The same on a plain directory, by paths.
struct Plain<'a>(&'a Path, Vec<fs::File>);

impl Plain<'_> {
    fn path(&self, at: &Place) -> std::io::Result<PathBuf> {
        let Some(dir) = at.0 else {
            return Ok(self.0.join(at.1));
        };
        let dir = self.0.join(dir);
        if !fs::symlink_metadata(&dir)?.is_dir() {
            return Err(Errno::NOTDIR.into());
        }
        Ok(dir.join(at.1))
    }

    fn not_a_symlink(&self, at: &Place) -> std::io::Result<PathBuf> {
        let path = self.path(at)?;
        if fs::symlink_metadata(&path)?.is_symlink() {
            return Err(Errno::LOOP.into());
        }
        Ok(path)
    }

    fn apply(&mut self, op: &Op) -> Outcome {
        self.try_apply(op).map_err(|error| Errno::from_io_error(&error).unwrap())
    }

    fn try_apply(&mut self, op: &Op) -> std::io::Result<Vec<u8>> {
        let open = |at: &Place| -> std::io::Result<(PathBuf, fs::OpenOptions)> {
            Ok((self.not_a_symlink(at)?, fs::OpenOptions::new()))
        };
        match op {
            Op::Create(at, exclusive) => {
                let mut options = fs::OpenOptions::new();
                options.write(true).create(!exclusive).create_new(*exclusive).mode(0o644);
                options.custom_flags(libc::O_NOFOLLOW).open(self.path(at)?)?;
            }
            Op::Write(at, offset, data) => {
                let (path, mut options) = open(at)?;
                options.write(true).open(path)?.write_all_at(data, *offset)?;
            }
            Op::Append(at, data) => {
                let (path, mut options) = open(at)?;
                options.append(true).open(path)?.write_all(data)?;
            }
            Op::Read(at) => {
                let (path, mut options) = open(at)?;
                let file = options.read(true).open(path)?;
                if file.metadata()?.is_dir() {
                    return Err(Errno::ISDIR.into());
                }
                let mut data = Vec::new();
                (&file).read_to_end(&mut data)?;
                return Ok(data);
            }
            Op::Truncate(at, size) => {
                let (path, mut options) = open(at)?;
                options.write(true).open(path)?.set_len(*size)?;
            }
            Op::Chmod(at, mode) => {
                fs::set_permissions(self.not_a_symlink(at)?, PermissionsExt::from_mode(*mode))?;
            }
            Op::Mkdir(at) => fs::DirBuilder::new().mode(0o755).create(self.path(at)?)?,
            Op::Symlink(at, target) => symlink(target, self.path(at)?)?,
            Op::Link(from, to) => {
                let from = self.path(from)?;
                fs::symlink_metadata(&from)?;
                fs::hard_link(from, self.path(to)?)?;
            }
            Op::Rename(from, to, flags) => {
                let flags = RenameFlags::from_bits_retain(*flags);
                rustix::fs::renameat_with(CWD, self.path(from)?, CWD, self.path(to)?, flags)?;
            }
            Op::Hold(at) => {
                let (path, mut options) = open(at)?;
                let file = options.read(true).write(true).open(path)?;
                self.1.push(file);
            }
            Op::Held(which, what) if !self.1.is_empty() => {
                let which = which % self.1.len();
                return self.on_held(which, what);
            }
            Op::SetXattr(at, name, value, flags) => {
                let flags = XattrFlags::from_bits_retain(flags.cast_unsigned());
                rustix::fs::lsetxattr(self.path(at)?, *name, value, flags)?;
            }
            Op::RemoveXattr(at, name) => rustix::fs::lremovexattr(self.path(at)?, *name)?,
            Op::GetXattr(at, name) => {
                let mut value = vec![0; 100];
                let length = rustix::fs::lgetxattr(self.path(at)?, *name, &mut value[..])?;
                value.truncate(length);
                return Ok(value);
            }
            Op::ListXattr(at) => {
                let mut names = vec![0; 1000];
                let length = rustix::fs::llistxattr(self.path(at)?, &mut names[..])?;
                return Ok(sorted(&names[..length]));
            }
            Op::Held(..) | Op::OpenDir(_) | Op::ReadDir(..) | Op::CloseDir(_) => {}
            Op::Unlink(at) => rustix::fs::unlink(self.path(at)?)?,
            Op::Rmdir(at) => fs::remove_dir(self.path(at)?)?,
        }
        Ok(Vec::new())
    }
}

impl Plain<'_> {
    fn on_held(&mut self, which: usize, what: &Held) -> std::io::Result<Vec<u8>> {
        let file = &self.1[which];
        Ok(match what {
            Held::Read(at, size) => {
                let mut bytes = vec![0; *size];
                let got = file.read_at(&mut bytes, *at)?;
                bytes.truncate(got);
                bytes
            }
            Held::Write(at, data) => file.write_at(data, *at)?.to_string().into_bytes(),
            Held::Truncate(size) => {
                file.set_len(*size)?;
                vec![]
            }
            Held::Stat => {
                let stat = file.metadata()?;
                format!("{} {} {:o}", stat.len(), stat.nlink(), stat.mode() & 0o7777).into_bytes()
            }
            Held::Close => {
                self.1.swap_remove(which);
                vec![]
            }
        })
    }
}

/// All there is below a directory: mode, links, and content or target by relative path.
fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, u64, Vec<u8>)> {
    let (mut found, mut todo) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let stat = fs::symlink_metadata(&path).unwrap();
            let content = if stat.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else if stat.is_dir() {
                todo.push(path.clone());
                Vec::new()
            } else {
                fs::read(&path).unwrap()
            };
            let name = path.strip_prefix(root).unwrap().to_owned();
            found.insert(name, (stat.mode(), stat.nlink(), content));
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn is_a_plain_directory(ops in prop::collection::vec(op(), 1..100)) {
        let (bed, plain) = (Bed::new(), tempfile::tempdir().unwrap());
        let mut session = Session { bed: &bed, held: vec![], files: vec![], listings: vec![] };
        let mut reference = Plain(plain.path(), vec![]);
        for (index, op) in ops.iter().enumerate() {
            let (ours, theirs) = (session.apply(op), reference.apply(op));
            prop_assert_eq!(ours, theirs, "operation {}: {:?}", index, op);
            session.listings.iter_mut().for_each(Listing::changed);
        }
        for listing in &mut session.listings {
            // To its end, so that the check at the end is made.
            (0..10).for_each(|_| listing.read(&bed, 3));
        }
        prop_assert_eq!(tree(bed.dir.path()), tree(plain.path()));
        for (_, fh) in session.files {
            bed.fs.release(fh).unwrap();
        }
        for listing in session.listings {
            listing.close(&bed);
        }
        for ino in session.held {
            bed.fs.forget(ino, 1);
        }
        prop_assert_eq!(bed.fs.known(), 1, "everything was forgotten");
    }
}
