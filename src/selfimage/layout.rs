//! The files that a process runs from, found in its memory map.

use std::path::Path;

/// Where our own program is in the image.
pub(crate) const PROGRAM: &str = "/cthulhu";

/// The kernel writes this behind the name of a file that is no longer there.
const DELETED: &str = " (deleted)";

/// The files besides the program itself that it needs, by their absolute paths, which they keep in the image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The dynamic loader; `None` for a static program.
    pub(crate) loader: Option<String>,
    pub(crate) libraries: Vec<String>,
}

impl Layout {
    /// Reads it from a process' `maps` file and its program's path; `is_file` says whether a regular file has that path.
    ///
    /// # Errors
    /// A sentence, when a library is gone, or the program is the loader.
    pub(crate) fn new(maps: &str, exe: &str, is_file: impl Fn(&str) -> bool) -> Result<Self, String> {
        let exe = exe.strip_suffix(DELETED).unwrap_or(exe);
        if is_loader(exe) {
            return Err(format!("it was started through {exe}; start it directly"));
        }
        let mut layout = Self::default();
        for mapped in maps.lines().filter_map(code) {
            let bare = mapped.strip_suffix(DELETED).unwrap_or(mapped);
            if bare == exe {
                continue;
            }
            // A library that was upgraded under us: the new one is what a new process would get, too.
            let path = match () {
                () if is_file(mapped) => mapped,
                () if is_file(bare) => bare,
                () => return Err(format!("{bare} is no longer there; start cthulhu again")),
            };
            if is_loader(path) {
                layout.loader = Some(path.to_owned());
            } else {
                layout.libraries.push(path.to_owned());
            }
        }
        layout.libraries.sort();
        layout.libraries.dedup();
        // Libraries without a loader are not those of a program; nothing could load them.
        if layout.loader.is_none() {
            layout.libraries.clear();
        }
        Ok(layout)
    }

    /// How to start the program: a dynamic one through its loader, with the path of the libraries, so that neither the
    /// loader's usual place nor its cache is needed.
    pub(crate) fn argv(&self) -> Vec<String> {
        let Some(loader) = &self.loader else {
            return vec![PROGRAM.to_owned()];
        };
        let mut directories: Vec<&str> = Vec::new();
        for library in &self.libraries {
            let directory = Path::new(library).parent().and_then(Path::to_str);
            directories.extend(directory.filter(|d| !directories.contains(d)));
        }
        [loader, "--library-path", &directories.join(":"), PROGRAM].map(str::to_owned).into()
    }
}

/// The path of a line that maps a file's code: `address perms offset device inode   path`.
fn code(line: &str) -> Option<&str> {
    let mut rest = line;
    let mut fields = [""; 5];
    for field in &mut fields {
        rest = rest.trim_start();
        let end = rest.find(' ').unwrap_or(rest.len());
        (*field, rest) = rest.split_at(end);
    }
    let path = rest.trim_start();
    let executable = fields[1].as_bytes().get(2) == Some(&b'x');
    // Memory that only looks like a file has no place in any directory, and no code that the program was linked with.
    let anonymous = ["/memfd:", "/dev/", "/SYSV", "/anon_hugepage", "/["];
    (executable && fields[4] != "0" && path.starts_with('/') && !anonymous.iter().any(|start| path.starts_with(start)))
        .then_some(path)
}

fn is_loader(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.starts_with("ld-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOADER: &str = "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";
    const DYNAMIC: &str = "\
559770edd000-559770edf000 r--p 00000000 fe:00 247030                     /home/me/my tests/cthulhu
559770eda000-559770edf000 r-xp 00002000 fe:00 247030                     /home/me/my tests/cthulhu
559770f00000-559770f21000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000001000 rwxp 00000000 00:01 77                         /memfd:jit (deleted)
7f0000002000-7f0000003000 r-xp 00000000 00:00 0 
7f9a68caf000-7f9a68cd1000 r--p 00000000 fe:00 326279                     /usr/lib/locale/C.utf8/LC_CTYPE
7f9a68cd1000-7f9a68e27000 r-xp 00026000 fe:00 326279                     /usr/lib/x86_64-linux-gnu/libc.so.6
7f9a68cd1000-7f9a68e27000 r-xp 00026000 fe:00 326279                     /usr/lib/x86_64-linux-gnu/libc.so.6
7f9a68d00000-7f9a68d27000 r-xp 00026000 fe:00 326280                     /opt/my libs/libgcc_s.so.1
7f9a68e9e000-7f9a68ea0000 r-xp 00000000 00:00 0                          [vdso]
7f9a68ea1000-7f9a68ec7000 r-xp 00001000 fe:00 325843                     /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
";

    fn there(path: &str) -> bool {
        !path.ends_with(DELETED)
    }

    #[test]
    fn a_dynamic_program_needs_its_loader_and_libraries() {
        let layout = Layout::new(DYNAMIC, "/home/me/my tests/cthulhu", there).unwrap();
        let expected = Layout {
            loader: Some(LOADER.into()),
            libraries: vec!["/opt/my libs/libgcc_s.so.1".into(), "/usr/lib/x86_64-linux-gnu/libc.so.6".into()],
        };
        assert_eq!(layout, expected);
        let path = "/opt/my libs:/usr/lib/x86_64-linux-gnu";
        assert_eq!(layout.argv(), [LOADER, "--library-path", path, "/cthulhu"]);
    }

    #[test]
    fn a_static_program_needs_nothing() {
        let maps = "\
400000-500000 r-xp 00001000 fe:00 12 /usr/bin/cthulhu
7ffe00000000-7ffe00001000 r-xp 00000000 00:00 0 [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]
";
        let layout = Layout::new(maps, "/usr/bin/cthulhu", there).unwrap();
        assert_eq!(layout, Layout::default());
        assert_eq!(layout.argv(), ["/cthulhu"]);
    }

    #[test]
    fn files_replaced_while_running() {
        let maps = DYNAMIC.replace("cthulhu\n", "cthulhu (deleted)\n");
        let maps = maps.replace("libc.so.6\n", "libc.so.6 (deleted)\n");
        let expected = Layout::new(DYNAMIC, "/home/me/my tests/cthulhu", there).unwrap();
        for exe in ["/home/me/my tests/cthulhu", "/home/me/my tests/cthulhu (deleted)"] {
            assert_eq!(Layout::new(&maps, exe, there).unwrap(), expected);
        }
        let gone = Layout::new(&maps, "/home/me/my tests/cthulhu", |_| false).unwrap_err();
        assert!(gone.contains("no longer there"));
        // A name may really end like that.
        let kept = Layout::new(&maps, "/home/me/my tests/cthulhu", |_| true).unwrap();
        assert!(kept.libraries[1].ends_with("libc.so.6 (deleted)"));
    }

    #[test]
    fn started_through_the_loader_is_refused() {
        assert!(Layout::new(DYNAMIC, LOADER, there).is_err());
    }

    #[test]
    fn odd_lines_are_passed_over() {
        let layout = Layout::new("\n \nx\nx r-xp\na r-xp 0 0 1\n", "/x", there).unwrap();
        assert_eq!(layout, Layout::default());
    }
}
