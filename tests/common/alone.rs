//! A test in a process of its own, for what a process has once only.

use std::process::Command;

/// Set in that process.
const ALONE: &str = "CTHULHU_TEST_ALONE";

/// Runs `body` alone: this binary again, with the test `name` only, started by `starter` and its arguments if there are any.
pub(crate) fn alone(starter: &[&str], name: &str, body: impl FnOnce()) {
    if std::env::var_os(ALONE).is_some() {
        return body();
    }
    let binary = std::env::current_exe().unwrap();
    let words = starter.iter().map(AsRef::as_ref).chain([binary.as_os_str()]).collect::<Vec<_>>();
    let output = Command::new(words[0])
        .args(&words[1..])
        .args([name, "--exact", "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
    eprint!("{told}");
}
