//! The Docker room against a real engine: what is asked, what comes back, what goes wrong.
//!
//! Needs an engine and a statically linked busybox (`CTHULHU_TEST_BUSYBOX`, or one in `/bin` or `/usr/bin`); without
//! them every test says SKIPPED and passes. Everything it makes has a name of its own and is removed again.

mod bench;
mod lives;
mod networks;
#[path = "../common/skip.rs"]
mod skip;
mod streams;
