//! Copies what nodes wrote: by descriptors, one name at a time, regular files and directories only.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, SeekFrom, fstat, mkdirat, openat, readlinkat, seek, statat, unlinkat,
};
use rustix::io::Errno;

/// Directories in one another that are gone into; two descriptors are held for each.
const MAX_DEPTH: usize = 64;
/// Most left-out things that are listed one by one.
const TOLD: usize = 1000;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What was not copied, and why: a line each.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    lines: Vec<String>,
    more: usize,
}

impl LeftOut {
    pub(crate) fn add(&mut self, path: &Path, why: impl std::fmt::Display) {
        if self.lines.len() < TOLD {
            // A name may hold a newline.
            self.lines.push(format!("{}: {why}", path.display().to_string().escape_debug()));
        } else {
            self.more += 1;
        }
    }

    /// Notes one that could not be written, unless nothing can be written any more.
    ///
    /// # Errors
    /// `error`: a full or a read-only disk.
    pub(crate) fn or_fail(&mut self, path: &Path, error: io::Error) -> io::Result<()> {
        use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        if matches!(error.kind(), QuotaExceeded | ReadOnlyFilesystem | StorageFull) {
            return Err(error);
        }
        self.add(path, error);
        Ok(())
    }

    /// All of them, a line each; `None` if nothing was left out.
    pub(crate) fn text(&self) -> Option<String> {
        let mut text: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        if self.more > 0 {
            text.push_str(&format!("and {} more\n", self.more));
        }
        (!text.is_empty()).then_some(text)
    }
}

/// Copies what is in directory `from` into directory `to`, which exists. Links are listed and not created: anyone who
/// takes the copy along would follow them. What changes meanwhile is copied as it is found.
///
/// # Errors
/// Nothing can be written any more. What cannot be copied is in `left_out`, by its name below `shown`.
pub(crate) fn copy_tree(from: &Path, to: &Path, shown: &Path, left_out: &mut LeftOut) -> io::Result<()> {
    let source = match openat(CWD, from, DIRECTORY, Mode::empty()) {
        Ok(source) => source,
        Err(error) => {
            left_out.add(shown, io::Error::from(error));
            return Ok(());
        }
    };
    let target = openat(CWD, to, DIRECTORY, Mode::empty())?;
    copy_directory(&source, &target, shown, MAX_DEPTH, left_out)
}

fn copy_directory(from: &OwnedFd, to: &OwnedFd, shown: &Path, depth: usize, left_out: &mut LeftOut) -> io::Result<()> {
    let mut entries = match Dir::read_from(from) {
        Ok(entries) => entries,
        Err(error) => {
            left_out.add(shown, io::Error::from(error));
            return Ok(());
        }
    };
    while let Some(entry) = entries.read() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                left_out.add(shown, io::Error::from(error));
                break;
            }
        };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let shown = shown.join(OsStr::from_bytes(name.to_bytes()));
        match statat(from, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Ok(FileType::RegularFile) => {
                copy_file(from, to, name, &shown, left_out).or_else(|error| left_out.or_fail(&shown, error))?;
            }
            Ok(FileType::Directory) if depth == 0 => left_out.add(&shown, "too deep"),
            Ok(FileType::Directory) => match openat(from, name, DIRECTORY, Mode::empty()) {
                Ok(source) => {
                    let made = mkdirat(to, name, Mode::from_raw_mode(0o755));
                    match made.and_then(|()| openat(to, name, DIRECTORY, Mode::empty())) {
                        Ok(target) => copy_directory(&source, &target, &shown, depth - 1, left_out)?,
                        Err(error) => left_out.or_fail(&shown, error.into())?,
                    }
                }
                Err(error) => left_out.add(&shown, io::Error::from(error)),
            },
            Ok(FileType::Symlink) => {
                let target = readlinkat(from, name, vec![]).unwrap_or_default();
                left_out.add(&shown, format!("a link to {}", target.to_string_lossy().escape_debug()));
            }
            Ok(kind) => left_out.add(&shown, format!("no file but a {}", word(kind))),
            // Gone by now.
            Err(Errno::NOENT) => {}
            Err(error) => left_out.add(&shown, io::Error::from(error)),
        }
    }
    Ok(())
}

fn word(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "FIFO",
        FileType::Socket => "socket",
        _ => "device",
    }
}

fn copy_file(from: &OwnedFd, to: &OwnedFd, name: &CStr, shown: &Path, left_out: &mut LeftOut) -> io::Result<()> {
    // Something else may have the name by now: opening a FIFO must not wait.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = match openat(from, name, flags, Mode::empty()) {
        Ok(source) => source,
        Err(error) => {
            left_out.add(shown, io::Error::from(error));
            return Ok(());
        }
    };
    match fstat(&source) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let target = openat(to, name, flags, Mode::from_raw_mode(0o644))?;
            // No more than there is now: the node may go on writing.
            let copied = copy_data(&File::from(source), &File::from(target), u64::try_from(stat.st_size).unwrap_or(0));
            // It has its full size already: the rest would be taken for zeros.
            copied.inspect_err(|_| {
                let _ = unlinkat(to, name, AtFlags::empty());
            })
        }
        Ok(_) => {
            left_out.add(shown, "no file any more");
            Ok(())
        }
        Err(error) => {
            left_out.add(shown, io::Error::from(error));
            Ok(())
        }
    }
}

/// Copies the data and leaves the holes.
fn copy_data(from: &File, to: &File, size: u64) -> io::Result<()> {
    to.set_len(size)?;
    let mut buffer = vec![0; 256 * 1024];
    let mut at = 0;
    while at < size {
        let begin = match seek(from.as_fd(), SeekFrom::Data(at)) {
            Ok(begin) if begin < size => begin,
            // Nothing but a hole to the end.
            Ok(_) | Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = seek(from.as_fd(), SeekFrom::Hole(begin))?.min(size);
        at = begin;
        while at < end {
            let wanted = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            let got = from.read_at(&mut buffer[..wanted], at)?;
            if got == 0 {
                return Ok(());
            }
            to.write_all_at(&buffer[..got], at)?;
            at += got as u64;
        }
    }
    Ok(())
}

/// A new directory for an artifact, its parents too; one that is there already gets a number.
///
/// # Errors
/// From the file system.
pub(crate) fn new_directory(parent: &Path, name: &str) -> io::Result<PathBuf> {
    std::fs::create_dir_all(parent)?;
    let names = std::iter::once(name.to_owned()).chain((2..).map(|nth| format!("{name}.{nth}")));
    for name in names {
        let path = parent.join(name);
        match std::fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| path),
        }
    }
    unreachable!("there are names without end")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn copies_files_and_follows_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        fs::write(from.join("a/b/text"), "text").unwrap();
        symlink("../secret", from.join("link")).unwrap();
        symlink("..", from.join("a/up")).unwrap();
        rustix::fs::mknodat(CWD, from.join("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
        let holes = File::create(from.join("holes")).unwrap();
        holes.set_len(1 << 40).unwrap();
        holes.write_all_at(b"far away", 1 << 39).unwrap();
        let mut deep = from.join("deep");
        for _ in 0..MAX_DEPTH + 5 {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();

        let mut left_out = LeftOut::default();
        copy_tree(&from, &to, Path::new("var"), &mut left_out).unwrap();
        assert_eq!(fs::read_to_string(to.join("a/b/text")).unwrap(), "text");
        let holes = File::open(to.join("holes")).unwrap();
        let mut bytes = [0; 8];
        holes.read_exact_at(&mut bytes, 1 << 39).unwrap();
        assert_eq!(&bytes, b"far away");
        let meta = holes.metadata().unwrap();
        assert!(meta.len() == 1 << 40 && meta.blocks() < 1 << 12, "{} blocks", meta.blocks());
        for gone in ["link", "a/up", "fifo", "socket"] {
            assert!(fs::symlink_metadata(to.join(gone)).is_err(), "{gone}");
        }
        let text = left_out.text().unwrap();
        for line in
            ["var/link: a link to ../secret", "var/a/up: a link to ..", "var/fifo: no file but a FIFO", "too deep"]
        {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn what_is_not_there_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut left_out = LeftOut::default();
        assert_eq!(left_out.text(), None);
        copy_tree(&dir.path().join("none"), dir.path(), Path::new("none"), &mut left_out).unwrap();
        assert!(left_out.text().unwrap().contains("none: No such file"));
        for nth in 0..TOLD {
            left_out.add(Path::new("x\ny"), nth);
        }
        let text = left_out.text().unwrap();
        assert!(text.contains("x\\ny: 0\n") && text.ends_with("and 1 more\n"), "{text}");
    }

    #[test]
    fn directories_get_names_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let made: Vec<_> = (0..3).map(|_| new_directory(&dir.path().join("x/y"), "run").unwrap()).collect();
        let names: Vec<_> = made.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["run", "run.2", "run.3"]);
    }
}
