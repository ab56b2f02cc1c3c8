//! The command line of cthulhu.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cthulhu::cli::run(std::env::args_os().collect()) {
        Ok(status) => status,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "cthulhu: {}", cthulhu::text::sentence(&error));
            ExitCode::FAILURE
        }
    }
}
