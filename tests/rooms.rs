//! What belongs to one room stays in it.

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

/// The lines of code, comments left out, in which `word` stands outside of `room`.
fn strays(word: &str, room: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![];
    sources(&root, &mut files);
    assert!(files.len() > 20, "the sources are found");
    let mut strays = vec![];
    for file in files.iter().filter(|file| !file.starts_with(root.join(room))) {
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
fn only_the_fuse_room_names_fuser() {
    assert_eq!(strays("fuser", "fuse"), Vec::<String>::new());
}

#[test]
fn only_the_template_room_names_minijinja() {
    assert_eq!(strays("minijinja", "template"), Vec::<String>::new());
}

#[test]
fn only_the_top_room_names_ratatui() {
    assert_eq!(strays("ratatui", "top"), Vec::<String>::new());
    assert_eq!(strays("crossterm", "top"), Vec::<String>::new());
}

#[test]
fn only_the_system_room_is_unsafe() {
    for word in ["unsafe ", "unsafe{", "allow(unsafe_code)"] {
        assert_eq!(strays(word, "sys"), Vec::<String>::new(), "{word}");
    }
}

#[test]
fn main_stays_short() {
    let main = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/main.rs")).unwrap();
    assert!(main.lines().count() < 60);
}
