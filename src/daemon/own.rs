//! Files and directories that cthulhu keeps for itself, where another user may have put something in their place: no
//! link is followed, only regular files are opened, and what belongs to another user is refused.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::io::Errno;

/// Other users cannot read these files: a process that can open a lock file can hold its lock.
const FILE_MODE: u32 = 0o600;

/// Opens a file of ours to read and write.
///
/// # Errors
/// From the file system; it is a link, no regular file, or another user's.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    opened(path, File::options().read(true).write(true))
}

/// The same, made if it is missing.
///
/// # Errors
/// As [`open`].
pub(crate) fn make(path: &Path) -> io::Result<File> {
    opened(path, File::options().read(true).write(true).create(true))
}

/// The same, for a log: what is written goes to its end.
///
/// # Errors
/// As [`open`].
pub(crate) fn append(path: &Path) -> io::Result<File> {
    opened(path, File::options().append(true).create(true))
}

/// The content of a file of ours.
///
/// # Errors
/// As [`open`].
pub(crate) fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Replaces a file of ours.
///
/// # Errors
/// As [`open`].
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = make(path)?;
    file.set_len(0)?;
    file.write_all(text.as_bytes())
}

fn opened(path: &Path, options: &mut fs::OpenOptions) -> io::Result<File> {
    // Opening a planted FIFO would wait for its other end.
    let options = options.mode(FILE_MODE).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = options.open(path).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::LOOP) => io::Error::other("it is a symbolic link, which is not followed"),
        _ => error,
    })?;
    let meta = file.metadata()?;
    // A second name could be a file of ours from elsewhere. None is one that is being removed.
    if !meta.is_file() || meta.nlink() > 1 {
        return Err(io::Error::other("it is no regular file with one name"));
    }
    // Who owns the directory can put there what they like.
    let around = path.parent().and_then(|parent| fs::metadata(parent).ok());
    if !is_mine(&meta) && around.is_none_or(|around| around.uid() != meta.uid()) {
        return Err(io::Error::other(format!("it belongs to user {}", meta.uid())));
    }
    if meta.mode() & 0o777 != FILE_MODE {
        // Made by an earlier version, under any umask. Only its owner can correct that.
        let _ = file.set_permissions(Permissions::from_mode(FILE_MODE));
    }
    Ok(file)
}

fn is_mine(meta: &Metadata) -> bool {
    meta.uid() == rustix::process::geteuid().as_raw()
}

/// Makes a directory that no other user may enter, with its parents.
///
/// # Errors
/// A sentence.
pub(crate) fn private_dir(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make {}", path.display()))
}

/// Checks that a directory, which must exist, is ours, and makes sure that only its owner can put anything into it. A
/// link to it must be ours too.
///
/// # Errors
/// A sentence that says what to do.
pub(crate) fn check_dir(path: &Path) -> Result<()> {
    let shown = path.display();
    let cannot = || format!("cannot use {shown}");
    let itself = fs::symlink_metadata(path).with_context(cannot)?;
    let meta = fs::metadata(path).with_context(cannot)?;
    let around = path.parent().and_then(|parent| fs::metadata(parent).ok()).map(|around| around.uid());
    // Root may work in the home of another user, who can plant there what they like.
    let trusts =
        |meta: &Metadata| is_mine(meta) || (rustix::process::geteuid().is_root() && around == Some(meta.uid()));
    if let Some(strange) = [&itself, &meta].into_iter().find(|meta| !trusts(meta)) {
        bail!("{shown} belongs to user {}: set XDG_STATE_HOME to a directory of your own", strange.uid());
    }
    if !meta.is_dir() {
        bail!("{shown} is no directory");
    }
    if meta.mode() & 0o022 != 0 {
        bail!("other users can write to {shown}: see that what is in it is yours, then chmod go-w {shown}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn files_are_closed_to_others_whatever_the_umask_was() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        write(&file, "one\n").unwrap();
        assert_eq!(mode(&file), 0o600);
        fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
        write(&file, "2\n").unwrap();
        assert_eq!((mode(&file), read(&file).unwrap().as_str()), (0o600, "2\n"));
        append(&file).unwrap().write_all(b"3\n").unwrap();
        assert_eq!(read(&file).unwrap(), "2\n3\n");
    }

    #[test]
    fn what_is_planted_is_neither_followed_nor_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let (secret, planted) = (dir.path().join("secret"), dir.path().join("planted"));
        fs::write(&secret, "secret").unwrap();
        let before = mode(&secret);
        let refused = |why: &str| {
            for tried in [open(&planted), make(&planted), append(&planted)] {
                let error = tried.unwrap_err().to_string();
                assert!(error.contains(why), "{error}");
            }
            assert!(write(&planted, "x").is_err());
            fs::remove_file(&planted).unwrap();
        };
        symlink(&secret, &planted).unwrap();
        refused("symbolic link");
        symlink(dir.path().join("none"), &planted).unwrap();
        refused("symbolic link");
        assert!(!dir.path().join("none").exists());
        fs::hard_link(&secret, &planted).unwrap();
        refused("no regular file");
        rustix::fs::mknodat(rustix::fs::CWD, &planted, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        refused("");
        assert_eq!((mode(&secret), fs::read_to_string(&secret).unwrap().as_str()), (before, "secret"));
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("home");
        assert!(check_dir(&at).is_err());
        private_dir(&at).unwrap();
        check_dir(&at).unwrap();
        let link = dir.path().join("link");
        symlink(&at, &link).unwrap();
        check_dir(&link).unwrap();
        for loose in [0o777, 0o720, 0o1702] {
            fs::set_permissions(&at, Permissions::from_mode(loose)).unwrap();
            assert!(check_dir(&at).unwrap_err().to_string().contains("chmod go-w"), "{loose:o}");
        }
    }

    #[test]
    fn what_belongs_to_another_user_is_refused() {
        if !crate::skip::is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (file, at) = (dir.path().join("file"), dir.path().join("home"));
        fs::write(&file, "").unwrap();
        fs::create_dir(&at).unwrap();
        fs::set_permissions(&at, Permissions::from_mode(0o755)).unwrap();
        let give = |path: &Path| std::os::unix::fs::lchown(path, Some(65534), None).unwrap();
        give(&file);
        give(&at);
        assert!(open(&file).unwrap_err().to_string().contains("belongs to user 65534"));
        assert!(check_dir(&at).unwrap_err().to_string().contains("belongs to user 65534"));
        let link = dir.path().join("link");
        fs::create_dir(dir.path().join("mine")).unwrap();
        symlink(dir.path().join("mine"), &link).unwrap();
        check_dir(&link).unwrap();
        give(&link);
        assert!(check_dir(&link).unwrap_err().to_string().contains("belongs to user 65534"));
        // Their directory: they can do there what they like anyway.
        give(dir.path());
        open(&file).unwrap();
        check_dir(&at).unwrap();
    }
}
