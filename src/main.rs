//! The command line of cthulhu.

use std::process::ExitCode;

fn main() -> ExitCode {
    match cthulhu::cli::run(std::env::args_os().collect()) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("cthulhu: {error:#}");
            ExitCode::FAILURE
        }
    }
}
