//! Binds, volumes and tmpfs of a service.

use super::merge::volume_parts;
use super::model::{MountKind, ServiceMount};
use super::reader::{Keys, Reader, Rule, clean_target, unique};
use super::tree::{Entry, Mark, Node, Value};
use super::values::{BYTES, MODE, bytes, is_name, mode};
use crate::engine::{Bind, check_tmpfs_options};
use crate::text::shown;

/// What an entry of `volumes` is.
enum Mounted {
    Mount(ServiceMount),
    /// Path and options.
    Tmpfs(String),
}

/// Reads `volumes`: mounts, and tmpfs by path and options.
pub(super) fn read(reader: &mut Reader, entry: &Entry) -> (Vec<ServiceMount>, Vec<(String, String)>) {
    let mut all = vec![];
    for item in reader.items("volumes", &entry.node) {
        all.extend(match &item.value {
            Value::Map(_) => long(reader, item),
            _ => short(reader, item),
        });
    }
    let (mut mounts, mut tmpfs) = (vec![], vec![]);
    for (target, mounted) in unique(all) {
        match mounted {
            Mounted::Mount(mount) => mounts.push(mount),
            Mounted::Tmpfs(options) => tmpfs.push((target, options)),
        }
    }
    (mounts, tmpfs)
}

/// Reads `tmpfs`: paths, each with options behind a colon perhaps.
pub(super) fn read_tmpfs(reader: &mut Reader, entry: &Entry) -> Vec<(String, String)> {
    let mut all = vec![];
    for text in reader.texts("tmpfs", &entry.node) {
        let (path, options) = text.split_once(':').unwrap_or((&text, ""));
        match check_tmpfs_options(options) {
            _ if !path.starts_with('/') => {
                reader.refuse(&entry.node.mark, format!("tmpfs: '{}' is not an absolute path", shown(path)));
            }
            Err(why) => reader.refuse(&entry.node.mark, format!("tmpfs: {why}")),
            Ok(()) => all.push((path.to_owned(), options.to_owned())),
        }
    }
    all
}

/// `[SOURCE:]TARGET[:OPTIONS]`.
fn short(reader: &mut Reader, item: &Node) -> Option<(String, Mounted)> {
    let text = reader.text("a volume", item)?;
    let (source, target, options) = volume_parts(&text);
    let clean = clean_target(target);
    if clean.is_none() {
        let text = format!("volumes: '{}' is not an absolute path in the container", shown(target));
        reader.refuse(&item.mark, text);
        return None;
    }
    let mut mount = LongMount { target: clean, create: true, ..LongMount::default() };
    match source {
        None => mount.kind = Some("volume".into()),
        Some("") => {
            reader.refuse(&item.mark, format!("volumes: '{}' has no source before its ':'", shown(&text)));
            return None;
        }
        Some(source) => {
            let is_path = source.starts_with(['.', '/', '~']);
            mount.kind = Some(if is_path { "bind" } else { "volume" }.into());
            mount.source = Some((source.to_owned(), item.mark.clone()));
        }
    }
    for option in options.into_iter().flat_map(|options| options.split(',')) {
        short_option(reader, &item.mark, option, &mut mount);
    }
    made(reader, item, mount)
}

fn short_option(reader: &mut Reader, mark: &Mark, option: &str, mount: &mut LongMount) {
    match option {
        "ro" => mount.read_only = true,
        "nocopy" => mount.no_copy = true,
        "rw" | "cached" | "delegated" | "consistent" | "private" | "rprivate" | "volume-nocopy" => {}
        "z" | "Z" => reader.warn(mark, format!("volumes: the option {option} is ignored: {SELINUX}")),
        "shared" | "rshared" | "slave" | "rslave" => reader.refuse(mark, format!("volumes: {option}: {PROPAGATION}")),
        _ => {
            let hint = reader.hint(option, ["ro", "rw", "nocopy", "z", "Z"].into_iter());
            reader.refuse(mark, format!("volumes: '{}' is no option of a volume{hint}", shown(option)));
        }
    }
}

const SELINUX: &str = "no SELinux label is changed; if the node may not read it, relabel it yourself";
const PROPAGATION: &str = "mounts of a node do not spread to the host: leave the option out";

/// The long form, and what the short one stands for.
#[derive(Default)]
struct LongMount {
    kind: Option<String>,
    source: Option<(String, Mark)>,
    target: Option<String>,
    read_only: bool,
    create: bool,
    no_copy: bool,
    size: Option<i64>,
    mode: Option<u32>,
}

const LONG: &Keys<LongMount> = &[
    ("type", Rule::Read(|reader, mount, entry| mount.kind = reader.text("volumes: type", &entry.node))),
    (
        "source",
        Rule::Read(|reader, mount, entry| {
            mount.source = reader.text("volumes: source", &entry.node).map(|text| (text, entry.node.mark.clone()));
        }),
    ),
    ("target", Rule::Read(|reader, mount, entry| mount.target = reader.target("volumes: target", &entry.node))),
    (
        "read_only",
        Rule::Read(|reader, mount, entry| {
            mount.read_only = reader.truth("volumes: read_only", &entry.node).unwrap_or_default();
        }),
    ),
    ("consistency", Rule::Ignore),
    ("bind", Rule::Read(|reader, mount, entry| reader.map("bind", &entry.node, BIND, mount))),
    ("volume", Rule::Read(|reader, mount, entry| reader.map("volume", &entry.node, VOLUME, mount))),
    ("tmpfs", Rule::Read(|reader, mount, entry| reader.map("tmpfs", &entry.node, TMPFS, mount))),
    ("image", Rule::Refuse("an image as a volume is not supported")),
];

const BIND: &Keys<LongMount> = &[
    (
        "create_host_path",
        Rule::Read(|reader, mount, entry| {
            mount.create = reader.truth("create_host_path", &entry.node).unwrap_or_default();
        }),
    ),
    (
        "propagation",
        Rule::Read(|reader, mount, entry| {
            if let Some(option) = reader.text("propagation", &entry.node) {
                short_option(reader, &entry.node.mark, &option, mount);
            }
        }),
    ),
    ("selinux", Rule::Warn(SELINUX)),
    ("recursive", Rule::Warn("mounts below the source are always bound too")),
];

const VOLUME: &Keys<LongMount> = &[
    (
        "nocopy",
        Rule::Read(|reader, mount, entry| mount.no_copy = reader.truth("nocopy", &entry.node).unwrap_or_default()),
    ),
    ("subpath", Rule::Refuse("mount the whole volume")),
    ("labels", Rule::Ignore),
];

const TMPFS: &Keys<LongMount> = &[
    ("size", Rule::Read(|reader, mount, entry| mount.size = reader.parsed("tmpfs: size", &entry.node, BYTES, bytes))),
    (
        "mode",
        Rule::Read(|reader, mount, entry| {
            mount.mode = mode(&entry.node);
            if mount.mode.is_none() {
                reader.refuse(&entry.node.mark, format!("tmpfs: mode is not {MODE}"));
            }
        }),
    ),
];

fn long(reader: &mut Reader, item: &Node) -> Option<(String, Mounted)> {
    let known = reader.refusals.len();
    let mut mount = LongMount::default();
    reader.map("a volume", item, LONG, &mut mount);
    if mount.target.is_none() && reader.refusals.len() == known {
        reader.refuse(&item.mark, "volumes: a volume has a 'target', the path in the container");
    }
    made(reader, item, mount)
}

fn made(reader: &mut Reader, item: &Node, mount: LongMount) -> Option<(String, Mounted)> {
    let target = mount.target?;
    let kind = match mount.kind.as_deref() {
        Some("bind") => {
            let Some((source, mark)) = mount.source else {
                reader.refuse(&item.mark, "volumes: a bind has a 'source', the path on the host");
                return None;
            };
            let home = || reader.variables.get("HOME").unwrap_or_default();
            let source = match source.strip_prefix('~') {
                Some(rest) if rest.is_empty() || rest.starts_with('/') => home() + rest,
                _ => source,
            };
            let bind = Bind { source: mark.path(&source), target: target.clone(), read_only: mount.read_only };
            MountKind::Bind { bind, create: mount.create }
        }
        Some("volume") => {
            let volume = mount.source.map(|(source, _)| source);
            if let Some(name) = volume.as_ref().filter(|name| !is_name(name)) {
                let text = format!("volumes: '{}' is no name of a volume; a path begins with '.' or '/'", shown(name));
                reader.refuse(&item.mark, text);
                return None;
            }
            let (read_only, no_copy) = (mount.read_only, mount.no_copy);
            MountKind::Volume { volume, target: target.clone(), read_only, no_copy }
        }
        Some("tmpfs") => {
            let size = mount.size.map(|size| format!("size={size}"));
            let mode = mount.mode.map(|mode| format!("mode={mode:o}"));
            let options: Vec<_> = size.into_iter().chain(mode).collect();
            return Some((target, Mounted::Tmpfs(options.join(","))));
        }
        Some(other) => {
            let text = format!("volumes: type {} is refused: there are volume, bind and tmpfs", shown(other));
            reader.refuse(&item.mark, text);
            return None;
        }
        None => {
            reader.refuse(&item.mark, "volumes: a volume has a 'type': volume, bind or tmpfs");
            return None;
        }
    };
    Some((target, Mounted::Mount(ServiceMount { place: item.mark.place(), kind })))
}
