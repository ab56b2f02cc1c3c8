//! Putting files into a directory that a node may have filled with what it likes: by descriptors, one name at a time,
//! never through a link.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, Uid, fchmod, fchown, mkdirat, openat, renameat_with,
    statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::contents;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Something that a directory begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planted {
    /// Below the directory; what it lies in is there, or planted before it.
    pub(crate) path: PathBuf,
    pub(crate) content: Content,
    pub(crate) if_there: IfThere,
}

/// What it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// A directory.
    Directory {
        /// Permission bits.
        mode: u32,
    },
    /// A regular file.
    File {
        /// All of it.
        #[serde(with = "serde_bytes")]
        content: Vec<u8>,
        /// Permission bits.
        mode: u32,
        /// User and group; who writes it if there are none.
        owner: Option<(u32, u32)>,
    },
    /// A symbolic link.
    Link(PathBuf),
}

/// What happens to something of that name. A directory that shall be one stays in any case, with what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IfThere {
    /// It is replaced, also if it is a directory; one that cannot be removed is renamed. A directory that stays gets the
    /// mode, if we may.
    Replace,
    /// It is replaced, but a directory is an error.
    ReplaceNoDirectory,
    /// It stays.
    Keep,
    /// It stays if it is a regular file with no other name.
    KeepFile,
}

/// Why something could not be planted.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
pub(crate) struct FillError {
    path: PathBuf,
    #[source]
    pub(crate) why: io::Error,
}

/// Plants all of it, in order.
///
/// # Errors
/// The first failure.
pub(crate) fn fill(dir: &Path, planted: &[Planted]) -> Result<(), FillError> {
    let failed = |path: PathBuf| |why| FillError { path, why };
    let top = openat(CWD, dir, DIRECTORY, Mode::empty()).map_err(io::Error::from).map_err(failed(dir.to_owned()))?;
    planted.iter().try_for_each(|one| plant(top.as_fd(), one).map_err(failed(dir.join(&one.path))))
}

fn plant(top: BorrowedFd<'_>, Planted { path, content, if_there }: &Planted) -> io::Result<()> {
    let (name, parent) = (path.file_name().ok_or(Errno::INVAL)?, path.parent().ok_or(Errno::INVAL)?);
    let mut inner: Option<OwnedFd> = None;
    for component in parent.components() {
        let Component::Normal(name) = component else { return Err(Errno::INVAL.into()) };
        let outer = inner.as_ref().map_or(top, AsFd::as_fd);
        inner = Some(openat(outer, name, DIRECTORY, Mode::empty())?);
    }
    let parent = inner.as_ref().map_or(top, AsFd::as_fd);
    if let Content::Directory { mode } = content {
        return directory(parent, name, *mode, *if_there);
    }
    let there = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
    match (if_there, there) {
        (IfThere::Keep, Ok(_)) => return Ok(()),
        (IfThere::KeepFile, Ok(stat)) if FileType::from_raw_mode(stat.st_mode).is_file() && stat.st_nlink == 1 => {
            return Ok(());
        }
        _ => remove(parent, name, *if_there)?,
    }
    match content {
        Content::File { content, mode, owner } => file(parent, name, content, *mode, *owner),
        Content::Link(target) => Ok(symlinkat(target, parent, name)?),
        Content::Directory { .. } => Ok(()),
    }
}

fn directory(parent: BorrowedFd<'_>, name: &OsStr, mode: u32, if_there: IfThere) -> io::Result<()> {
    match openat(parent, name, DIRECTORY, Mode::empty()) {
        Ok(found) => {
            if if_there == IfThere::Replace {
                // What continues with --data may belong to a node's own user by now.
                let _ = fchmod(&found, Mode::from_raw_mode(mode));
            }
            return Ok(());
        }
        Err(Errno::NOENT) => {}
        Err(Errno::NOTDIR | Errno::LOOP) => remove(parent, name, if_there)?,
        Err(error) => return Err(error.into()),
    }
    mkdirat(parent, name, Mode::RWXU)?;
    let made = openat(parent, name, DIRECTORY, Mode::empty())?;
    Ok(fchmod(&made, Mode::from_raw_mode(mode))?)
}

fn file(parent: BorrowedFd<'_>, name: &OsStr, content: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(content)?;
    fchmod(&file, Mode::from_raw_mode(mode))?;
    if let Some((user, group)) = owner {
        fchown(&file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group))).map_err(|error| {
            io::Error::other(format!("cannot give it the owner {user}:{group}; only root can ({error})"))
        })?;
    }
    Ok(())
}

fn remove(parent: BorrowedFd<'_>, name: &OsStr, if_there: IfThere) -> io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) if matches!(if_there, IfThere::Replace | IfThere::KeepFile) => {
            if let Ok(there) = openat(parent, name, DIRECTORY, Mode::empty()) {
                contents(there.as_fd());
            }
            match unlinkat(parent, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                // What is in a directory of root's is not ours to delete, but its name is ours to change.
                Err(error) => move_aside(parent, name).map_err(|_| error.into()),
            }
        }
        Err(Errno::ISDIR) => Err(io::Error::other("a directory of the node's is in its place")),
        Err(error) => Err(error.into()),
    }
}

fn move_aside(parent: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
    let mut nth = 1_u64;
    loop {
        let mut aside = name.to_owned();
        aside.push(format!(".old-{nth}"));
        match renameat_with(parent, name, parent, &aside, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => nth += 1,
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn file(path: &str, if_there: IfThere) -> Planted {
        let content = Content::File { content: b"new".to_vec(), mode: 0o666, owner: None };
        Planted { path: path.into(), content, if_there }
    }

    #[test]
    fn what_a_node_planted_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, secret) = (dir.path().join("inside"), dir.path().join("secret"));
        fs::create_dir(&inside).unwrap();
        fs::write(&secret, "secret").unwrap();
        let before = fs::metadata(&secret).unwrap().permissions();
        for if_there in [IfThere::Replace, IfThere::KeepFile] {
            for name in ["link", "hard"] {
                let _ = fs::remove_file(inside.join(name));
            }
            symlink(&secret, inside.join("link")).unwrap();
            fs::hard_link(&secret, inside.join("hard")).unwrap();
            fs::create_dir_all(inside.join("dir/inner")).unwrap();
            symlink(dir.path(), inside.join("dir/inner/up")).unwrap();
            fill(&inside, &["link", "hard", "dir"].map(|name| file(name, if_there))).unwrap();
            for name in ["link", "hard", "dir"] {
                assert!(fs::symlink_metadata(inside.join(name)).unwrap().is_file());
                assert_eq!(fs::read(inside.join(name)).unwrap(), b"new");
            }
            fs::remove_file(inside.join("dir")).unwrap();
            assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
            assert_eq!(fs::metadata(&secret).unwrap().permissions(), before);
        }
    }

    #[test]
    fn nothing_is_planted_outside() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("inside");
        fs::create_dir(&inside).unwrap();
        symlink(dir.path(), inside.join("up")).unwrap();
        for path in ["../f", "/f", "up/f", "a/../../f", "..", "", "."] {
            assert!(fill(&inside, &[file(path, IfThere::Replace)]).is_err(), "{path}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_there_stays_as_it_should() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        for name in ["kept", "file", "replaced"] {
            fs::write(dir.path().join(name), "old").unwrap();
        }
        fs::create_dir_all(dir.path().join("dir/inner")).unwrap();
        let planted = [
            file("kept", IfThere::Keep),
            file("file", IfThere::KeepFile),
            file("replaced", IfThere::ReplaceNoDirectory),
        ];
        fill(dir.path(), &planted).unwrap();
        assert_eq!(["kept", "file", "replaced"].map(read), ["old", "old", "new"]);
        let error = fill(dir.path(), &[file("dir", IfThere::ReplaceNoDirectory)]).unwrap_err();
        assert!(error.to_string().ends_with("/dir"), "{error}");
        assert!(dir.path().join("dir/inner").is_dir());
        let content = Content::Directory { mode: 0o751 };
        for (if_there, mode) in [(IfThere::Keep, 0o755), (IfThere::Replace, 0o751)] {
            fs::set_permissions(dir.path().join("dir"), fs::Permissions::from_mode(0o755)).unwrap();
            fill(dir.path(), &[Planted { path: "dir".into(), content: content.clone(), if_there }]).unwrap();
            let meta = fs::metadata(dir.path().join("dir")).unwrap();
            assert_eq!(meta.permissions().mode() & 0o7777, mode);
        }
    }
}
