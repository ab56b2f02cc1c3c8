//! Replays the seeds in fuzz/corpus: what `fuzz/run.sh` starts from, any `cargo test` runs through the same code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
mod targets;

/// What a directory holds, by name and without extensions.
fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn seeds_are_taken_or_refused_as_they_are_named() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    type Takes = fn(&[u8]) -> bool;
    let targets: [(&str, Takes); 12] = [
        ("agent_protocol", targets::agent_protocol::takes),
        ("check_lines", targets::check_lines::takes),
        ("compose", targets::compose::takes),
        ("config", targets::config::takes),
        ("control_line", targets::control_line::takes),
        ("control_writes", targets::control_writes::takes),
        ("engine_answers", targets::engine_answers::takes),
        ("fault_texts", targets::fault_texts::takes),
        ("history_lines", targets::history_lines::takes),
        ("labels", targets::labels::takes),
        ("sandbox_protocol", targets::sandbox_protocol::takes),
        ("template", targets::template::takes),
    ];
    let all: BTreeSet<String> = targets.iter().map(|(target, _)| (*target).to_owned()).collect();
    assert_eq!(names(&fuzz.join("fuzz_targets")), all);
    assert_eq!(names(&fuzz.join("corpus")), all);
    let mut misnamed = vec![];
    for (target, takes) in targets {
        let dir = fuzz.join("corpus").join(target);
        let seeds = names(&dir);
        assert!((1..=10).contains(&seeds.len()), "{target} has {} seeds; run.sh finds more by itself", seeds.len());
        for seed in seeds {
            let is_taken = takes(&fs::read(dir.join(&seed)).unwrap());
            if is_taken == seed.starts_with("bad-") {
                misnamed.push(format!("{target}/{seed}"));
            }
        }
    }
    assert_eq!(misnamed, Vec::<String>::new());
}
