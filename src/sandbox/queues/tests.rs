//! Real packets, in a network namespace of their own: each test runs this binary again in one.

use std::process::Command;

mod packets;
mod rules;

/// Set in the process that has a network namespace of its own.
const INSIDE: &str = "CTHULHU_TEST_NETNS";

/// Runs `body` in a network namespace where the loopback interface is up. `name` is the test's own, below this module.
fn in_namespace(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        rules::loopback_up();
        return body();
    }
    if !crate::skip::is_root() {
        return;
    }
    let binary = std::env::current_exe().unwrap();
    let test = format!("sandbox::queues::tests::{name}");
    let output = Command::new("unshare")
        .arg("--net")
        .arg(binary)
        .args([&test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
    eprint!("{told}");
}
