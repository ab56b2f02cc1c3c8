//! The image's root file system as a tar archive. The same files always give the same bytes.

use std::collections::BTreeSet;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// Directories that the engine mounts over, or mounts something into.
const DIRECTORIES: [&str; 7] = ["dev", "etc", "opt", "opt/app", "proc", "sys", "tmp"];

/// Changes with the form of the archive, so that an image of an earlier form is not taken for ours.
const FORM: &[u8] = b"cthulhu-self 1\n";

/// Something that goes into the image.
#[derive(Debug)]
pub(crate) struct Part<R> {
    /// Its absolute path in the image.
    pub(crate) path: String,
    pub(crate) content: Content<R>,
}

/// What is at a path in the image.
#[derive(Debug)]
pub(crate) enum Content<R> {
    /// A program or library.
    File(R),
    /// A symbolic link with that target.
    Link(String),
}

impl<R> Part<R> {
    /// A program or library at an absolute path.
    pub(crate) fn file(path: &str, content: R) -> Self {
        Self { path: path.to_owned(), content: Content::File(content) }
    }

    /// A symbolic link at an absolute path.
    pub(crate) fn link(path: &str, target: &str) -> Self {
        Self { path: path.to_owned(), content: Content::Link(target.to_owned()) }
    }
}

/// The first 16 hexadecimal digits of the SHA-256 of all paths and contents.
pub(crate) fn digest<R: Read + Seek>(parts: &mut [Part<R>]) -> io::Result<String> {
    let mut hash = Sha256::new_with_prefix(FORM);
    let mut buffer = vec![0; 128 << 10];
    for part in parts {
        // Lengths in front keep the end of one thing apart from the start of the next.
        let mut text = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        text(&part.path);
        match &mut part.content {
            Content::Link(target) => text(target),
            Content::File(file) => {
                file.rewind()?;
                let mut length: u64 = 0;
                loop {
                    match file.read(&mut buffer) {
                        Ok(0) => break,
                        Ok(read) => {
                            hash.update(&buffer[..read]);
                            length += read as u64;
                        }
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                        Err(e) => return Err(e),
                    }
                }
                hash.update(length.to_le_bytes());
            }
        }
    }
    let hash = hash.finalize();
    Ok(hash.iter().take(8).map(|b| format!("{b:02x}")).collect())
}

/// Packs the parts and the directories around them into an uncompressed archive.
pub(crate) fn pack<R: Read + Seek>(parts: &mut [Part<R>]) -> io::Result<Vec<u8>> {
    let mut directories: BTreeSet<&Path> = DIRECTORIES.iter().map(Path::new).collect();
    let mut room = 64 << 10;
    for part in parts.iter_mut() {
        let parents = Path::new(relative(&part.path)).ancestors().skip(1);
        directories.extend(parents.filter(|p| !p.as_os_str().is_empty()));
        if let Content::File(file) = &mut part.content {
            room += usize::try_from(file.seek(SeekFrom::End(0))?).map_err(io::Error::other)?;
        }
    }
    // All at once: to grow such a buffer step by step would need twice its size in the end.
    let mut archive = Builder::new(Vec::with_capacity(room));
    for directory in directories {
        let mode = if directory == Path::new("tmp") { 0o1777 } else { 0o755 };
        let mut header = header(EntryType::Directory, mode, 0);
        archive.append_data(&mut header, directory, io::empty())?;
    }
    for part in parts {
        let path = relative(&part.path);
        match &mut part.content {
            Content::Link(target) => {
                let mut header = header(EntryType::Symlink, 0o777, 0);
                archive.append_link(&mut header, path, target)?;
            }
            Content::File(file) => {
                let size = file.seek(SeekFrom::End(0))?;
                file.rewind()?;
                let mut header = header(EntryType::Regular, 0o755, size);
                archive.append_data(&mut header, path, file.by_ref().take(size))?;
                if file.stream_position()? != size {
                    return Err(io::Error::other(format!("{} changed meanwhile", part.path)));
                }
            }
        }
    }
    archive.into_inner()
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Names in an archive have no leading slash.
fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Cursor;

    fn parts() -> Vec<Part<Cursor<Vec<u8>>>> {
        let long = format!("/usr/{}/libx.so.1", "d".repeat(150));
        vec![
            Part::file("/cthulhu", Cursor::new(vec![7; 300_000])),
            Part::file("/usr/lib/libc-2.31.so", Cursor::new(b"c".to_vec())),
            Part::link("/usr/lib/libc.so.6", "libc-2.31.so"),
            Part::file(&long, Cursor::new(Vec::new())),
        ]
    }

    #[test]
    fn the_archive_holds_all_of_it() {
        let bytes = pack(&mut parts()).unwrap();
        let mut seen = BTreeMap::new();
        let mut archive = tar::Archive::new(&bytes[..]);
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            if let Some((parent, _)) = path.rsplit_once('/') {
                assert!(seen.contains_key(parent), "{parent} comes before {path}");
            }
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let header = entry.header();
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap()), (0, 0));
            let facts = (header.entry_type(), header.mode().unwrap() & 0o7777, content.len());
            assert!(seen.insert(path, facts).is_none());
        }
        assert_eq!(seen["cthulhu"], (EntryType::Regular, 0o755, 300_000));
        assert_eq!(seen["usr/lib/libc-2.31.so"], (EntryType::Regular, 0o755, 1));
        assert_eq!(seen["usr/lib/libc.so.6"].0, EntryType::Symlink);
        assert_eq!(seen["tmp"], (EntryType::Directory, 0o1777, 0));
        for directory in DIRECTORIES {
            assert_eq!(seen[directory].0, EntryType::Directory);
        }
        assert_eq!(seen.len(), 4 + DIRECTORIES.len() + 3);
    }

    #[test]
    fn same_files_same_bytes_same_hash() {
        let (mut first, mut second) = (parts(), parts());
        assert_eq!(digest(&mut first).unwrap(), digest(&mut second).unwrap());
        assert_eq!(pack(&mut first).unwrap(), pack(&mut second).unwrap());
        let hash = digest(&mut first).unwrap();
        assert_eq!(hash, digest(&mut first).unwrap(), "after packing, too");
        assert_eq!(hash.len(), 16);
        second[0].path = "/other".into();
        assert_ne!(hash, digest(&mut second).unwrap());
        first.pop();
        assert_ne!(hash, digest(&mut first).unwrap());
    }
}
