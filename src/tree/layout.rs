//! Which entries the synthesized tree has. They are laid out once at mount and never change: a node that is removed and
//! created again keeps its place, its address and its inode numbers.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::sync::Arc;

use super::Ino;
use super::table::{self, File, Role};
use crate::cluster::{Cluster, ClusterSpec, NodeName};

/// The directory that has every node of services by its name.
const NODES: &str = "nodes";
/// The directory that has the named volumes.
const VOLUMES: &str = "volumes";

#[derive(Clone)]
pub(crate) enum Kind {
    /// A directory, with its entries by name.
    Directory(Vec<(String, Ino)>),
    /// A file; of a node, or of the root.
    File(&'static File, Option<usize>),
    /// A symbolic link to this.
    Link(String),
}

#[derive(Clone)]
pub(crate) struct LayoutEntry {
    /// Its directory; the root's is itself.
    pub(crate) parent: Ino,
    pub(crate) kind: Kind,
}

/// All synthesized entries. Numbers count from 1, the root.
pub struct Layout {
    entries: Vec<LayoutEntry>,
    /// The files of the root.
    root_files: Arc<[&'static File]>,
    /// The files that each node has.
    node_files: Arc<[&'static File]>,
    /// The first file of each node; the others follow, in the table's order.
    nodes: Vec<Ino>,
}

impl Layout {
    /// Lays a cluster out. `bindmounts` gives the numbers of the directories in a node's `bindmounts`, `volumes` those of
    /// the named volumes. A directory has one place only, so a volume, which several nodes may use, has it in the root.
    pub fn new<D: IntoIterator<Item = (String, Ino)>>(
        cluster: &Cluster,
        mut bindmounts: impl FnMut(usize) -> D,
        volumes: Vec<(String, Ino)>,
    ) -> Self {
        let spec = cluster.spec();
        let (root_files, node_files) = (table::root(spec), table::node(spec));
        let mut layout = Self { entries: vec![], root_files, node_files, nodes: vec![] };
        let root = layout.directory(Ino::ROOT);
        for &file in layout.root_files.clone().iter() {
            layout.add(root, file.name, Kind::File(file, None));
        }
        for (index, node) in spec.nodes.iter().enumerate() {
            layout.add(root, NodeName::nth(index).as_str(), Kind::Link(node.ip.to_string()));
        }
        if !volumes.is_empty() {
            let all = layout.directory(root);
            layout.link_in(root, VOLUMES, all);
            volumes.iter().for_each(|(name, ino)| layout.link_in(all, name, *ino));
        }
        if spec.has_services() {
            layout.names(root, spec);
        }
        for (index, node) in spec.nodes.iter().enumerate() {
            let dir = layout.directory(root);
            layout.link_in(root, &node.ip.to_string(), dir);
            layout.nodes.push(Ino(layout.entries.len() as u64 + 1));
            for &file in layout.node_files.clone().iter() {
                layout.add(dir, file.name, Kind::File(file, Some(index)));
            }
            let binds = layout.directory(dir);
            layout.link_in(dir, "bindmounts", binds);
            for (name, ino) in bindmounts(index) {
                layout.link_in(binds, &name, ino);
            }
            for name in &node.volumes {
                layout.add_new(binds, name, format!("../../{VOLUMES}/{name}"));
            }
        }
        layout
    }

    /// The names of the nodes of services: all of them in `nodes`, and in the root those that mean nothing else there.
    /// A node's further addresses are links too.
    fn names(&mut self, root: Ino, spec: &ClusterSpec) {
        let all = self.directory(root);
        self.link_in(root, NODES, all);
        for node in &spec.nodes {
            for (_, ip) in node.endpoints.iter().skip(1) {
                self.add_new(root, &ip.to_string(), node.ip.to_string());
            }
        }
        let addresses: HashSet<_> = spec.nodes.iter().map(|node| node.ip.to_string()).collect();
        // Where two nodes claim a name, it is the one's that it stands for in commands.
        let nodes = || spec.nodes.iter().enumerate();
        let numbers = nodes().map(|(index, node)| (NodeName::nth(index).to_string(), node));
        let own = nodes().map(|(_, node)| (node.own_name.to_string(), node));
        let aliases = nodes().flat_map(|(_, node)| node.aliases.iter().map(move |alias| (alias.clone(), node)));
        for (name, node) in numbers.chain(own).chain(aliases) {
            self.add_new(all, &name, format!("../{}", node.ip));
            if !addresses.contains(&name) {
                self.add_new(root, &name, node.ip.to_string());
            }
        }
    }

    /// Adds a link, unless the directory has an entry of that name.
    fn add_new(&mut self, parent: Ino, name: &str, target: String) {
        if self.child(parent, OsStr::new(name)).is_none() {
            self.add(parent, name, Kind::Link(target));
        }
    }

    fn directory(&mut self, parent: Ino) -> Ino {
        self.push(LayoutEntry { parent, kind: Kind::Directory(vec![]) })
    }

    fn push(&mut self, entry: LayoutEntry) -> Ino {
        self.entries.push(entry);
        Ino(self.entries.len() as u64)
    }

    fn add(&mut self, parent: Ino, name: &str, kind: Kind) {
        let ino = self.push(LayoutEntry { parent, kind });
        self.link_in(parent, name, ino);
    }

    fn link_in(&mut self, parent: Ino, name: &str, ino: Ino) {
        if let Some(LayoutEntry { kind: Kind::Directory(children), .. }) = self.entries.get_mut(parent.0 as usize - 1) {
            children.push((name.to_owned(), ino));
        }
    }

    /// The entry of that number.
    pub(crate) fn get(&self, ino: Ino) -> Option<&LayoutEntry> {
        self.entries.get(usize::try_from(ino.in_layout().0).ok()?.checked_sub(1)?)
    }

    /// The entry of that name in a directory.
    pub(crate) fn child(&self, parent: Ino, name: &OsStr) -> Option<Ino> {
        match &self.get(parent)?.kind {
            Kind::Directory(children) => {
                children.iter().find(|(child, _)| OsStr::new(child) == name).map(|(_, ino)| *ino)
            }
            Kind::File(..) | Kind::Link(_) => None,
        }
    }

    /// The files of a node, or of the root, with their numbers.
    pub(crate) fn files(&self, node: Option<usize>) -> impl Iterator<Item = (Ino, &'static File)> + use<> {
        let (first, files) = match node {
            Some(index) => (self.nodes[index], self.node_files.clone()),
            None => (Ino(Ino::ROOT.0 + 1), self.root_files.clone()),
        };
        (0..files.len()).map(move |at| (Ino(first.0 + at as u64), files[at]))
    }

    /// The file of a node, or of the root, that has this role.
    pub(crate) fn file(&self, node: Option<usize>, role: Role) -> Option<Ino> {
        self.files(node).find(|(_, file)| file.role == role).map(|(ino, _)| ino)
    }
}
