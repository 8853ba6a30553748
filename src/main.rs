//! Calls `cli` and turns its outcome into an exit code.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ssm_proxyd::cli::main().into()
}
