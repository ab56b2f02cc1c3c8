//! What a test says that this machine cannot run.

use std::fmt::Display;
use std::io::Write;

/// Says that the test, or a part of it, is skipped. Written past libtest, which would show it only if the test fails;
/// `fs-tests/run.sh` lists these lines.
pub fn skipped(why: impl Display) {
    let thread = std::thread::current();
    let why = why.to_string().replace('\n', " ");
    let line = format!("SKIPPED {}: {why}\n", thread.name().unwrap_or("?"));
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// Whether this is root; if not, the test is skipped.
#[allow(dead_code)]
pub fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skipped("needs root");
    }
    is_root
}
