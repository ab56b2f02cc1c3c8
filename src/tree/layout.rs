//! Which entries the synthesized tree has. They are laid out once at mount and never change: a node that is removed and
//! made anew keeps its place, its address and its inode numbers.

use std::ffi::OsStr;

use super::Ino;
use crate::cluster::Cluster;

/// What a synthesized file shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum File {
    /// Commands; shows how to use it.
    Control,
    /// Why the last failed write in this directory failed.
    Error,
    /// A table of all nodes.
    Status,
    /// The nodes' specs as JSON.
    SpecJson,
    /// What has happened; tests append to it.
    History,
    /// Groups of nodes that hear each other; written to change them.
    Partition,
    /// What befalls the traffic of single links; written to change it.
    Links,
    /// Which faults are possible here.
    Capabilities,
    /// What befalls all that the node sends; written to change it.
    Net,
    /// Pid of the node's first process.
    Pid,
    /// Its state.
    State,
    /// Exit code of its last run.
    ExitCode,
    /// Its HEALTHCHECK.
    Health,
    /// Whether it may be used.
    Ready,
    /// Why it may not.
    ReadyReason,
    /// Its name.
    Name,
    /// Its address.
    Ip,
    /// Its image.
    Image,
    /// Its container's id.
    Id,
    /// Its output.
    Log,
    /// The engine's description of it.
    InspectJson,
}

impl File {
    /// Whether it is read from the disk, and grows by itself.
    pub fn is_on_disk(self) -> bool {
        matches!(self, Self::Log | Self::History)
    }

    /// Whether network faults are what it tells of.
    pub fn is_of_faults(self) -> bool {
        matches!(self, Self::Partition | Self::Links | Self::Net | Self::Capabilities)
    }

    /// Its permission bits.
    pub fn perm(self) -> u16 {
        match self {
            Self::Control => 0o755,
            Self::History | Self::Partition | Self::Links | Self::Net => 0o644,
            _ => 0o444,
        }
    }

    /// Whether poll(2) tells of its changes.
    pub fn is_pollable(self) -> bool {
        matches!(self, Self::Pid | Self::State | Self::ExitCode | Self::Health | Self::Ready | Self::History)
    }
}

const ROOT_FILES: [(&str, File); 8] = [
    ("control", File::Control),
    ("status", File::Status),
    ("spec.json", File::SpecJson),
    ("history", File::History),
    ("partition", File::Partition),
    ("links", File::Links),
    ("capabilities", File::Capabilities),
    ("error", File::Error),
];

const NODE_FILES: [(&str, File); 15] = [
    ("control", File::Control),
    ("pid.txt", File::Pid),
    ("state", File::State),
    ("exit_code", File::ExitCode),
    ("health", File::Health),
    ("ready", File::Ready),
    ("ready_reason", File::ReadyReason),
    ("net", File::Net),
    ("name", File::Name),
    ("ip", File::Ip),
    ("image", File::Image),
    ("id", File::Id),
    ("log", File::Log),
    ("inspect.json", File::InspectJson),
    ("error", File::Error),
];

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory, with its entries by name.
    Directory(Vec<(String, Ino)>),
    /// A file; of a node, or of the root.
    File(File, Option<usize>),
    /// A symbolic link to this.
    Link(String),
}

/// One entry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its directory; the root's is itself.
    pub parent: Ino,
    /// What it is.
    pub kind: Kind,
}

/// All synthesized entries. Numbers count from 1, the root.
#[derive(Debug)]
pub struct Layout {
    entries: Vec<Entry>,
}

impl Layout {
    /// Lays a cluster out. `bindmounts` gives the numbers of a node's `etc` and `var`.
    pub fn new(cluster: &Cluster, mut bindmounts: impl FnMut(usize) -> [(&'static str, Ino); 2]) -> Self {
        let mut layout = Self { entries: vec![] };
        let root = layout.directory(Ino::ROOT);
        for (name, file) in ROOT_FILES {
            layout.add(root, name, Kind::File(file, None));
        }
        for node in &cluster.spec().nodes {
            layout.add(root, node.name.as_str(), Kind::Link(node.ip.to_string()));
        }
        for (index, node) in cluster.spec().nodes.iter().enumerate() {
            let dir = layout.directory(root);
            layout.link_in(root, &node.ip.to_string(), dir);
            for (name, file) in NODE_FILES {
                layout.add(dir, name, Kind::File(file, Some(index)));
            }
            let binds = layout.directory(dir);
            layout.link_in(dir, "bindmounts", binds);
            for (name, ino) in bindmounts(index) {
                layout.link_in(binds, name, ino);
            }
        }
        layout
    }

    fn directory(&mut self, parent: Ino) -> Ino {
        self.push(Entry { parent, kind: Kind::Directory(vec![]) })
    }

    fn push(&mut self, entry: Entry) -> Ino {
        self.entries.push(entry);
        Ino(self.entries.len() as u64)
    }

    fn add(&mut self, parent: Ino, name: &str, kind: Kind) {
        let ino = self.push(Entry { parent, kind });
        self.link_in(parent, name, ino);
    }

    fn link_in(&mut self, parent: Ino, name: &str, ino: Ino) {
        if let Some(Entry { kind: Kind::Directory(children), .. }) = self.entries.get_mut(parent.0 as usize - 1) {
            children.push((name.to_owned(), ino));
        }
    }

    /// The entry of that number.
    pub fn get(&self, ino: Ino) -> Option<&Entry> {
        self.entries.get(usize::try_from(ino.0).ok()?.checked_sub(1)?)
    }

    /// The entry of that name in a directory.
    pub fn child(&self, parent: Ino, name: &OsStr) -> Option<Ino> {
        match &self.get(parent)?.kind {
            Kind::Directory(children) => {
                children.iter().find(|(child, _)| OsStr::new(child) == name).map(|(_, ino)| *ino)
            }
            Kind::File(..) | Kind::Link(_) => None,
        }
    }

    /// All entries with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (Ino, &Entry)> {
        self.entries.iter().enumerate().map(|(at, entry)| (Ino(at as u64 + 1), entry))
    }
}
