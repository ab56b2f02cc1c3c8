//! The directories of `--config` and `--initial`: read at mount, rendered into each node's `etc` and `var`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use crate::sweep::{self, Content, IfThere, Planted};
use crate::template::{self, Nodes, Variables};

/// Bytes of all its files together, which are held in memory and written for every node.
const MAX_SIZE: u64 = 16 << 20;
/// Files, directories and links in it.
const MAX_ENTRIES: usize = 10_000;
/// Directories in one another.
const MAX_DEPTH: usize = 100;

/// A directory of files that are templates.
#[derive(Debug)]
pub(crate) struct Config {
    dir: PathBuf,
    entries: Vec<Named>,
}

#[derive(Debug)]
struct Named {
    name: OsString,
    entry: ConfigEntry,
}

#[derive(Debug)]
enum ConfigEntry {
    Directory(Vec<Named>),
    /// Text that is UTF-8 is a template; all else is copied.
    File {
        content: Vec<u8>,
        mode: u32,
    },
    Link(PathBuf),
}

impl Config {
    /// Reads it whole; `option` names it in errors. Symbolic links in it are read as links, never followed.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(crate) fn read(option: &'static str, dir: &Path) -> Result<Self> {
        let meta = fs::metadata(dir).with_context(|| format!("{option}: cannot read {}", dir.display()))?;
        if !meta.is_dir() {
            bail!("{option} {}: it is not a directory", dir.display());
        }
        let mut limits = Limits { option, bytes: MAX_SIZE, entries: MAX_ENTRIES };
        let entries = limits.read(dir, dir, MAX_DEPTH)?;
        Ok(Self { dir: dir.to_owned(), entries })
    }

    /// Whether it has something of that name at its top.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|named| named.name == name)
    }

    /// Renders all for every node and keeps nothing.
    ///
    /// # Errors
    /// The first template's.
    pub(crate) fn check(&self, nodes: &Nodes) -> Result<()> {
        check(&self.entries, &self.dir, nodes)
    }

    /// Adds what is planted of it in the directory `into` of a node, rendered. `keeps`: what is there already stays.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(crate) fn plant(
        &self,
        into: &str,
        keeps: bool,
        variables: &Variables,
        planted: &mut Vec<Planted>,
    ) -> Result<()> {
        let if_there = if keeps { IfThere::Keep } else { IfThere::ReplaceNoDirectory };
        plant(&self.entries, &self.dir, Path::new(into), if_there, variables, planted)
    }
}

/// What may still be read.
struct Limits {
    option: &'static str,
    bytes: u64,
    entries: usize,
}

impl Limits {
    fn read(&mut self, top: &Path, dir: &Path, depth: usize) -> Result<Vec<Named>> {
        let option = self.option;
        let cannot = |path: &Path| format!("{option}: cannot read {}", path.display());
        let mut found = vec![];
        for entry in fs::read_dir(dir).with_context(|| cannot(dir))? {
            let entry = entry.with_context(|| cannot(dir))?;
            self.entries = self
                .entries
                .checked_sub(1)
                .ok_or_else(|| anyhow!("{option} {}: there are more than {MAX_ENTRIES} files in it", top.display()))?;
            let path = entry.path();
            let kind = entry.file_type().with_context(|| cannot(&path))?;
            let entry = if kind.is_dir() {
                let depth = depth.checked_sub(1);
                let depth = depth.ok_or_else(|| anyhow!("{option}: {} is nested too deep", path.display()))?;
                ConfigEntry::Directory(self.read(top, &path, depth)?)
            } else if kind.is_symlink() {
                ConfigEntry::Link(fs::read_link(&path).with_context(|| cannot(&path))?)
            } else if kind.is_file() {
                self.file(top, &path)?
            } else {
                bail!("{option}: {} is neither a file nor a directory nor a symbolic link", path.display());
            };
            found.push(Named { name: path.file_name().unwrap_or_default().to_owned(), entry });
        }
        // So that of two wrong templates always the same one is named.
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn file(&mut self, top: &Path, path: &Path) -> Result<ConfigEntry> {
        let option = self.option;
        let cannot = || format!("{option}: cannot read {}", path.display());
        // Nothing is followed and nothing blocks, should it have been replaced since it was listed.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = File::options().read(true).custom_flags(flags).open(path).with_context(cannot)?;
        let mode = file.metadata().with_context(cannot)?.permissions().mode() & 0o777;
        let mut content = vec![];
        file.take(self.bytes + 1).read_to_end(&mut content).with_context(cannot)?;
        self.bytes = self.bytes.checked_sub(content.len() as u64).ok_or_else(|| {
            let (top, most) = (top.display(), MAX_SIZE >> 20);
            anyhow!("{option} {top}: its files have more than {most} MiB; mount what is that large with --volume")
        })?;
        Ok(ConfigEntry::File { content, mode })
    }
}

fn check(entries: &[Named], dir: &Path, nodes: &Nodes) -> Result<()> {
    for Named { name, entry } in entries {
        let path = dir.join(name);
        match entry {
            ConfigEntry::Directory(entries) => check(entries, &path, nodes)?,
            ConfigEntry::File { content, .. } => {
                if let Ok(source) = std::str::from_utf8(content) {
                    template::check(source, &path.to_string_lossy(), nodes)?;
                }
            }
            ConfigEntry::Link(_) => {}
        }
    }
    Ok(())
}

fn plant(
    entries: &[Named],
    from: &Path,
    to: &Path,
    if_there: IfThere,
    variables: &Variables,
    planted: &mut Vec<Planted>,
) -> Result<()> {
    for Named { name, entry } in entries {
        let (from, path) = (from.join(name), to.join(name));
        let content = match entry {
            // As the etc around it: a node may run as any user.
            ConfigEntry::Directory(_) => Content::Directory { mode: sweep::OPEN_TO_ALL },
            ConfigEntry::File { content, mode } => {
                let content = match std::str::from_utf8(content) {
                    Ok(source) => template::render(source, &from.to_string_lossy(), variables)?.into_bytes(),
                    Err(_) => content.clone(),
                };
                Content::File { content, mode: *mode, owner: None }
            }
            ConfigEntry::Link(target) => Content::Link(target.clone()),
        };
        planted.push(Planted { path: path.clone(), content, if_there });
        if let ConfigEntry::Directory(entries) = entry {
            plant(entries, &from, &path, if_there, variables, planted)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Fixture {
        _tmp: tempfile::TempDir,
        dir: PathBuf,
        etc: PathBuf,
        outside: PathBuf,
    }

    fn fixture() -> Fixture {
        let tmp = tempfile::tempdir().unwrap();
        let [dir, etc, outside] = ["dir", "etc", "outside"].map(|name| tmp.path().join(name));
        for path in [&dir, &etc, &outside] {
            fs::create_dir(path).unwrap();
        }
        Fixture { _tmp: tmp, dir, etc, outside }
    }

    fn nodes() -> Nodes {
        Nodes::new(7000, [1, 2].map(|n| (format!("i00{n}"), [10, 0, 0, n].into())))
    }

    fn written(fixture: &Fixture) -> Result<()> {
        let mut planted = vec![];
        Config::read("--config", &fixture.dir)?.plant("etc", false, &nodes().variables(1), &mut planted)?;
        Ok(sweep::fill(fixture.etc.parent().unwrap(), &planted)?)
    }

    #[test]
    fn text_is_rendered_and_everything_else_copied() {
        let f = fixture();
        fs::create_dir_all(f.dir.join("sub/empty")).unwrap();
        fs::write(f.dir.join("sub/app.conf"), "{{ name }} {{ self }}\n").unwrap();
        fs::write(f.dir.join("run"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(f.dir.join("run"), fs::Permissions::from_mode(0o4750)).unwrap();
        fs::write(f.dir.join("binary"), b"{{ name }}\xff\0").unwrap();
        symlink("sub/app.conf", f.dir.join("link")).unwrap();
        written(&f).unwrap();
        assert_eq!(fs::read_to_string(f.etc.join("sub/app.conf")).unwrap(), "i002 10.0.0.2\n");
        assert_eq!(fs::read(f.etc.join("binary")).unwrap(), b"{{ name }}\xff\0");
        assert_eq!(fs::metadata(f.etc.join("run")).unwrap().permissions().mode() & 0o7777, 0o750);
        assert_eq!(fs::metadata(f.etc.join("sub/empty")).unwrap().permissions().mode() & 0o7777, 0o777);
        assert_eq!(fs::read_link(f.etc.join("link")).unwrap(), Path::new("sub/app.conf"));
    }

    #[test]
    fn what_a_node_planted_in_place_of_a_file_or_directory_is_not_followed() {
        let f = fixture();
        fs::create_dir(f.dir.join("sub")).unwrap();
        fs::write(f.dir.join("sub/inner"), "new").unwrap();
        fs::write(f.dir.join("outer"), "new").unwrap();
        symlink("new", f.dir.join("link")).unwrap();
        let secret = f.outside.join("inner");
        fs::write(&secret, "secret").unwrap();
        symlink(&f.outside, f.etc.join("sub")).unwrap();
        symlink(&secret, f.etc.join("outer")).unwrap();
        fs::hard_link(&secret, f.etc.join("link")).unwrap();
        for _ in 0..2 {
            written(&f).unwrap();
            assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
            assert!(fs::symlink_metadata(f.etc.join("sub")).unwrap().is_dir());
            assert_eq!(fs::read_to_string(f.etc.join("sub/inner")).unwrap(), "new");
            assert_eq!(fs::read_to_string(f.etc.join("outer")).unwrap(), "new");
            assert_eq!(fs::read_link(f.etc.join("link")).unwrap(), Path::new("new"));
        }
        assert_eq!(fs::read_dir(&f.outside).unwrap().count(), 1);
    }

    #[test]
    fn what_is_there_can_be_kept() {
        let f = fixture();
        fs::create_dir(f.dir.join("sub")).unwrap();
        fs::write(f.dir.join("sub/id"), "{{ index }}").unwrap();
        let again = || {
            let (config, mut planted) = (Config::read("--initial", &f.dir).unwrap(), vec![]);
            config.plant("etc", true, &nodes().variables(1), &mut planted).unwrap();
            sweep::fill(f.etc.parent().unwrap(), &planted).unwrap();
            fs::read_to_string(f.etc.join("sub/id")).unwrap()
        };
        assert_eq!(again(), "2");
        fs::write(f.etc.join("sub/id"), "own").unwrap();
        assert_eq!(again(), "own");
        fs::remove_file(f.etc.join("sub/id")).unwrap();
        assert_eq!(again(), "2");
    }

    #[test]
    fn a_directory_in_place_of_a_file_is_an_error_and_stays() {
        let f = fixture();
        fs::write(f.dir.join("file"), "").unwrap();
        fs::create_dir_all(f.etc.join("file/data")).unwrap();
        let error = format!("{:#}", written(&f).unwrap_err());
        assert!(error.contains("etc/file") && error.contains("a directory"), "{error}");
        assert!(f.etc.join("file/data").is_dir());
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let f = fixture();
        let refused = |dir: &Path| format!("{:#}", Config::read("--config", dir).unwrap_err());
        assert!(refused(&f.dir.join("none")).contains("dir/none"));
        fs::write(f.outside.join("file"), "").unwrap();
        assert!(refused(&f.outside.join("file")).contains("not a directory"));
        let fifo = f.dir.join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(refused(&f.dir).contains("dir/fifo"));
        fs::remove_file(&fifo).unwrap();
        File::create(f.dir.join("sparse")).unwrap().set_len(MAX_SIZE + 1).unwrap();
        assert!(refused(&f.dir).contains("16 MiB"));
    }

    #[test]
    fn a_wrong_template_is_named_with_its_line() {
        let f = fixture();
        fs::create_dir(f.dir.join("sub")).unwrap();
        fs::write(f.dir.join("sub/app.conf"), "one\n{{ nobody }}\n").unwrap();
        let error = Config::read("--config", &f.dir).unwrap().check(&nodes()).unwrap_err().to_string();
        assert!(error.contains("dir/sub/app.conf line 2: `nobody` is not defined"), "{error}");
    }
}
