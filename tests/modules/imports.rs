//! Who uses whom, read from the sources: every path that begins with `crate`, `super` or `self`, test modules left out.
//!
//! A file may use the module that it is a part of, and a module its files: that is one thing and no circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

/// A module of the crate by its path, such as `engine::docker::raw`, and its source without tests and comments.
pub type Modules = BTreeMap<String, String>;

/// The first part of a module's path.
pub fn module(path: &str) -> String {
    path.split("::").next().unwrap().to_owned()
}

/// All modules.
pub fn sources() -> Modules {
    let mut modules = Modules::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut modules);
    modules
}

/// Each pair of files of which the first uses the second, as module paths.
pub fn between_files() -> BTreeSet<(String, String)> {
    let modules = sources();
    let mut pairs = BTreeSet::new();
    for (from, code) in &modules {
        for path in paths(code) {
            let Some(to) = resolve(&modules, from, &path) else { continue };
            let is_own = |outer: &str, inner: &str| outer == inner || inner.starts_with(&format!("{outer}::"));
            if !to.is_empty() && !is_own(&to, from) {
                pairs.insert((from.clone(), to));
            }
        }
    }
    pairs
}

fn read(dir: &Path, prefix: &str, modules: &mut Modules) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let named = if prefix.is_empty() { stem.to_owned() } else { format!("{prefix}::{stem}") };
        if path.is_dir() {
            read(&path, &named, modules);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = match stem {
                "mod" => prefix.to_owned(),
                "lib" | "main" if prefix.is_empty() => continue,
                "tests" => continue,
                _ => named,
            };
            modules.insert(name, code(&fs::read_to_string(&path).unwrap()));
        }
    }
    modules.retain(|name, _| !name.contains("::tests::") && !name.ends_with("::tests"));
}

fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// The paths in a source, each as its parts; a group in braces counts as several.
fn paths(code: &str) -> Vec<Vec<String>> {
    static START: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b(?:crate|super|self)::").unwrap());
    let mut found = vec![];
    for at in START.find_iter(code) {
        expand(&code[at.start()..], &mut vec![], &mut found);
    }
    found
}

/// Reads one path at the beginning of `text`, and returns what follows it.
fn expand<'a>(text: &'a str, so_far: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    let depth = so_far.len();
    let mut rest = text.trim_start();
    loop {
        if let Some(mut inner) = rest.strip_prefix('{') {
            loop {
                inner = inner.trim_start().trim_start_matches(',').trim_start();
                match inner.strip_prefix('}') {
                    Some(after) => {
                        rest = after;
                        break;
                    }
                    None if inner.is_empty() => break,
                    None => {
                        let after = expand(inner, so_far, found);
                        // Something that is no list of names.
                        inner = if after.len() == inner.len() {
                            &inner[inner.chars().next().unwrap().len_utf8()..]
                        } else {
                            after
                        };
                    }
                }
            }
            break;
        }
        let word: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        rest = &rest[word.len()..];
        if word.is_empty() {
            break;
        }
        so_far.push(word);
        match rest.strip_prefix("::") {
            Some(after) => rest = after,
            None => {
                found.push(so_far.clone());
                break;
            }
        }
    }
    so_far.truncate(depth);
    let rest = rest.trim_start();
    rest.strip_prefix("as ")
        .map_or(rest, |alias| alias.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_' || c == ' '))
}

/// The module in which a path ends, through what modules hand on with `use`.
fn resolve(modules: &Modules, from: &str, path: &[String]) -> Option<String> {
    let mut at: Vec<&str> = if path[0] == "crate" { vec![] } else { from.split("::").collect() };
    for part in path.iter().skip(usize::from(path[0] == "crate")) {
        match part.as_str() {
            "self" => {}
            "super" => drop(at.pop()),
            name => {
                let here = at.join("::");
                let inner = if here.is_empty() { name.to_owned() } else { format!("{here}::{name}") };
                if modules.contains_key(&inner)
                    || modules.keys().any(|module| module.starts_with(&format!("{inner}::")))
                {
                    at.push(name);
                    continue;
                }
                return Some(handed_on(modules, &here, name).unwrap_or(here));
            }
        }
    }
    Some(at.join("::"))
}

/// The file from which the module `here` hands `name` on.
fn handed_on(modules: &Modules, here: &str, name: &str) -> Option<String> {
    static USE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?m)^(?:pub(?:\([a-z ]+\))? )?use ([^;]*);").unwrap());
    for found in USE.captures_iter(modules.get(here)?) {
        let mut names = vec![];
        expand(&found[1], &mut vec![], &mut names);
        for path in names {
            if path.last().is_some_and(|last| last == name) && path.len() > 1 {
                let first = path[0].as_str();
                let path = if matches!(first, "crate" | "super" | "self") {
                    path
                } else {
                    [vec!["self".into()], path].concat()
                };
                return resolve(modules, here, &path[..path.len()]).filter(|to| to != here);
            }
        }
    }
    None
}

/// The sets of those that reach each other.
pub fn circles(uses: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let reach = |from: &String| {
        let mut reached = BTreeSet::new();
        let mut next = vec![from];
        while let Some(at) = next.pop() {
            for to in uses.get(at).into_iter().flatten() {
                if reached.insert(to) {
                    next.push(to);
                }
            }
        }
        reached
    };
    let all: BTreeMap<_, _> = uses.keys().map(|from| (from, reach(from))).collect();
    let mut circles = BTreeSet::new();
    for (from, reached) in &all {
        if reached.contains(from) {
            let circle = reached.iter().filter(|to| all.get(**to).is_some_and(|back| back.contains(*from)));
            circles.insert(circle.map(|to| (*to).clone()).collect::<Vec<_>>());
        }
    }
    circles.into_iter().collect()
}
