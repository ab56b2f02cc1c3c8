//! The directions between modules, as docs/architecture.md has them, and what belongs to one module only.

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Whether `word` stands in `code` by itself: fusermount3 is no fuser.
fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let follows = code[at + word.len()..].chars().next();
        !word.ends_with(char::is_alphanumeric) || !follows.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// The lines of code, comments left out, in which `word` stands outside of `module`.
fn strays(word: &str, module: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![];
    sources(&root, &mut files);
    assert!(files.len() > 20, "the sources are found");
    let mut strays = vec![];
    for file in files.iter().filter(|file| !file.starts_with(root.join(module))) {
        let text = fs::read_to_string(file).unwrap();
        for (at, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if has_word(code, word) {
                strays.push(format!("{}:{}: {}", file.display(), at + 1, line.trim()));
            }
        }
    }
    strays
}

#[test]
fn only_the_docker_engine_names_bollard() {
    assert_eq!(strays("bollard", "engine/docker"), Vec::<String>::new());
}

#[test]
fn only_fuse_names_fuser() {
    assert_eq!(strays("fuser", "fuse"), Vec::<String>::new());
}

#[test]
fn only_template_names_minijinja() {
    assert_eq!(strays("minijinja", "template"), Vec::<String>::new());
}

#[test]
fn only_top_names_ratatui() {
    assert_eq!(strays("ratatui", "top"), Vec::<String>::new());
    assert_eq!(strays("crossterm", "top"), Vec::<String>::new());
}

#[test]
fn only_compose_names_serde_saphyr() {
    assert_eq!(strays("serde_saphyr", "compose"), Vec::<String>::new());
}

#[test]
fn only_sys_is_unsafe() {
    for word in ["unsafe ", "unsafe{", "allow(unsafe_code)"] {
        assert_eq!(strays(word, "sys"), Vec::<String>::new(), "{word}");
    }
}

#[test]
fn only_cli_names_clap() {
    assert_eq!(strays("clap", "cli"), Vec::<String>::new());
}

/// What shuttle does not schedule, no test of schedules sees. The Docker module is not under it, and I/O is tokio's.
#[test]
fn who_takes_locks_tasks_and_time_from_sync_takes_all_of_them_there() {
    let documented = documented();
    let mut found = vec![];
    for (module, code) in imports::sources() {
        let uses_sync = documented.get(&imports::module(&module)).is_some_and(|uses| uses.contains("sync"));
        if uses_sync && !module.starts_with("engine::docker") {
            let code = code.replace("tokio::io::", "");
            found.extend(
                code.lines()
                    .filter(|line| line.contains("tokio::") || line.contains("parking_lot"))
                    .map(|line| format!("{module}: {}", line.trim())),
            );
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn main_stays_short() {
    let main = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/main.rs")).unwrap();
    assert!(main.lines().count() < 60);
}

/// Who writes to a terminal, and makes what comes from engines, images and nodes harmless first. Tests are no code here.
#[test]
fn words_reach_a_terminal_through_few_hands() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let hands = [
        // Through `text::harmless`.
        "cli/mod.rs",
        "daemon/answers.rs",
        "daemon/report.rs",
        "daemon/umount.rs",
        "main.rs",
        // Lines that are `text::plain` by then, or cleaned by the screen.
        "cli/wait.rs",
        "runner/signals.rs",
        "top",
        // Our own words.
        "cli/internal.rs",
        "cli/prune.rs",
        "daemon/lifecycle.rs",
        // Pipes between processes of ours, and the demo node's own output.
        "daemon/background.rs",
        "daemon/host_command.rs",
        "agent/server.rs",
        "sandbox",
        "sweep/mod.rs",
        "demo",
        // A file's content, as it is.
        "cli/history.rs",
    ];
    let writes = ["println!", "print!", "eprint!", "stdout()", "stderr()"];
    let mut found: Vec<_> = writes.iter().flat_map(|word| strays(word, "no module")).collect();
    found.retain(|line| {
        let path = line.strip_prefix(root.to_str().unwrap()).unwrap().trim_start_matches('/');
        !path.contains("/tests") && !hands.iter().any(|hand| path.starts_with(hand))
    });
    assert_eq!(found, Vec::<String>::new());
    // What is printed as it is: a script, a page, a picture, the end of a mount.
    let mut raw = strays("print(", "no module");
    raw.retain(|line| line.contains("src/cli/") && !line.contains("fn print("));
    raw.retain(|line| !["mod.rs", "man.rs", "timeline.rs", "history.rs"].iter().any(|file| line.contains(file)));
    assert_eq!(raw, Vec::<String>::new());
}

/// The table of docs/architecture.md, as module and what it uses.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let table =
        include_str!("../../docs/architecture.md").split("| module | uses |").nth(1).expect("the table is there");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let mut cells = row.trim_matches('|').split('|').map(|cell| cell.replace('`', ""));
        let module = cells.next().unwrap().trim().to_owned();
        let uses = cells.next().unwrap();
        let uses = uses.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty() && name != "-");
        (module, uses.collect())
    })
    .collect()
}

#[test]
fn modules_use_each_other_as_the_architecture_says() {
    let mut found = BTreeMap::<String, BTreeSet<String>>::new();
    for (from, to) in imports::between_files() {
        let [from, to] = [&from, &to].map(|path| imports::module(path));
        let uses = found.entry(from.clone()).or_default();
        if from != to {
            uses.insert(to.clone());
            found.entry(to).or_default();
        }
    }
    let documented = documented();
    let difference = found.iter().filter(|(module, uses)| documented.get(*module) != Some(uses));
    let difference: Vec<_> = difference.map(|(module, uses)| format!("{module} uses {uses:?}")).collect();
    assert!(difference.is_empty(), "docs/architecture.md says otherwise: {difference:#?}");
    assert_eq!(found.len(), documented.len(), "no module of the table is gone");
    assert!(imports::circles(&found).is_empty(), "{:?}", imports::circles(&found));
}

#[test]
fn files_do_not_use_each_other_in_circles() {
    let mut uses = BTreeMap::<String, BTreeSet<String>>::new();
    for (from, to) in imports::between_files() {
        uses.entry(from).or_default().insert(to);
    }
    assert!(uses.len() > 100, "the imports are found: {}", uses.len());
    let circles = imports::circles(&uses);
    assert!(circles.is_empty(), "{circles:#?}");
}
